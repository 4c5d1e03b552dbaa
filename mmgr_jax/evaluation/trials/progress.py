"""Progress of a long evaluation, with an estimate of the remaining time."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from mmgr_jax.terminal import duration

EVERY_S = 5.0
"""Seconds between two lines."""

log = logging.getLogger(__name__)


class WorkProgress:
    """Counts pieces of work and logs from time to time how long the rest may take."""

    def __init__(self, what: str, sizes: Sequence[float]) -> None:
        """Starts the clock.

        Args:
            what: Name of the work, for the log.
            sizes: Approximate relative duration of each piece, in order.
        """
        self._what, self._sizes = what, sizes
        self._total, self._done = len(sizes), 0
        self._start = self._told = time.perf_counter()

    def step(self, name: str) -> None:
        """Counts one piece as done; `name` appears in the log if a line is due."""
        self._done += 1
        now = time.perf_counter()
        if self._done == self._total:
            log.info(
                "%s: all %d, %s", self._what, self._total, duration(now - self._start)
            )
        elif now - self._told >= EVERY_S:
            self._told = now
            spent = now - self._start
            done = sum(self._sizes[: self._done])
            left = spent / done * (sum(self._sizes) - done)
            log.info(
                "%s: %d of %d (%s), %s, about %s left",
                self._what,
                self._done,
                self._total,
                name,
                duration(spent),
                duration(left),
            )
