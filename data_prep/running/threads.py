"""Work that threads do a few items ahead, with the results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from mmgr_jax import cores

_AHEAD = 4  # items a thread, so that a slow one stops no other
_Result = TypeVar("_Result")


def in_order(
    work: Callable[..., _Result], arguments: Iterable[tuple[Any, ...]]
) -> Iterator[_Result]:
    """Yields `work(*item)` for each item, in their order.

    Args:
        work: Called in threads; it gains from them where it releases the interpreter's
            lock, as the codecs of images do.
        arguments: Drawn one by one by the calling thread, a few items ahead.
    """
    workers = cores.count()
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in arguments:
            pending.append(pool.submit(work, *item))
            if len(pending) > _AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
