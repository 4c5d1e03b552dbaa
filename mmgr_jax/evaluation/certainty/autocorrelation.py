"""Whether neighbouring regions have similar errors: Moran's I of residuals.

If they do, the heads miss something that varies over the city. Then the regions tell
less than the same number of independent regions: see `intervals`.
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
"""With more regions, I is taken as normally distributed over permutations. Its mean and
deviation are computed exactly: 1,000 permutations took seconds for each method."""

TIE = 1e-12
"""Tolerance when distances of permutations from the expected value are compared."""


@dataclasses.dataclass(frozen=True)
class Moran:
    """Moran's I of some values, and its significance.

    Attributes:
        statistic: Moran's I. It is near 1 for a smooth field, near `expected` for
            values without spatial order, and below `expected` if neighbours are
            opposite. NaN for constant values.
        expected: Mean of I over all permutations, -1 / (r - 1).
        p_value: Two-sided p value: share of the permutations whose I is at least as far
            from `expected`. The original order counts as one of them.
        num_regions: Number of regions, r.
        num_islands: Number of regions without a neighbour. They only affect the mean
            and the variance.
        num_permutations: Number of permutations drawn; the smallest p value is
            1 / (this + 1). 0 if the normal distribution is used, see `MANY`.
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
    """Computes Moran's I and its significance, by permutations of the regions.

    I = r / S sum_ij w_ij z_i . z_j / sum_i z_i . z_i, where z are the deviations from
    the mean and S is the sum of all weights. For vectors, such as residuals of shares,
    both sums also run over the classes. A permutation keeps all values of a region
    together.

    Args:
        values: Residuals [r] or [r k] of the labelled regions, on the scale on which
            the head was fitted. On another scale one huge region could dominate I.
        weights: Weights [r r] between the same regions, see `places.nearest`.
        num_permutations: Number of permutations to draw. Not used for more than `MANY`
            regions.

    Raises:
        InputError: If the numbers of regions in values and weights differ, a value is
            not finite, or no region has a neighbour.

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

    Permutations are taken one by one: one fits into the cache, many together do not.
    `einsum` is used because BLAS would use several threads for a dot product. These
    threads wait for each other if all cores are busy.
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

    The sum is a Mantel statistic of the weights and of the products z_i . z_j. The
    sums of squares of these need no matrix of pairs, because the deviations sum to 0.

    Reference:
        Mantel (1967), Cancer Research 27(2):209-220, the finite population's moments.
    """
    count = len(deviation)
    alike = (weights + weights.T) / 2
    length = np.einsum("rk,rk->r", deviation, deviation)
    gram = deviation.T @ deviation
    squares = np.array(
        [alike.power(2).sum(), np.sum(gram**2) - np.sum(length**2)]
    )  # without the diagonal
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
