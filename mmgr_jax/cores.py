"""What of its machine's cores this process may use, and how."""

from __future__ import annotations

import logging
import multiprocessing

log = logging.getLogger(__name__)


def count() -> int:
    """Cores for this process: its affinity and its container's quota bound them.

    `LOKY_MAX_CPU_COUNT` lowers the number. A process on a shared node of a cluster, or
    in a container with `--cpus`, would else start a process for each core of the node.
    """
    import joblib  # .2 s, for few callers

    return joblib.cpu_count()


def can_share_work() -> bool:
    """Whether several processes can work together; if not, the log says why.

    They take turns by semaphores. Linux keeps these in /dev/shm, which some containers
    lack or do not let a user write.
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
