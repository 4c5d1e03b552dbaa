"""Makes pieces of HTML: paragraphs, tables, folds, and the whole page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmgr_jax.report.page import words as words_lib
from mmgr_jax.report.page.style import STYLE
from mmgr_jax.report.page.svg import Number, number
from mmgr_jax.report.page.tree import Content, Element, element


def tag(name: str, *content: Content, kind: str = "", id_: str = "") -> Element:
    """An element with a class and an id."""
    return element(name, *content, id_=id_ or None, class_=kind or None)


def paragraph(words: str, kind: str = "") -> Element:
    """A paragraph."""
    return tag("p", words, kind=kind)


def anchor(words: str) -> str:
    """A name that a link can point to."""
    return "".join(c if c.isalnum() else "-" for c in words.lower())


def table(
    header: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    *,
    name: str,
    kinds: Sequence[str] = (),
) -> Element:
    """A table; elements `td` and `th` are cells, other content is put into a cell.

    Args:
        header: Content of the cells in the header row.
        rows: Content of the cells of each row.
        name: Name of the table for screen readers.
        kinds: Class of each row; () for no classes.
    """
    body = [
        tag("tr", _cells("td", row), kind=kinds[index] if kinds else "")
        for index, row in enumerate(rows)
    ]
    head = tag("thead", tag("tr", _cells("th", header))) if header else ""
    inner = head, tag("tbody", body)
    return scrolled(tag("table", inner), name)


def scrolled(content: Content, name: str) -> Element:
    """Wide content, which can be scrolled on a narrow screen by finger or keyboard."""
    return element(
        "div", content, class_="wide", tabindex="0", role="group", aria_label=name
    )


def _cells(name: str, row: Sequence[Content]) -> list[Element]:
    return [
        cell
        if isinstance(cell, Element) and cell.tag in ("td", "th")
        else tag(name, cell)
        for cell in row
    ]


def left(words: str) -> Element:
    """A cell with words, not numbers."""
    return tag("td", words, kind="words")


def preformatted(text: str, name: str) -> Element:
    """Text as it is, which can be scrolled on a narrow screen."""
    return element("pre", text, tabindex="0", role="group", aria_label=name)


def difference(
    value: Number | None, low: Number | None, high: Number | None
) -> Element:
    """A cell of a paired difference, coloured if the whole interval has one sign."""
    kind = words_lib.verdict(low, high).split()[0]
    sign = "+" if value is not None and value > 0 else ""
    small = tag("small", words_lib.interval(low, high))
    return tag("td", f"{sign}{number(value)}", small, kind=kind)


def fold(words: str, content: Content, *, shown: bool = False) -> Element:
    """Content that can be shown and hidden, and is shown or hidden at first."""
    summary = tag("summary", words)
    return element("details", summary, content, open="" if shown else None)


def figure(
    picture: Content, caption: Content, *, above: Content = "", below: Content = ""
) -> Element:
    """A picture with its caption, and the content above it and right below it."""
    return tag("figure", above, picture, below, tag("figcaption", caption))


def bullets(lines: Iterable[str], kind: str = "") -> Element:
    """A list of texts."""
    return tag("ul", [tag("li", line) for line in lines], kind=kind)


def document(title: str, links: Sequence[tuple[str, str]], body: Content) -> str:
    """The whole page.

    Args:
        title: Plain text.
        links: (name, anchor) of the sections.
        body: Content of the page.
    """
    menu = [element("a", name, href=f"#{to}") for name, to in links]
    nav = element("nav", tag("div", menu), aria_label="sections") if links else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{tag('title', title)}<style>{STYLE}</style></head>"
        f"{tag('body', nav, tag('main', body))}</html>\n"
    )
