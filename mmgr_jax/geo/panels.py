"""The panels of printed maps: the values shown for regions, and their colours."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap

from mmgr_jax.data.schema import Label
from mmgr_jax.legend import breaks as breaks_lib
from mmgr_jax.legend import colours

SHARE_ERROR_UNIT = "L1 distance (0 equal, 2 disjoint)"
SHARE_TITLES = (
    "Truth: largest share",
    "Prediction: largest share",
    "Error of the shares",
)
CLASS_TITLES = ("Truth", "Prediction: most probable", "Error of the probabilities")


@dataclasses.dataclass(frozen=True)
class Panel:
    """One map: a value for each region, NaN if there is none, and the colours."""

    title: str
    values: Float[np.ndarray, " r"]
    norm: BoundaryNorm
    cmap: Colormap
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Breaks:
    """Values at which the colours of maps change; see `mmgr_jax.legend.breaks`.

    Attributes:
        values: Breaks of truth, prediction and interval limits, in the label's unit.
        errors: Breaks of prediction minus truth.
    """

    values: tuple[float, ...]
    errors: tuple[float, ...]

    @classmethod
    def of(cls, known: Float[np.ndarray, " m"]) -> "Breaks":
        """Finds breaks from the known values of a label, without NaN and infinity."""
        values = known.astype(np.float64).tolist()
        return cls(breaks_lib.of_values(values), breaks_lib.of_errors(values))


def numbers(
    truth: np.ndarray, prediction: np.ndarray, label: Label, breaks: Breaks
) -> list[Panel]:
    """Makes panels of truth and prediction with the same breaks, and of the error."""
    truth, prediction = truth.astype(np.float64), prediction.astype(np.float64)
    same = _open_ended(breaks.values, colours.VALUES)
    signed = _open_ended(breaks.errors, colours.ERRORS)
    error = prediction - truth
    return [
        Panel("Truth", truth, *same, label.unit),
        Panel("Prediction", prediction, *same, label.unit),
        Panel("Error (prediction \N{MINUS SIGN} truth)", error, *signed, label.unit),
    ]


def clusters(members: Mapping[int, np.ndarray]) -> list[Panel]:
    """Makes a panel for each number of clusters; cluster numbers are only names."""
    shown = []
    for cluster in members.values():
        count = int(cluster.max()) + 1
        norm = BoundaryNorm(np.arange(count + 1.0), count)
        cmap = ListedColormap(cluster_colours(count))
        shown.append(Panel(f"{count} clusters", cluster.astype(float), norm, cmap))
    return shown


def cluster_colours(count: int) -> Float[np.ndarray, "k 4"]:
    """A colour for each cluster: red, green, blue and opacity, 0 to 1."""
    return colormaps["tab20"](np.arange(count) % 20)


def shares(truth: np.ndarray, prediction: np.ndarray, label: Label) -> list[Panel]:
    """Makes panels of the largest class in truth and prediction, and the distance."""
    cmap = ListedColormap(colours.of_classes(label.classes))
    norm = BoundaryNorm(np.arange(len(label.classes) + 1) - 0.5, cmap.N)
    known = np.isfinite(truth).all(axis=1)
    dominant = np.where(known, np.argmax(np.nan_to_num(truth), axis=1), np.nan)
    error = np.abs(prediction.astype(np.float64) - truth).sum(axis=1)
    sequential = _classified((0.0, *breaks_lib.SHARE_ERRORS, 2.0), colours.DISTANCES)
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
    breaks: Breaks,
) -> list[Panel]:
    """Makes panels of a prediction and the ends of its intervals, with equal breaks."""
    if label.classes:
        largest = prediction.argmax(axis=1)[:, None]
        prediction, low, high = (
            np.take_along_axis(values, largest, axis=1)[:, 0]
            for values in (prediction, low, high)
        )
        norm, cmap = _classified((0.0, *breaks_lib.SHARES, 1.0), colours.VALUES)
        unit = "share of the class with the largest predicted share"
    else:
        norm, cmap = _open_ended(breaks.values, colours.VALUES)
        unit = label.unit
    return [
        Panel(f"Low end of the {level:.0%} interval", low, norm, cmap, unit),
        Panel("Prediction", prediction, norm, cmap, unit),
        Panel(f"High end of the {level:.0%} interval", high, norm, cmap, unit),
    ]


def shown_classes(panels: list[Panel], label: Label) -> dict[str, str]:
    """Printed name -> colour, for classes that are the largest in some region."""
    seen = np.concatenate([panels[0].values, panels[1].values])
    colors = colours.of_classes(label.classes)
    return {
        name.replace("_", " "): colors[index]
        for index, name in enumerate(label.classes)
        if (seen == index).any()
    }


def certain(index: Float[np.ndarray, " r"], count: int) -> Float[np.ndarray, "r k"]:
    """Turns classes into shares: 1 for the class, 0 for others; NaN if unknown."""
    shares = np.eye(count)[np.nan_to_num(index).astype(int)]
    shares[np.isnan(index)] = np.nan
    return shares


def _classified(
    edges: Sequence[float], anchors: Sequence[str]
) -> tuple[BoundaryNorm, Colormap]:
    """Classes between edges, which enclose all values."""
    count = len(edges) - 1
    return (
        BoundaryNorm(edges, count, clip=True),
        ListedColormap(colours.ramp(anchors, count)),
    )


def _open_ended(
    edges: Sequence[float], anchors: Sequence[str]
) -> tuple[BoundaryNorm, Colormap]:
    """Classes between edges, one below the first and one above the last."""
    count = len(edges) + 1
    # Matplotlib wants two edges: a second one above all values changes no colour.
    given = edges if len(edges) > 1 else (*edges, np.inf)
    norm = BoundaryNorm(given, len(given) + 1, extend="both")
    shades = colours.ramp(anchors, count)
    return norm, ListedColormap((*shades, *shades[-1:])[: len(given) + 1])
