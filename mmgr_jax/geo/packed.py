"""Packs vectors as whole numbers of eight bits, with scale and offset of each column.

    vectors = stored * scale + offset

They need a quarter of the bytes of float32. The loss in a search for similar regions is
measured on the vectors themselves and written into the file's header.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, Int8

from mmgr_jax.data.unit_vectors import unit_rows

NEIGHBOURS = 20
"""Of how many nearest regions the loss is measured."""

QUERIES = 256
"""Regions whose neighbours are compared, at most."""

_STEPS = 254
"""From the smallest to the largest of a column: -127 to 127, alike on both sides."""

_SEED = 0


@dataclasses.dataclass(frozen=True)
class Packing:
    """How vectors are packed: `stored * scale + offset` gives the vectors back.

    No number is clipped, and the error of each is at most half a `scale`.

    Attributes:
        scale: Of each column, positive.
        offset: Of each column: the middle between its smallest and largest number.
    """

    scale: Float32[np.ndarray, " f"]
    offset: Float32[np.ndarray, " f"]

    @classmethod
    def fitting(cls, parts: Iterable[Float[np.ndarray, "_ f"]]) -> Packing:
        """Finds the packing of finite vectors, which are given in one or more parts."""
        low = high = np.float64(np.nan)
        for part in parts:
            if len(part):
                low = np.fmin(low, part.min(axis=0).astype(np.float64))
                high = np.fmax(high, part.max(axis=0).astype(np.float64))
        # A column of equal numbers is its offset; so is one of no width in float32.
        scale = np.asarray((high - low) / _STEPS, np.float32)
        scale = np.where(scale > 0, scale, np.float32(1))
        return cls(scale, np.asarray((low + high) / 2, np.float32))

    def pack(self, vectors: Float[np.ndarray, "n f"]) -> Int8[np.ndarray, "n f"]:
        """Turns vectors into the numbers that are stored."""
        steps = (vectors.astype(np.float64) - self.offset) / self.scale
        with np.errstate(invalid="ignore"):  # the table refuses what is not finite
            return np.rint(steps).clip(-127, 127).astype(np.int8)

    def unpack(self, stored: Int8[np.ndarray, "n f"]) -> Float32[np.ndarray, "n f"]:
        """Turns stored numbers back into vectors."""
        return stored * self.scale + self.offset

    def described(self) -> dict[str, Any]:
        """`scale` and `offset` in the form that a file's header holds."""
        return {"scale": self.scale.tolist(), "offset": self.offset.tolist()}


class Recall:
    """Measures which share of a region's nearest neighbours packed vectors still find.

    Neighbours are nearest by cosine. Vectors are given in parts; only one part at a
    time is held in memory.
    """

    def __init__(
        self,
        packing: Packing,
        rows: Int[np.ndarray, " q"],
        vectors: Float[np.ndarray, "q f"],
    ) -> None:
        """Prepares the measurement.

        Args:
            packing: How vectors are packed.
            rows: Numbers of the regions whose neighbours are compared; see `measured`.
            vectors: Vectors of these regions.
        """
        self.packing, self._rows = packing, rows
        packed = packing.unpack(packing.pack(vectors))
        self._asking = (_unit32(vectors), _unit32(packed))
        nothing = np.full((len(rows), 0), -np.inf, np.float32)
        self._alike = [nothing, nothing]
        self._nearest = [nothing.astype(np.int64)] * 2

    def add(
        self,
        rows: Int[np.ndarray, " n"],
        vectors: Float[np.ndarray, "n f"],
        stored: Int8[np.ndarray, "n f"],
    ) -> None:
        """Takes the next vectors, and their stored form.

        Args:
            rows: Numbers of the regions.
            vectors: Vectors that are not packed.
            stored: The same vectors after `Packing.pack`.
        """
        given = (vectors, self.packing.unpack(stored))
        for place, (asking, part) in enumerate(zip(self._asking, given, strict=True)):
            alike = asking @ _unit32(part).T
            alike[self._rows[:, None] == rows] = -np.inf  # nobody is its own neighbour
            alike = np.concatenate([self._alike[place], alike], axis=1)
            numbers = np.broadcast_to(rows, (len(self._rows), len(rows)))
            numbers = np.concatenate([self._nearest[place], numbers], axis=1)
            best = np.argpartition(-alike, min(NEIGHBOURS, alike.shape[1]) - 1, axis=1)
            best = best[:, :NEIGHBOURS]
            self._alike[place] = np.take_along_axis(alike, best, axis=1)
            self._nearest[place] = np.take_along_axis(numbers, best, axis=1)

    def share(self) -> float | None:
        """The mean over the compared regions, 0 to 1; None if none has a neighbour."""
        kept = [
            len(set(before[np.isfinite(alike)]) & set(after)) / np.isfinite(alike).sum()
            for before, after, alike in zip(*self._nearest, self._alike[0], strict=True)
            if np.isfinite(alike).any()
        ]
        return float(np.mean(kept)) if kept else None


def measured(
    parts: Iterable[Float[np.ndarray, "_ f"]],
    read: Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, "n f"]],
) -> Recall:
    """Finds a packing for vectors, and prepares to measure it while they are written.

    Args:
        parts: All vectors, some at a time.
        read: Function that returns the vectors of given rows.
    """
    count = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        for part in parts:
            count += len(part)
            yield part

    packing = Packing.fitting(counted())
    asking = _queries(count)
    return Recall(packing, asking, read(asking))


def _queries(count: int) -> Int[np.ndarray, " q"]:
    """The rows whose neighbours are compared, ascending, each row once."""
    chosen = np.random.default_rng(_SEED).permutation(count)[:QUERIES]
    return np.sort(chosen)


def _unit32(vectors: Float[np.ndarray, "n f"]) -> Float32[np.ndarray, "n f"]:
    return unit_rows(vectors.astype(np.float32))
