"""Makes HTML and SVG as a tree of elements, in which text is never markup.

Texts from a config, a manifest or a report become strings in the tree. Every string is
escaped when the tree is written. Markup cannot be passed in.
"""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mmgr_jax.terminal import visible

EMPTY = ("line", "path", "circle", "rect", "img")
"""Elements that close themselves where they hold nothing; others get an end tag."""

NAMES = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
"""Of elements and attributes."""

ADDRESSES = {"href": "#", "src": "data:image/png;base64,"}
"""How attributes begin that lead somewhere: within the page alone."""


@dataclasses.dataclass(frozen=True)
class Element:
    """An element with its content.

    Attributes:
        tag: Its name.
        content: Elements and texts, in order.
        attributes: Name -> text.
    """

    tag: str
    content: tuple[Element | str, ...]
    attributes: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuses elements that could run or load something.

        Raises:
            ValueError: If a name is not valid, an attribute is a script, or an address
                leads out of the page.
        """
        for name in (self.tag, *self.attributes):
            if not NAMES.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an element or attribute")
        if self.tag in ("script", "style", "iframe", "object"):
            raise ValueError(f"<{self.tag}> does not belong into the body of a page")
        for name, value in self.attributes.items():
            if name.startswith("on") or not value.startswith(ADDRESSES.get(name, "")):
                raise ValueError(f"{name}={value[:40]!r} would leave the page")

    def __str__(self) -> str:
        """The text of the element in a file."""
        given = "".join(f' {k}="{_escaped(v)}"' for k, v in self.attributes.items())
        if not self.content and self.tag in EMPTY:
            return f"<{self.tag}{given}/>"
        inner = "".join(
            _escaped(item) if isinstance(item, str) else str(item)
            for item in self.content
        )
        return f"<{self.tag}{given}>{inner}</{self.tag}>"


Content = Element | str | Iterable[Any]
"""An element, a text, or several of them one after another."""


def element(tag: str, *content: Content, **attributes: object) -> Element:
    """An element.

    Args:
        tag: Its name.
        *content: Its content; texts are plain text.
        **attributes: `_` in a name stands for `-`; a `_` at its end is dropped. None
            leaves the attribute out; a float is rounded to a hundredth.
    """
    given = {
        name.rstrip("_").replace("_", "-"): shown(value)
        for name, value in attributes.items()
        if value is not None
    }
    return Element(tag, tuple(_flat(content)), given)


def shown(value: object) -> str:
    """Rounds a coordinate to a hundredth of a pixel; leaves anything else as it is."""
    return (
        f"{value:.2f}".rstrip("0").rstrip(".") if type(value) is float else f"{value}"
    )


def _flat(content: Iterable[Content]) -> list[Element | str]:
    """Yields elements and texts one by one, without empty texts."""
    parts = []
    for item in content:
        if isinstance(item, Element):
            parts.append(item)
        elif not isinstance(item, str):
            parts += _flat(item)
        elif item:
            parts.append(item)
    return parts


def _escaped(text: str) -> str:
    return html.escape(visible(text, keep="\n\t"))
