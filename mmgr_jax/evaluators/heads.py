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
from scipy import optimize, special

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
"""L-BFGS stops at this gradient (preconditioned, summed over regions). Measured at
the chosen strength, 960 training regions and 10 classes: shares within 1e-4 of the
optimum with 128 features, within 5e-4 with 2048."""

MAX_ITERATIONS = 500

PATIENCE = 2
"""The softmax tries no weaker strength after so many in a row that validated worse
than the best: those are the slowest to fit and were overfitted before."""


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
    """Ridge regression of a number, on log(1 + target) unless told otherwise.

    The target is centred by its training mean; scaling it would change nothing. The
    strength with the least mean squared error on the validation part wins, on the
    scale of the regression. A log-scaled prediction comes back through exp(.) - 1,
    which estimates the median rather than the mean of a region's value: sums of
    predictions tend to be low. It is clipped to 0 and to `MAX_GROWTH` times the
    largest training target.

    Args:
        basis: Features, from `basis`.
        target: Values in the label's unit; read on the two parts alone.
        validation: Regions that choose the strength.
        strengths: L2 strengths to try, above 0.
        log: Regress log(1 + target), for targets of 0 and more.

    Returns:
        The fit; predictions in the label's unit.
    """
    y = np.log1p(target) if log else target
    y = y.astype(np.float64)
    mean = y[basis.train].mean()
    correlation = basis.coordinates[basis.train].T @ (y[basis.train] - mean)
    damped = basis.energy[:, None] + np.asarray(strengths, np.float64)[None, :]
    predictions = mean + basis.coordinates @ (correlation[:, None] / damped)  # [r a]
    losses = np.mean((predictions[validation] - y[validation, None]) ** 2, axis=0)
    chosen = int(np.argmin(losses))
    prediction = predictions[:, chosen]
    if log:
        ceiling = np.log1p(MAX_GROWTH * target[basis.train].max())
        prediction = np.expm1(np.clip(prediction, 0.0, ceiling))
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
    to a constant, from the strongest penalty to the weakest, each starting where the
    one before ended. The strength with the least mean cross entropy on the validation
    part wins; weaker ones that were not tried any more (`PATIENCE`) have the
    validation loss NaN.

    Args:
        basis: Features, from `basis`.
        target: Shares that sum to one; read on the two parts alone.
        validation: Regions that choose the strength.
        strengths: L2 strengths to try, above 0.

    Returns:
        The fit; predicted shares are positive and sum to one.
    """
    truth = target.astype(np.float64)
    losses = np.full(len(strengths), np.nan)
    prediction = np.empty_like(truth)
    weights, worse = _start(basis, truth[basis.train]), 0
    for index in np.argsort(-np.asarray(strengths)):
        weights = _minimise(basis, truth[basis.train], weights, strengths[index])
        log_shares = _log_shares(basis.coordinates, weights)
        loss = -np.mean(np.sum((truth * log_shares)[validation], axis=1))
        worse = worse + 1 if loss >= np.nanmin(losses, initial=np.inf) else 0
        losses[index] = loss
        if worse == 0:
            prediction = np.exp(log_shares)
        elif worse == PATIENCE:
            break
    chosen = float(strengths[int(np.nanargmin(losses))])
    return Fit(prediction, chosen, tuple(losses.tolist()))


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

    By the smaller of the two Gram matrices: 5 times as fast as an SVD of 960 x 2048,
    and the squared condition number is far below the smallest useful strength.
    """
    wide = x.shape[1] > x.shape[0]
    energy, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = energy > RANK_TOLERANCE * max(energy.max(initial=0.0), 1.0)
    energy, vectors = energy[kept], vectors[:, kept]
    if wide:
        vectors = x.T @ vectors / np.sqrt(energy)
    return vectors, energy


def _start(basis: Basis, truth: np.ndarray) -> np.ndarray:
    """Weights [1+q k] of the mean share: the solution for an infinite strength."""
    weights = np.zeros((1 + len(basis.energy), truth.shape[1]))
    weights[0] = np.log(np.maximum(truth.mean(axis=0), SMALLEST_SHARE))
    return weights


def _minimise(
    basis: Basis, truth: np.ndarray, weights: np.ndarray, strength: float
) -> np.ndarray:
    """Weights [1+q k] of the least penalised loss: first row the intercepts.

    The diagonal of the Hessian where it starts, with the curvature p (1 - p) averaged
    over regions, scales the variables: the problem is nearly round for L-BFGS.
    """
    x = basis.coordinates[basis.train]
    share = np.exp(_log_shares(x, weights))
    curvature = np.maximum(np.mean(share * (1.0 - share), axis=0), SMALLEST_SHARE)
    energy = np.concatenate([[len(x)], basis.energy])
    penalty = np.concatenate([[0.0], np.full(len(basis.energy), strength)])[:, None]
    scale = 1.0 / np.sqrt(np.outer(energy, curvature) + penalty)

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(weights.shape) * scale
        log_shares = _log_shares(x, w)
        loss = -np.sum(truth * log_shares) + 0.5 * np.sum(penalty * w * w)
        excess = np.exp(log_shares) - truth
        gradient = np.concatenate([excess.sum(axis=0, keepdims=True), x.T @ excess])
        return loss, ((gradient + penalty * w) * scale).ravel()

    result = optimize.minimize(
        loss_and_gradient,
        (weights / scale).ravel(),
        jac=True,
        method="L-BFGS-B",
        options=dict(maxiter=MAX_ITERATIONS, gtol=GRADIENT_TOLERANCE, ftol=0.0),
    )
    return result.x.reshape(weights.shape) * scale


def _log_shares(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return special.log_softmax(x @ weights[1:] + weights[0], axis=1)
