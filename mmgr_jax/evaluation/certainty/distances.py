"""Distances between many vectors, a block of rows at a time.

Memory grows like the number of vectors, not like that of the pairs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from mmgr_jax.errors import InputError

CHUNK = 16_000_000
"""Pairs held at a time."""


def unit(vectors: Float[np.ndarray, "r f"]) -> Float[np.ndarray, "r f"]:
    """Vectors of length 1, float32; the zero vector stays."""
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)


def row_blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Slices of rows, so that each block has at most `CHUNK` pairs, or one row."""
    size = max(1, CHUNK // max(num_columns, 1))
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def squared(
    a: Float[np.ndarray, "m f"], b: Float[np.ndarray, "n f"]
) -> Float[np.ndarray, "m n"]:
    """Squared Euclidean distances of all pairs, not below 0, in the type given.

    By |a|^2 + |b|^2 - 2 a.b: distances far below the vectors' lengths lose digits.
    """
    lengths = [np.einsum("rf,rf->r", vectors, vectors) for vectors in (a, b)]
    distance = lengths[0][:, None] + lengths[1][None] - 2 * (a @ b.T)
    return np.maximum(distance, 0, out=distance)


def nearest_neighbours(
    vectors: Float[np.ndarray, "r f"],
    rows: Int[np.ndarray, " m"],
    num_neighbours: int,
) -> Int[np.ndarray, "m n"]:
    """For some rows the other rows nearest by Euclidean distance, in no order.

    Raises:
        InputError: If there are not so many other rows.
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
