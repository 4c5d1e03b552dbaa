"""Log lines with count, rate and remaining time for work that takes long."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

_INTERVAL_S = 2.0
_Item = TypeVar("_Item")


def track(items: Iterable[_Item], what: str, total: int) -> Iterator[_Item]:
    """Passes items on and logs at most every two seconds how far it is.

    Args:
        items: What to iterate over.
        what: Name of the items in the log line, such as "tiles read".
        total: Number of items expected.

    Yields:
        The items.
    """
    start = last = time.monotonic()
    count = 0
    for item in items:
        yield item
        count += 1
        now = time.monotonic()
        if now - last >= _INTERVAL_S and count < total:
            last = now
            logging.info("  %s", line(what, count, total, now - start))


def line(what: str, count: int, total: int, elapsed_s: float) -> str:
    """One progress line: count, share, rate and remaining time."""
    rate = count / max(elapsed_s, 1e-9)
    remaining_s = (total - count) / rate if rate else 0.0
    return (
        f"{what}: {count:,} of {total:,} ({count / max(total, 1):.0%}), "
        f"{rate:,.0f}/s, {duration(remaining_s)} left"
    )


def duration(seconds: float) -> str:
    """Seconds in words, such as "1 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
