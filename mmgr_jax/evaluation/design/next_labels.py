"""Which regions to label next, so that heads learn most about the rest of a city."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from mmgr_jax.errors import InputError

NOISE = 0.1
"""Variance of a label's noise, where the mean squared length of a region is 1; chosen
on one generated city, see docs/explore_labels.md."""

MOST_LOOKED_AT = 2000
"""Largest number of unlabelled regions to consider; of more, this many are drawn."""


def label_next(
    features: np.ndarray,
    labelled: Sequence[int] | Int[np.ndarray, " m"] = (),
    *,
    count: int = 10,
    noise: float = NOISE,
    seed: int = 0,
) -> Int[np.ndarray, " k"]:
    """Selects regions whose labels make a ridge regression most certain.

    In each step it takes the region whose label most reduces the mean predictive
    variance of all regions without a label. The choice depends on the features of the
    labelled regions, not on their labels. The page of `mmgr_jax.explore` uses the same
    rule; docs/explore_labels.md shows how much it helps.

    Args:
        features: Features of every region [n f]; they are standardised by column.
        labelled: Rows that already have a label.
        count: Number of regions to select.
        noise: Variance of a label's noise, see `NOISE`.
        seed: Random seed of the draw if there are more than `MOST_LOOKED_AT` regions.

    Returns:
        Rows to label, the best first; fewer than `count` if fewer are left.

    Raises:
        InputError: If features are not a table of finite numbers, a labelled row is not
            in it, or `count` or `noise` is too small.
    """
    features = np.asarray(features, np.float64)
    labelled = np.unique(np.asarray(labelled, np.int64))
    _check(features, labelled, count, noise)
    free = np.setdiff1d(np.arange(len(features)), labelled)
    if len(free) > MOST_LOOKED_AT:
        chance = np.random.default_rng(seed)
        free = np.sort(chance.choice(free, MOST_LOOKED_AT, replace=False))
    if not len(free):
        return free
    rows = _scaled(features, free)[np.concatenate([free, labelled])]
    covariance = 1 + rows @ rows.T  # of a ridge with an intercept, before any label
    for row in range(len(free), len(rows)):
        _observe(covariance, row, noise)
    chosen: list[int] = []
    for _ in range(min(count, len(free))):
        city = covariance[: len(free), : len(free)]
        gain = np.square(city).mean(axis=1) / (np.maximum(np.diag(city), 0) + noise)
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        _observe(covariance, chosen[-1], noise)
    return free[chosen]


def _check(
    features: np.ndarray, labelled: np.ndarray, count: int, noise: float
) -> None:
    if features.ndim != 2 or not np.isfinite(features).all():
        raise InputError(
            f"features have shape {features.shape}; allowed: a row of finite numbers "
            "for each region [n f]."
        )
    outside = labelled[(labelled < 0) | (labelled >= len(features))]
    if len(outside):
        raise InputError(
            f"labelled has row {outside[0]}; allowed: 0 to {len(features) - 1}, the "
            "rows of features."
        )
    if count < 0 or not noise > 0:
        raise InputError(
            f"count={count}, noise={noise}; allowed: a count of 0 or more, and noise "
            "above 0."
        )


def _scaled(features: np.ndarray, city: np.ndarray) -> np.ndarray:
    """Standardised columns, less the city's mean, in parts of its mean length."""
    deviation = features.std(axis=0)
    varies = deviation > 1e-6 * np.abs(features.mean(axis=0))
    rows = features / np.where(varies, deviation, np.inf)
    rows -= rows[city].mean(axis=0)
    length = np.sqrt(np.square(rows[city]).sum(axis=1).mean())
    return rows / length if length > 0 else rows


def _observe(covariance: np.ndarray, row: int, noise: float) -> None:
    """What remains, in place, once a region has a label."""
    column = covariance[row] / np.sqrt(max(covariance[row, row], 0) + noise)
    covariance -= np.outer(column, column)
