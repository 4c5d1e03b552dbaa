"""Elements of HTML and SVG: a page is a tree of them, and text is never markup.

What a config, a manifest or a report says becomes a string in the tree, and every
string is escaped where the tree is written. There is no way to hand markup in.
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
    """An element with what it holds.

    Attributes:
        tag: Its name.
        content: Elements and texts, in order.
        attributes: Name -> text.
    """

    tag: str
    content: tuple[Element | str, ...]
    attributes: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuses what could run or load something.

        Raises:
            ValueError: If a name is none, an attribute is a script, or an address
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
        """The element as it stands in a file."""
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
        *content: What it holds; texts are plain text.
        **attributes: `_` in a name stands for `-`, one behind it for nothing. None
            leaves the attribute out; a float is written to a hundredth.
    """
    given = {
        name.rstrip("_").replace("_", "-"): shown(value)
        for name, value in attributes.items()
        if value is not None
    }
    return Element(tag, tuple(_flat(content)), given)


def shown(value: object) -> str:
    """A coordinate to a hundredth of a pixel, anything else as it is."""
    return (
        f"{value:.2f}".rstrip("0").rstrip(".") if type(value) is float else f"{value}"
    )


def _flat(content: Iterable[Content]) -> list[Element | str]:
    """Elements and texts one by one; texts without characters are left out."""
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
