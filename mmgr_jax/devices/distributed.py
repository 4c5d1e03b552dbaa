"""Joins several processes that train one model, and ends them together.

On one machine without a cluster, none of this happens. Only process 0 writes files and
messages. The other processes wait while it works alone (records, evaluation, maps).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax

from mmgr_jax import endings
from mmgr_jax.devices import joining, memory, private, roll_call
from mmgr_jax.devices.settings import DistributedSettings
from mmgr_jax.errors import InputError

_NUMBERS = itertools.count()
_LEAVING_MS = 3000
_WEEK_MS = 7 * 24 * 3600 * 1000
_DEVICE_COUNT = "xla_force_host_platform_device_count"

log = logging.getLogger(__name__)


def use_cpu_devices(count: int) -> None:
    """Divides the CPU into devices, which share a batch as other devices do.

    XLA runs the operations of one CPU device one after another, and divides each over
    the cores. Small operations are too small for that; several devices run in
    parallel. Call this before JAX is asked for its devices. If XLA_FLAGS or
    JAX_NUM_CPU_DEVICES sets the number of devices, `count` has no effect.

    Args:
        count: Number of devices.

    Raises:
        InputError: If the count is not above 0.
    """
    if count < 1:
        raise InputError(
            f"config.cpu_devices={count}: give a whole number above 0, at most one "
            "device for each core."
        )
    is_set = _DEVICE_COUNT in os.environ.get("XLA_FLAGS", "")
    if count > 1 and not is_set and "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", count)


@contextlib.contextmanager
def session(settings: DistributedSettings) -> Iterator[None]:
    """Joins this process to the others, if there are any, while the context lasts.

    Enter it before anything else asks JAX for its devices. An error ends this process
    at once: another process may have died and caused it, and would then not answer an
    orderly end. The other processes end too: at once if a collective operation notices,
    at the latest after the heartbeat timeout.

    Args:
        settings: The section `distributed`.

    Raises:
        InputError: If settings contradict each other, or joining fails.
    """
    given = joining.options(settings, os.environ)
    if given is None:
        yield
        return
    timeout_s = settings.join_timeout_s
    try:
        given = given or joining.told_by_launcher(timeout_s)
        roll_call.call(
            given["coordinator_address"],
            given["num_processes"],
            given["process_id"],
            timeout_s=timeout_s,
        )
        jax.distributed.initialize(
            **given,
            initialization_timeout=math.ceil(timeout_s),
            heartbeat_timeout_seconds=settings.heartbeat_timeout_s,
        )
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise InputError(
            f"config.distributed: this process cannot join the others ({error}). "
            "Start all of them, with the coordinator's port free and reachable, or "
            "train alone by --config.distributed.mode=off."
        ) from error
    if not is_first():
        root = logging.getLogger()
        root.setLevel(max(root.level, logging.WARNING))
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:
        _leave_at_once(error)
    barrier("end")


def is_first() -> bool:
    """Returns whether this process is the one that writes files and messages."""
    # jax.process_index() would start the devices, before other work may fork.
    return private.joined.process_id == 0


def place() -> tuple[int, int]:
    """Returns the number of this process, from 0, and the number of processes."""
    return private.joined.process_id, private.joined.num_processes or 1


def by_first(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function that only process 0 runs; others return None at once."""

    @functools.wraps(function)
    def alone(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if is_first() else None

    return alone


def barrier(name: str) -> None:
    """Waits until every process has called it; this may take hours.

    Args:
        name: Name of the barrier, different for every barrier of a program.
    """
    # JAX's public barrier is a collective: it holds the devices and times out. The
    # service that joined the processes has one that does neither.
    client = private.joined.client
    if client is not None:
        client.wait_at_barrier(name, timeout_in_ms=_WEEK_MS)


def judged(text: str, judge: Callable[[list[str]], str]) -> str:
    """Lets process 0 judge one text from each process, and gives all its verdict.

    All processes must call it at the same point of the program.

    Args:
        text: The text of this process.
        judge: Function from the texts, in the order of the processes, to the verdict.

    Returns:
        The verdict, the same in every process.
    """
    client = private.joined.client
    if client is None:
        return judge([text])
    place = f"judged {next(_NUMBERS)}"
    mine = private.joined.process_id
    client.key_value_set(f"{place}/{mine}", f"={text}")
    if is_first():
        texts = [
            client.blocking_key_value_get(f"{place}/{process}", _WEEK_MS)[1:]
            for process in range(private.joined.num_processes)
        ]
        client.key_value_set(f"{place}/verdict", f"={judge(texts)}")
    return client.blocking_key_value_get(f"{place}/verdict", _WEEK_MS)[1:]


def together(jitted: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a jitted function start only when every process has compiled it.

    On CPUs, a collective operation waits for the others for half a minute at most, and
    compiling may take one process longer.

    Args:
        jitted: The function. Its arguments must have the same shapes in every call. A
            process that is alone may use other shapes; they are compiled again.

    Returns:
        The function. When called, it raises InputError if the memory of a CPU is too
        small for the program.
    """
    alone, compiled = jax.process_count() == 1, None
    if alone and jax.default_backend() != "cpu":  # these tell of their memory
        return jitted

    def call(*args: Any) -> Any:
        nonlocal compiled
        if compiled is None:
            compiled = jitted.lower(*args).compile()
            memory.refuse_program(compiled)
            barrier(f"compiled {next(_NUMBERS)}")
        try:
            return compiled(*args)
        except (TypeError, ValueError):  # other shapes or layouts than at first
            if not alone:
                raise
            return jitted(*args)

    return call


def check_shared(folder: Path, key: str, within_s: float | int = 10.0) -> None:
    """Checks that a path is the same folder for every process.

    All processes must call it at the same time.

    Args:
        folder: The folder, which exists at least for process 0.
        key: The config key that names it.
        within_s: How long a network disk may take to show a file of another host.

    Raises:
        InputError: In every process, if one does not see the files of process 0.
    """
    if private.joined.client is None:
        return

    def leave_mark(_: list[str]) -> str:
        name = f".seen-by-all-{secrets.token_hex(8)}"
        with contextlib.suppress(OSError):  # no process sees the file then
            (folder / name).touch(exist_ok=False)
        return name

    def judge(answers: list[str]) -> str:
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)
        blind = [
            str(process) for process, answer in enumerate(answers) if answer != "seen"
        ]
        if not blind:
            return ""
        return (
            f"{key} {folder}: files that process 0 writes there are not seen by "
            f"process {', '.join(blind[:8])}{' and more' if blind[8:] else ''}. All "
            "processes need one folder that they share, such as one on a network "
            "disk, under the same path."
        )

    mark = folder / judged("", leave_mark)
    if verdict := judged("seen" if _appears(mark, within_s) else "not seen", judge):
        raise InputError(verdict)


def _appears(path: Path, within_s: float | int) -> bool:
    """Returns whether a file that another host wrote appears in time."""
    end = time.monotonic() + within_s
    while True:
        with contextlib.suppress(OSError):
            if path.name in os.listdir(path.parent):
                return True
        if time.monotonic() > end:
            return False
        time.sleep(0.1)


def let_sigterm_end() -> None:
    """Makes SIGTERM end this process again; JAX only treats it as a notice."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave_at_once(error: BaseException) -> NoReturn:
    """Prints the reason, and ends this process without waiting for the others."""
    message, status = endings.sentence(error), endings.status(error)
    if status == endings.FAULT or os.environ.get("MMGR_TRACEBACK"):
        traceback.print_exception(error)
    state = private.joined  # without starting the devices
    who = f"process {state.process_id} of {state.num_processes}"
    if status == endings.INTERRUPTED:
        message = "interrupted; the same command goes on from the newest checkpoint."
    elif message is None and isinstance(error, jax.errors.JaxRuntimeError):
        message = (
            "the processes can no longer work together, probably because one of them "
            "has ended. Start all of them again by the same command: training goes on "
            "from its newest checkpoint."
        )
    print(
        f"error: {who}: {message or str(error) or type(error).__name__}",
        file=sys.stderr,
    )
    sys.stdout.flush()
    sys.stderr.flush()
    if status == endings.INPUT and state.client is not None:
        # All processes may have found the same fault. Each can print it before the end
        # of the first one ends the others.
        with contextlib.suppress(Exception):
            state.client.wait_at_barrier("leaving", timeout_in_ms=_LEAVING_MS)
    os._exit(status)
