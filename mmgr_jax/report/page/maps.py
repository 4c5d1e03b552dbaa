"""Draws maps of regions as squares, each in the colour of its class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mmgr_jax.legend import printed
from mmgr_jax.report.page import svg
from mmgr_jax.report.page.tree import Element, element

LEAST_PX = 2.0
"""Side of the square of a region, at least."""


@dataclasses.dataclass(frozen=True)
class Squares:
    """Where regions lie.

    Attributes:
        x_m: Easting of each region's centre.
        y_m: Northing.
        side_m: Side of a square.
    """

    x_m: Sequence[svg.Number]
    y_m: Sequence[svg.Number]
    side_m: svg.Number

    @classmethod
    def of(cls, regions: Any) -> Squares:
        """Takes the squares from the regions of a report."""
        return cls(regions["x_m"], regions["y_m"], regions["side_m"])


def draw(
    places: Squares,
    classes: Sequence[int | None],
    shades: Sequence[str],
    *,
    name: str,
    width: svg.Number = 380,
) -> Element:
    """Draws a map with north up and a scale bar below.

    Args:
        places: Where the regions lie.
        classes: Class of each region; None if not known, which draws an empty square.
        shades: Colour of each class.
        name: Name of the map for screen readers.
        width: In pixels, at most.
    """
    west, south = (min(at) - places.side_m / 2 for at in (places.x_m, places.y_m))
    east, north = (max(at) + places.side_m / 2 for at in (places.x_m, places.y_m))
    extent_m = max(east - west, north - south, 1.0)
    per_m = (width - 4) / extent_m
    wide, high = max(east - west, 1.0) * per_m, max(north - south, 1.0) * per_m
    side = max(places.side_m * per_m, LEAST_PX)
    squares: dict[int | None, list[str]] = {}  # an element each would be large
    for x, y, place in zip(places.x_m, places.y_m, classes, strict=True):
        left = 2 + (x - places.side_m / 2 - west) * per_m
        top = 2 + high - (y + places.side_m / 2 - south) * per_m
        squares.setdefault(place, []).append(
            f"M{left:.1f} {top:.1f}h{side:.1f}v{side:.1f}h-{side:.1f}z"
        )
    parts = [
        element("path", d="".join(paths), class_="blank")
        if place is None
        else element("path", d="".join(paths), fill=shades[place], stroke=shades[place],
                     stroke_width=0.4)
        for place, paths in sorted(
            squares.items(), key=lambda item: -1 if item[0] is None else item[0]
        )
    ]  # fmt: skip
    parts.append(
        element("rect", x=1.5, y=1.5, width=wide + 1, height=high + 1, class_="frame")
    )
    parts += _scale_bar(per_m, wide, high + 12)
    return svg.chart(
        wide + 4, high + 32, parts, name=name, class_="map",
        preserveAspectRatio="xMinYMin",
    )  # fmt: skip


def _scale_bar(per_m: float, wide: float, top: float) -> list[Element]:
    """Draws a bar of a round length, at most a third of the map, and a north arrow."""
    length_m = printed.scale_bar_m(wide / per_m / 3)
    end = 3 + length_m * per_m
    bar = element("path", d=f"M3 {top - 3:.1f}v6h{end - 3:.1f}v-6", class_="scale")
    words = f"{printed.length(length_m)}, north is up"
    return [bar, svg.label(end + 8, top + 6, words, class_="tick")]
