"""Splits the shown predictions into parts whose sum is exact for linear heads.

The head comes from the evaluation, from the fold that has not seen the region. So the
parts add up to the prediction that the page shows. Parts are measured from the city's
mean features. They show what this head reads in which features, not causes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads.head import Head
from mmgr_jax.evaluation.predictors import UNSEEN, Predictor

NAMED = 6
"""Categories whose parts are kept of a region: the largest."""

MOST_BYTES = 2**24
"""Of all parts of a page; of a larger city the page fits heads of its own instead."""

_COUNTS = "POI counts"
_ROWS = 8192


@dataclasses.dataclass(frozen=True)
class PredictionParts:
    """Parts of every region's prediction of one label.

    Parts are on the scale of the regression. If `units` are given, this is log(1 +
    value / unit), so that exp(part) is a factor of 1 + value / unit; else it is the
    label's unit. For classes it is the logarithm of the largest share, minus the mean
    logarithm of all classes that the head was trained with.

    Attributes:
        groups: Names of the groups of features.
        baseline: Prediction of the head for the city's mean features [r].
        by_group: Parts of groups [r g]. They and the baseline add up to the prediction,
            except that predictions by logarithms are kept between 0 and a ceiling.
        units: Unit in the logarithm of each region's head [r]; None without logarithms.
        category: Categories whose counts have the largest parts, the number of all
            categories for the count of all POIs [r t].
        by_category: Parts of these categories, included in the parts of groups [r t].
    """

    groups: tuple[str, ...]
    baseline: Float[np.ndarray, " r"]
    by_group: Float[np.ndarray, "r g"]
    units: Float[np.ndarray, " r"] | None
    category: Int[np.ndarray, "r t"]
    by_category: Float[np.ndarray, "r t"]


def num_bytes(features: Features, num_tasks: int) -> int:
    """Number of bytes that the parts of some labels take on a page."""
    return 4 * len(features) * num_tasks * (len(features.groups) + 2 * NAMED + 2)


def of_task(
    predictor: Predictor,
    features: Features,
    fold: Int[np.ndarray, " r"] | None,
    num_categories: int,
) -> PredictionParts | None:
    """Computes the parts of the predictions of all regions.

    Args:
        predictor: The heads.
        features: Features that the heads read.
        fold: Fold of each region in the evaluation, as in `Predictor.predict`.
        num_categories: Number of POI categories.

    Returns:
        The parts; None if the heads are not linear.
    """
    if predictor.heads[UNSEEN].protocol != "linear":
        return None
    total = len(features)
    fold = np.full(total, UNSEEN) if fold is None else fold
    mean = _mean(features)
    places = _Places.of(features.groups, num_categories)
    named = min(NAMED, len(places.counts))
    parts = PredictionParts(
        tuple(name for name, _ in features.groups),
        np.zeros(total),
        np.zeros((total, len(features.groups))),
        np.zeros(total) if _is_log(predictor.heads[UNSEEN]) else None,
        np.zeros((total, named), int),
        np.zeros((total, named)),
    )
    for first in range(0, total, _ROWS):
        rows = np.arange(first, min(first + _ROWS, total))
        values = features.rows(rows).astype(np.float64)
        for number in np.unique(fold[rows]).tolist():
            own = fold[rows] == number
            _fill(parts, predictor.heads[number], values[own], mean, rows[own], places)
    return parts


def _fill(
    parts: PredictionParts,
    head: Head,
    x: Float[np.ndarray, "n f"],
    mean: Float[np.ndarray, " f"],
    rows: Int[np.ndarray, " n"],
    places: _Places,
) -> None:
    """Fills in the parts of some regions of one fold."""
    kernel = head.weights["kernel"] * head.feature_inverse[:, None]
    bias = head.weights["bias"] - head.feature_mean @ kernel
    if head.scale is not None:
        line = kernel[:, 0] * head.scale.deviation
        lines = np.broadcast_to(line, x.shape)
        constant = bias[0] * head.scale.deviation + head.scale.mean
        if parts.units is not None:
            parts.units[rows] = head.scale.unit
    else:
        taught = kernel.any(axis=0) if kernel.any() else np.ones(len(bias), bool)
        chosen = np.argmax(x @ kernel + bias, axis=1)
        lines = kernel.T[chosen] - kernel[:, taught].mean(axis=1)
        constant = bias[chosen] - bias[taught].mean()
    by_column = lines * (x - mean)
    parts.baseline[rows] = lines @ mean + constant
    parts.by_group[rows] = np.add.reduceat(by_column, places.starts, axis=1)
    if len(places.counts):
        own = by_column[:, places.counts]
        order = np.argsort(-np.abs(own), axis=1)[:, : parts.category.shape[1]]
        parts.category[rows] = places.category[order]
        parts.by_category[rows] = np.take_along_axis(own, order, axis=1)


def _is_log(head: Head) -> bool:
    return head.scale is not None and head.scale.log


def _mean(features: Features) -> Float[np.ndarray, " f"]:
    """Mean of each column over the city."""
    total = np.zeros(features.num_features)
    for first in range(0, len(features), _ROWS):
        rows = np.arange(first, min(first + _ROWS, len(features)))
        total += features.rows(rows).astype(np.float64).sum(axis=0)
    return total / len(features)


@dataclasses.dataclass(frozen=True)
class _Places:
    """The places of columns.

    Attributes:
        starts: First column of each group [g].
        counts: Columns that hold counts of a category, or of all POIs [c].
        category: Category of each; the number of all categories stands for all POIs
            [c].
    """

    starts: Int[np.ndarray, " g"]
    counts: Int[np.ndarray, " c"]
    category: Int[np.ndarray, " c"]

    @classmethod
    def of(cls, groups: Sequence[tuple[str, int]], num_categories: int) -> _Places:
        sizes = np.array([size for _, size in groups])
        starts = np.cumsum(sizes) - sizes
        held = [
            start
            for start, (name, size) in zip(starts.tolist(), groups, strict=True)
            if name.startswith(_COUNTS) and size == num_categories + 1
        ]
        category = np.arange(num_categories + 1)
        counts = [start + category for start in held]
        return cls(
            starts,
            np.concatenate([np.zeros(0, int), *counts]),
            np.tile(category, len(held)),
        )
