"""Subsets of regions as arrays of one shape, so that many are processed together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from mmgr_jax.evaluation.certainty import checks
from mmgr_jax.evaluation.features.groups import Features

T = TypeVar("T")

SMALLEST = 64
"""Subsets up to this size are worked on as if they had it: telling them apart would
cost more compilations than it saves arithmetic."""

CHUNK_BYTES = 256 * 2**20
"""About how much of the features is copied at a time."""

SLICE_BYTES = 32 * 2**20
"""About how much of them is read at a time where all regions take a turn."""


class Rows(NamedTuple):
    """Some regions of each cell, padded to one size.

    Attributes:
        index: Rows of the regions, 0 for padding, [j n]; NumPy or JAX. n is a size from
            `roomy`.
        present: 1, or 0 for padding, [j n].
    """

    index: Int[Any, "j n"]
    present: Float[Any, "j n"]

    def take(self, values: np.ndarray) -> np.ndarray:
        """Takes values [r ...] of these regions: [j n ...], 0 for padding."""
        return self._or_zero(values[self.index])

    def take_own(self, values: np.ndarray) -> np.ndarray:
        """Takes values [j r] of each cell for its regions: [j n], 0 for padding."""
        return self._or_zero(np.take_along_axis(values, self.index, axis=1))

    def unpadded(self) -> Iterator[Rows]:
        """Yields the rows of each cell separately, [n], without padding."""
        for index, present in zip(self.index, self.present, strict=True):
            count = int(present.sum())
            yield Rows(index[:count], present[:count])

    def _or_zero(self, taken: np.ndarray) -> np.ndarray:
        shape = self.present.shape + (1,) * (taken.ndim - self.present.ndim)
        return np.where(self.present.reshape(shape) > 0, taken, 0.0)


class FeatureRows:
    """Features in float64, which are read when needed.

    Attributes:
        num_features: Number of columns.
    """

    def __init__(
        self, features: Features | np.ndarray, often: Bool[np.ndarray, " r"]
    ) -> None:
        """Keeps features in memory that are read often, if they are few.

        Args:
            features: Features of every region.
            often: Regions whose features are read several times.
        """
        if isinstance(features, np.ndarray):
            features = Features.of("", features)
        self._features, self.num_features = features, features.num_features
        self._place, self._held = np.full(len(features), -1, np.int32), None
        index = np.flatnonzero(often)
        if 8 * len(index) * self.num_features <= CHUNK_BYTES:
            self._held = features.rows(index).astype(np.float64)
            self._place[index] = np.arange(len(index))

    def __len__(self) -> int:
        """Regions."""
        return len(self._features)

    def rows(self, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n f"]:
        """Features of some regions."""
        place = self._place[index]
        if self._held is not None and (place >= 0).all():
            return self._held[place]
        return self._features.rows(index).astype(np.float64)

    def slices(
        self, index: Int[np.ndarray, " n"]
    ) -> Iterator[tuple[slice, Float[np.ndarray, "_ f"]]]:
        """Yields slices of the index, and features of the regions in each slice."""
        step = max(SLICE_BYTES // (8 * max(self.num_features, 1)), 1)
        for start in range(0, len(index), step):
            part = slice(start, min(start + step, len(index)))
            yield part, self.rows(index[part])


class Standard(NamedTuple):
    """Features standardised by the regions of one subset, of NumPy or JAX.

    Attributes:
        x: Standardised features [n f]; 0 for padding and for constant features.
        mean: Mean of the raw features, [f].
        inverse: Weight / deviation, 0 for constant features, [f].
    """

    x: Float[Any, "n f"]
    mean: Float[Any, " f"]
    inverse: Float[Any, " f"]


def roomy(size: int) -> int:
    """Rounds up to a size for which programs are compiled, at most an eighth larger.

    So few programs are enough for the subsets of all splits.
    """
    size = max(size, SMALLEST)
    step = 2 ** ((size - 1).bit_length() - 4)
    return -(-size // step) * step


def chunks(
    masks: Bool[np.ndarray, "j r"], bytes_a_region: int, bytes_a_cell: int = 0
) -> list[list[int]]:
    """Groups cells of similar size that fit into memory together.

    Args:
        masks: Regions of each cell. Sizes in a group differ at most by a factor of 2.
        bytes_a_region: Memory for a region of one cell.
        bytes_a_cell: Further memory for each cell.
    """
    sizes = np.maximum(masks.sum(axis=1), SMALLEST)
    bucket = np.ceil(np.log2(sizes)).astype(int)
    parts = []
    for group in (np.flatnonzero(bucket == size) for size in np.unique(bucket)):
        each = sizes[group].max() * bytes_a_region + bytes_a_cell
        most = max(CHUNK_BYTES // each, 1)
        count = -(-len(group) // most)
        parts += [part.tolist() for part in np.array_split(group, count)]
    return parts


def single(tree: T) -> T:
    """Converts the numbers of a tree to float32."""
    return jax.tree.map(
        lambda leaf: leaf.astype(np.float32) if leaf.dtype == np.float64 else leaf, tree
    )


def rows(masks: Bool[np.ndarray, "j r"], cells: Sequence[int]) -> Rows:
    """Returns the regions in the masks of some cells, in order, padded."""
    masks = masks[list(cells)]
    sizes = masks.sum(axis=1)
    index = np.zeros((len(masks), roomy(int(sizes.max(initial=0)))), np.int32)
    for cell, mask in enumerate(masks):
        index[cell, : sizes[cell]] = np.flatnonzero(mask)
    present = np.arange(index.shape[1]) < sizes[:, None]
    return Rows(index, present.astype(np.float64))


def standardised(
    x: Float[Any, "n f"],
    present: Float[Any, " n"],
    weight: Float[Any, " f"] | None = None,
) -> Standard:
    """Standardises the features of one subset; constant features become 0.

    Args:
        x: Features of the subset, NumPy or JAX.
        present: 1, or 0 for padding.
        weight: Factor of each standardised feature; None for 1.
    """
    xp = x.__array_namespace__()
    count = xp.sum(present)
    mean = present @ x / count
    x = (x - mean) * present[:, None]
    deviation = xp.sqrt(xp.sum(x * x, axis=0) / count)
    inverse = inverse_deviation(mean, deviation, weight)
    return Standard(x * inverse, mean, inverse)


def inverse_deviation(
    mean: Float[Any, " f"],
    deviation: Float[Any, " f"],
    weight: Float[Any, " f"] | None = None,
) -> Float[Any, " f"]:
    """Computes weight / deviation, NumPy or JAX; 0 for constant features."""
    xp = mean.__array_namespace__()
    varies = deviation > checks.CONSTANT * xp.abs(mean)
    inverse = xp.where(varies, 1.0 / xp.where(varies, deviation, 1.0), 0.0)
    return inverse if weight is None else inverse * weight
