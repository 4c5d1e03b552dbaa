"""Finds in few compilations how large a part of a batch may be encoded at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

CERTAIN = 1.15
"""A size whose estimate exceeds the memory by this factor is not compiled."""


class Use(NamedTuple):
    """The memory that a compiled step uses at its peak.

    Attributes:
        peak_bytes: Bytes on each device.
        fits: Whether the device has enough memory.
    """

    peak_bytes: int
    fits: bool


def part_sizes(rows: int) -> list[int]:
    """Lists the sizes of parts of a device's rows, by halving, smallest first."""
    sizes = [rows]
    while sizes[-1] % 2 == 0:
        sizes.append(sizes[-1] // 2)
    return sizes[::-1]


def largest_fitting(
    measure: Callable[[int], Use],
    sizes: Sequence[int],
    limit_bytes: int,
    known: Mapping[int, Use],
) -> int | None:
    """Finds the largest size that fits; None if none does.

    Memory grows almost linearly with the size. So a line through the measured sizes
    shows which size to measure next; usually one or two measurements are enough.

    Args:
        measure: Size -> the memory that a step of that size uses; takes minutes.
        sizes: Candidates, smallest first.
        limit_bytes: Memory of a device, in bytes.
        known: Sizes that were already measured, at least one.
    """
    known = dict(known)
    while True:
        lowest = max((s for s in sizes if s in known and known[s].fits), default=0)
        highest = min(
            (s for s in sizes if s in known and not known[s].fits),
            default=sizes[-1] + 1,
        )
        between = [size for size in sizes if lowest < size < highest]
        if not between:
            return lowest or None
        promising = [
            s for s in between if estimated_bytes(s, known) <= CERTAIN * limit_bytes
        ]
        if lowest and not promising:
            return lowest
        size = promising[-1] if promising else between[0]
        known[size] = measure(size)


def estimated_bytes(size: int, known: Mapping[int, Use]) -> float:
    """Estimates the memory of a size, on a line through the two nearest known ones.

    If only one size is known, the line goes through it and 0.
    """
    nearest = sorted(known, key=lambda other: abs(other - size))[:2]
    if len(nearest) == 1:
        return known[nearest[0]].peak_bytes * size / nearest[0]
    a, b = nearest
    slope = (known[b].peak_bytes - known[a].peak_bytes) / (b - a)
    return known[a].peak_bytes + slope * (size - a)
