"""The protocol `released`: the population head of the released program.

Linear -> 1024 -> ReLU -> 1 -> ReLU on raw features and the raw number. It uses mean
squared error, Adam at 5e-2, 48 regions per step and 40 epochs. The learning rate is a
tenth only in epochs 20 and 30; it was meant to stay low after them. Nothing is chosen
on validation. The last ReLU can be dead from the start: then all predictions are 0.

There are two differences. Features are those of whole tiles; the released program draws
a crop of each training tile in each epoch. And the tested regions are scored once, at
the end, not after every epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import subsets, two_layers
from mmgr_jax.evaluation.heads.fits import Fits, Problem, fit_cells

LEARNING_RATE, SLOW_RATE = 5e-2, 5e-3
SLOW_EPOCHS = (20, 30)
EPOCHS = 40
BATCH = 48


def fit(
    features: Features | Float[np.ndarray, "r f"],
    target: Target,
    grid: Grid,
    *,
    keep: Sequence[int] = (),
    seed: int = 0,
    hidden: int = two_layers.HIDDEN,
) -> Fits:
    """Fits the released head in every cell; see `protocols.fit`.

    Raises:
        InputError: If the label is not a number.
    """
    if not target.is_number:
        raise InputError(
            f"config.eval.protocols names 'released', which predicts numbers, but a "
            f"label is of kind {target.label.kind!r}. Leave one of them out."
        )
    given = two_layers.whole(features)
    length = given.shape[1]

    def solve(problem: Problem, cells: Sequence[int]) -> tuple:
        keys = two_layers.keys(seed, grid, cells)
        solved = _solve(given, subsets.single(problem), keys, hidden)
        every, loss, weights = jax.tree.map(np.asarray, solved)
        steps = np.full(len(cells), EPOCHS)
        mean, inverse = np.zeros((len(cells), length)), np.ones((len(cells), length))
        outputs = two_layers.predicted(every, grid, cells)
        return outputs, loss[:, None], steps, weights, mean, inverse

    return fit_cells(
        "released",
        solve,
        target,
        grid,
        keep=keep,
        bytes_a_region=4 * length,
        bytes_a_cell=20 * length * hidden,
        raw=True,
    )


def rate(epoch: ArrayLike) -> Array:
    """Returns the learning rate of an epoch, counted from 0."""
    slow = jnp.isin(epoch, jnp.asarray(SLOW_EPOCHS))
    return jnp.where(slow, SLOW_RATE, LEARNING_RATE)


@partial(jax.jit, static_argnames="hidden")
def _solve(x: Array, problem: Problem, keys: Array, hidden: int) -> tuple:
    """Outputs [j r 1], losses on validation [j] and weights of all cells."""
    tx = optax.inject_hyperparams(optax.adam)(LEARNING_RATE)
    batches = -(-problem.train.index.shape[1] // BATCH)

    def outputs(weights: two_layers.Weights, x: Array) -> Array:
        return jax.nn.relu(two_layers.apply(weights, x))

    def cell(problem: Problem, key: Array) -> tuple:
        first, shuffles = jax.random.split(key)
        padding = batches * BATCH - len(problem.train.index)
        rows = jnp.pad(problem.train.index, (0, padding))
        target = jnp.pad(problem.target[:, 0], (0, padding))
        present = jnp.pad(problem.train.present, (0, padding))

        def mean_loss(weights: two_layers.Weights, batch: Array) -> Array:
            error = (outputs(weights, x[rows[batch]])[:, 0] - target[batch]) ** 2
            return jnp.sum(error * present[batch]) / jnp.sum(present[batch])

        def step(carry: tuple, batch: Array) -> tuple[tuple, None]:
            weights, opt_state = carry
            gradient = jax.grad(mean_loss)(weights, batch)
            updates, after = tx.update(gradient, opt_state, weights)
            moved = optax.apply_updates(weights, updates), after
            real = jnp.any(present[batch] > 0)
            return jax.tree.map(partial(jnp.where, real), moved, carry), None

        def epoch(carry: tuple, number: Array) -> tuple[tuple, None]:
            weights, opt_state = carry
            opt_state.hyperparams["learning_rate"] = rate(number)
            draws = jax.random.uniform(jax.random.fold_in(shuffles, number), rows.shape)
            order = jnp.argsort(jnp.where(present > 0, draws, 2.0))  # padding last
            carry = (weights, opt_state)
            return jax.lax.scan(step, carry, order.reshape(batches, BATCH))

        weights = two_layers.init(first, x.shape[1], 1, hidden)
        start = (weights, tx.init(weights))
        (weights, _), _ = jax.lax.scan(epoch, start, jnp.arange(EPOCHS))
        predicted = outputs(weights, x)
        error = (predicted[problem.validation.index] - problem.truth)[:, 0] ** 2
        loss = error @ problem.validation.present / jnp.sum(problem.validation.present)
        return predicted, loss, weights

    return jax.vmap(cell)(problem, keys)
