"""Measures how long each stage of the work takes."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Logs wall and processor seconds of the code inside the block when it ends."""
    wall_s, cpu_s = time.monotonic(), time.process_time()
    yield
    wall_s, cpu_s = time.monotonic() - wall_s, time.process_time() - cpu_s
    logging.info("%-12s %7.2f s (processor %.2f s)", name, wall_s, cpu_s)
