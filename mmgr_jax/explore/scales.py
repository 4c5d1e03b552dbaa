"""Breaks, colours and units of what the page maps: those of the printed maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.colors import to_hex

from mmgr_jax.explore.city import ExploredTask
from mmgr_jax.geo import panels, symbols
from mmgr_jax.geo.panels import Panel

COLOURS = 7
"""Of a scale whose breaks the page itself makes."""

Scale = dict[str, Any]
"""`breaks` [k + 1], `colours` [k] as #rrggbb, and `unit`."""


def of_task(task: ExploredTask) -> dict[str, Any]:
    """The scales of a task.

    Returns:
        `value`: of truth and prediction, None for classes and shares; `error` and
        `width`: of prediction less truth and of intervals, None where there are none;
        `share`: of one class's share, None for numbers; `colours`: of the classes.
    """
    label, truth = task.label, task.truth
    value = None if task.prediction is None else np.asarray(task.prediction.value)
    scales: dict[str, Any] = dict(
        value=None, error=None, width=None, share=None, colours=[]
    )
    both = truth is not None and value is not None and bool(np.isfinite(truth).any())
    if label.classes:
        scales["colours"] = symbols.class_colors(label.classes)
        scales["share"] = fixed(panels.SHARE_BREAKS, "viridis")
        if both:
            unit = panels.SHARE_ERROR_UNIT
            breaks = np.array(symbols.SHARE_ERROR_BREAKS)
            scales["error"] = fixed(breaks, "magma_r", unit)
        if label.kind == "share" and value is not None:
            scales["width"] = fixed(panels.SHARE_BREAKS, "magma_r")
        return scales
    if both:
        shown = panels.numbers(np.asarray(truth), np.asarray(value), label)
        scales["value"], scales["error"] = _of_panel(shown[0]), _of_panel(shown[2])
    else:
        known = truth if value is None else value
        scales["value"] = quantiles(np.asarray(known), "viridis", label.unit)
    if task.prediction is not None:
        width = task.prediction.high - task.prediction.low
        scales["width"] = quantiles(width, "magma_r", label.unit)
    return scales


def quantiles(
    values: Float[np.ndarray, " r"], name: str, unit: str = ""
) -> Scale | None:
    """A scale by quantiles of what is finite; None where nothing is."""
    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return None
    breaks = symbols.quantile_breaks(known, panels.CLASS_QUANTILES)
    return fixed(breaks, name, unit)


def fixed(breaks: Sequence[float] | np.ndarray, name: str, unit: str = "") -> Scale:
    """A scale of given breaks in the colours of one of Matplotlib's maps."""
    return {
        "breaks": [float(edge) for edge in breaks],
        "colours": sampled(name, len(breaks) - 1),
        "unit": unit,
    }


def sampled(name: str, count: int) -> list[str]:
    """Colours of a map of Matplotlib's, away from its ends as on printed maps."""
    ends = (0.03, 0.97) if count > 1 else (0.5, 0.5)
    return [to_hex(colour) for colour in colormaps[name](np.linspace(*ends, count))]


def palettes() -> Mapping[str, list[str]]:
    """Colours for what the page itself maps: numbers, doubt, classes, clusters."""
    return {
        "value": sampled("viridis", COLOURS),
        "doubt": sampled("magma_r", COLOURS),
        "classes": list(symbols.OTHER_CLASSES),
        "clusters": [to_hex(colour) for colour in colormaps["tab20"](np.arange(20))],
    }


def _of_panel(panel: Panel) -> Scale:
    colours = panel.cmap(np.arange(panel.cmap.N))
    return {
        "breaks": [float(edge) for edge in panel.norm.boundaries],
        "colours": [to_hex(colour) for colour in colours],
        "unit": panel.unit,
    }
