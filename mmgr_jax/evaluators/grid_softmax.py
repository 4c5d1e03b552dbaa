"""Softmax regression of many subsets and strengths in one program.

Minimises sum_i -sum_k t_ik log p_ik + strength / 2 |W|^2 for shares t that sum to
one, which is KL(t || p) up to a constant; the penalty is taken over the sum over
regions, as scikit-learn does, and intercepts are free.

A rotation of the features changes nothing, so each subset is turned to its principal
axes once, where the Hessian is nearly diagonal. The strengths are fitted from the
strongest to the weakest, each from where the one before ended; roughly at first, and to
the end if it may win: the weakest are the slowest, and hardly ever chosen. Arrays are
[j k n]: the regions vectorise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmgr_jax.evaluators import lbfgs, metrics, subsets
from mmgr_jax.evaluators.fits import Problem

RANK_TOLERANCE = 1e-10
"""Principal axes with less than this part of the largest variance are dropped."""

SMALLEST_SHARE = 1e-4
"""Bounds the starting share and the curvature of classes that hardly occur."""

UNSEEN_SHARE = metrics.EPSILON
"""About what is told of a class that the training regions never had."""

PATIENCE = 2
"""No weaker strength is tried after so many in a row that validated worse than the
best."""

ROUGH, EXACT = 1e-2, 1e-10
"""A fit ends when another step promises to lower the loss, summed over the regions, by
less than half of this. First roughly; to the end where the strength may win."""

ROUGHNESS = 0.01
"""How far a rough validation loss may be off, as a part of it."""

MAX_STEPS = 500

NEVER = -1e9
"""The intercept of a class that the training regions never had, while they are fitted:
its optimum is minus infinity."""


class Solution(NamedTuple):
    """A softmax for each cell, on features as they are.

    Attributes:
        kernel: [j k f].
        bias: [j k].
        losses: Mean cross entropy on the validation part, [j a]; rough where a
            strength could not win, NaN where `PATIENCE` left it out.
        best: The strength that was chosen, an index, [j].
        steps: Steps of each fit, [j a].
    """

    kernel: Array
    bias: Array
    losses: Array
    best: Array
    steps: Array


@jax.jit
def solve(
    x: Float[Array, "r f"], problem: Problem, strengths: Float[Array, " a"]
) -> Solution:
    """The softmax regressions of all cells, each with its best strength.

    Args:
        x: Features of all regions.
        problem: The cells.
        strengths: L2 strengths, above 0.
    """
    cells = jax.vmap(_rotated, in_axes=(None, 0, 0))
    z, chosen_z, axes, standard = cells(x, problem.train, problem.validation)
    target = jnp.swapaxes(problem.target, 1, 2)
    chosen_target = jnp.swapaxes(problem.truth, 1, 2)
    count = jnp.sum(chosen_target, axis=(1, 2))

    def validate(weights: Array) -> Array:
        log_shares = jax.nn.log_softmax(weights @ chosen_z, axis=1)
        log_shares = jnp.maximum(log_shares, jnp.log(UNSEEN_SHARE))
        return -jnp.sum(chosen_target * log_shares, axis=(1, 2)) / count

    weights, losses, best, steps = _best_of_path(z, target, strengths, validate)
    kernel = weights[:, :, 1:] @ jnp.swapaxes(axes, 1, 2) * standard.inverse[:, None]
    bias = weights[:, :, 0] - jnp.einsum("jkf,jf->jk", kernel, standard.mean)
    return Solution(kernel, bias, losses, best, steps)


def _rotated(
    x: Array, train: subsets.Rows, validation: subsets.Rows
) -> tuple[Array, Array, Array, subsets.Standard]:
    """One cell: coordinates [q n] of both parts, after a row of ones; axes [f q]."""
    standard = subsets.standardised(x[train.index], train.present)
    axes = _principal_axes(standard.x)
    z = jnp.concatenate([train.present[:, None], standard.x @ axes], axis=1)
    chosen = (x[validation.index] - standard.mean) * standard.inverse
    ones = jnp.ones((len(chosen), 1), x.dtype)
    return z.T, jnp.concatenate([ones, chosen @ axes], axis=1).T, axes, standard


def _principal_axes(x: Array) -> Array:
    """Directions [f q] along which x [n f] varies, by the smaller Gram matrix.

    Axes without variance are 0, so that nothing is ever learnt along them.
    """
    wide = x.shape[1] > x.shape[0]
    energy, vectors = jnp.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = energy > RANK_TOLERANCE * jnp.maximum(jnp.max(energy), 1.0)
    if wide:
        vectors = x.T @ (vectors / jnp.sqrt(jnp.where(kept, energy, 1.0)))
    return jnp.where(kept, vectors, 0.0)


def _best_of_path(
    z: Array, target: Array, strengths: Array, validate: Callable[[Array], Array]
) -> tuple[Array, Array, Array, Array]:
    """Weights [j k q] of the best strength, losses [j a], its index [j], steps [j]."""
    seen = jnp.sum(target, axis=2) > 0
    unseen = jnp.log(UNSEEN_SHARE)
    back = jnp.swapaxes(z, 1, 2) + 0.0  # both layouts: each product reads its own

    def step(carry: tuple, told: tuple[Array, Array]) -> tuple[tuple, tuple]:
        """Fits a strength roughly, or to the end where that may win."""
        weights, best_weights, best, least, worse, near = carry
        index, exact = told
        wanted = jnp.where(exact, near, worse < PATIENCE)
        promise = jnp.where(exact, EXACT, ROUGH)
        weights, steps = _fit(
            z, back, target, strengths[index], weights, promise, wanted
        )
        finished = weights.at[:, :, 0].set(jnp.where(seen, weights[:, :, 0], unseen))
        loss = jnp.where(wanted, validate(weights), jnp.nan)
        near = ~exact & (loss <= least * (1 + ROUGHNESS))
        better = exact & (loss < least)
        carry = (
            weights,
            jnp.where(better[:, None, None], finished, best_weights),
            jnp.where(better, index, best),
            jnp.where(better, loss, least),
            jnp.where(better, 0, worse + exact),
            near,
        )
        return carry, (loss, steps)

    order = jnp.argsort(-strengths)
    twice = jnp.repeat(order, 2), jnp.tile(jnp.array([False, True]), len(order))
    weights = _start(z, target, seen)
    first = jnp.full(len(z), order[0])
    least = jnp.full(len(z), jnp.inf)
    start = (weights, weights, first, least, jnp.zeros_like(first), first < 0)
    (_, weights, best, _, _, _), told = jax.lax.scan(step, start, twice)
    losses, steps = (of.reshape(-1, 2, len(z))[jnp.argsort(order)] for of in told)
    losses = jnp.where(jnp.isnan(losses[:, 1]), losses[:, 0], losses[:, 1])
    return weights, losses.T, best, jnp.sum(steps, axis=1).T


def _start(z: Array, target: Array, seen: Array) -> Array:
    """The mean share everywhere: the optimum for an infinite strength, [j k q]."""
    mean = jnp.sum(target, axis=2) / jnp.sum(target, axis=(1, 2))[:, None]
    bias = jnp.where(seen, jnp.log(jnp.maximum(mean, SMALLEST_SHARE)), NEVER)
    shape = (*target.shape[:2], z.shape[1])
    return jnp.zeros(shape, z.dtype).at[:, :, 0].set(bias)


def _fit(
    z: Array,
    back: Array,
    target: Array,
    strength: Array,
    weights: Array,
    promise: Array,
    wanted: Array,
) -> tuple[Array, Array]:
    """Weights [j k q] of the least penalised loss, and the steps taken [j].

    Args:
        z: Coordinates [j q n], the first all ones and not penalised.
        back: The same, transposed, [j n q].
        target: Shares [j k n]; 0 for padding, where z is 0 too.
        strength: L2 strength.
        weights: Where to start.
        promise: What ends the fit, see `EXACT`.
        wanted: Cells that are fitted, [j]; the others stay as they are.
    """
    mass = jnp.sum(target, axis=1, keepdims=True)  # 1, and 0 for padding
    penalty = strength * (jnp.arange(z.shape[1]) > 0)
    shares = jax.nn.softmax(weights @ z, axis=1) * mass
    squares = back * back
    floor = SMALLEST_SHARE * jnp.sum(squares, axis=1, keepdims=True)
    curvature = jnp.maximum((shares * (1 - shares)) @ squares, floor) + penalty
    # Axes without variance have neither gradient nor curvature.
    scale = jnp.where(curvature > 0, jax.lax.rsqrt(curvature), 0.0)

    def values(logits: Array, weights: Array) -> Array:
        fit = -jnp.sum(target * jax.nn.log_softmax(logits, axis=1), axis=(1, 2))
        return fit + 0.5 * jnp.sum(penalty * weights**2, axis=(1, 2))

    def gradient(logits: Array, weights: Array) -> tuple[Array, Array]:
        shares = jax.nn.softmax(logits, axis=1) * mass
        return (shares - target) @ back + penalty * weights, shares

    def bend(shares: Array, turn: Array, direction: Array) -> Array:
        """Second derivative of the loss along a direction, [j]."""
        centred = turn - jnp.sum(shares * turn, axis=1, keepdims=True)
        fit = jnp.sum(shares * centred**2, axis=(1, 2))
        return fit + jnp.sum(penalty * direction**2, axis=(1, 2))

    problem = lbfgs.Linear(lambda weights: weights @ z, values, gradient, bend)
    return lbfgs.minimise(
        problem, weights, scale, least=promise, wanted=wanted, max_steps=MAX_STEPS
    )
