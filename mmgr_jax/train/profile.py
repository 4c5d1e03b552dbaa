"""Records a trace of some training steps, for TensorBoard or Perfetto."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from mmgr_jax.errors import InputError

log = logging.getLogger(__name__)


class Profile:
    """Records what the host and the devices do from one step to another."""

    def __init__(self, steps: str | None, folder: Path) -> None:
        """Records nothing yet.

        Args:
            steps: First and last step to record, such as "10:20"; None for no trace.
            folder: Folder in which `plugins/profile/<time>/` is made, as TensorBoard
                expects it.

        Raises:
            InputError: If `steps` names no steps.
        """
        self._first, self._last = parse(steps) if steps else (0, -1)
        self._folder = folder
        self._on = False

    def __enter__(self) -> Profile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._on:
            self._stop()

    @contextlib.contextmanager
    def step(self, step: int, result: Callable[[], Any]) -> Iterator[None]:
        """Surrounds one training step.

        Args:
            step: Number of the step.
            result: () -> an array that is ready when the devices have done the step.
        """
        if self._first <= step <= self._last and not self._on:
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._on = True
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield
        if self._on and step >= self._last:
            jax.block_until_ready(result())
            self._stop()

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._on, self._last = False, -1
        log.info(
            "trace of steps from %d on: %s; open it with `tensorboard --logdir %s`, or "
            "its perfetto_trace.json.gz at https://ui.perfetto.dev",
            self._first,
            self._folder / "plugins" / "profile",
            self._folder,
        )


def parse(steps: str) -> tuple[int, int]:
    """Reads the first and the last step from a text such as "10:20" or "10".

    Raises:
        InputError: If it is something else.
    """
    match = re.fullmatch(r"(\d+)(?::(\d+))?", steps)
    first, last = (int(k or match[1]) for k in match.groups()) if match else (0, 0)
    if not 1 <= first <= last:
        raise InputError(
            f"config.profile={steps!r}: give the first and the last step to record, "
            "such as --config.profile=10:20; steps are counted from 1."
        )
    return first, last
