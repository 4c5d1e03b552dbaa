"""Breaks, colours and units of the page's maps, the same as on printed maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.colors import to_hex

from mmgr_jax.explore.city import ExploredTask
from mmgr_jax.geo import panels
from mmgr_jax.legend import breaks, colours

COLOURS = 7
"""Of a scale whose breaks the page itself makes."""

Scale = dict[str, Any]
"""`breaks` [k + 1], None where a class is open; `colours` [k] as #rrggbb; `unit`."""


def of_task(task: ExploredTask) -> dict[str, Any]:
    """Makes the scales of a task.

    Returns:
        `value`: scale of truth and prediction, None for classes and shares. `error` and
        `width`: scales of prediction minus truth and of interval widths, None if there
        are none. `share`: scale of one class's share, None for numbers. `colours`:
        colours of the classes.
    """
    label, truth = task.label, task.truth
    value = None if task.prediction is None else np.asarray(task.prediction.value)
    scales: dict[str, Any] = dict(
        value=None, error=None, width=None, share=None, colours=[]
    )
    both = truth is not None and value is not None and bool(np.isfinite(truth).any())
    if label.classes:
        scales["colours"] = colours.of_classes(label.classes)
        scales["share"] = closed((0.0, *breaks.SHARES, 1.0), colours.VALUES)
        if both:
            scales["error"] = closed(
                (0.0, *breaks.SHARE_ERRORS, 2.0),
                colours.DISTANCES,
                panels.SHARE_ERROR_UNIT,
            )
        if label.kind == "share" and value is not None:
            scales["width"] = closed((0.0, *breaks.SHARES, 1.0), colours.DISTANCES)
        return scales
    known = truth if truth is not None and np.isfinite(truth).any() else value
    if known is not None and np.isfinite(known).any():
        shown = panels.Breaks.of(np.asarray(known))
        scales["value"] = open_ended(shown.values, colours.VALUES, label.unit)
        if both:
            scales["error"] = open_ended(shown.errors, colours.ERRORS, label.unit)
    if task.prediction is not None:
        width = task.prediction.high - task.prediction.low
        scales["width"] = quantiles(width, colours.DISTANCES, label.unit)
    return scales


def quantiles(
    values: Float[np.ndarray, " r"], anchors: Sequence[str], unit: str = ""
) -> Scale | None:
    """A scale with about equal numbers of finite values; None if no value is finite."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return open_ended(breaks.of_values(known.tolist()), anchors, unit)


def open_ended(edges: Sequence[float], anchors: Sequence[str], unit: str = "") -> Scale:
    """A scale whose first class has no lower limit, and the last one no upper limit."""
    return {
        "breaks": [None, *map(float, edges), None],
        "colours": list(colours.ramp(anchors, len(edges) + 1)),
        "unit": unit,
    }


def closed(edges: Sequence[float], anchors: Sequence[str], unit: str = "") -> Scale:
    """A scale of the values between its first and its last break."""
    return {
        "breaks": list(map(float, edges)),
        "colours": list(colours.ramp(anchors, len(edges) - 1)),
        "unit": unit,
    }


def palettes() -> Mapping[str, list[str]]:
    """Colours for the page's own maps: numbers, uncertainty, classes, clusters."""
    return {
        "value": list(colours.ramp(colours.VALUES, COLOURS)),
        "doubt": list(colours.ramp(colours.DISTANCES, COLOURS)),
        "classes": list(colours.OTHER_CLASSES),
        "clusters": [to_hex(colour) for colour in colormaps["tab20"](np.arange(20))],
    }
