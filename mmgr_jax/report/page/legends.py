"""Legends of the page's maps: the colours of values, and their meanings.

Breaks and colours are the same as on printed maps; see `mmgr_jax.legend`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from mmgr_jax.legend import breaks, colours, printed
from mmgr_jax.report.page import html
from mmgr_jax.report.page.svg import Number
from mmgr_jax.report.page.tree import Element, element

UNKNOWN = "no label"


@dataclasses.dataclass(frozen=True)
class Legend:
    """The colours of a map with their meanings.

    Attributes:
        shades: A colour for each class, from low to high.
        names: Meaning of each class.
        unit: Unit of the numbers in the names; "" for none.
        edges: Breaks between the classes; () if the classes are not ranges of numbers.
    """

    shades: tuple[str, ...]
    names: tuple[str, ...]
    unit: str = ""
    edges: tuple[float, ...] = ()

    def places(self, values: Iterable[Number | None]) -> list[int | None]:
        """Finds the class of each value; None if the value is not known."""
        return [
            None if value is None else breaks.place(value, self.edges)
            for value in values
        ]

    def draw(self, *, some_unknown: bool, shown: Iterable[int] = ()) -> Element:
        """Draws a list of colours and their meanings, which wraps with the page.

        Args:
            some_unknown: Whether the map has regions without a value.
            shown: Classes that are on the map; () for all.
        """
        kept = sorted({*shown}) or range(len(self.shades))
        items = [_item(self.names[index], fill=self.shades[index]) for index in kept]
        if some_unknown:
            items.append(_item(UNKNOWN, class_="blank"))
        unit = [html.tag("li", self.unit, kind="soft")] if self.unit else []
        return html.tag("ul", unit, items, kind="legend")


def of_values(truth: Sequence[Number | None], unit: str) -> Legend:
    """Makes the legend of truth and prediction of a number, from its known values."""
    edges = breaks.of_values(value for value in truth if value is not None)
    return _numbered(edges, colours.VALUES, unit)


def of_errors(truth: Sequence[Number | None], unit: str) -> Legend:
    """Makes the legend of prediction minus truth, from the known values."""
    edges = breaks.of_errors(value for value in truth if value is not None)
    return _numbered(edges, colours.ERRORS, unit)


def of_distances(unit: str) -> Legend:
    """Makes the legend of the L1 distance of shares or probabilities from the truth."""
    return _numbered(breaks.SHARE_ERRORS, colours.DISTANCES, unit)


def of_classes(classes: Sequence[str]) -> Legend:
    """Makes the legend of the class that is largest, or most probable."""
    names = tuple(name.replace("_", " ") for name in classes)
    return Legend(tuple(colours.of_classes(classes)), names)


def _numbered(edges: Sequence[Number], anchors: Sequence[str], unit: str) -> Legend:
    return Legend(
        colours.ramp(anchors, len(edges) + 1),
        tuple(printed.classes(edges)),
        unit,
        tuple(map(float, edges)),
    )


def _item(words: str, **look: str) -> Element:
    box = element("rect", x=0.5, y=0.5, width=17, height=12, **look)
    picture = element("svg", box, viewBox="0 0 18 13", aria_hidden="true")
    return html.tag("li", picture, words)
