"""Measures what a command costs, and how the cost grows with the number of regions."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.table import Row
from mmgr_jax.errors import InputError

LOOK_S = 0.2
"""Seconds between two looks at the memory."""


def measured(*arguments: str) -> tuple[Row, str]:
    """Runs `python ...` to its end and measures it.

    Returns:
        `seconds`; `processor_s`; `peak_mib`, the most memory of all its processes
        together, pages that they share once, those of mapped files too; `load`, of the
        machine before. And what was printed.

    Raises:
        InputError: If it fails.
    """
    load, start = os.getloadavg()[0], time.perf_counter()
    root = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )
    peak = [0.0]
    watch = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
    watch.start()
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise InputError(
            f"`python {' '.join(arguments)}` failed with status {process.returncode}, "
            "see above. Is there room in the folder of temporary files?"
        )
    watch.join()
    row = {
        "seconds": seconds,
        "processor_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": peak[0],
        "load": load,
    }
    return row, printed


def exponent(costs: tuple[float, float], regions: tuple[int, int]) -> float:
    """The power of the regions by which a cost grows: 1 if twice as many take twice."""
    return math.log(costs[1] / costs[0]) / math.log(regions[1] / regions[0])


def with_exponents(rows: Sequence[Row]) -> list[Row]:
    """Rows of growing `regions`, each with the exponent of `seconds` from the last."""
    exponents = (
        exponent(*((before[key], row[key]) for key in ("seconds", "regions")))
        for before, row in itertools.pairwise(rows)
    )
    return [
        *rows[:1],
        *(
            row | {"exponent": power}
            for row, power in zip(rows[1:], exponents, strict=True)
        ),
    ]


def _watch(process: int, peak: list[float]) -> None:
    """Keeps the largest memory of a process and its descendants, until it ends."""
    while (now_mib := _tree_mib(process)) is not None:
        peak[0] = max(peak[0], now_mib)
        time.sleep(LOOK_S)


def _tree_mib(process: int) -> float | None:
    """Memory of a process and its descendants; None where it has ended."""
    total = own_mib(process)
    if total is None:
        return None
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = task.read_text("utf-8").split()
        except OSError:
            continue
        total += sum(_tree_mib(int(child)) or 0.0 for child in children)
    return total


def own_mib(process: int) -> float | None:
    """Proportional set size: pages that n processes share count an n-th in each."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text("utf-8")
    except OSError:
        return None
    kib = next((row.split()[1] for row in text.splitlines() if row[:4] == "Pss:"), None)
    return None if kib is None else int(kib) / 1024
