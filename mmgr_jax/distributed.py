"""Several processes that train as one: joining, who writes and speaks, and leaving.

On one machine without a cluster nothing of this happens. Process 0 alone writes files
and speaks; what it does alone (records, evaluation, maps) the others wait for.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax
from jax._src import distributed as jax_distributed

from mmgr_jax.errors import InputError, check_choice

MODES = ("auto", "on", "off")

_NUMBERS = itertools.count()
_WEEK_MS = 7 * 24 * 3600 * 1000
_DEVICE_COUNT = "xla_force_host_platform_device_count"

log = logging.getLogger(__name__)


def use_cpu_devices(count: int) -> None:
    """Parts the CPU into devices, which share a batch as other devices do.

    XLA runs the operations of one CPU device one after another and parts each over the
    cores, which small ones are too small for; several devices run beside each other.
    Must be called before JAX is asked for its devices. What XLA_FLAGS or
    JAX_NUM_CPU_DEVICES says of them counts instead.

    Raises:
        InputError: If the count is not above 0.
    """
    if count < 1:
        raise InputError(
            f"config.cpu_devices={count}: give a whole number above 0, at most one "
            "device for each core."
        )
    told = _DEVICE_COUNT in os.environ.get("XLA_FLAGS", "")
    if count > 1 and not told and "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", count)


@contextlib.contextmanager
def session(
    *,
    mode: str = "auto",
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    heartbeat_timeout_s: int = 100,
) -> Iterator[None]:
    """Within it this process is one of several, where there are several.

    Must be entered before anything else asks JAX for its devices. An error ends this
    process at once, for it may be another one's absence that raised it, and nothing
    then answers an orderly goodbye; the others end too: at once where a collective
    notices, at the latest after the timeout.

    Args:
        mode: "auto": joins where settings or environment (Cloud TPU, SLURM, Open MPI)
            tell of several processes. "on": joins, by what
            `jax.distributed.initialize` finds. "off": stays alone.
        coordinator: HOST:PORT of process 0, reachable from all, the port free there.
            Needed, with the next two, where no environment tells.
        num_processes: How many processes there are.
        process_id: Which one this is, from 0.
        heartbeat_timeout_s: Seconds without a sign of life after which a process is
            taken for dead, and the others end.

    Raises:
        InputError: If settings contradict each other, or joining fails.
    """
    given = join_options(
        mode,
        coordinator=coordinator,
        num_processes=num_processes,
        process_id=process_id,
        environment=os.environ,
    )
    if given is None:
        yield
        return
    try:
        jax.distributed.initialize(
            **given,
            heartbeat_timeout_seconds=heartbeat_timeout_s,
        )
    except (RuntimeError, ValueError) as error:
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


def join_options(
    mode: str,
    *,
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    environment: Mapping[str, str],
) -> dict[str, Any] | None:
    """Arguments of `jax.distributed.initialize`; None where this process is alone.

    Raises:
        InputError: If settings contradict each other.
    """
    check_choice("distributed.mode", mode, MODES)
    given = {
        "coordinator": coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 3:
        joins = mode == "on" or (mode == "auto" and _tells_of_several(environment))
        return {} if joins else None
    if mode == "off":
        raise InputError(
            "config.distributed.mode='off', but config.distributed names other "
            f"processes ({_settings(given)}). Take one of them back."
        )
    if missing:
        raise InputError(
            f"config.distributed is given by half: {_settings(given)}, but not "
            f"{', '.join(missing)}. Give coordinator (HOST:PORT of process 0), "
            "num_processes and process_id, or none of them."
        )
    _check(coordinator, num_processes, process_id)
    return {
        "coordinator_address": coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
    }


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    # jax.process_index() would start the devices, before other work may fork.
    return jax_distributed.global_state.process_id == 0


def by_first(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, done by process 0 alone; elsewhere it gives None at once."""

    @functools.wraps(function)
    def alone(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if is_first() else None

    return alone


def barrier(name: str) -> None:
    """Waits until every process is here, hours if need be.

    Args:
        name: Another one for every barrier of a program.
    """
    # JAX's public barrier is a collective: it holds the devices and times out. The
    # service that joined the processes has one that does neither.
    client = jax_distributed.global_state.client
    if client is not None:
        client.wait_at_barrier(name, timeout_in_ms=_WEEK_MS)


def together(jitted: Callable[..., Any]) -> Callable[..., Any]:
    """A jitted function, begun only when every process has compiled it.

    A collective on CPUs waits for the others half a minute at most, and compiling may
    take one process longer.

    Args:
        jitted: Called with arguments of the same shapes every time.
    """
    if jax.process_count() == 1:
        return jitted
    compiled = None

    def call(*args: Any) -> Any:
        nonlocal compiled
        if compiled is None:
            compiled = jitted.lower(*args).compile()
            barrier(f"compiled {next(_NUMBERS)}")
        return compiled(*args)

    return call


def let_sigterm_end() -> None:
    """SIGTERM ends this process again; JAX makes it a notice to be agreed upon."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _tells_of_several(environment: Mapping[str, str]) -> bool:
    """Whether a launcher has started several processes that should join."""
    # JAX sets it on import where it finds TPUs and their library.
    if environment.get("TPU_ML_PLATFORM") == "JAX":
        return environment.get("TPU_PROCESS_ADDRESSES") != "local"
    # Tasks of this step: a batch script that has yet to call srun has none.
    counts = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    return any(int(environment.get(name, 1)) > 1 for name in counts)


def _check(coordinator: str, num_processes: int, process_id: int) -> None:
    if not re.fullmatch(r".+:\d+", coordinator):
        raise InputError(
            f"config.distributed.coordinator={coordinator!r} is not HOST:PORT, such as "
            "10.0.0.1:8476."
        )
    if num_processes < 1:
        raise InputError(
            f"config.distributed.num_processes={num_processes} must be at least 1."
        )
    if not 0 <= process_id < num_processes:
        raise InputError(
            f"config.distributed.process_id={process_id}: {num_processes} processes "
            f"are numbered 0 to {num_processes - 1}."
        )


def _settings(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in given.items() if v is not None)


def _leave_at_once(error: BaseException) -> NoReturn:
    """Says why, and ends this process without waiting for others."""
    expected = isinstance(error, InputError)
    if not expected or os.environ.get("MMGR_TRACEBACK"):
        traceback.print_exception(error)
    who = f"process {jax.process_index()} of {jax.process_count()}"
    if isinstance(error, jax.errors.JaxRuntimeError):
        message = (
            "the processes can no longer work together, probably because one of them "
            "has ended. Start all of them again by the same command: training goes on "
            "from its newest checkpoint."
        )
    else:
        message = str(error) or type(error).__name__
    print(f"error: {who}: {message}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(2 if expected else 1)
