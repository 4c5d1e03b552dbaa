"""Clusters of regions with similar features, for cities without labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int32
from scipy.cluster import vq

from mmgr_jax.evaluation.features.groups import Features

COUNTS = (4, 8, 12)
"""Numbers of clusters: coarse, middle and fine."""

_FITTED = 20_000  # regions that centres are fitted to
_ROWS = 4096
_SPREAD = 1e-6
_ROUNDS = 50


def cluster(
    features: Features, counts: Sequence[int] = COUNTS
) -> dict[int, Int32[np.ndarray, " r"]]:
    """Groups regions with similar features by k-means.

    Columns are standardised, so that their units do not matter. k-means starts from
    widely spread regions (k-means++, one seed). If there are few regions, there are
    fewer clusters.

    Args:
        features: Features of every region.
        counts: Numbers of clusters to compute.

    Returns:
        Number of clusters -> the cluster of each region; cluster 0 is the largest.
    """
    number = len(features)
    rng = np.random.default_rng(0)
    sample = np.arange(number)
    if number > _FITTED:
        sample = np.sort(rng.choice(number, _FITTED, replace=False))
    fitted = features.rows(sample).astype(np.float64)
    mean, spread = fitted.mean(axis=0), fitted.std(axis=0)
    scale = np.where(spread > _SPREAD, spread, np.inf)
    fitted = (fitted - mean) / scale
    centres = []
    for count in counts:
        wanted = max(min(count, number // 2), 1)
        centre, _ = vq.kmeans2(
            fitted, wanted, iter=_ROUNDS, minit="++", missing="warn", rng=rng
        )
        centres.append(centre)
    nearest = _nearest(features, centres, mean, scale)
    return dict(zip(counts, map(_by_size, nearest), strict=True))


def _nearest(
    features: Features,
    centres: Sequence[Float[np.ndarray, "_ f"]],
    mean: Float[np.ndarray, " f"],
    scale: Float[np.ndarray, " f"],
) -> list[Int32[np.ndarray, " r"]]:
    """The nearest centre of each region, for each set of centres."""
    nearest = [np.empty(len(features), np.int32) for _ in centres]
    for first in range(0, len(features), _ROWS):
        rows = np.arange(first, min(first + _ROWS, len(features)))
        values = (features.rows(rows) - mean) / scale
        for own, lot in zip(nearest, centres, strict=True):
            own[rows] = vq.vq(values, lot)[0]
    return nearest


def _by_size(member: np.ndarray) -> Int32[np.ndarray, " r"]:
    """Numbers clusters from the largest, so that numbers are the same in each run."""
    _, which, sizes = np.unique(member, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return rank[which]
