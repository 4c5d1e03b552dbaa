"""Mean and deviation of red, green and blue over all tiles of a city."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float32, UInt8

_WHITE = 255

Bands = tuple[float, float, float]
"""One number for each of red, green and blue."""


@dataclasses.dataclass(frozen=True)
class PixelStatistics:
    """Mean and deviation of all pixels of all tiles of a records folder.

    Attributes:
        mean: Mean of each band; black is 0 and white 1.
        deviation: Standard deviation of each band, on the same scale.
    """

    mean: Bands
    deviation: Bands

    @classmethod
    def of(cls, tiles: UInt8[np.ndarray, "n h w 3"]) -> PixelStatistics:
        """Statistics of tiles [n h w 3], n >= 1. Pass all tiles of a city."""
        return PixelSums.over(map(PixelSums.of, tiles)).statistics()

    @property
    def palette(self) -> Float32[np.ndarray, "2 3"]:
        """Mean (row 0) and deviation (row 1) as one array for the devices."""
        return np.array([self.mean, self.deviation], np.float32)


@dataclasses.dataclass(frozen=True)
class PixelSums:
    """Sums as whole numbers, so that the order and division of tiles do not matter.

    Attributes:
        count: Number of pixels.
        sums: Sum of the values (0 to 255) of each band.
        squares: Sum of the squared values of each band.
    """

    count: int
    sums: Sequence[int]
    squares: Sequence[int]

    @classmethod
    def of(cls, tile: UInt8[np.ndarray, "h w 3"]) -> PixelSums:
        """Sums of one tile.

        Columns are summed first, in 32 bits, which is much faster than 64 bits. A
        column of up to 65,536 rows cannot overflow.
        """
        height, width, _ = tile.shape
        assert height <= 2**16, height
        rows = tile.reshape(height, -1)
        sums, squares = (
            part.sum(axis=0, dtype=np.uint32).reshape(width, -1).sum(axis=0).tolist()
            for part in (rows, np.square(rows, dtype=np.uint32))
        )
        return cls(height * width, tuple(sums), tuple(squares))

    @classmethod
    def over(cls, parts: Iterable[PixelSums]) -> PixelSums:
        """Adds the sums of all parts."""
        count, sums, squares = 0, [0] * 3, [0] * 3
        for part in parts:
            count += part.count
            sums = [a + b for a, b in zip(sums, part.sums, strict=True)]
            squares = [a + b for a, b in zip(squares, part.squares, strict=True)]
        return cls(count, tuple(sums), tuple(squares))

    def statistics(self) -> PixelStatistics:
        """Mean and deviation, each rounded at most twice, since sums are integers."""
        scale = self.count * _WHITE
        red, green, blue = (
            (total / scale, math.sqrt((self.count * square - total**2) / scale**2))
            for total, square in zip(self.sums, self.squares, strict=True)
        )
        mean, deviation = zip(red, green, blue, strict=True)
        return PixelStatistics(mean, deviation)
