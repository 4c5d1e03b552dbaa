"""Heads with two layers: functions that `mlp` and `released` share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.typing import Key

HIDDEN = 1024
"""Width between the layers, of Bai et al. (2023)."""

Weights = dict[str, Array]


def whole(features: Features | np.ndarray) -> Float[Array, "r f"]:
    """Moves features of all regions to the device, as each step uses all of them."""
    values = features.values if isinstance(features, Features) else features
    return jnp.asarray(values, jnp.float32)


def init(key: Key, length: int, outputs: int, hidden: int = HIDDEN) -> Weights:
    """Draws random weights as PyTorch does: uniform in +-1 / sqrt(fan in)."""
    keys = jax.random.split(key, 4)

    def draw(key: Key, shape: tuple[int, ...], fan_in: int) -> Array:
        bound = fan_in**-0.5
        return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

    return {
        "kernel1": draw(keys[0], (length, hidden), length),
        "bias1": draw(keys[1], (hidden,), length),
        "kernel2": draw(keys[2], (hidden, outputs), hidden),
        "bias2": draw(keys[3], (outputs,), hidden),
    }


def apply(weights: Weights, x: Float[Array, "n f"]) -> Float[Array, "n k"]:
    """Applies a linear layer, ReLU and a linear layer."""
    hidden = jax.nn.relu(x @ weights["kernel1"] + weights["bias1"])
    return hidden @ weights["kernel2"] + weights["bias2"]


def predicted(
    outputs: Float[np.ndarray, "j r k"], grid: Grid, cells: Sequence[int]
) -> list[Float[np.ndarray, "_ k"]]:
    """Selects from the outputs for all regions those that each cell predicts."""
    return [outputs[place][grid.rows(cell)] for place, cell in enumerate(cells)]


def keys(seed: int, grid: Grid, cells: Sequence[int]) -> Array:
    """Makes a random key for each cell [j], from the seed and the cell's seed."""
    seeds = np.array([grid.cells[cell].seed for cell in cells])
    return jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(seeds)
