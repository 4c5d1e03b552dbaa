"""Sums of squares and products of features over subsets of regions, by slices.

Linear heads with more regions than features need nothing else. Overlapping subsets,
such as all folds except one, are computed from shared pieces, so that every region is
read once.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from mmgr_jax.evaluation.heads import subsets


def members(
    table: subsets.FeatureRows, indices: Sequence[Int[np.ndarray, " _"]]
) -> Bool[np.ndarray, "j r"]:
    """Converts subsets to masks."""
    masks = np.zeros((len(indices), len(table)), bool)
    for mask, index in zip(masks, indices, strict=True):
        mask[index] = True
    return masks


class Moments(NamedTuple):
    """Moments of the features of one subset.

    Attributes:
        count: Number of regions.
        mean: Mean of the features, [f].
        scatter: Sum of the products of the features minus their mean, [f f].
    """

    count: int
    mean: Float[np.ndarray, " f"]
    scatter: Float[np.ndarray, "f f"]

    def beside(self, other: Moments) -> Moments:
        """Combines the moments of two subsets that share no region.

        Reference:
            Chan, Golub and LeVeque (1983), The American Statistician 37(3):242-247.
        """
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = np.outer(apart, apart * (self.count * other.count / count))
        return Moments(count, mean, self.scatter + other.scatter + between)

    def inverse(
        self, weight: Float[np.ndarray, " f"] | None
    ) -> Float[np.ndarray, " f"]:
        """Computes weight / deviation; see `subsets.standardised`."""
        deviation = np.sqrt(np.diag(self.scatter) / self.count)
        return subsets.inverse_deviation(self.mean, deviation, weight)


class Sums:
    """Moments of several subsets."""

    def __init__(
        self, table: subsets.FeatureRows, masks: Bool[np.ndarray, "j r"]
    ) -> None:
        """Reads every region, only once if the subsets have few pieces.

        Args:
            table: Features of every region.
            masks: Regions of each subset.
        """
        self._table, self._masks = table, masks
        self._rows = np.flatnonzero(masks.any(axis=0))
        packed = np.packbits(masks[:, self._rows], axis=0)
        _, first, piece = np.unique(
            packed, axis=1, return_index=True, return_inverse=True
        )
        self._holds = masks[:, self._rows[first]]
        self._pieces: list[Moments] = []
        room = subsets.CHUNK_BYTES // (8 * max(table.num_features, 1) ** 2)
        if len(first) <= min(len(masks), room):
            self._pieces = [
                _moments(table, self._rows[piece.ravel() == number])
                for number in range(len(first))
            ]

    def of(self, subset: int) -> Moments:
        """Returns the moments of a subset."""
        if not self._pieces:
            return _moments(self._table, np.flatnonzero(self._masks[subset]))
        pieces = itertools.compress(self._pieces, self._holds[subset])
        return functools.reduce(Moments.beside, pieces)

    def products(self, values: Float[np.ndarray, "r j"]) -> Float[np.ndarray, "f j"]:
        """Sums each feature times some values over all regions; values sum to 0."""
        total = np.zeros((self._table.num_features, values.shape[1]))
        shift = 0.0
        for part, x in self._table.slices(self._rows):
            # About any place, since the values sum to 0: digits stay.
            shift = shift if part.start else x.mean(axis=0)
            total += (x - shift).T @ values[self._rows[part]]
        return total


def _moments(table: subsets.FeatureRows, index: Int[np.ndarray, " n"]) -> Moments:
    """Of some regions, a slice after another."""
    return functools.reduce(
        Moments.beside, (_of_slice(x) for _, x in table.slices(index))
    )


def _of_slice(x: Float[np.ndarray, "n f"]) -> Moments:
    mean = x.mean(axis=0)
    centred = x - mean
    return Moments(len(x), mean, centred.T @ centred)
