"""Distances between many vectors, computed for a block of rows at a time.

So memory grows with the number of vectors, not with the number of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from mmgr_jax.errors import InputError

CHUNK = 16_000_000
"""Largest number of pairs in memory at a time."""


def unit(vectors: Float[np.ndarray, "r f"]) -> Float[np.ndarray, "r f"]:
    """Scales vectors to length 1, float32. Zero vectors stay zero."""
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)


def row_blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Yields slices of rows with at most `CHUNK` pairs each, but at least one row."""
    size = max(1, CHUNK // max(num_columns, 1))
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def squared(
    a: Float[np.ndarray, "m f"], b: Float[np.ndarray, "n f"]
) -> Float[np.ndarray, "m n"]:
    """Computes squared Euclidean distances of all pairs, in the dtype of the vectors.

    They are computed as |a|^2 + |b|^2 - 2 a.b and set to 0 if negative. Distances much
    smaller than the lengths of the vectors lose digits.
    """
    lengths = [np.einsum("rf,rf->r", vectors, vectors) for vectors in (a, b)]
    distance = lengths[0][:, None] + lengths[1][None] - 2 * (a @ b.T)
    return np.maximum(distance, 0, out=distance)


def nearest_neighbours(
    vectors: Float[np.ndarray, "r f"],
    rows: Int[np.ndarray, " m"],
    num_neighbours: int,
) -> Int[np.ndarray, "m n"]:
    """Finds the nearest other rows of some rows, by Euclidean distance, unsorted.

    Raises:
        InputError: If `num_neighbours` is below 1 or above the number of other rows.
    """
    if not 0 < num_neighbours < len(vectors):
        raise InputError(
            f"{num_neighbours} nearest neighbours among {len(vectors)} regions: take "
            f"1 to {len(vectors) - 1}."
        )
    nearest = []
    for block in row_blocks(len(rows), len(vectors)):
        distance = squared(vectors[rows[block]], vectors)
        distance[np.arange(len(distance)), rows[block]] = np.inf
        order = np.argpartition(distance, num_neighbours - 1, axis=1)
        nearest.append(order[:, :num_neighbours].copy())  # a view would keep all pairs
    return np.concatenate(nearest)
