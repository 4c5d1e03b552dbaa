"""Defines the sections `mesh`, `sharding` and `distributed` of a config."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Annotated, Literal

from mmgr_jax.settings import Section

if TYPE_CHECKING:
    import annotated_types as at


FOR_FEATURES = min(os.cpu_count() or 1, 2)
"""Number of CPU devices if the config sets none and the command does not train."""


@dataclasses.dataclass(frozen=True)
class MeshSettings(Section):
    """How the devices that train together are arranged; see docs/large_batches.md.

    Attributes:
        data: Number of groups of devices; -1: as many as the devices allow.
        fsdp: Number of devices in a group. The devices of a group hold one copy of the
            state (parameters and optimiser), divided among them. Every device takes its
            own rows of a batch.
    """

    data: int = -1
    fsdp: int = 1


@dataclasses.dataclass(frozen=True)
class ShardingSettings(Section):
    """Which arrays of the state are divided among the devices of a group.

    Attributes:
        rules: Pairs (regular expression, "fsdp" or "whole"). The first expression that
            matches a part of an array's path, such as
            "opt_state/0/mu/image_encoder/...", decides. "fsdp" divides the array along
            its longest dimension that is a multiple of `mesh.fsdp` (the last one, if
            several are equally long). If there is no such dimension, or no rule
            matches, every device holds the whole array.
        min_size: Arrays with fewer numbers are not divided, because the exchange would
            cost more than it saves.
    """

    rules: tuple[tuple[str, Literal["fsdp", "whole"]], ...] = (
        ("^(params|opt_state)/", "fsdp"),
    )
    min_size: Annotated[int, at.Ge(0)] = 65_536


@dataclasses.dataclass(frozen=True)
class DistributedSettings(Section):
    """How several processes join to train one model; see docs/cloud.md.

    Attributes:
        mode: "auto": join other processes if the settings or the environment (Cloud
            TPU, SLURM, Open MPI) say that there are several. "on": join those that
            `jax.distributed.initialize` finds. "off": do not join.
        coordinator: HOST:PORT of process 0, which all processes can reach; the port
            must be free. This and the next two are needed if the environment does not
            say them.
        num_processes: Number of processes.
        process_id: Number of this process, from 0.
        join_timeout_s: Seconds to wait for the others at the start.
        heartbeat_timeout_s: If a process is silent for this many seconds, it counts as
            dead, and the others stop.
    """

    mode: Literal["auto", "on", "off"] = "auto"
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    join_timeout_s: Annotated[float, at.Gt(0)] = 120.0
    heartbeat_timeout_s: Annotated[int, at.Ge(1)] = 100
