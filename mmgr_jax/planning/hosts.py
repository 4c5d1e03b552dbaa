"""The cost of reading for each host, at the rate at which its devices use regions."""

from __future__ import annotations

import dataclasses

from jax.sharding import Mesh

from mmgr_jax.data.settings import DataSettings
from mmgr_jax.devices import tiles
from mmgr_jax.planning.chips import Chip
from mmgr_jax.planning.records import Records

TILES_PER_CORE_S = {"raw": 3633.0, "png": 628.0, "webp": 692.0, "jpeg": 1329.0}
"""Tiles of 224 px per second that a core of 2.1 GHz reads; see docs/input.md."""

_MEASURED_PX = 224
_BATCHES_HELD = 3
"""Number of batches in memory: the one in use, and two that are ready."""


@dataclasses.dataclass(frozen=True)
class HostInput:
    """The work and memory of one host for reading.

    Attributes:
        num_hosts: Number of hosts that share a batch.
        tiles_per_s: Number of regions per second that its devices use.
        cores: Number of cores that are busy with reading and decoding.
        read_mb_per_s: Read rate from its disk or mount, 1e6 bytes per second.
        kept: Where all decoded tiles are kept: "devices", "memory" or "nowhere". If
            they are kept, only the first epoch is read.
        tiles_bytes: Bytes of host memory for the tiles that are kept.
        batches_bytes: Bytes of host memory for batches.
    """

    num_hosts: int
    tiles_per_s: float
    cores: float
    read_mb_per_s: float
    kept: str
    tiles_bytes: int
    batches_bytes: int


def of_mesh(
    mesh: Mesh,
    chip: Chip | None,
    records: Records,
    data: DataSettings,
    *,
    regions_per_s: float,
) -> HostInput:
    """Estimates what reading costs each host of a mesh; see `of_host`.

    Args:
        mesh: The devices.
        chip: Figures of one device; None if unknown.
        records: As for `of_host`.
        data: As for `of_host`.
        regions_per_s: As for `of_host`.
    """
    return of_host(
        records,
        data,
        regions_per_s=regions_per_s,
        num_hosts=len({device.process_index for device in mesh.devices.flat}),
        device_bytes=chip and chip.memory_bytes,
    )


def of_host(
    records: Records,
    data: DataSettings,
    *,
    regions_per_s: float,
    num_hosts: int,
    device_bytes: int | None,
) -> HostInput:
    """Estimates the work and memory of one host for reading in a run.

    Args:
        records: Description of the records.
        data: The section `data`.
        regions_per_s: Number of regions per second, over all devices.
        num_hosts: Number of hosts that share a batch.
        device_bytes: Memory of a device in bytes; None if unknown.

    Raises:
        InputError: If `device_resident` is "on" and a device has too little memory.
    """
    size = records.decoded_bytes
    kept = "nowhere"
    if tiles.choose(data.device_resident, size, [device_bytes]):
        kept = "devices"
    elif size <= data.cache_mib * 2**20:
        kept = "memory"
    rate = regions_per_s / num_hosts
    scale = (_MEASURED_PX / records.tile_size_px) ** 2
    per_core_s = TILES_PER_CORE_S[records.image_format] * scale
    rows = data.batch_size // num_hosts
    return HostInput(
        num_hosts=num_hosts,
        tiles_per_s=rate,
        cores=rate / per_core_s,
        read_mb_per_s=rate * records.stored_bytes / records.num_regions / 1e6,
        kept=kept,
        tiles_bytes=size if kept == "memory" else 0,
        batches_bytes=_BATCHES_HELD * rows * records.tile_size_px**2 * 3,
    )
