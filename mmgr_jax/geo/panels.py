"""The panels of printed maps: what is shown of each region, and in which colours."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap

from mmgr_jax.data.schema import Label
from mmgr_jax.geo import symbols

CLASS_QUANTILES = np.linspace(0, 1, 8)
ERROR_QUANTILES = np.array([0, 0.4, 0.7, 0.9, 1])
"""Of |error|: the darkest colours are left to the worst tenth of the regions."""

SHARE_ERROR_UNIT = "L1 distance (0 equal, 2 disjoint)"
SHARE_TITLES = (
    "Truth: largest share",
    "Prediction: largest share",
    "Error of the shares",
)
CLASS_TITLES = ("Truth", "Prediction: most probable", "Error of the probabilities")
SHARE_BREAKS = np.linspace(0, 1, 11)


@dataclasses.dataclass(frozen=True)
class Panel:
    """One map: a value a region, NaN where there is none, and its colours."""

    title: str
    values: Float[np.ndarray, " r"]
    norm: BoundaryNorm
    cmap: Colormap
    unit: str = ""


def numbers(truth: np.ndarray, prediction: np.ndarray, label: Label) -> list[Panel]:
    """Truth and prediction with the same breaks, and the signed error."""
    truth, prediction = truth.astype(np.float64), prediction.astype(np.float64)
    error = prediction - truth
    known = np.isfinite(truth)
    pooled = np.concatenate([truth[known], prediction])
    breaks = symbols.quantile_breaks(pooled, CLASS_QUANTILES)
    norm, cmap = _classified(breaks, "viridis")
    diverging = _classified(
        symbols.symmetric_breaks(error[known], ERROR_QUANTILES), "RdBu_r"
    )
    return [
        Panel("Truth", truth, norm, cmap, label.unit),
        Panel("Prediction", prediction, norm, cmap, label.unit),
        Panel("Error (prediction \N{MINUS SIGN} truth)", error, *diverging, label.unit),
    ]


def clusters(members: Mapping[int, np.ndarray]) -> list[Panel]:
    """A panel for each number of clusters, whose numbers are names."""
    shown = []
    for cluster in members.values():
        count = int(cluster.max()) + 1
        norm = BoundaryNorm(np.arange(count + 1.0), count)
        cmap = ListedColormap(colormaps["tab20"](np.arange(count) % 20))
        shown.append(Panel(f"{count} clusters", cluster.astype(float), norm, cmap))
    return shown


def shares(truth: np.ndarray, prediction: np.ndarray, label: Label) -> list[Panel]:
    """The class with the largest share in truth and prediction, and the distance."""
    cmap = ListedColormap(symbols.class_colors(label.classes))
    norm = BoundaryNorm(np.arange(len(label.classes) + 1) - 0.5, cmap.N)
    known = np.isfinite(truth).all(axis=1)
    dominant = np.where(known, np.argmax(np.nan_to_num(truth), axis=1), np.nan)
    error = np.abs(prediction.astype(np.float64) - truth).sum(axis=1)
    sequential = _classified(np.array(symbols.SHARE_ERROR_BREAKS), "magma_r")
    titles = SHARE_TITLES if label.kind == "share" else CLASS_TITLES
    return [
        Panel(titles[0], dominant, norm, cmap),
        Panel(titles[1], prediction.argmax(axis=1).astype(np.float64), norm, cmap),
        Panel(titles[2], error, *sequential, SHARE_ERROR_UNIT),
    ]


def certainty(
    prediction: Float[np.ndarray, "r ..."],
    low: Float[np.ndarray, "r ..."],
    high: Float[np.ndarray, "r ..."],
    level: float,
    label: Label,
) -> list[Panel]:
    """A prediction between the ends of its intervals, all with the same breaks."""
    if label.classes:
        largest = prediction.argmax(axis=1)[:, None]
        prediction, low, high = (
            np.take_along_axis(values, largest, axis=1)[:, 0]
            for values in (prediction, low, high)
        )
        norm, cmap = _classified(SHARE_BREAKS, "viridis")
        unit = "share of the class with the largest predicted share"
    else:
        ends = np.concatenate([low, prediction, high]).astype(np.float64)
        breaks = symbols.quantile_breaks(ends[np.isfinite(ends)], CLASS_QUANTILES)
        norm, cmap = _classified(breaks, "viridis")
        unit = label.unit
    return [
        Panel(f"Low end of the {level:.0%} interval", low, norm, cmap, unit),
        Panel("Prediction", prediction, norm, cmap, unit),
        Panel(f"High end of the {level:.0%} interval", high, norm, cmap, unit),
    ]


def shown_classes(panels: list[Panel], label: Label) -> dict[str, str]:
    """Printed name -> colour of the classes that are largest somewhere."""
    seen = np.concatenate([panels[0].values, panels[1].values])
    colors = symbols.class_colors(label.classes)
    return {
        name.replace("_", " "): colors[index]
        for index, name in enumerate(label.classes)
        if (seen == index).any()
    }


def certain(index: Float[np.ndarray, " r"], count: int) -> Float[np.ndarray, "r k"]:
    """Classes as shares of which one is 1; NaN where unknown."""
    shares = np.eye(count)[np.nan_to_num(index).astype(int)]
    shares[np.isnan(index)] = np.nan
    return shares


def _classified(breaks: np.ndarray, name: str) -> tuple[BoundaryNorm, Colormap]:
    count = len(breaks) - 1
    # Away from both ends: pure black and white are for text and paper.
    ends = (0.03, 0.97) if count > 1 else (0.5, 0.5)
    cmap = ListedColormap(colormaps[name](np.linspace(*ends, count)))
    return BoundaryNorm(breaks, count, clip=True), cmap
