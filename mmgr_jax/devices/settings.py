"""The sections `mesh`, `sharding` and `distributed` of a config."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Annotated, Literal

from mmgr_jax.settings import Section

if TYPE_CHECKING:
    import annotated_types as at


FOR_FEATURES = min(os.cpu_count() or 1, 2)
"""CPU devices where the config says nothing and nothing is trained."""


@dataclasses.dataclass(frozen=True)
class MeshSettings(Section):
    """Devices that train together.

    Attributes:
        data: Number of groups of devices, -1 for as many as there are.
        fsdp: Number of neighbouring devices in a group. A group holds the state once,
            divided among them. Every device takes its own rows of a batch.
    """

    data: int = -1
    fsdp: int = 1


@dataclasses.dataclass(frozen=True)
class ShardingSettings(Section):
    """Where each array of the state lies.

    Attributes:
        rules: Pairs (regular expression, "fsdp" or "whole"). The first expression that
            matches a part of an array's path, such as
            "opt_state/0/mu/image_encoder/...", decides. "fsdp" divides the longest side
            that the axis divides evenly, the last of several. If there is none, or no
            rule matches, the array is whole on every device.
        min_size: Arrays with fewer numbers stay whole, because an exchange costs more
            than they take.
    """

    rules: tuple[tuple[str, Literal["fsdp", "whole"]], ...] = (
        ("^(params|opt_state)/", "fsdp"),
    )
    min_size: Annotated[int, at.Ge(0)] = 65_536


@dataclasses.dataclass(frozen=True)
class DistributedSettings(Section):
    """Processes that train as one.

    Attributes:
        mode: "auto": join other processes if settings or environment (Cloud TPU, SLURM,
            Open MPI) say that there are several. "on": join, by what
            `jax.distributed.initialize` detects. "off": stay alone.
        coordinator: HOST:PORT of process 0, reachable from all; the port must be free.
            Needed, like the next two, if the environment does not say it.
        num_processes: How many processes there are.
        process_id: Which one this is, from 0.
        join_timeout_s: Seconds to wait for the others at the start.
        heartbeat_timeout_s: If a process is silent for this many seconds, it counts as
            dead, and the others end.
    """

    mode: Literal["auto", "on", "off"] = "auto"
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    join_timeout_s: Annotated[float, at.Gt(0)] = 120.0
    heartbeat_timeout_s: Annotated[int, at.Ge(1)] = 100
