"""Linear heads on frozen features: ridge for numbers, softmax for area shares.

Both are fitted on the training part alone, for all strengths of the L2 penalty; the
validation part chooses the strength, and the head that was validated is the one that
predicts (no refit on training plus validation, so that what was chosen is what is
tested). Both penalties are taken over the sum of the losses of the training regions,
not their mean, as scikit-learn does; intercepts are free.

A rotation of the features changes neither head. So the training features are turned
to their principal axes once (`basis`), where ridge is a division and the softmax has
a nearly diagonal Hessian, and every task and strength shares that work.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize

from mmgr_jax.evaluators import metrics

CONSTANT = 1e-6
"""A feature whose deviation is below this part of its size counts as constant."""

RANK_TOLERANCE = 1e-10
"""Principal axes with less than this part of the largest variance are dropped."""

MAX_GROWTH = 2.0
"""Log-scaled predictions stop at this many times the largest training target: a
line on a log scale extrapolates exponentially, and one region would decide RMSE."""

SMALLEST_SHARE = 1e-4
"""Bounds the starting share and the curvature of classes that hardly occur."""

GRADIENT_TOLERANCE = 3e-4
"""The chosen softmax is fitted down to this gradient (preconditioned, summed over
regions). Shares are then within 6e-4 of the optimum: measured on 60 heads, 960
training regions, 10 classes, 128 to 2048 features."""

ROUGH_TOLERANCE = 3e-2
"""Gradient at which strengths are compared: the weakest are the slowest to fit and
hardly ever chosen."""

ROUGHNESS = 0.005
"""How far a rough validation loss may be off, as a part of it; measured on 40 heads:
at most 0.0045 at the chosen strength and the next weaker one."""

MAX_ITERATIONS = 500

PATIENCE = 2
"""The softmax tries no weaker strength after so many in a row that validated worse
than the best."""


@dataclasses.dataclass(frozen=True)
class Basis:
    """Features of all regions on the principal axes of the training regions.

    Attributes:
        coordinates: Standardised and rotated features, [r q].
        energy: Sum of squares of each axis over the training regions, [q].
        train: Which regions were trained on, [r].
    """

    coordinates: Float[np.ndarray, "r q"]
    energy: Float[np.ndarray, " q"]
    train: Bool[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class Fit:
    """What a head says about all regions.

    Attributes:
        prediction: Out-of-sample only where a region was in neither part; [r] in the
            label's unit, or [r k] shares that sum to one.
        strength: The chosen strength.
        validation_losses: Loss on the validation part, one a strength.
    """

    prediction: Float[np.ndarray, "r ..."]
    strength: float
    validation_losses: tuple[float, ...]


def basis(features: Float[np.ndarray, "r f"], train: Bool[np.ndarray, " r"]) -> Basis:
    """Standardises by the training part and rotates to its principal axes.

    A feature that is constant over the training part is dropped, whatever it does
    elsewhere.

    Args:
        features: Features of all regions.
        train: Regions to learn from, at least one.

    Returns:
        The basis; q is the rank of the training features.
    """
    x = features.astype(np.float64)
    mean = x[train].mean(axis=0)
    deviation = x[train].std(axis=0)
    varies = deviation > CONSTANT * np.abs(mean)
    x = (x[:, varies] - mean[varies]) / deviation[varies]
    axes, energy = _principal_axes(x[train])
    return Basis(coordinates=x @ axes, energy=energy, train=train)


def ridge(
    basis: Basis,
    target: Float[np.ndarray, " r"],
    *,
    validation: Bool[np.ndarray, " r"],
    strengths: Sequence[float],
    log: bool = True,
) -> Fit:
    """Ridge regression of a number, on log(1 + target / s) unless told otherwise.

    The scale s is the median of the positive training targets, so the unit does not
    matter: regions far below s are seen on a linear scale, those far above on a
    logarithmic one. The strength with the least mean squared error on the validation
    part wins, on the scale of the regression. A log-scaled prediction comes back
    through s (exp(.) - 1), which estimates the median rather than the mean of a
    region's value: sums of predictions tend to be low. It is clipped to 0 and to
    `MAX_GROWTH` times the largest training target.

    Args:
        basis: Features, from `basis`.
        target: Values in the label's unit; read on the two parts alone.
        validation: Regions that choose the strength.
        strengths: L2 strengths to try, above 0.
        log: Regress log(1 + target / s), for targets of 0 and more.

    Returns:
        The fit; predictions in the label's unit.
    """
    y = target.astype(np.float64)
    scale = metrics.median_positive(y[basis.train])
    if log:
        y = np.log1p(y / scale)
    mean = y[basis.train].mean()
    correlation = basis.coordinates[basis.train].T @ (y[basis.train] - mean)
    damped = basis.energy[:, None] + np.asarray(strengths, np.float64)[None, :]
    predictions = mean + basis.coordinates @ (correlation[:, None] / damped)  # [r a]
    losses = np.mean((predictions[validation] - y[validation, None]) ** 2, axis=0)
    chosen = int(np.argmin(losses))
    prediction = predictions[:, chosen]
    if log:
        ceiling = np.log1p(MAX_GROWTH * target[basis.train].max() / scale)
        prediction = scale * np.expm1(np.clip(prediction, 0.0, ceiling))
    return Fit(prediction, float(strengths[chosen]), tuple(losses.tolist()))


def softmax(
    basis: Basis,
    target: Float[np.ndarray, "r k"],
    *,
    validation: Bool[np.ndarray, " r"],
    strengths: Sequence[float],
) -> Fit:
    """Multinomial logistic regression of shares.

    Minimises sum_i -sum_k t_ik log p_ik + strength / 2 |W|^2, which is KL(t || p) up
    to a constant. A first pass fits all strengths roughly, from the strongest to the
    weakest, each starting where the one before ended; the one with the least mean
    cross entropy on the validation part, and any that `ROUGHNESS` cannot tell from
    it, are fitted to the end. The best of these wins.

    Args:
        basis: Features, from `basis`.
        target: Shares that sum to one; read on the two parts alone.
        validation: Regions that choose the strength.
        strengths: L2 strengths to try, above 0.

    Returns:
        The fit; predicted shares are positive and sum to one. Validation losses are
        those of the roughly fitted heads where a strength was not finished, NaN
        where it was not tried (`PATIENCE`).
    """
    x = np.concatenate([np.ones((len(target), 1)), basis.coordinates], axis=1).T.copy()
    truth = target.T.astype(np.float64)
    problem = _Problem(x[:, basis.train], truth[:, basis.train])
    losses = np.full(len(strengths), np.nan)
    weights: dict[int, np.ndarray] = {}

    def fit(index: int, start: np.ndarray, tolerance: float) -> None:
        weights[index] = problem.minimise(start, float(strengths[index]), tolerance)
        log_shares = _log_shares(weights[index], x[:, validation])
        losses[index] = -np.mean(np.sum(truth[:, validation] * log_shares, axis=0))

    start, worse = problem.start(), 0
    for index in np.argsort(strengths)[::-1].tolist():
        least = np.nanmin(losses, initial=np.inf)
        fit(index, start, ROUGH_TOLERANCE)
        start = weights[index]
        worse = worse + 1 if losses[index] >= least else 0
        if worse == PATIENCE:
            break
    finished: set[int] = set()
    while contenders := _contenders(losses) - finished:
        for index in contenders:
            fit(index, weights[index], GRADIENT_TOLERANCE)
        finished |= contenders
    best = int(np.nanargmin(losses))
    prediction = np.exp(_log_shares(weights[best], x)).T
    return Fit(prediction, float(strengths[best]), tuple(losses.tolist()))


def mean(
    target: Float[np.ndarray, "r ..."], train: Bool[np.ndarray, " r"]
) -> Float[np.ndarray, "r ..."]:
    """The arithmetic mean of the training targets, for every region.

    Taken in the label's unit and never on the log scale, so that its r2 is the
    familiar zero line.
    """
    average = target[train].astype(np.float64).mean(axis=0)
    return np.broadcast_to(average, target.shape).copy()


def _principal_axes(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right singular vectors [f q] and squared singular values [q] of x [n f].

    By the smaller of the two Gram matrices. Rounding moves energies by some 1e-16 of
    the largest, far below the smallest useful strength.
    """
    wide = x.shape[1] > x.shape[0]
    energy, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = energy > RANK_TOLERANCE * max(energy.max(initial=0.0), 1.0)
    energy, vectors = energy[kept], vectors[:, kept]
    if wide:
        vectors = x.T @ vectors / np.sqrt(energy)
    return vectors, energy


def _contenders(losses: np.ndarray) -> set[int]:
    """The strengths that rough losses cannot tell from the best."""
    return set(np.flatnonzero(losses <= np.nanmin(losses) * (1 + ROUGHNESS)).tolist())


@dataclasses.dataclass(frozen=True)
class _Problem:
    """A softmax on the training regions; classes first, which is faster for few.

    Attributes:
        x: Coordinates after a row of ones for the intercepts, [1+q n].
        truth: Shares, [k n].
    """

    x: np.ndarray
    truth: np.ndarray

    def start(self) -> np.ndarray:
        """Weights [k 1+q] of the mean share: the optimum for an infinite strength."""
        weights = np.zeros((len(self.truth), len(self.x)))
        weights[:, 0] = np.log(np.maximum(self.truth.mean(axis=1), SMALLEST_SHARE))
        return weights

    def minimise(
        self, weights: np.ndarray, strength: float, tolerance: float
    ) -> np.ndarray:
        """Weights [k 1+q] of the least penalised loss, from those given.

        Variables are scaled by the diagonal of the Hessian where the search starts.
        """
        x, truth = self.x, self.truth
        penalty = np.full(len(x), strength)
        penalty[0] = 0.0
        scale = 1.0 / np.sqrt(self._curvature(weights) + penalty)

        def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
            w = flat.reshape(weights.shape) * scale
            log_shares = _log_shares(w, x)
            penalised = penalty * w
            loss = 0.5 * np.vdot(penalised, w) - np.vdot(truth, log_shares)
            gradient = (np.exp(log_shares) - truth) @ x.T + penalised
            return float(loss), (gradient * scale).ravel()

        result = optimize.minimize(
            loss_and_gradient,
            (weights / scale).ravel(),
            jac=True,
            method="L-BFGS-B",
            options=dict(maxiter=MAX_ITERATIONS, gtol=tolerance, ftol=0.0),
        )
        return result.x.reshape(weights.shape) * scale

    def _curvature(self, weights: np.ndarray) -> np.ndarray:
        """Diagonal of the unpenalised Hessian, [k 1+q], bounded from below."""
        share = np.exp(_log_shares(weights, self.x))
        squares = (self.x * self.x).T
        floor = SMALLEST_SHARE * squares.sum(axis=0)
        return np.maximum((share * (1.0 - share)) @ squares, floor)


def _log_shares(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Logarithms of the predicted shares, [k n]."""
    logits = weights @ x
    logits -= logits.max(axis=0)
    return logits - np.log(np.exp(logits).sum(axis=0))
