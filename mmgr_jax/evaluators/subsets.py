"""Subsets of regions as arrays of one shape, so that many are worked on at once.

Heads are fitted in float64: their matrices are ill-conditioned and small. They run on
the host's CPU, as TPUs have no float64.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

T = TypeVar("T")

SMALLEST_GROUP = 64
"""Subsets up to this size are worked on together: telling them apart by size would
cost more compilations than it saves arithmetic."""

CHUNK_BYTES = 256 * 2**20
"""About how much of the features is copied at a time."""

CONSTANT = 1e-6
"""A feature whose deviation is below this part of its size counts as constant."""


class Rows(NamedTuple):
    """Some regions of each cell, padded to the size of the largest subset.

    Attributes:
        index: Their rows; 0 for padding, [j n].
        present: 1, and 0 for padding, [j n].
    """

    index: Int[np.ndarray, "j n"] | Array
    present: Float[np.ndarray, "j n"] | Array

    def take(self, values: np.ndarray) -> np.ndarray:
        """Values [r ...] of these regions, [j n ...]; 0 for padding."""
        return self._or_zero(values[self.index])

    def take_own(self, values: np.ndarray) -> np.ndarray:
        """Values [j r], each cell's own, of these regions, [j n]; 0 for padding."""
        return self._or_zero(np.take_along_axis(values, self.index, axis=1))

    def _or_zero(self, taken: np.ndarray) -> np.ndarray:
        shape = self.present.shape + (1,) * (taken.ndim - self.present.ndim)
        return np.where(self.present.reshape(shape) > 0, taken, 0.0)


class Standard(NamedTuple):
    """Features standardised by the regions of one subset.

    Attributes:
        x: [n f], 0 for padding and for features that are constant.
        mean: Of the raw features, [f].
        inverse: One over the deviation, 0 for constant features, [f].
    """

    x: Array
    mean: Array
    inverse: Array


@contextlib.contextmanager
def precise() -> Iterator[None]:
    """Within it JAX computes in float64 on the CPU."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        yield


def chunks(
    masks: Bool[np.ndarray, "j r"], bytes_a_region: int, bytes_a_cell: int = 0
) -> list[list[int]]:
    """Cells to work on together: of about the same size, and as memory allows.

    Args:
        masks: Regions of each cell; sizes within a chunk are within twofold.
        bytes_a_region: What a region of one cell takes.
        bytes_a_cell: What a cell takes beside that.
    """
    sizes = np.maximum(masks.sum(axis=1), SMALLEST_GROUP)
    bucket = np.ceil(np.log2(sizes)).astype(int)
    parts = []
    for group in (np.flatnonzero(bucket == of) for of in np.unique(bucket)):
        each = sizes[group].max() * bytes_a_region + bytes_a_cell
        most = max(CHUNK_BYTES // each, 1)
        count = -(-len(group) // most)
        parts += [part.tolist() for part in np.array_split(group, count)]
    return parts


def single(tree: T) -> T:
    """Its numbers in float32."""
    return jax.tree.map(
        lambda leaf: leaf.astype(np.float32) if leaf.dtype == np.float64 else leaf, tree
    )


def rows(masks: Bool[np.ndarray, "j r"], cells: Sequence[int]) -> Rows:
    """The regions that the masks of some cells name, in order, padded."""
    masks = masks[list(cells)]
    sizes = masks.sum(axis=1)
    index = np.zeros((len(masks), max(sizes.max(initial=0), 1)), np.int32)
    for cell, mask in enumerate(masks):
        index[cell, : sizes[cell]] = np.flatnonzero(mask)
    present = np.arange(index.shape[1]) < sizes[:, None]
    return Rows(index, present.astype(np.float64))


def standardised(x: Float[Array, "n f"], present: Float[Array, " n"]) -> Standard:
    """Standardises one subset by itself; a feature that is constant in it becomes 0."""
    count = jnp.sum(present)
    mean = present @ x / count
    x = (x - mean) * present[:, None]
    deviation = jnp.sqrt(jnp.sum(x * x, axis=0) / count)
    varies = deviation > CONSTANT * jnp.abs(mean)
    inverse = jnp.where(varies, 1.0 / jnp.where(varies, deviation, 1.0), 0.0)
    return Standard(x * inverse, mean, inverse)
