"""Log lines with count, rate and remaining time for work that takes long."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from mmgr_jax.terminal import duration

_INTERVAL_S = 2.0
_Item = TypeVar("_Item")


class Meter:
    """Counts items and logs at most every two seconds how far it is."""

    def __init__(self, what: str, total: int) -> None:
        """Starts the clock.

        Args:
            what: Name of the items in the log line, such as "tiles read".
            total: Number of items expected.
        """
        self._what, self._total = what, total
        self._start = self._last = time.monotonic()
        self._count = 0

    def add(self, count: int = 1) -> None:
        """Counts items that are done."""
        self._count += count
        now = time.monotonic()
        if now - self._last >= _INTERVAL_S and self._count < self._total:
            self._last = now
            elapsed_s = now - self._start
            logging.info("  %s", line(self._what, self._count, self._total, elapsed_s))

    def through(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Passes items on, each counted when the next one is asked for."""
        for item in items:
            yield item
            self.add()


def track(items: Iterable[_Item], what: str, total: int) -> Iterator[_Item]:
    """Passes items on and logs at most every two seconds how far it is.

    Args:
        items: What to iterate over.
        what: Name of the items in the log line, such as "tiles read".
        total: Number of items expected.
    """
    return Meter(what, total).through(items)


def line(what: str, count: int, total: int, elapsed_s: float) -> str:
    """One progress line: count, share, rate and remaining time."""
    rate = count / max(elapsed_s, 1e-9)
    remaining_s = (total - count) / rate if rate else 0.0
    return (
        f"{what}: {count:,} of {total:,} ({count / max(total, 1):.0%}), "
        f"{rate:,.0f}/s, {duration(remaining_s)} left"
    )
