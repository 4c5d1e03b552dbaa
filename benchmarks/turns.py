"""Several ways to do one thing, each in a process of its own, timed in turns."""

from __future__ import annotations

import dataclasses
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Way:
    """What is timed.

    Attributes:
        call: Does the thing once, and returns when it is done.
        facts: Further facts to report about it.
    """

    call: Callable[[], None]
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Found:
    """What was measured.

    Attributes:
        seconds: Of one call, the median over the rounds.
        facts: Those of the way.
        rounds: Seconds of a call in each round.
    """

    seconds: float
    facts: dict[str, Any]
    rounds: tuple[float, ...] = ()


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """The median of a measurement under its name, and the quartiles beside it.

    Args:
        name: Of the column; those of the quartiles end in `_low` and `_high`.
        values: One a round.
    """
    low, high = _quartiles(values)
    median = statistics.median(values)
    return {name: median, f"{name}_low": low, f"{name}_high": high}


def ratios(
    name: str, values: Sequence[float], others: Sequence[float]
) -> dict[str, float]:
    """The median of the rounds' ratios under its name, and the quartiles beside it.

    Changes of the machine's load affect both ways in the same round. Quartiles far
    apart show that the load changed within rounds, and `table.doubts` says so.

    Args:
        name: Of the column; those of the quartiles end in `_low` and `_high`.
        values: One a round.
        others: What they are divided by, of the same rounds.
    """
    return spread(name, [a / b for a, b in zip(values, others, strict=True)])


def alone(function: Callable[..., Result], *arguments: Any) -> Result:
    """What a function gives in a process of its own, which ends with it.

    Raises:
        Exception: What the function raised; BrokenProcessPool if the process was ended.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def first_line(error: Exception) -> str:
    """What an error says, short enough for a cell of a table."""
    return (str(error).strip().splitlines() or [repr(error)])[0][:80]


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def measure(
    ways: Mapping[str, Callable[[], Way]],
    *,
    rounds: int,
    calls: int = 1,
    together: bool = True,
) -> dict[str, Found]:
    """Seconds of each way, after one call that does not count.

    Changes of the machine's load affect all ways alike: in each round every way has its
    turn, while the others wait.

    Args:
        ways: Name -> function that prepares a way, in its own process; picklable.
        rounds: Turns of each.
        calls: Calls of a turn.
        together: Else one way after the other, for a GPU that holds one of them alone.
    """
    if not together:
        parts = [
            measure({name: prepare}, rounds=rounds, calls=calls)
            for name, prepare in ways.items()
        ]
        return {name: found for part in parts for name, found in part.items()}
    context = multiprocessing.get_context("spawn")
    ends, processes = {}, []
    for name, prepare in ways.items():
        ends[name], other = context.Pipe()
        processes.append(context.Process(target=_serve, args=(prepare, other)))
        processes[-1].start()
        other.close()  # so that a process that dies is noticed
        facts = ends[name].recv()
        ends[name] = (ends[name], facts)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (end, _) in ends.items():
            end.send(calls)
            seconds[name].append(end.recv() / calls)
    for end, _ in ends.values():
        end.send(0)
    for process in processes:
        process.join()
    for name, turn in seconds.items():
        say(name, statistics.median(turn))
    return {
        name: Found(statistics.median(turn), ends[name][1], tuple(turn))
        for name, turn in seconds.items()
    }


def say(name: str, seconds: float) -> None:
    """Tells on standard error what is known, in case the rest is stopped.

    Args:
        name: Of the way.
        seconds: Of one call, the median.
    """
    print(f"{name}: {seconds:.4g} s", file=sys.stderr, flush=True)


def _serve(prepare: Callable[[], Way], end: Connection) -> None:
    """Prepares, then calls as often as it is told to, until that is 0."""
    way = prepare()
    way.call()
    end.send(way.facts)
    while calls := end.recv():
        start = time.perf_counter()
        for _ in range(calls):
            way.call()
        end.send(time.perf_counter() - start)
