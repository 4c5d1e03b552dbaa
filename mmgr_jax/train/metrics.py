"""Writes the metrics of a run to the log, to metrics.jsonl and to TensorBoard."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mmgr_jax.disk import files, refusals
from mmgr_jax.terminal import duration
from mmgr_jax.train import board

METRICS_FILE = "metrics.jsonl"
BOARD = "tensorboard"
VALIDATION = "validation/"
"""Prefix of the names of scores of the features, see `loop.Evaluate`."""

log = logging.getLogger(__name__)


class Clock:
    """Measures the time of training over all restarts, and the wait for data.

    Attributes:
        seconds: Wall time spent in the loop, in seconds.
        wait_seconds: The part of it that was spent waiting for a batch.
    """

    def __init__(self, seconds: float = 0.0, wait_seconds: float = 0.0) -> None:
        """Continues from the times of an earlier start."""
        self.seconds = seconds
        self.wait_seconds = wait_seconds
        self._last = time.perf_counter()

    def state(self) -> dict[str, float]:
        """Returns the times for a checkpoint."""
        self.tick()
        return {"seconds": self.seconds, "wait_seconds": self.wait_seconds}

    def tick(self) -> None:
        """Adds the time since the last tick."""
        now = time.perf_counter()
        self.seconds += now - self._last
        self._last = now

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock while the context lasts."""
        self.tick()
        yield
        self._last = time.perf_counter()

    def add_wait(self, seconds: float) -> None:
        """Adds time spent waiting for a batch."""
        self.wait_seconds += seconds


class TrainingProgress:
    """Measures rates and the time left, between two log lines."""

    def __init__(
        self, clock: Clock, step: int, *, total_steps: int, batch_size: int
    ) -> None:
        """Starts measuring at `step`."""
        self._clock = clock
        self._total_steps = total_steps
        self._batch_size = batch_size
        self._mark = (step, clock.seconds, clock.wait_seconds)

    def measure(self, step: int) -> dict[str, float]:
        """Measures rates since the last call.

        Returns:
            `regions_per_s`, `data_wait_share` in [0, 1] and `eta_s`.
        """
        self._clock.tick()
        last_step, last_seconds, last_wait = self._mark
        seconds = max(self._clock.seconds - last_seconds, 1e-9)
        steps = max(step - last_step, 1)
        wait = self._clock.wait_seconds - last_wait
        self._mark = (step, self._clock.seconds, self._clock.wait_seconds)
        return {
            "regions_per_s": steps * self._batch_size / seconds,
            "data_wait_share": wait / seconds,
            "eta_s": (self._total_steps - step) * seconds / steps,
        }


class MetricsWriter:
    """Writes each row of numbers to `metrics.jsonl` and TensorBoard."""

    def __init__(
        self,
        workdir: Path,
        *,
        start_step: int,
        save_every: int = 1,
        digest: str = "",
        mute: bool = False,
    ) -> None:
        """Opens the files of a run.

        Args:
            workdir: Folder of the run.
            start_step: Step at which the run starts or continues. Later rows, which a
                killed run left, are dropped, because those steps are repeated.
            save_every: Number of steps between checkpoints. If the file has more later
                steps than a killed run can leave, or lines of another program, a copy
                is kept under another name.
            digest: Value of `digest` at `start_step`; "" if unknown. If the rows do not
                fit it, they were edited or damaged, or are of another run: a copy is
                kept under another name, and a new file begins.
            mute: Whether to write nothing, because another process writes.

        Raises:
            InputError: If the file cannot be read.
        """
        self._mute = mute
        if mute:
            return
        path = workdir / METRICS_FILE
        rows, foreign = _rows(path)
        kept = [row for row in rows if row["step"] <= start_step]
        lost = max((row["step"] for row in rows), default=0) - start_step
        if foreign:
            _keep(path, f"{foreign} lines of another program")
        elif lost > 2 * save_every:
            why = f"rows up to step {start_step + lost}, but this run begins at"
            _keep(path, f"{why} step {start_step}")
        self._digest = hashlib.sha256()
        text = "".join(map(_line, kept))
        self._digest.update(text.encode())
        if digest and digest != self.digest():
            _keep(path, f"other rows than it had at step {start_step}")
            self._digest, text = hashlib.sha256(), ""
        files.write_text(path, text)
        self._file = path.open("a", encoding="utf-8")
        self._path = path
        self._board = board.Board(workdir / BOARD, first_step=start_step + 1)

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._mute:
            self._board.close()
            with contextlib.suppress(OSError):  # a row that the disk did not take
                self._file.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one row.

        Raises:
            InputError: If it cannot be written to the disk.
        """
        if self._mute:
            return
        line = _line({"step": step, **values})
        with refusals.explained(self._path):
            self._file.write(line)
            self._file.flush()
        self._digest.update(line.encode())
        self._board.write(step, values)

    def digest(self) -> str:
        """Returns the SHA-256 of all rows of the file, for checkpoints."""
        return "" if self._mute else self._digest.hexdigest()


def log_line(step: int, total_steps: int, values: Mapping[str, float]) -> str:
    """Makes a line of the log: progress, losses and, if known, rate and time left."""
    line = (
        f"step {step:>{len(str(total_steps))}}/{total_steps} "
        f"({100 * step / total_steps:3.0f} %)  loss {values['loss']:.4f} "
        f"(image-POI {values['loss_inter']:.4f}, "
        f"image-image {values['loss_intra']:.4f})"
    )
    rates = [f"data wait {100 * values['data_wait_share']:.1f} %"]
    if "eta_s" in values:
        rates.insert(0, f"{values['regions_per_s']:.0f} regions/s")
        rates.append(f"{duration(values['eta_s'])} left")
    scores = [
        f"{name.removeprefix(VALIDATION).replace('_', ' ')} {value:.3f}"
        for name, value in values.items()
        if name.startswith(VALIDATION)
    ]
    looked = f"  validation: {', '.join(scores)}" if scores else ""
    return f"{line}  {', '.join(rates)}{looked}"


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _rows(path: Path) -> tuple[list[dict], int]:
    """Reads the rows of a file, and counts the lines that are no rows.

    If a killed run left the last line incomplete, that line does not count.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise refusals.unreadable(path, error) from error
    rows, foreign = [], 0
    for line in lines:
        try:
            row = files.from_json(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and type(row.get("step")) is int:
            rows.append(row)
        elif line.endswith(b"\n") and line.strip():
            foreign += 1
    return rows, foreign


def _keep(path: Path, why: str) -> None:
    """Copies a file to an unused name, and warns."""
    if not path.exists():
        log.warning("%s: is missing, with all that this run has logged so far", path)
        return
    names = (path.with_stem(f"{path.stem}.before-{k}") for k in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    shutil.copyfile(path, aside)
    log.warning("%s: has %s; a copy is kept in %s", path, why, aside.name)
