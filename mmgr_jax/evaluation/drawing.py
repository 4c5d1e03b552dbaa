"""Draws the maps of a city: of each label, or of clusters if there are no labels."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from mmgr_jax.data.schema import Label
from mmgr_jax.disk import files
from mmgr_jax.evaluation import feature_sets, predictors
from mmgr_jax.evaluation.certainty import metrics
from mmgr_jax.evaluation.trials.results import HEADLINES
from mmgr_jax.report import report_json
from mmgr_jax.report.page import plain, standing

if TYPE_CHECKING:
    from mmgr_jax.geo.panels import Breaks

log = logging.getLogger(__name__)


def clusters(
    folder: Path, city: feature_sets.EvaluatedCity, members: Mapping[int, np.ndarray]
) -> None:
    """Draws the clusters of a city without labels, `clusters.png` in the folder."""
    from mmgr_jax.geo import maps

    path = folder / "clusters.png"
    maps.cluster_map(
        path,
        geometry_wkb=city.regions.geometry_wkb,
        crs=city.source.manifest.crs,
        members=members,
    )
    log.info("map of regions that look alike: %s", path)


def task(
    folder: Path,
    city: feature_sets.EvaluatedCity,
    name: str,
    label: Label,
    truth: Float[np.ndarray, "r ..."],
    prediction: predictors.Prediction,
    about: tuple[str, ...] = (),
) -> None:
    """Draws truth, prediction and error of a label, and the prediction's intervals.

    Args:
        folder: Folder for the maps.
        city: The city.
        name: Name of the label.
        label: Meaning of the label.
        truth: True values, NaN where unknown. If none is known, there is no error map.
        prediction: Prediction for every region.
        about: Lines below the title; see `about`.
    """
    from mmgr_jax.geo import maps

    started = time.perf_counter()
    common: dict[str, Any] = dict(
        geometry_wkb=city.regions.geometry_wkb,
        crs=city.source.manifest.crs,
        prediction=prediction.value,
        label=label,
        task=name,
        about=about,
    )
    common["breaks"] = breaks(label, truth, prediction.value)
    drawn = []
    if np.isfinite(truth).any():
        drawn.append(folder / f"{files.safe_name(name)}.png")
        maps.task_map(drawn[-1], truth=truth, **common)
    if label.kind != "class":  # its probabilities have no intervals
        drawn.append(folder / f"{files.safe_name(name)}_certainty.png")
        maps.certainty_map(
            drawn[-1],
            low=prediction.low,
            high=prediction.high,
            unlike=prediction.unlike,
            level=predictors.LEVEL,
            **common,
        )
    taken_s = time.perf_counter() - started
    log.info("maps of %s: %s (%.1f s)", name, ", ".join(map(str, drawn)), taken_s)


def breaks(
    label: Label, truth: Float[np.ndarray, "r ..."], value: Float[np.ndarray, "r ..."]
) -> Breaks | None:
    """Computes the class breaks of a label's maps; None for shares and classes.

    Args:
        label: The label that is mapped.
        truth: Known values, NaN elsewhere.
        value: Predictions; they give the breaks if no value is known.
    """
    from mmgr_jax.geo.panels import Breaks

    if label.classes:
        return None
    if not np.isfinite(truth).any():
        return Breaks.of(value.ravel())
    # Of the same regions as in the report, which may not hold all.
    return Breaks.of(truth[report_json.drawn(len(truth))])


def about(
    label: Label,
    kind: str,
    truth: Float[np.ndarray, "r ..."],
    value: Float[np.ndarray, "r ..."],
    *,
    chosen: bool,
    split: str,
    out_of_fold: bool,
) -> tuple[str, ...]:
    """Returns lines that say how a map was made and how good it is.

    Args:
        label: The label that is predicted.
        kind: Kind of the features that predict.
        truth: Known values, NaN elsewhere.
        value: Predictions.
        chosen: Whether the features were chosen by their scores on the other folds.
        split: Kind of the split under which the heads were trained.
        out_of_fold: Whether each region is predicted by a head that has not seen it.
    """
    features = plain.features(f"{feature_sets.MAIN} {kind}")
    by = ", chosen by their scores on the other folds" if chosen else ""
    seen = (
        f"Out-of-fold: {plain.OUT_OF_FOLD.get(split, 'no own label was seen')}."
        if out_of_fold
        else "The heads have learnt from other regions."
    )
    return f"Predicted from {features}{by}.", seen, _score(label, truth, value)


def _score(label: Label, truth: np.ndarray, value: np.ndarray) -> str:
    """The headline metric, and of numbers the half of the errors."""
    known = np.isfinite(truth.reshape(len(truth), -1)).all(axis=1)
    if not known.any():
        return "No label is known here, so there is no score."
    truth, value = truth[known], value[known]
    if label.kind == "share":
        head, values = HEADLINES["share"], metrics.shares(truth, value)
    elif label.kind == "class":
        head = HEADLINES["class"]
        values = metrics.classes(truth.astype(np.int64), value)
    else:
        is_log = bool((truth >= 0).all())
        scale = metrics.median_positive(truth) if is_log else None
        head, values = (
            "r2_log" if is_log else "r2",
            metrics.scalar(truth, value, log_scale=scale),
        )
    measure = standing.measure({"headline": head, "label": {"unit": label.unit}})
    score = f"Score: {measure} {values[head]:.3f}"
    if label.classes:
        return f"{score}."
    half = plain.rough(float(np.median(np.abs(value - truth))))
    return f"{score}; half of the regions are off by less than {half} {label.unit}."
