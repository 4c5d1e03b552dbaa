"""Finds the processes of a run from the settings or from the launcher."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mmgr_jax.devices import private, roll_call
from mmgr_jax.devices.settings import DistributedSettings
from mmgr_jax.errors import InputError


def options(
    settings: DistributedSettings, environment: Mapping[str, str]
) -> dict[str, Any] | None:
    """Returns arguments of `jax.distributed.initialize`; None if this process is alone.

    Args:
        settings: The section `distributed`.
        environment: The environment variables.

    Returns:
        The arguments. An empty dictionary means that the launcher must give them, see
        `told_by_launcher`.

    Raises:
        InputError: If settings contradict each other.
    """
    given = {
        "coordinator": settings.coordinator,
        "num_processes": settings.num_processes,
        "process_id": settings.process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 3:
        asked = settings.mode == "on"
        detected = settings.mode == "auto" and _tells_of_several(environment)
        return {} if asked or detected else None
    if settings.mode == "off":
        raise InputError(
            "config.distributed.mode='off', but config.distributed names other "
            f"processes ({_settings(given)}). Remove one of the two."
        )
    if missing:
        raise InputError(
            f"config.distributed is incomplete: {_settings(given)}, but not "
            f"{', '.join(missing)}. Give coordinator (HOST:PORT of process 0), "
            "num_processes and process_id, or none of them."
        )
    _check(**given)
    return {"coordinator_address": given.pop("coordinator"), **given}


def told_by_launcher(timeout_s: float | int) -> dict[str, Any]:
    """Returns arguments of `jax.distributed.initialize` that the launcher gives.

    Args:
        timeout_s: Time limit in seconds for asking the launcher.

    Raises:
        InputError: If no launcher gives them.
    """
    address, number, process, devices = private.detect_launcher(timeout_s)
    if None in (address, number, process):
        raise InputError(
            "config.distributed: there should be several processes, but no launcher "
            "that JAX knows tells which (Cloud TPU, SLURM, Open MPI, Kubernetes). Give "
            "config.distributed.coordinator, num_processes and process_id, or train "
            "alone by --config.distributed.mode=off."
        )
    return {
        "coordinator_address": address,
        "num_processes": number,
        "process_id": process,
        "local_device_ids": devices,
    }


def _tells_of_several(environment: Mapping[str, str]) -> bool:
    """Whether a launcher has started several processes that should join."""
    # JAX sets it on import where it finds TPUs and their library.
    if environment.get("TPU_ML_PLATFORM") == "JAX":
        return environment.get("TPU_PROCESS_ADDRESSES") != "local"
    # These count the tasks of this step. A batch script has none before it calls srun.
    counts = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    return any(_count(name, environment.get(name, "1")) > 1 for name in counts)


def _count(name: str, text: str) -> int:
    if not text.strip().isdecimal():
        raise InputError(
            f"the environment variable {name}={text!r} is no number of processes. "
            "Unset it, or train alone by --config.distributed.mode=off."
        )
    return int(text)


def _check(coordinator: str, num_processes: int, process_id: int) -> None:
    if not re.fullmatch(r".+:\d+", coordinator):
        raise InputError(
            f"config.distributed.coordinator={coordinator!r} is not HOST:PORT, such as "
            "10.0.0.1:8476."
        )
    if not 0 < roll_call.split_address(coordinator)[1] < 2**16:
        raise InputError(
            f"config.distributed.coordinator={coordinator!r}: ports are numbered 1 to "
            "65535."
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
