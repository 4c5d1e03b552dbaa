"""Ridge regression of many subsets and strengths.

Each subset has one Gram matrix, of its features or of its regions, whichever is
smaller. Each strength is added to its diagonal, and the result is factored. The penalty
is relative to the sum of squared errors, as in scikit-learn. The intercept has no
penalty.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from scipy import linalg

from mmgr_jax.evaluation.heads import moments, subsets
from mmgr_jax.evaluation.heads.fits import Problem


def solve(
    table: subsets.FeatureRows,
    problem: Problem,
    strengths: Float[np.ndarray, " a"],
    weight: Float[np.ndarray, " f"] | None = None,
    refit: bool = False,
) -> tuple[np.ndarray, ...]:
    """Solves the ridge regressions of all cells, each with its best strength.

    Args:
        table: Features of all regions.
        problem: The cells.
        strengths: L2 strengths, above 0.
        weight: Factor of each standardised feature; None for 1.
        refit: Whether the chosen strength is fitted again with the validation part.

    Returns:
        Kernel [j 1 f] and bias [j 1] for unscaled features; mean squared errors on the
        validation part [j a] of regressions on the training part only; the index of the
        chosen strength [j].
    """
    cells = list(problem.cells())
    every = [strengths] * len(cells)
    lines = _lines(table, cells, every, weight)
    losses = [
        _losses(table, cell, *line) for cell, line in zip(cells, lines, strict=True)
    ]
    best = np.argmin(losses, axis=1)
    if refit:
        together = [cell.together() for cell in cells]
        chosen = [strengths[[index]] for index in best]
        lines = _lines(table, together, chosen, weight)
    else:
        lines = [
            (kernel[index, None], bias[index, None])
            for (kernel, bias), index in zip(lines, best, strict=True)
        ]
    kernel, bias = zip(*lines, strict=True)
    return np.stack(kernel), np.stack(bias), np.stack(losses), best


def _losses(
    table: subsets.FeatureRows, cell: Problem, kernel: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Mean squared errors [a] on the validation part."""
    total = np.zeros(len(bias))
    for part, x in table.slices(cell.validation.index):
        total += np.sum((x @ kernel.T + bias - cell.truth[part]) ** 2, axis=0)
    return total / len(cell.truth)


def _lines(
    table: subsets.FeatureRows,
    cells: Sequence[Problem],
    strengths: Sequence[np.ndarray],
    weight: np.ndarray | None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel [a f] and bias [a] of each strength, of the training part of each cell.

    What has more regions than features is solved by sums over these.
    """
    pairs = list(zip(cells, strengths, strict=True))
    is_tall = [len(cell.target) >= table.num_features for cell in cells]
    tall = iter(_tall(table, list(itertools.compress(pairs, is_tall)), weight))
    return [
        next(tall) if summed else _wide(table, *pair, weight)
        for pair, summed in zip(pairs, is_tall, strict=True)
    ]


def _wide(
    table: subsets.FeatureRows,
    cell: Problem,
    strengths: np.ndarray,
    weight: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    target = cell.target[:, 0]
    x = table.rows(cell.train.index)
    standard = subsets.standardised(x, cell.train.present, weight)
    mean = target.mean()
    x = standard.x
    solutions = _solved(x @ x.T, target - mean, strengths)
    kernel = solutions @ x * standard.inverse
    return kernel, mean - kernel @ standard.mean


def _tall(
    table: subsets.FeatureRows,
    pairs: Sequence[tuple[Problem, np.ndarray]],
    weight: np.ndarray | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of cells with their strengths."""
    if not pairs:
        return
    cells = [cell for cell, _ in pairs]
    members = moments.members(table, [cell.train.index for cell in cells])
    target = np.zeros(members.shape[::-1])
    for column, cell in zip(target.T, cells, strict=True):
        column[cell.train.index] = cell.target[:, 0] - cell.target.mean()
    sums = moments.Sums(table, members)
    products = sums.products(target)
    for number, (cell, strengths) in enumerate(pairs):
        part = sums.of(number)
        inverse = part.inverse(weight)
        gram = part.scatter * inverse * inverse[:, None]
        kernel = _solved(gram, products[:, number] * inverse, strengths) * inverse
        yield kernel, cell.target.mean() - kernel @ part.mean


def _solved(gram: np.ndarray, right: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Solutions [a m] of (gram + strength) w = right."""
    diagonal = np.eye(len(gram))
    return np.stack(
        [
            linalg.cho_solve(linalg.cho_factor(gram + strength * diagonal), right)
            for strength in strengths
        ]
    )
