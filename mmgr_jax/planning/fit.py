"""How large a part of a batch may be encoded at once, found in few compilations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

CERTAIN = 1.15
"""An estimate this far over the memory is believed without compiling."""


class Use(NamedTuple):
    """What a compiled step holds at once.

    Attributes:
        peak_bytes: On each device.
        fits: Whether there is room for it.
    """

    peak_bytes: int
    fits: bool


def part_sizes(rows: int) -> list[int]:
    """Sizes that rows of a device can be parted in, halving from all of them down."""
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
    """The largest size that fits; None if none does.

    Memory grows with the size, nearly by a straight line, so the line through what is
    known says where to look next: as a rule one or two measurements suffice.

    Args:
        measure: Size -> what a step of that size uses; takes minutes.
        sizes: Candidates, growing.
        limit_bytes: Memory of a device.
        known: Sizes that are measured already, at least one.
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
    """Memory of a size: on the line through the two nearest known, or through 0."""
    nearest = sorted(known, key=lambda other: abs(other - size))[:2]
    if len(nearest) == 1:
        return known[nearest[0]].peak_bytes * size / nearest[0]
    a, b = nearest
    slope = (known[b].peak_bytes - known[a].peak_bytes) / (b - a)
    return known[a].peak_bytes + slope * (size - a)
