"""L-BFGS for many convex problems together, with losses of linear predictions.

The prediction along a line is linear in the step. So one product with the features is
enough for all steps of a line search, and the second derivative along the line gives
the first step. Each iteration costs one product for the line and one for the gradient,
however long the search is. Finished problems leave the batch.

Reference: Nocedal and Wright (2006), Numerical optimization, algorithm 7.4; Chen et
al. (2014), Large-scale L-BFGS using MapReduce, for the recursion in dot products.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

MEMORY = 6
MAX_HALVINGS = 25
ARMIJO = 1e-4
"""Part of the promised decrease that a step must deliver."""

ROUNDING = 1e-13
"""A change of the loss below this part of it is rounding, and nothing to insist on."""

CROWDED = 0.8
"""The batch is copied without the problems that have ended when no more than this part
of it is left."""


@runtime_checkable
class Losses(Protocol):
    """Losses of j problems with predictions [j k n] linear in the weights [j k q].

    `at` holds values that the loss computes and its derivatives need there, [j ...].
    """

    def predict(self, weights: np.ndarray, /) -> np.ndarray:
        """Computes the predictions for some weights."""
        ...

    def loss(
        self, prediction: np.ndarray, weights: np.ndarray, /
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes losses [j] and `at`."""
        ...

    def gradient(self, at: np.ndarray, weights: np.ndarray, /) -> np.ndarray:
        """Computes the gradient with respect to the weights [j k q]."""
        ...

    def bend(
        self, at: np.ndarray, turn: np.ndarray, direction: np.ndarray, /
    ) -> np.ndarray:
        """Computes second derivatives [j] along a direction with predictions `turn`."""
        ...

    def of(self, rows: np.ndarray, /) -> Losses:
        """Selects some of the problems."""
        ...


class _Point(NamedTuple):
    """Where p problems are.

    Attributes:
        weights: [p k q].
        prediction: [p k n].
        value: Losses, [p].
        at: What their derivatives read, [p ...].
    """

    weights: np.ndarray
    prediction: np.ndarray
    value: np.ndarray
    at: np.ndarray

    @classmethod
    def of(cls, losses: Losses, weights: np.ndarray, prediction: np.ndarray) -> _Point:
        return cls(weights, prediction, *losses.loss(prediction, weights))


class _State(NamedTuple):
    """Problems under way, p of them; every array has a row for each.

    Steps are taken in weights over their scale, vectors of length d.

    Attributes:
        place: Among all problems, [p].
        scale: See `minimise`.
        gradient: By the scaled weights, [p d].
        vectors: The last `MEMORY` changes, m of them, in rings: of the scaled weights,
            then of their gradient, [p 2m d].
        dots: Products of these with each other, [p 2m 2m].
        active: Which have not ended, [p].
    """

    place: np.ndarray
    scale: np.ndarray
    gradient: np.ndarray
    vectors: np.ndarray
    dots: np.ndarray
    active: np.ndarray


def minimise(
    losses: Losses,
    weights: Float[np.ndarray, "j k q"],
    scale: Float[np.ndarray, "j k q"],
    *,
    least: float,
    max_steps: int,
    flat: float | Float[np.ndarray, " j"] | None = None,
) -> tuple[Float[np.ndarray, "j k q"], Int[np.ndarray, " j"]]:
    """Finds the weights that minimise the losses.

    Args:
        losses: The problems.
        weights: Weights to start from.
        scale: Approximate 1 / root of the Hessian's diagonal; 0 for fixed weights.
        least: A problem ends when its next step promises to lower its loss by less
            than half of this.
        max_steps: Largest number of steps.
        flat: If given, a problem ends instead when the length of its gradient, without
            fixed weights, is at most this.

    Returns:
        The weights, and the number of steps of each problem.
    """
    count, size = len(weights), weights[0].size
    limit = np.broadcast_to(np.nan if flat is None else flat, count)
    best, steps = weights.copy(), np.zeros(count, int)
    point = _Point.of(losses, weights, losses.predict(weights))
    state = _State(
        np.arange(count),
        scale,
        _gradient(losses, point, scale),
        np.zeros((count, 2 * MEMORY, size)),
        np.zeros((count, 2 * MEMORY, 2 * MEMORY)),
        np.ones(count, bool),
    )
    for step in range(max_steps):
        way = -_inverse_hessian(state, step)
        promise = -np.vecdot(state.gradient, way)
        going = promise > least
        if flat is not None:
            going = _steepness(state) > limit[state.place]
        state = state._replace(active=state.active & going)
        if not state.active.any():
            break
        if state.active.mean() <= CROWDED:
            best[state.place] = point.weights
            kept = np.flatnonzero(state.active)
            losses, way, promise = losses.of(kept), way[kept], promise[kept]
            point = _Point(*(field[kept] for field in point))
            state = _State(*(field[kept] for field in state))
        steps[state.place] += state.active
        length, point = _search(losses, state, point, way, promise)
        state = _remember(losses, state, point, step, length[:, None] * way)
    best[state.place] = point.weights
    return best, steps


def some(values: Float[np.ndarray, "j ..."], rows: Int[np.ndarray, " p"]) -> np.ndarray:
    """Selects values of some problems, in order; does not copy if all are selected."""
    return values if len(rows) == len(values) else values[rows]


def _gradient(losses: Losses, point: _Point, scale: np.ndarray) -> np.ndarray:
    """By the scaled weights, [p d]."""
    gradient = losses.gradient(point.at, point.weights) * scale
    return gradient.reshape(len(gradient), -1)


def _steepness(state: _State) -> np.ndarray:
    """Length of the gradient by the weights as they are, [p]."""
    scale = state.scale.reshape(len(state.scale), -1)
    raw = np.divide(
        state.gradient, scale, out=np.zeros_like(state.gradient), where=scale > 0
    )
    return np.linalg.norm(raw, axis=1)


def _search(
    losses: Losses,
    state: _State,
    start: _Point,
    way: np.ndarray,
    promise: np.ndarray,
) -> tuple[np.ndarray, _Point]:
    """Goes along a way [p d], half as far until the losses are lower.

    Returns:
        How far [p], 0 where nothing is lower, and where that is.
    """
    direction = way.reshape(state.scale.shape) * state.scale
    turn = losses.predict(direction)
    bend = losses.bend(start.at, turn, direction)
    length = np.where(state.active, promise / np.where(bend > 0, bend, 1.0), 0.0)
    slack = ROUNDING * np.abs(start.value)
    halvings = 0
    while True:
        by = length[:, None, None]
        point = _Point.of(
            losses, start.weights + by * direction, start.prediction + by * turn
        )
        bad = point.value > start.value - ARMIJO * length * promise + slack
        if not bad.any():
            return length, point
        shorter = length / 2 if halvings < MAX_HALVINGS else 0.0
        length = np.where(bad, shorter, length)
        halvings += 1


def _remember(
    losses: Losses, state: _State, point: _Point, step: int, move: np.ndarray
) -> _State:
    """The state after a move [p d] of the scaled weights to a point."""
    gradient = _gradient(losses, point, state.scale)
    # The newest in place of the oldest.
    places = np.array([0, MEMORY]) + step % MEMORY
    new = np.stack([move, gradient - state.gradient], axis=1)
    state.vectors[:, places] = new
    products = state.vectors @ new.swapaxes(1, 2)  # [p 2m 2]
    state.dots[:, :, places] = products
    state.dots[:, places, :] = products.swapaxes(1, 2)
    return state._replace(gradient=gradient, active=state.active & move.any(axis=1))


def _inverse_hessian(state: _State, step: int) -> np.ndarray:
    """The approximate inverse Hessian times the gradient, [p d].

    The two loops of L-BFGS on the coefficients of the vectors in memory.
    """
    of_gradient = state.vectors @ state.gradient[:, :, None]
    dots = np.concatenate([state.dots, of_gradient], axis=2)  # [p 2m 2m+1]
    index = np.arange(MEMORY)
    curvature = state.dots[:, index, MEMORY + index]  # 0 where nothing is remembered
    real = curvature > 0
    rho = np.divide(1.0, curvature, out=np.zeros_like(curvature), where=real)
    coefficients = np.zeros((len(dots), 2 * MEMORY + 1))
    coefficients[:, -1] = 1.0
    alphas = np.zeros_like(rho)
    newest_first = [(step - 1 - back) % MEMORY for back in range(MEMORY)]
    for i in newest_first:
        alphas[:, i] = rho[:, i] * np.vecdot(coefficients, dots[:, i])
        coefficients[:, MEMORY + i] -= alphas[:, i]
    last = newest_first[0]
    length = state.dots[:, MEMORY + last, MEMORY + last]
    usable = real[:, last] & (length > 0)
    size = np.divide(
        curvature[:, last], length, out=np.ones(len(coefficients)), where=usable
    )
    coefficients *= size[:, None]
    for i in reversed(newest_first):
        beta = rho[:, i] * np.vecdot(coefficients, dots[:, MEMORY + i])
        coefficients[:, i] += alphas[:, i] - beta
    combined = (coefficients[:, None, :-1] @ state.vectors)[:, 0]
    return combined + coefficients[:, -1:] * state.gradient
