"""Breaks of mapped numbers: round, and the same for one quantity on every map.

Both sets of breaks depend only on the known values of a label. So truth, prediction and
the limits of its intervals share one legend, and errors share another. Maps of other
features or of another run can be compared.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence

Number = float | int
"""JSON tells 1 from 1.0, and so does Python."""

CLASSES = 7
"""Colours of a map of values, at most."""

FAR = 0.95
"""The outer break of errors: this quantile of how far known values lie from their
median, rounded. Were the median predicted everywhere, a twentieth would lie beyond."""

ERROR_SIZES = 3
"""Breaks of errors on either side of zero, each four or five times the one before."""

REACH = 0.3
"""How far a quantile may move to become round: part of the way to the next one."""

SHARE_ERRORS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5)
"""Breaks of the L1 distance between shares, which lies between 0 and 2."""

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Breaks of a share."""

_LEAST_EXPONENT = -300


def of_values(values: Iterable[Number], *, classes: int = CLASSES) -> tuple[float, ...]:
    """Chooses breaks between classes that hold about equal numbers of values.

    The first class has no lower limit, and the last one no upper limit.

    Args:
        values: The known values of a label, in its unit.
        classes: Largest number of classes; equal values can make it smaller.

    Returns:
        Increasing round numbers, at least one; (0,) if no value is known.
    """
    known = sorted(float(value) for value in values if math.isfinite(value))
    if not known:
        return (0.0,)
    distinct = sorted(set(known))
    if len(distinct) <= classes:  # a class each
        pairs = zip(distinct[:-1], distinct[1:], strict=True)
        return tuple(roundest((a + b) / 2, b, b) for a, b in pairs) or (known[0],)
    parts = [index / classes for index in range(1, classes)]
    edges = _round_all(known, parts)
    if edges:
        return edges
    # The lowest value is that of nearly all regions.
    above = [value for value in known if value > known[0]]
    return of_values(above, classes=classes)


def of_errors(values: Iterable[Number]) -> tuple[float, ...]:
    """Chooses breaks of prediction minus truth, symmetric around zero.

    Args:
        values: The known values of a label, in its unit. Their distances from their
            median set the size of the breaks.

    Returns:
        Increasing numbers, each 1, 2 or 5 times a power of ten or the negative of such
        a number. They lie around 1 if all values are equal.
    """
    known = sorted(float(value) for value in values if math.isfinite(value))
    middle = _quantile(known, 0.5) if known else 0.0
    distances = sorted(abs(value - middle) for value in known) or [0.0]
    outer = _quantile(distances, FAR) or distances[-1] or 1.0
    exponent = math.floor(math.log10(outer))
    series = [f"{step}e{exponent + up}" for up in range(-2, 2) for step in (1, 2, 5)]
    ladder = [float(text) for text in series]
    last = min(range(len(ladder)), key=lambda at: abs(math.log(ladder[at] / outer)))
    sizes = ladder[last - 2 * (ERROR_SIZES - 1) : last + 1 : 2]
    return (*(-size for size in reversed(sizes)), *sizes)


def place(value: Number, edges: Sequence[Number]) -> int:
    """The number of the class of a value; a value at a break is in the class above."""
    return bisect.bisect_right(edges, value)


def roundest(low: Number, high: Number, near: Number) -> float:
    """Finds the number between two limits that has the fewest digits.

    Args:
        low: Lower limit.
        high: Upper limit.
        near: A number between the limits; of several numbers, the nearest to it is
            taken.

    Returns:
        A multiple of 5, 2 or 1 times a power of ten; `near` if the limits are equal.
    """
    if low <= 0 <= high:
        return 0.0
    if low == high:
        return float(near)
    exponent = math.floor(math.log10(max(abs(low), abs(high))))
    while exponent > _LEAST_EXPONENT:
        for step in (5, 2, 1):
            size = float(f"{step}e{exponent}")
            first, last = math.ceil(low / size), math.floor(high / size)
            if first <= last:
                count = min(max(round(near / size), first), last)
                return float(f"{count * step}e{exponent}")
        exponent -= 1
    return float(near)


def _round_all(ordered: Sequence[Number], parts: Sequence[Number]) -> tuple[float, ...]:
    """Some quantiles of ordered values, rounded, each number once.

    None equals the lowest value, because no value would lie below it.
    """
    quantiles = (_quantile(ordered, part) for part in parts)
    steps = sorted({ordered[0], *quantiles, ordered[-1]})
    rounded: list[float] = []
    for index, value in enumerate(steps[1:], 1):
        if value == ordered[-1]:
            break  # the last class is open above
        reach = REACH * min(value - steps[index - 1], steps[index + 1] - value)
        edge = roundest(value - reach, value + reach, value)
        if edge > ordered[0] and (not rounded or edge > rounded[-1]):
            rounded.append(edge)
    return tuple(rounded)


def _quantile(ordered: Sequence[Number], part: float) -> float:
    """A quantile of ordered values, linearly interpolated between two of them."""
    at = part * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])
