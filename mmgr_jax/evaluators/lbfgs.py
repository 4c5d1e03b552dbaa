"""L-BFGS for many convex problems side by side, of losses of linear predictions.

The prediction along a line is linear in the step, so that one product with the
features serves all steps that a search tries, and the second derivative along the line
is at hand to start from: a step costs one product for the line and one for the
gradient, however long the search. Problems that have ended leave the batch.

Reference: Nocedal and Wright (2006), Numerical optimization, algorithm 7.4; Chen et
al. (2014), Large-scale L-BFGS using MapReduce, for the recursion in dot products.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

MEMORY = 6
MAX_HALVINGS = 25
ARMIJO = 1e-4
"""Part of the promised decrease that a step must deliver."""

ROUNDING = 1e-13
"""A change of the loss below this part of it is rounding, and nothing to insist on."""

CROWDED = 0.7
"""The batch is copied without the problems that have ended when no more than this part
of it is left."""


@runtime_checkable
class Losses(Protocol):
    """Losses of j problems, of predictions [j k n] linear in the weights [j k q]."""

    def predict(self, weights: np.ndarray) -> np.ndarray:
        """Predictions of weights."""

    def loss(self, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Losses [j]."""

    def gradient(
        self, prediction: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient by the weights [j k q], and what `bend` reads [j ...]."""

    def bend(
        self, at: np.ndarray, turn: np.ndarray, direction: np.ndarray
    ) -> np.ndarray:
        """Second derivatives [j] along a direction, whose predictions are `turn`."""

    def of(self, rows: np.ndarray) -> Losses:
        """Those of some of the problems."""


@dataclasses.dataclass
class _State:
    """Problems under way, p of them; every array has a row for each.

    Attributes:
        place: Among all problems, [p].
        weights: [p k q].
        scale: See `minimise`.
        prediction: [p k n].
        value: Losses, [p].
        gradient: [p k q].
        at: What `bend` reads.
        vectors: The last `MEMORY` changes, m of them, as vectors of length d in rings:
            changes of the scaled weights, then those of their gradient, [p 2m d].
        dots: Products of these with each other, [p 2m 2m].
        active: Which have not ended, [p].
    """

    place: np.ndarray
    weights: np.ndarray
    scale: np.ndarray
    prediction: np.ndarray
    value: np.ndarray
    gradient: np.ndarray
    at: np.ndarray
    vectors: np.ndarray
    dots: np.ndarray
    active: np.ndarray

    def of(self, rows: np.ndarray) -> _State:
        """The state of some of them."""
        fields = (field.name for field in dataclasses.fields(self))
        return _State(*(getattr(self, name)[rows] for name in fields))


def minimise(
    losses: Losses,
    weights: Float[np.ndarray, "j k q"],
    scale: Float[np.ndarray, "j k q"],
    *,
    least: float,
    max_steps: int,
) -> tuple[Float[np.ndarray, "j k q"], Int[np.ndarray, " j"]]:
    """Weights of the least losses.

    Args:
        losses: The problems.
        weights: Where to start.
        scale: One over the root of the Hessian's diagonal, about; 0 for weights that
            stay as they are.
        least: A problem ends when its next step promises to lower its loss by less
            than half of this.
        max_steps: Where to stop in any case.

    Returns:
        The weights, and the number of steps of each problem.
    """
    count, size = len(weights), weights[0].size
    found, steps = weights.copy(), np.zeros(count, int)
    prediction = losses.predict(weights)
    state = _State(
        np.arange(count),
        weights,
        scale,
        prediction,
        losses.loss(prediction, weights),
        *losses.gradient(prediction, weights),
        np.zeros((count, 2 * MEMORY, size)),
        np.zeros((count, 2 * MEMORY, 2 * MEMORY)),
        np.ones(count, bool),
    )
    for step in range(max_steps):
        scaled = (state.gradient * state.scale).reshape(len(state.place), -1)
        direction = -_inverse_hessian(state, step, scaled)
        promise = -np.sum(scaled * direction, axis=1)
        state.active = state.active & (promise > least)
        if not state.active.any():
            break
        if state.active.mean() <= CROWDED:
            found[state.place] = state.weights
            kept = np.flatnonzero(state.active)
            direction, promise = direction[kept], promise[kept]
            state, losses = state.of(kept), losses.of(kept)
        direction = direction.reshape(state.weights.shape) * state.scale
        turn = losses.predict(direction)
        bend = losses.bend(state.at, turn, direction)
        first = np.where(state.active, promise / np.where(bend > 0, bend, 1.0), 0.0)
        length, state.value = _search(losses, state, direction, turn, promise, first)
        steps[state.place] += state.active
        state.active = state.active & (length > 0)
        _move(losses, state, step, length[:, None, None], direction, turn)
    found[state.place] = state.weights
    return found, steps


def _move(
    losses: Losses,
    state: _State,
    step: int,
    length: np.ndarray,
    direction: np.ndarray,
    turn: np.ndarray,
) -> None:
    """Goes that far along a direction, and remembers what changed."""
    move, before = length * direction, state.gradient
    state.weights = state.weights + move
    state.prediction = state.prediction + length * turn
    state.gradient, state.at = losses.gradient(state.prediction, state.weights)
    unscaled = np.divide(
        1.0, state.scale, out=np.zeros_like(state.scale), where=state.scale > 0
    )
    changes = (move * unscaled, (state.gradient - before) * state.scale)
    # The newest in place of the oldest.
    places = np.array([0, MEMORY]) + step % MEMORY
    new = np.stack([change.reshape(len(move), -1) for change in changes], axis=1)
    state.vectors[:, places] = new
    products = state.vectors @ new.swapaxes(1, 2)  # [p 2m 2]
    state.dots[:, :, places] = products
    state.dots[:, places, :] = products.swapaxes(1, 2)


def _search(
    losses: Losses,
    state: _State,
    direction: np.ndarray,
    turn: np.ndarray,
    promise: np.ndarray,
    length: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Lengths [p] halved until the losses [p] are lower; 0 where that never happens."""
    slack = ROUNDING * np.abs(state.value)
    for halving in range(MAX_HALVINGS + 1):
        by = length[:, None, None]
        there = losses.loss(
            state.prediction + by * turn, state.weights + by * direction
        )
        bad = there > state.value - ARMIJO * length * promise + slack
        if not bad.any():
            break
        length = np.where(bad, length / 2 if halving < MAX_HALVINGS else 0.0, length)
    return length, np.where(length > 0, there, state.value)


def _inverse_hessian(state: _State, step: int, gradient: np.ndarray) -> np.ndarray:
    """The approximate inverse Hessian times the gradient [p d].

    The two loops of L-BFGS on the coefficients of the vectors in memory.
    """
    of_gradient = state.vectors @ gradient[:, :, None]
    dots = np.concatenate([state.dots, of_gradient], axis=2)  # [p 2m 2m+1]
    index = np.arange(MEMORY)
    curvature = state.dots[:, index, MEMORY + index]  # 0 where nothing is remembered
    real = curvature > 0
    rho = np.divide(1.0, curvature, out=np.zeros_like(curvature), where=real)
    told = np.zeros((len(gradient), 2 * MEMORY + 1))
    told[:, -1] = 1.0
    alphas = np.zeros_like(rho)
    newest_first = [(step - 1 - back) % MEMORY for back in range(MEMORY)]
    for i in newest_first:
        alphas[:, i] = rho[:, i] * np.sum(told * dots[:, i], axis=1)
        told[:, MEMORY + i] -= alphas[:, i]
    last = newest_first[0]
    length = state.dots[:, MEMORY + last, MEMORY + last]
    usable = real[:, last] & (length > 0)
    size = np.divide(curvature[:, last], length, out=np.ones(len(told)), where=usable)
    told *= size[:, None]
    for i in reversed(newest_first):
        beta = rho[:, i] * np.sum(told * dots[:, MEMORY + i], axis=1)
        told[:, i] += alphas[:, i] - beta
    combined = (told[:, None, :-1] @ state.vectors)[:, 0]
    return combined + told[:, -1:] * gradient
