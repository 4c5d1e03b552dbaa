"""The map of residuals: where predictions are too low and too high."""

from __future__ import annotations

from collections.abc import Sequence

from mmgr_jax.report.page import svg
from mmgr_jax.report.page.tree import Element, element

DIVERGING = ("#2166ac", "#f4f2ee", "#b2182b")
"""Residuals below, at and above zero: predictions too low, right, too high."""

SHADES = 20
"""Colours on either side of zero."""

FAR = 0.98
"""The colours of a map of residuals end at this quantile of their sizes."""


def residual_map(
    x_m: Sequence[svg.Number],
    y_m: Sequence[svg.Number],
    side_m: svg.Number,
    residual: Sequence[svg.Number | None],
    *,
    unit: str,
    one_sided: bool = False,
    width: svg.Number = 380,
) -> Element:
    """Regions as squares, coloured by prediction less truth; north is up.

    Args:
        x_m: Easting of each region's centre.
        y_m: Northing.
        side_m: Side of a square.
        residual: Prediction less truth; None where no truth is known (left blank).
        unit: Of the residuals.
        one_sided: They are distances, never below zero.
        width: Of the picture, in pixels.
    """
    west, south = min(x_m) - side_m / 2, min(y_m) - side_m / 2
    extent = max(max(x_m) + side_m / 2 - west, max(y_m) + side_m / 2 - south, 1.0)
    per_m = (width - 20) / extent
    height = (max(y_m) + side_m / 2 - south) * per_m
    known = sorted(abs(r) for r in residual if r is not None)
    most = (known[int(FAR * (len(known) - 1))] if known else 0.0) or 1.0
    side = max(side_m * per_m, 2.0)
    squares: dict[str, list[str]] = {}  # by colour: an element each would be large
    for x, y, value in zip(x_m, y_m, residual, strict=True):
        part = None if value is None else round(value / most * SHADES) / SHADES
        fill = "none" if part is None else diverging(part)
        left = 10 + (x - side_m / 2 - west) * per_m
        top = 10 + height - (y + side_m / 2 - south) * per_m
        squares.setdefault(fill, []).append(
            f"M{left:.1f} {top:.1f}h{side:.1f}v{side:.1f}h-{side:.1f}z"
        )
    parts = [
        element(
            "path",
            d="".join(paths),
            fill=fill,
            class_="blank" if fill == "none" else None,
        )
        for fill, paths in squares.items()
    ]
    parts += _colour_bar(most, unit, one_sided, 10.0, height + 24, width - 20)
    return svg.chart(width, height + 66, parts, name=f"map of residuals, {unit}")


def _colour_bar(
    most: svg.Number,
    unit: str,
    one_sided: bool,
    x: svg.Number,
    y: svg.Number,
    width: svg.Number,
) -> list[Element]:
    steps = 41
    lowest = 0 if one_sided else -1
    named = unit if one_sided else f"prediction − truth, {unit}"
    left = "0" if one_sided else f"≤ {svg.number(-most)}"
    cells = [
        element(
            "rect",
            x=x + width * i / steps,
            y=y,
            width=width / steps + 0.5,
            height=10,
            fill=diverging(lowest + (1 - lowest) * i / (steps - 1)),
        )
        for i in range(steps)
    ]
    return [
        *cells,
        svg.label(x, y + 26, left, class_="tick"),
        svg.label(x + width / 2, y + 26, named, class_="tick middle"),
        svg.label(x + width, y + 26, f"≥ {svg.number(most)}", class_="tick end"),
    ]


def diverging(part: svg.Number) -> str:
    """Colour of a residual, from -1 (far too low) over 0 to 1 (far too high)."""
    part = min(max(part, -1.0), 1.0)
    ends = (DIVERGING[1], DIVERGING[2 if part > 0 else 0])
    middle, end = (
        tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in ends
    )
    mixed = (round(m + (e - m) * abs(part)) for m, e in zip(middle, end, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)
