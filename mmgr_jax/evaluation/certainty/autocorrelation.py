"""Whether neighbouring regions err alike: Moran's I of residuals.

Where they do, the heads miss something that varies over the city, and regions count
for less than their number says: see `intervals`.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import numpy as np
from jaxtyping import Float
from scipy import sparse, stats

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import checks
from mmgr_jax.evaluation.certainty.places import Weights

MANY = 10_000
"""Of more regions I of a permutation is normal, with a mean and a deviation that need
no permutation: a thousand of them took seconds a method."""

TIE = 1e-12
"""Permutations this little nearer to the expectation count as equally far."""


@dataclasses.dataclass(frozen=True)
class Moran:
    """Moran's I of some values.

    Attributes:
        statistic: I: 1 for a smooth field, near `expected` for values without order in
            space, below it where neighbours are opposites; NaN for constant values.
        expected: Mean of I over all permutations, -1 / (r - 1).
        p_value: Two-sided: share of the permutations, the values as they lie being one
            of them, whose I is as far from `expected`.
        num_regions: Regions r.
        num_islands: Regions without a neighbour; they are part of mean and variance
            alone.
        num_permutations: Permutations drawn; the least p value is 1 / (this + 1). 0
            where all of them are taken together, see `MANY`.
    """

    statistic: float
    expected: float
    p_value: float
    num_regions: int
    num_islands: int
    num_permutations: int


def moran(
    values: Float[np.ndarray, "r ..."],
    weights: Weights | sparse.csr_array,
    *,
    num_permutations: int = 999,
) -> Moran:
    """Moran's I and its significance, by permutations of the regions.

    I = r / S sum_ij w_ij z_i . z_j / sum_i z_i . z_i, z the deviations from the mean
    and S the sum of all weights. For vectors, such as residuals of shares, both sums
    go over the classes too, and a permutation moves all values of a region together.

    Args:
        values: Residuals [r] or [r k] of the labelled regions: on the scale that the
            head was fitted on, as one huge region would decide I otherwise.
        weights: Weights [r r] of the same regions, as `places` makes them.
        num_permutations: How many to draw, of up to `MANY` regions.

    Raises:
        InputError: If values and weights are of different regions, a value is not
            finite, or no region has a neighbour.

    Reference:
        Cliff and Ord (1981), Spatial Processes; Wartenberg (1985) for vectors.
    """
    num_regions = len(values)
    islands = int(np.sum(np.diff(weights.indptr) == 0))
    _check(values, weights, islands)
    deviation = values.reshape(num_regions, -1).astype(np.float64)
    deviation = deviation - deviation.mean(axis=0)
    square = np.sum(deviation**2)
    expected = -1.0 / (num_regions - 1)
    if num_regions > MANY:
        num_permutations = 0
    counts = (num_regions, islands, num_permutations)
    constant = np.all(np.ptp(values.reshape(num_regions, -1), axis=0) == 0)
    if constant:
        return Moran(float("nan"), expected, float("nan"), *counts)
    factor = num_regions / weights.sum() / square
    statistic = factor * np.sum(deviation * (weights @ deviation))
    if not num_permutations:
        spread = factor * _deviation_over_permutations(deviation, weights)
        p_value = float(2 * stats.norm.sf(abs(statistic - expected) / spread))
        return Moran(float(statistic), expected, p_value, *counts)
    permuted = factor * _permuted(deviation, weights, num_permutations)
    distance = np.abs(statistic - expected) - TIE
    as_far = int(np.sum(np.abs(permuted - expected) >= distance))
    p_value = (as_far + 1) / (num_permutations + 1)
    return Moran(float(statistic), expected, p_value, *counts)


def _permuted(
    deviation: Float[np.ndarray, "r k"], weights: Weights, count: int
) -> Float[np.ndarray, " m"]:
    """sum_ij w_ij z_i . z_j of `count` permutations.

    One by one: a permutation fits into the cache, many together do not. By `einsum`:
    BLAS would take several threads for a dot product, which wait for each other where
    all cores are busy.
    """
    rng = np.random.default_rng(0)
    sums = np.zeros(count)
    for index in range(count):
        shuffled = deviation[rng.permutation(len(deviation))]
        sums[index] = np.einsum("rk,rk->", shuffled, weights @ shuffled)
    return sums


def _deviation_over_permutations(
    deviation: Float[np.ndarray, "r k"], weights: Weights
) -> float:
    """Standard deviation of sum_ij w_ij z_i . z_j over all permutations.

    That is a Mantel statistic of the weights and of the products z_i . z_j, whose sums
    of squares need no matrix of pairs, as the deviations sum to 0.

    Reference:
        Mantel (1967), Cancer Research 27(2):209-220, the finite population's moments.
    """
    count = len(deviation)
    alike = (weights + weights.T) / 2
    length = np.einsum("rk,rk->r", deviation, deviation)
    gram = deviation.T @ deviation
    squares = np.array(
        [alike.power(2).sum(), np.sum(gram**2) - np.sum(length**2)]
    )  # of the elements beside the diagonal,
    rows = np.array([np.sum(alike.sum(axis=1) ** 2), np.sum(length**2)])
    sums = np.array([alike.sum(), -length.sum()])
    pairs = count * (count - 1.0)
    threes, fours = pairs * (count - 2), pairs * (count - 2) * (count - 3)
    second = (
        2 * np.prod(squares) / pairs
        + 4 * np.prod(rows - squares) / threes
        + np.prod(sums**2 + 2 * squares - 4 * rows) / fours
    )
    return float(np.sqrt(second - (np.prod(sums) / pairs) ** 2))


def _check(values: np.ndarray, weights: sparse.csr_array, islands: int) -> None:
    num_regions = len(values)
    size = cast(tuple[int, int], weights.shape)  # SciPy declares None as well
    if size != (num_regions, num_regions):
        raise InputError(
            f"Moran's I: values of {num_regions} regions, weights of "
            f"{size[0]}. Take the weights between the labelled regions."
        )
    if islands == num_regions:
        raise InputError(
            f"Moran's I: none of the {num_regions} regions has a neighbour. Take the "
            "nearest ones (places.nearest) instead of those that touch."
        )
    checks.finite("Moran's I", values, checks.KNOWN_LABELS)
