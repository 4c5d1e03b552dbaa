"""The protocol `mlp`: the paper's head with two layers, without ReLU at the output.

2048 -> 1024 -> ReLU -> outputs, on standardised features. The released head ends in a
ReLU, which can be dead from the start; this head does not. Numbers are regressed on
their scale. AdamW uses all training regions in every step. Training stops by the
validation loss, and the weights with the best one predict.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import subsets, two_layers
from mmgr_jax.evaluation.heads.fits import Fits, Problem, fit_cells

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
MAX_STEPS = 300
PATIENCE = 30
"""Steps without a better validation loss that end a fit."""


def fit(
    features: Features | Float[np.ndarray, "r f"],
    target: Target,
    grid: Grid,
    *,
    keep: Sequence[int] = (),
    weight: Float[np.ndarray, " f"] | None = None,
    seed: int = 0,
    hidden: int = two_layers.HIDDEN,
) -> Fits:
    """Fits a head with two layers in every cell; see `protocols.fit`.

    Validation chooses the step. The initial weights depend on `seed` and on the seed of
    the cell, so that a spread over seeds includes both.
    """
    given = two_layers.whole(features)
    length = given.shape[1]
    factor = np.ones(length) if weight is None else weight
    factor = jnp.asarray(factor, jnp.float32)

    def solve(problem: Problem, cells: Sequence[int]) -> tuple:
        keys = two_layers.keys(seed, grid, cells)
        solved = _solve(
            given, factor, subsets.single(problem), keys, target.is_number, hidden
        )
        every, loss, step, weights, standard = jax.tree.map(np.asarray, solved)
        outputs = two_layers.predicted(every, grid, cells)
        return outputs, loss[:, None], step, weights, standard.mean, standard.inverse

    return fit_cells(
        "mlp",
        solve,
        target,
        grid,
        keep=keep,
        bytes_a_region=8 * (length + hidden),
        bytes_a_cell=24 * length * hidden,  # weights, gradient, Adam's two, the best
    )


@partial(jax.jit, static_argnames=("number", "hidden"))
def _solve(
    x: Array, weight: Array, problem: Problem, keys: Array, number: bool, hidden: int
) -> tuple:
    """Outputs [j r k], validation losses [j], steps [j], weights and standards."""
    tx = optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def mean_loss(
        weights: two_layers.Weights, x: Array, truth: Array, present: Array
    ) -> Array:
        out = two_layers.apply(weights, x)
        if number:
            loss = jnp.sum((out - truth) ** 2, axis=1)
        else:
            loss = optax.softmax_cross_entropy(out, truth)
        return jnp.sum(loss * present) / jnp.sum(present)

    def cell(problem: Problem, key: Array) -> tuple:
        standard = subsets.standardised(
            x[problem.train.index], problem.train.present, weight
        )
        chooses = (x[problem.validation.index] - standard.mean) * standard.inverse

        def step(carry: tuple) -> tuple:
            weights, opt_state, best, least, best_step, count = carry
            gradient = jax.grad(mean_loss)(
                weights, standard.x, problem.target, problem.train.present
            )
            updates, opt_state = tx.update(gradient, opt_state, weights)
            weights = cast(two_layers.Weights, optax.apply_updates(weights, updates))
            loss = mean_loss(
                weights, chooses, problem.truth, problem.validation.present
            )
            count, better = count + 1, loss < least
            best = jax.tree.map(partial(jnp.where, better), weights, best)
            least, best_step = (
                jnp.minimum(loss, least),
                jnp.where(better, count, best_step),
            )
            return weights, opt_state, best, least, best_step, count

        def going(carry: tuple) -> Array:
            *_, best_step, count = carry
            return (count < MAX_STEPS) & (count - best_step < PATIENCE)

        weights = two_layers.init(key, x.shape[1], problem.target.shape[1], hidden)
        least = mean_loss(weights, chooses, problem.truth, problem.validation.present)
        start = (weights, tx.init(weights), weights, least, 0, 0)
        _, _, best, least, best_step, _ = jax.lax.while_loop(going, step, start)
        everyone = (x - standard.mean) * standard.inverse
        outputs = two_layers.apply(best, everyone)
        return outputs, least, best_step, best, standard._replace(x=None)

    return jax.vmap(cell)(problem, keys)
