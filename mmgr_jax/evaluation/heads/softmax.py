"""Softmax regression of many subsets and strengths.

It minimises sum_i -sum_k t_ik log p_ik + strength / 2 |W|^2 for shares t that sum to
one; the first part is KL(t || p) up to a constant. The penalty is relative to the sum
over regions, as in scikit-learn. Intercepts have no penalty.

A rotation of the features does not change the result. So each subset is rotated once to
its principal axes, where the Hessian is nearly diagonal. Strengths are compared along
the largest axes, from the strongest to the weakest; each fit starts from the last one.
Fits are rough at first, and more exact if the strength may win, because the weakest are
slowest and hardly ever chosen. With `refit`, the winner is fitted along all axes until
its gradient vanishes. Arrays are [j k n], so that regions are vectorised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

from mmgr_jax.evaluation.certainty import metrics
from mmgr_jax.evaluation.heads import cross_entropy, lbfgs, moments, subsets
from mmgr_jax.evaluation.heads.fits import Problem

RANK_TOLERANCE = 1e-10
"""Principal axes with less than this part of the largest variance are dropped."""

MOST_AXES = 384
"""Number of the largest axes that are kept while strengths are compared, and for heads
of more than `MANY` regions."""

MANY = 20_000
"""With more regions, all axes would need gigabytes."""

SMALLEST_SHARE = 1e-4
"""Bounds the starting share and the curvature of classes that hardly occur."""

UNSEEN_SHARE = metrics.EPSILON
"""Approximate predicted share of a class that no training region has."""

PATIENCE = 2
"""No weaker strength is tried after this many in a row with a validation loss worse
than the best."""

ROUGH, CLOSE, EXACT = 1e-2, 1e-4, 1e-9
"""While strengths are compared, a fit ends when another step promises to lower the sum
of the losses by less than half of this: first roughly, then nearer where it may win, or
to the end where these lines are the heads."""

SUMMED = 1280
"""Of more regions than these the sum may miss as much more."""

FLAT = 1e-6
"""A head is fitted until its gradient, summed over the regions, is no longer than this
times the strength: its weights along the axes are then within 1e-6 of the optimum's."""

MOST_FLAT = 1e-4
"""Nor longer than this: intercepts are not penalised."""

ROUGHNESS = 0.01
"""Largest relative error that a rough validation loss may have."""

MAX_STEPS = 5000

NEVER = -1e9
"""The intercept of a class that the training regions never had, while they are fitted:
its optimum is minus infinity."""


def solve(
    table: subsets.FeatureRows,
    problem: Problem,
    strengths: Float[np.ndarray, " a"],
    weight: Float[np.ndarray, " f"] | None = None,
    refit: bool = False,
) -> tuple[np.ndarray, ...]:
    """Solves the softmax regressions of all cells, each with its best strength.

    Arguments and results are as in `ridge.solve`, with a kernel for each class. Losses
    are mean cross entropies: rough if a strength could not win, NaN if `PATIENCE` left
    it out.
    """
    cells = list(problem.cells())
    fitted_again = refit or len(strengths) == 1
    near = CLOSE if fitted_again else EXACT
    lines, losses, best = _compared(table, cells, strengths, weight, near)
    if refit:
        cells = [cell.together() for cell in cells]
    if fitted_again:
        lines = _converged(table, cells, strengths[best], weight, lines)
    return *lines, losses, best


_Lines = tuple[np.ndarray, np.ndarray]
"""Kernel [j k f] and bias [j k] on features as they are."""


def _compared(
    table: subsets.FeatureRows,
    cells: Sequence[Problem],
    strengths: np.ndarray,
    weight: np.ndarray | None,
    near: float,
) -> tuple[_Lines, np.ndarray, np.ndarray]:
    """The lines of the best strength, about; losses [j a], index of the best [j]."""
    rotated = _rotated(table, cells, weight, most=MOST_AXES)
    z, chosen_z = (_stacked(part) for part in list(zip(*rotated, strict=True))[:2])
    target = _stacked([cell.target.T for cell in cells])
    truth = _stacked([cell.truth.T for cell in cells])
    count = np.sum(truth, axis=(1, 2))

    def validate(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
        log_shares = special.log_softmax(weights @ chosen_z[rows], axis=1)
        log_shares = np.maximum(log_shares, np.log(UNSEEN_SHARE))
        return -np.sum(truth[rows] * log_shares, axis=(1, 2)) / count[rows]

    weights, losses, best = _best_of_path(z, target, strengths, validate, near)
    return _restored(weights, rotated), losses, best


def _converged(
    table: subsets.FeatureRows,
    cells: Sequence[Problem],
    strengths: np.ndarray,
    weight: np.ndarray | None,
    lines: _Lines,
) -> _Lines:
    """The lines of each cell's own strength [j], from lines that are near."""
    large = max(len(cell.target) for cell in cells) > MANY
    rotated = _rotated(
        table, cells, weight, most=MOST_AXES if large else None, chooses=False
    )
    z = _stacked([cell.train for cell in rotated])
    target = _stacked([cell.target.T for cell in cells])
    seen = np.sum(target, axis=2) > 0
    start = _start(z, target, seen)
    _carry(lines, rotated, start)
    weights = _fit(z, target, strengths[:, None, None], start, None)
    weights[:, :, 0] = np.where(seen, weights[:, :, 0], np.log(UNSEEN_SHARE))
    return _restored(weights, rotated)


class _Rotated(NamedTuple):
    """A cell turned to its principal axes.

    Attributes:
        train: Coordinates [q n], the first 1.
        chooses: Those of the validation part [q m].
        axes: [f q - 1].
        mean: Of the training part's features, [f].
        inverse: Of their deviations, [f]; see `subsets.Standard`.
    """

    train: np.ndarray
    chooses: np.ndarray
    axes: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray


def _restored(weights: np.ndarray, rotated: Sequence[_Rotated]) -> _Lines:
    """Lines of weights along the axes."""
    kernel, bias = [], []
    for own, (_, _, axes, mean, inverse) in zip(weights, rotated, strict=True):
        kernel.append(own[:, 1 : 1 + axes.shape[1]] @ axes.T * inverse)
        bias.append(own[:, 0] - kernel[-1] @ mean)
    return np.stack(kernel), np.stack(bias)


def _carry(lines: _Lines, rotated: Sequence[_Rotated], start: np.ndarray) -> None:
    """Puts lines into weights [j k q] along other axes, as a beginning.

    Classes that they have not seen keep the intercept that they have there.
    """
    for kernel, bias, weights, (_, _, axes, mean, inverse) in zip(
        *lines, start, rotated, strict=True
    ):
        scaled = kernel / np.where(inverse > 0, inverse, 1.0) * (inverse > 0)
        weights[:, 1 : 1 + axes.shape[1]] = scaled @ axes
        known = kernel.any(axis=1)
        weights[known, 0] = (bias + kernel @ mean)[known]


def _rotated(
    table: subsets.FeatureRows,
    cells: Sequence[Problem],
    weight: np.ndarray | None,
    *,
    most: int | None,
    chooses: bool = True,
) -> list[_Rotated]:
    """The cells along `most` of their axes; their validation parts where wanted."""
    sums = None
    if any(len(cell.target) >= table.num_features for cell in cells):
        members = moments.members(table, [cell.train.index for cell in cells])
        sums = moments.Sums(table, members)
    rotated = []
    for number, cell in enumerate(cells):
        if sums is not None and len(cell.target) >= table.num_features:
            part = sums.of(number)
            mean, inverse = part.mean, part.inverse(weight)
            _, axes = _largest(part.scatter * inverse * inverse[:, None], most)
        else:
            x = table.rows(cell.train.index)
            x, mean, inverse = subsets.standardised(x, cell.train.present, weight)
            energy, vectors = _largest(x @ x.T, most)
            axes = x.T @ (vectors / np.sqrt(energy))
        both = (
            cell.train.index,
            cell.validation.index if chooses else np.zeros(0, int),
        )
        z, chosen_z = (_along(table, index, axes, mean, inverse) for index in both)
        rotated.append(_Rotated(z, chosen_z, axes, mean, inverse))
    return rotated


def _along(
    table: subsets.FeatureRows,
    index: np.ndarray,
    axes: np.ndarray,
    mean: np.ndarray,
    inverse: np.ndarray,
) -> np.ndarray:
    """Coordinates [q n] of some regions along axes, the first 1."""
    z = np.ones((1 + axes.shape[1], len(index)))
    for part, x in table.slices(index):
        z[1:, part] = axes.T @ ((x - mean) * inverse).T
    return z


def _largest(gram: np.ndarray, most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The `most` largest eigenvalues [q], or all, with their vectors [m q]."""
    energy, vectors = np.linalg.eigh(gram)
    kept = energy > RANK_TOLERANCE * max(energy.max(), 1.0)
    if most is not None:
        kept[: max(len(kept) - most, 0)] = False  # ascending
    return energy[kept], vectors[:, kept]


def _stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Coordinates of all cells [j q n], 0 where a cell has fewer axes or regions."""
    if len(parts) == 1:
        return parts[0][None]
    sizes = np.max([part.shape for part in parts], axis=0)
    stacked = np.zeros((len(parts), *sizes))
    for index, part in enumerate(parts):
        stacked[index, : part.shape[0], : part.shape[1]] = part
    return stacked


def _best_of_path(
    z: np.ndarray,
    target: np.ndarray,
    strengths: np.ndarray,
    validate: Callable[[np.ndarray, np.ndarray], np.ndarray],
    near: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [j k q] of the best strength, losses [j a], its index [j]."""
    seen = np.sum(target, axis=2) > 0
    weights = _start(z, target, seen)
    best_weights, order = weights.copy(), np.argsort(-strengths)
    losses = np.full((len(z), len(strengths)), np.nan)
    best, least = np.full(len(z), order[0]), np.full(len(z), np.inf)
    worse = np.zeros(len(z), int)
    for index in order:
        wanted = np.flatnonzero(worse < PATIENCE)
        for promise in (ROUGH, near):
            if not len(wanted):
                break
            weights[wanted] = _fit(
                lbfgs.some(z, wanted),
                lbfgs.some(target, wanted),
                strengths[index],
                weights[wanted],
                promise,
            )
            losses[wanted, index] = loss = validate(weights[wanted], wanted)
            if promise == ROUGH:
                wanted = wanted[loss <= least[wanted] * (1 + ROUGHNESS)]
        worse += 1
        better = wanted[losses[wanted, index] < least[wanted]]
        worse[better], best[better] = 0, index
        least[better] = losses[better, index]
        best_weights[better] = weights[better]
    best_weights[:, :, 0] = np.where(seen, best_weights[:, :, 0], np.log(UNSEEN_SHARE))
    return best_weights, losses, best


def _start(z: np.ndarray, target: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The mean share everywhere: the optimum for an infinite strength, [j k q]."""
    mean = np.sum(target, axis=2) / np.sum(target, axis=(1, 2))[:, None]
    weights = np.zeros((*target.shape[:2], z.shape[1]))
    weights[:, :, 0] = np.where(seen, np.log(np.maximum(mean, SMALLEST_SHARE)), NEVER)
    return weights


def _fit(
    z: np.ndarray,
    target: np.ndarray,
    strength: float | np.ndarray,
    weights: np.ndarray,
    promise: float | None,
) -> np.ndarray:
    """Weights [j k q] of the least penalised loss.

    Args:
        z: Coordinates [j q n], the first all ones and not penalised.
        target: Shares [j k n]; 0 for padding, where z is 0 too.
        strength: L2 strength, one for all or each cell's own [j 1 1].
        weights: Where to start.
        promise: What ends the fit, see `ROUGH`; None: its gradient, see `FLAT`.
    """
    penalty = strength * (np.arange(z.shape[1]) > 0)
    losses = cross_entropy.CrossEntropies(
        z, target, np.sum(target, axis=1, keepdims=True), penalty
    )
    _, shares = losses.loss(losses.predict(weights), weights)
    squares = (z * z).swapaxes(1, 2)
    floor = SMALLEST_SHARE * np.sum(squares, axis=1, keepdims=True)
    curvature = np.maximum((shares * (1 - shares)) @ squares, floor) + penalty
    most = float(losses.mass.sum(axis=(1, 2)).max())
    flat = np.minimum(FLAT * np.ravel(strength), MOST_FLAT)
    fitted, _ = lbfgs.minimise(
        losses,
        weights,
        1 / np.sqrt(curvature),
        least=(promise or 0.0) * max(most / SUMMED, 1.0),
        max_steps=MAX_STEPS,
        flat=flat if promise is None else None,
    )
    return fitted
