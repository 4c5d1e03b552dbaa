"""L-BFGS for many convex problems side by side, of losses of linear predictions.

The prediction along a line is linear in the step, so that one product with the
features serves all steps that a search tries, and the second derivative along the line
is at hand to start from: a step costs one product for the line and one for the
gradient, however long the search.

Reference: Nocedal and Wright (2006), Numerical optimization, algorithm 7.4; Chen et
al. (2014), Large-scale L-BFGS using MapReduce, for the recursion in dot products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

MEMORY = 6
MAX_HALVINGS = 25
ARMIJO = 1e-4
"""Part of the promised decrease that a step must deliver."""

ROUNDING = 1e-13
"""A change of the loss below this part of it is rounding, and nothing to insist on."""


class Linear(NamedTuple):
    """Losses of j problems, of predictions that are linear in the weights [j k q].

    Attributes:
        predict: Weights -> predictions.
        loss: (predictions, weights) -> losses [j].
        gradient: (predictions, weights) -> gradient [j k q], and what `bend` reads.
        bend: (that, predictions of a direction, direction) -> second derivatives of
            the losses along it, [j].
    """

    predict: Callable[[Array], Array]
    loss: Callable[[Array, Array], Array]
    gradient: Callable[[Array, Array], tuple[Array, Array]]
    bend: Callable[[Array, Array, Array], Array]


class _Memory(NamedTuple):
    """The last `MEMORY` changes, m of them, as vectors of length d in rings.

    Attributes:
        vectors: Changes of the weights, then those of the gradient, [j 2m d].
        dots: Their products with each other, [j 2m 2m].
        slot: Where the next one goes, the oldest.
    """

    vectors: Array
    dots: Array
    slot: Array


class _State(NamedTuple):
    weights: Array
    prediction: Array
    gradient: Array
    at: Array  # what `bend` reads
    memory: _Memory
    active: Array  # [j]
    steps: Array  # [j]


def minimise(
    problem: Linear,
    weights: Float[Array, "j k q"],
    scale: Float[Array, "j k q"],
    *,
    least: float | Array,
    wanted: Bool[Array, " j"],
    max_steps: int,
) -> tuple[Float[Array, "j k q"], Int[Array, " j"]]:
    """Weights of the least losses.

    Args:
        problem: The losses.
        weights: Where to start.
        scale: One over the root of the Hessian's diagonal, about.
        least: A problem ends when its next step promises to lower its loss by less
            than half of this.
        wanted: Problems to work on; the others stay where they are.
        max_steps: Where to stop in any case.

    Returns:
        The weights, and the number of steps of each problem.
    """
    count, size = len(weights), weights[0].size

    def flat(x: Array) -> Array:
        return x.reshape(count, size)

    unscaled = jnp.where(scale > 0, 1.0 / jnp.where(scale > 0, scale, 1.0), 0.0)

    def step(state: _State) -> _State:
        g = flat(state.gradient * scale)
        direction = -_inverse_hessian(state.memory, g)
        promise = -jnp.sum(g * direction, axis=1)
        active = state.active & (promise > least) & (state.steps < max_steps)
        direction = direction.reshape(weights.shape) * scale
        turn = problem.predict(direction)
        bend = problem.bend(state.at, turn, direction)
        first = jnp.where(active, promise / jnp.where(bend > 0, bend, 1.0), 0.0)
        length = _search(problem, state, direction, turn, promise, first)
        move = length[:, None, None] * direction
        new_weights = state.weights + move
        prediction = state.prediction + length[:, None, None] * turn
        gradient, at = problem.gradient(prediction, new_weights)
        return _State(
            new_weights,
            prediction,
            gradient,
            at,
            _remember(
                state.memory,
                flat(move * unscaled),
                flat((gradient - state.gradient) * scale),
            ),
            active & (length > 0),
            state.steps + active,
        )

    prediction = problem.predict(weights)
    nothing = _Memory(
        jnp.zeros((count, 2 * MEMORY, size), weights.dtype),
        jnp.zeros((count, 2 * MEMORY, 2 * MEMORY), weights.dtype),
        jnp.zeros((), jnp.int32),
    )
    start = _State(
        weights,
        prediction,
        *problem.gradient(prediction, weights),
        nothing,
        wanted,
        jnp.zeros(count, jnp.int32),
    )
    end = jax.lax.while_loop(lambda state: jnp.any(state.active), step, start)
    return end.weights, end.steps


def _remember(memory: _Memory, move: Array, turn: Array) -> _Memory:
    """Puts the newest changes [j d] in place of the oldest."""
    first, second = memory.slot, MEMORY + memory.slot
    vectors = memory.vectors.at[:, first].set(move).at[:, second].set(turn)
    new = vectors @ jnp.stack([move, turn], axis=2)  # [j 2m 2]
    dots = memory.dots
    for slot, products in ((first, new[:, :, 0]), (second, new[:, :, 1])):
        dots = dots.at[:, slot].set(products).at[:, :, slot].set(products)
    return _Memory(vectors, dots, (memory.slot + 1) % MEMORY)


def _search(
    problem: Linear,
    state: _State,
    direction: Array,
    turn: Array,
    promise: Array,
    length: Array,
) -> Array:
    """Lengths [j] halved until the losses are lower; 0 where that never happens."""
    now = problem.loss(state.prediction, state.weights)

    def bad(length: Array) -> Array:
        by = length[:, None, None]
        there = problem.loss(
            state.prediction + by * turn, state.weights + by * direction
        )
        slack = ROUNDING * jnp.abs(now)
        return there > now - ARMIJO * length * promise + slack

    def halve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        length, is_bad, count = carry
        length = jnp.where(is_bad, length / 2, length)
        return length, bad(length), count + 1

    def going(carry: tuple[Array, Array, Array]) -> Array:
        return jnp.any(carry[1]) & (carry[2] < MAX_HALVINGS)

    length, is_bad, _ = jax.lax.while_loop(going, halve, (length, bad(length), 0))
    return jnp.where(is_bad, 0.0, length)


def _inverse_hessian(memory: _Memory, gradient: Array) -> Array:
    """The approximate inverse Hessian times the gradient [j d].

    The two loops of L-BFGS on the coefficients of the vectors in memory.
    """
    of_gradient = memory.vectors @ gradient[:, :, None]
    dots = jnp.concatenate([memory.dots, of_gradient], axis=2)  # [j 2m 2m+1]
    index = jnp.arange(MEMORY)
    curvature = memory.dots[:, index, MEMORY + index]  # 0 where nothing is remembered
    real = curvature > 0
    rho = jnp.where(real, 1.0 / jnp.where(real, curvature, 1.0), 0.0)

    def newest_first(i: ArrayLike, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        told, alphas = carry
        i = (memory.slot - 1 - i) % MEMORY
        alpha = rho[:, i] * jnp.sum(told * dots[:, i], axis=1)
        return told.at[:, MEMORY + i].add(-alpha), alphas.at[:, i].set(alpha)

    def oldest_first(i: ArrayLike, told: Array) -> Array:
        i = (memory.slot + i) % MEMORY
        beta = rho[:, i] * jnp.sum(told * dots[:, MEMORY + i], axis=1)
        return told.at[:, i].add(alphas[:, i] - beta)

    told = jnp.zeros((len(gradient), 2 * MEMORY + 1), gradient.dtype).at[:, -1].set(1)
    told, alphas = jax.lax.fori_loop(0, MEMORY, newest_first, (told, rho))
    last = (memory.slot - 1) % MEMORY
    length = memory.dots[:, MEMORY + last, MEMORY + last]
    usable = real[:, last] & (length > 0)
    size = jnp.where(usable, curvature[:, last] / jnp.where(usable, length, 1.0), 1.0)
    told = jax.lax.fori_loop(0, MEMORY, oldest_first, told * size[:, None])
    combined = (told[:, None, :-1] @ memory.vectors)[:, 0]
    return combined + told[:, -1:] * gradient
