"""The colours of all maps: for classes, for values from low to high, and for errors."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

LAND_USE = {
    "forest": "#002d1b",
    "water": "#4699de",
    "unutilised": "#fffbe6",
    "transportation": "#5e5e6e",
    "green_space": "#98f192",
    "industrial": "#712c8a",
    "educational_governmental": "#ef93b7",
    "commercial": "#ae0004",
    "residential": "#ffd519",
    "agricultural": "#9eaa31",
}
"""Colours in the custom of land-use maps, at least 25 CIELAB units apart for normal,
protan, deutan and tritan sight (Machado et al. 2009, severity 1)."""

OTHER_CLASSES = (
    "#332288",
    "#88ccee",
    "#44aa99",
    "#117733",
    "#999933",
    "#ddcc77",
    "#cc6677",
    "#882255",
    "#aa4499",
)
"""Paul Tol's muted scheme, for classes with other names."""

VALUES = (
    "#460b5e", "#482677", "#423f85", "#39558c", "#306a8e", "#287d8e", "#21918c",
    "#20a386", "#32b67a", "#56c667", "#84d44b", "#b8de29", "#ece51b",
)  # fmt: skip
"""Low to high values: matplotlib's viridis without its ends."""

ERRORS = (
    "#2065ab", "#4393c3", "#90c4dd", "#d1e5f0", "#f7f6f6", "#fddbc7", "#f3a481",
    "#d6604d", "#b1182b",
)  # fmt: skip
"""Too low, right, too high: ColorBrewer's RdBu, reversed, without its ends."""

DISTANCES = (
    "#fcf0b2", "#fecc8f", "#fea772", "#fa815f", "#ef5d5e", "#d6456c", "#b5367a",
    "#942c80", "#752181", "#56147d", "#341069", "#160f3b",
)  # fmt: skip
"""Small to large errors without a sign: matplotlib's magma, reversed."""

_GOLDEN = 0.6180339887498949


def ramp(anchors: Sequence[str], count: int) -> tuple[str, ...]:
    """Picks `count` colours evenly along a series; the middle one if `count` is 1.

    Args:
        anchors: Colours such as "#0072b2".
        count: Number of colours.
    """
    if count == 1:
        return (anchors[len(anchors) // 2],)
    return tuple(
        _between(anchors, index * (len(anchors) - 1) / (count - 1))
        for index in range(count)
    )


def of_classes(classes: Sequence[str]) -> list[str]:
    """One colour for each class: by name from `LAND_USE`, else from `OTHER_CLASSES`."""
    unknown = [name for name in classes if name not in LAND_USE]
    palette: Sequence[str] = OTHER_CLASSES
    if len(unknown) > len(palette):
        palette = [_hue(index) for index in range(len(unknown))]
    given = dict(zip(unknown, palette, strict=False))
    return [LAND_USE.get(name) or given[name] for name in classes]


def _hue(index: int) -> str:
    """One of many colours; consecutive ones differ in hue, lightness and saturation."""
    red, green, blue = colorsys.hls_to_rgb(
        index * _GOLDEN % 1.0, (0.35, 0.55, 0.72)[index % 3], (0.85, 0.6)[index % 2]
    )
    return _hex([255 * red, 255 * green, 255 * blue])


def _between(anchors: Sequence[str], at: float) -> str:
    low = min(int(at), len(anchors) - 2)
    ends = [
        [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        for colour in anchors[low : low + 2]
    ]
    return _hex([a + (at - low) * (b - a) for a, b in zip(*ends, strict=True)])


def _hex(channels: Sequence[float]) -> str:
    return "#" + "".join(f"{round(value):02x}" for value in channels)
