"""Which cores of the machine this process may use, and how."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController

log = logging.getLogger(__name__)


def count() -> int:
    """Number of cores for this process, limited by its affinity and container quota.

    `LOKY_MAX_CPU_COUNT` lowers the number. Without these limits, a process on a shared
    node of a cluster, or in a container with `--cpus`, would start a process for each
    core of the node.
    """
    import joblib  # .2 s, for few callers

    return joblib.cpu_count()


_blas: dict[int, ThreadpoolController] = {}
"""The libraries of threads that were loaded, by the number of modules at that time."""


def one_blas_thread() -> AbstractContextManager[object]:
    """Lets each matrix product use one thread, for many small ones at the same time.

    The search for libraries with threads takes milliseconds, as long as a small head.
    It is repeated only if modules were imported since the last search.
    """
    modules = len(sys.modules)
    if modules not in _blas:
        _blas.clear()
        _blas[modules] = ThreadpoolController()
    return _blas[modules].limit(limits=1, user_api="blas")


def can_share_work() -> bool:
    """Whether several processes can work together; if not, the log says why.

    The processes need semaphores. Linux keeps these in /dev/shm, which some containers
    lack or do not let a user write to.
    """
    try:
        multiprocessing.get_context("spawn").Lock()
    except (ImportError, OSError) as error:
        log.warning(
            "one process does all the work, which takes longer: this system lets no "
            "processes work together (%s). On Linux, /dev/shm must be writable.",
            getattr(error, "strerror", None) or error,
        )
        return False
    return True
