"""Jobs of a study in processes of their own, with the time that is left."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Protocol, TypeVar

from mmgr_jax.terminal import duration

log = logging.getLogger("study")


class Job(Protocol):
    """What a process is started for."""

    @property
    def folder(self) -> Path:
        """Where its result and its log lie."""
        ...

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        ...

    @property
    def seconds(self) -> float:
        """Processor seconds, about."""
        ...

    @property
    def spec(self) -> str:
        """How it is named on a command line."""
        ...


AnyJob = TypeVar("AnyJob", bound=Job)


def left(part: str, jobs: Sequence[AnyJob], num_processes: int) -> list[AnyJob]:
    """Those that are not done; says how long they take."""
    found = [job for job in jobs if not job.done]
    hours = sum(job.seconds for job in found) / num_processes / 3600
    log.info(
        "%s: %d of %d evaluations are done; the others take about %.1f hours on %d "
        "processes",
        part, len(jobs) - len(found), len(jobs), hours, num_processes,
    )  # fmt: skip
    return found


def together(module: str, jobs: Sequence[Job], num_processes: int) -> None:
    """Does all jobs by `python -m MODULE --job=SPEC`, so many at a time.

    Raises:
        RuntimeError: If one fails, with the end of its log.
    """
    started = time.monotonic()
    with ThreadPoolExecutor(num_processes) as pool:
        running = {pool.submit(_in_process, module, job): job for job in jobs}
        for count, future in enumerate(as_completed(running), 1):
            future.result()
            took = time.monotonic() - started
            rest = took / count * (len(jobs) - count)
            log.info(
                "%d of %d: %s; about %s left",
                count, len(jobs), running[future].folder, duration(rest),
            )  # fmt: skip


def write(path: Path, tables: str) -> None:
    """Prints the tables and keeps them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tables, encoding="utf-8")
    print(tables)
    log.info("tables: %s", path)


def _in_process(module: str, job: Job) -> None:
    command = [sys.executable, "-m", module, f"--job={job.spec}"]
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}
    job.folder.mkdir(parents=True, exist_ok=True)
    with (job.folder / "log.txt").open("w", encoding="utf-8") as out:
        code = subprocess.run(
            command, stdout=out, stderr=out, env=os.environ | one_thread, check=False
        ).returncode
    if code:
        tail = (job.folder / "log.txt").read_text("utf-8", "replace")[-2000:]
        raise RuntimeError(f"{job.folder}: exit status {code}:\n{tail}")
