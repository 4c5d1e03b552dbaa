"""Work for several processes of this machine, which end with the one that began it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from mmgr_jax import cores
from mmgr_jax.errors import InputError

_Shared = TypeVar("_Shared")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def as_done(
    work: Callable[[_Shared, _Item], _Result],
    shared: _Shared,
    items: Sequence[_Item],
    count: int,
) -> Iterator[tuple[int, _Result]]:
    """Yields the place of each item and `work(shared, item)`, whichever is done first.

    Work that has not begun when the caller stops, or when a call fails, is not done.
    Where the system does not allow several processes, this process does the work.

    Args:
        work: A function of a module, so that other processes find it.
        shared: Travels to each process once.
        items: What is worked on.
        count: Number of processes.

    Raises:
        InputError: If a process dies.
    """
    if not cores.can_share_work():
        yield from ((i, work(shared, item)) for i, item in enumerate(items))
        return
    # Fresh processes: GDAL's and JAX's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, _start, (shared,)) as pool:
        futures = {pool.submit(_call, work, item): i for i, item in enumerate(items)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"one of {count} worker processes died, most likely for lack of "
                "memory. Give the command again with fewer --workers: finished shards "
                "are kept."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_shared: Any = None


def _start(shared: Any) -> None:
    """Gives a fresh process what every item needs, once."""
    global _shared
    _shared = shared
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent was killed: another build may begin then."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(work: Callable[[Any, Any], Any], item: Any) -> Any:
    return work(_shared, item)
