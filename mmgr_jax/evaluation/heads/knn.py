"""The protocol `knn`: the mean of the nearest training regions, by cosine.

Of standardised features, and on the scale that other heads regress. The number of
neighbours is chosen on validation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mmgr_jax.evaluation.certainty.metrics import EPSILON
from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.heads import subsets
from mmgr_jax.evaluation.heads.fits import Fits, Problem, fit_cells
from mmgr_jax.evaluation.heads.head import unit_length

COUNTS = (1, 2, 3, 5, 10, 20, 50)
"""Numbers of neighbours to choose from; more than all training regions are all."""


def fit(
    features: Float[np.ndarray, "r f"],
    target: Target,
    grid: Grid,
    *,
    counts: Sequence[int] = COUNTS,
    keep: Sequence[int] = (),
    weight: Float[np.ndarray, " f"] | None = None,
) -> Fits:
    """Nearest neighbours in every cell; see `protocols.fit`.

    The loss that chooses is the mean squared error of numbers on their scale, and the
    cross entropy of shares and classes. Of equally near regions the first counts.
    """
    x = features.astype(np.float64)
    allowed = np.asarray(counts)

    def solve(problem: Problem, _: Sequence[int]) -> tuple:
        cells = list(problem.cells())
        solved = [_cell(x, cell, allowed, target.is_number, weight) for cell in cells]
        means, losses, best, standards = zip(*solved, strict=True)
        near, mean, inverse = zip(*standards, strict=True)
        votes = [cell.target for cell in cells]
        settings = np.minimum(allowed[list(best)], [len(own) for own in votes])
        weights = {"features": near, "votes": votes}
        return means, losses, settings, weights, mean, inverse

    return fit_cells(
        "knn", solve, target, grid, keep=keep, bytes_a_region=24 * x.shape[1]
    )


def _cell(
    x: np.ndarray,
    cell: Problem,
    counts: np.ndarray,
    number: bool,
    weight: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, int, subsets.Standard]:
    """Means [r k] of the best count, losses [a], its index, unit features."""
    standard = subsets.standardised(x[cell.train.index], cell.train.present, weight)
    standard = standard._replace(x=unit_length(standard.x))
    everyone = unit_length((x - standard.mean) * standard.inverse)
    most = np.minimum(counts, len(standard.x))
    nearest = _nearest(everyone, standard.x, int(most.max()))
    means = np.cumsum(cell.target[nearest], axis=1)[:, most - 1] / most[:, None]
    predicted = means[cell.validation.index]  # [m a k]
    truth = cell.truth[:, None]
    if number:
        losses = np.mean(np.sum((predicted - truth) ** 2, axis=2), axis=0)
    else:
        log_shares = np.log(np.maximum(predicted, EPSILON))
        losses = -np.mean(np.sum(truth * log_shares, axis=2), axis=0)
    best = int(np.argmin(losses))
    return means[:, best], losses, best, standard


def _nearest(
    everyone: Float[np.ndarray, "r f"], among: Float[np.ndarray, "n f"], most: int
) -> np.ndarray:
    """Rows of the most similar by product, the most similar first, [r most].

    Similarity in the upper half of an integer and the row, counted down, in the lower
    make keys that sort by both.
    """
    count = len(among)
    backwards = np.arange(count - 1, -1, -1)
    nearest = np.empty((len(everyone), most), np.int64)
    step = max(subsets.CHUNK_BYTES // (24 * count), 1)
    for start in range(0, len(everyone), step):
        similarity = (everyone[start : start + step] @ among.T).astype(np.float32)
        bits = (similarity + np.float32(0)).view(np.int32)  # -0 becomes 0
        ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # of negative numbers too
        keys = (ordered.astype(np.int64) << 32) | backwards
        if most < count:
            keys = np.partition(keys, count - most, axis=1)[:, count - most :]
        keys = np.sort(keys, axis=1)[:, ::-1]
        nearest[start : start + step] = count - 1 - (keys & 0xFFFFFFFF)
    return nearest
