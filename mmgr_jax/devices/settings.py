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
        fsdp: Devices of a group, next to each other: they share the state of which
            each group holds one. All of them take rows of their own of a batch.
    """

    data: int = -1
    fsdp: int = 1


@dataclasses.dataclass(frozen=True)
class ShardingSettings(Section):
    """Where each array of the state lies.

    Attributes:
        rules: Pairs (regular expression, "fsdp" or "whole"). The first expression
            found in an array's path, such as "opt_state/0/mu/image_encoder/..."
            decides. "fsdp" splits the longest side that the axis divides, the last of
            several; where it divides none, and where no rule is found, an array is
            whole on every device.
        min_size: Arrays of fewer numbers are whole: an exchange costs more than they
            weigh.
    """

    rules: tuple[tuple[str, Literal["fsdp", "whole"]], ...] = (
        ("^(params|opt_state)/", "fsdp"),
    )
    min_size: Annotated[int, at.Ge(0)] = 65_536


@dataclasses.dataclass(frozen=True)
class DistributedSettings(Section):
    """Processes that train as one.

    Attributes:
        mode: "auto": joins where settings or environment (Cloud TPU, SLURM, Open MPI)
            tell of several processes. "on": joins, by what
            `jax.distributed.initialize` finds. "off": stays alone.
        coordinator: HOST:PORT of process 0, reachable from all, the port free there.
            Needed, with the next two, where no environment tells.
        num_processes: How many processes there are.
        process_id: Which one this is, from 0.
        join_timeout_s: Seconds to wait for the others at the start.
        heartbeat_timeout_s: Seconds without a sign of life after which a process is
            taken for dead, and the others end.
    """

    mode: Literal["auto", "on", "off"] = "auto"
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    join_timeout_s: Annotated[float, at.Gt(0)] = 120.0
    heartbeat_timeout_s: Annotated[int, at.Ge(1)] = 100
