"""Pieces of HTML: paragraphs, tables, folds, and the look of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmgr_jax.report.page import words as words_lib
from mmgr_jax.report.page.svg import Number, number
from mmgr_jax.report.page.tree import Content, Element, element

STYLE = """
:root { --ink: #1c2430; --soft: #5c6675; --line: #d9dde3; --paper: #ffffff;
  --wash: #f5f7f9; --ours: #0072b2; --other: #8a929d; --best: #e5f1f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebef; --soft: #a2abb8;
  --line: #3a424e; --paper: #15191f; --wash: #1d232b; --ours: #56b4e9;
  --other: #8a929d; --best: #17344a; } }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 0 20px 80px; }
nav { position: sticky; top: 0; background: var(--paper); z-index: 1;
  border-bottom: 1px solid var(--line); }
nav div { max-width: 1080px; margin: 0 auto; padding: 8px 20px; display: flex;
  gap: 4px 18px; flex-wrap: wrap; }
nav a { color: var(--soft); text-decoration: none; }
nav a:hover { color: var(--ours); }
h1 { font-size: 27px; margin: 28px 0 4px; }
h2 { font-size: 21px; margin: 44px 0 6px; padding-top: 14px;
  border-top: 2px solid var(--line); scroll-margin-top: 40px; }
h3 { font-size: 16px; margin: 26px 0 6px; }
p { margin: 6px 0; max-width: 76ch; }
.soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(290px, 1fr));
  gap: 14px; margin: 16px 0; }
.card { background: var(--wash); border-radius: 8px; padding: 12px 16px; }
.card h3 { margin: 0 0 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 8px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: normal; }
th:first-child, td:first-child { text-align: left; }
td small { display: block; color: var(--soft); font-size: 11px; }
td.best { background: var(--best); }
th.words, td.words { text-align: left; white-space: normal; }
tr.ours td:first-child { font-weight: 600; }
td.better { color: #00795a; } td.worse { color: #b5452c; }
@media (prefers-color-scheme: dark) { td.better { color: #35c79a; }
  td.worse { color: #f08a6a; } }
.pictures { display: grid; gap: 8px 20px; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); }
figure { margin: 8px 0; flex: 0 1 auto; }
figcaption { color: var(--soft); font-size: 13.5px; max-width: 60ch; }
svg { width: 100%; height: auto; display: block; }
svg text { font-size: 12px; fill: var(--ink); }
svg .tick { fill: var(--soft); font-size: 11.5px; }
svg .tick.ours { fill: var(--ink); font-weight: 600; }
svg .name { font-size: 12.5px; }
svg .middle { text-anchor: middle; } svg .end { text-anchor: end; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .axis { stroke: var(--soft); fill: none; }
svg .zero { stroke: var(--soft); stroke-dasharray: 4 3; }
svg circle.ours { fill: var(--ours); } svg circle.other { fill: var(--other); }
svg .bar { stroke-width: 3; stroke-linecap: round; }
svg .bar.ours { stroke: var(--ours); opacity: .55; }
svg .bar.other { stroke: var(--other); opacity: .5; }
svg .points { stroke: var(--ours); stroke-width: 4; stroke-linecap: round;
  stroke-opacity: .35; fill: none; }
svg .blank { stroke: var(--line); stroke-width: .5; }
details { margin: 10px 0; } summary { cursor: pointer; color: var(--soft); }
pre { background: var(--wash); padding: 12px; border-radius: 8px; overflow-x: auto;
  font-size: 12.5px; }
ul.standing { margin: 12px 0; padding-left: 18px; max-width: 76ch; font-size: 16px; }
ul.standing li { margin: 5px 0; }
.key { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 0 0 4px;
  font-size: 14px; }
.key svg { display: inline-block; width: 28px; height: 10px; vertical-align: middle;
  margin-right: 6px; }
.warn { border-left: 4px solid #d55e00; padding: 4px 12px; background: var(--wash); }
"""


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
    kinds: Sequence[str] = (),
) -> Element:
    """A table; elements `td` and `th` are cells, other content gets one around it.

    Args:
        header: Content of the cells on top.
        rows: Content of the cells of each row.
        kinds: Class of each row; () for none.
    """
    body = [
        tag("tr", _cells("td", row), kind=kinds[index] if kinds else "")
        for index, row in enumerate(rows)
    ]
    inner = tag("thead", tag("tr", _cells("th", header))), tag("tbody", body)
    return tag("div", tag("table", inner), kind="wide")


def _cells(name: str, row: Sequence[Content]) -> list[Element]:
    return [
        cell if isinstance(cell, Element) and cell.tag == name else tag(name, cell)
        for cell in row
    ]


def left(words: str) -> Element:
    """A cell of words rather than numbers."""
    return tag("td", words, kind="words")


def difference(
    value: Number | None, low: Number | None, high: Number | None
) -> Element:
    """A cell of a paired difference, coloured where it has one sign."""
    kind = words_lib.verdict(low, high).split()[0]
    sign = "+" if value is not None and value > 0 else ""
    small = tag("small", words_lib.interval(low, high))
    return tag("td", f"{sign}{number(value)}", small, kind=kind)


def fold(words: str, content: Content, *, shown: bool = False) -> Element:
    """Something that is shown on demand, or at first and can be hidden."""
    summary = tag("summary", words)
    return element("details", summary, content, open="" if shown else None)


def figure(picture: Content, caption: str, *, above: Content = "") -> Element:
    """A picture with what it shows, and what stands above it."""
    return tag("figure", above, picture, tag("figcaption", caption))


def bullets(lines: Iterable[str], kind: str = "") -> Element:
    """A list of texts."""
    return tag("ul", [tag("li", line) for line in lines], kind=kind)


def document(title: str, links: Sequence[tuple[str, str]], body: Content) -> str:
    """The whole page.

    Args:
        title: Plain text.
        links: (name, anchor) of the sections.
        body: What it shows.
    """
    menu = [element("a", name, href=f"#{to}") for name, to in links]
    nav = tag("nav", tag("div", menu))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{tag('title', title)}<style>{STYLE}</style></head>"
        f"{tag('body', nav, tag('main', body))}</html>\n"
    )
