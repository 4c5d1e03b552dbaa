"""The cost of reading for each host, at the rate at which its devices use regions."""

from __future__ import annotations

import dataclasses

from jax.sharding import Mesh

from mmgr_jax.data.settings import DataSettings
from mmgr_jax.devices import tiles
from mmgr_jax.planning.chips import Chip
from mmgr_jax.planning.records import Records

TILES_PER_CORE_S = {"raw": 3633.0, "png": 628.0, "webp": 692.0, "jpeg": 1329.0}
"""Tiles of 224 px that a core brings into batches, from docs/input.md: 2.1 GHz."""

_MEASURED_PX = 224
_BATCHES_HELD = 3
"""Two are made ahead of the one in use."""


@dataclasses.dataclass(frozen=True)
class HostInput:
    """What one host does.

    Attributes:
        num_hosts: Hosts that share a batch.
        tiles_per_s: Regions that its devices take a second.
        cores: That many are busy with reading and decoding.
        read_mb_per_s: From its disk or mount, 1e6 bytes a second.
        kept: Where all tiles stay decoded: "devices", "memory" or "nowhere"; where they
            do, the first epoch alone is read.
        tiles_bytes: Memory of the tiles that stay.
        batches_bytes: Memory of the batches that are ready.
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
    """What reading costs each host of a mesh; see `of_host`.

    Args:
        mesh: The devices.
        chip: What is known of one; None: nothing.
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
    """What one host does in a run.

    Args:
        records: What is read.
        data: The section `data`.
        regions_per_s: Over all devices.
        num_hosts: Hosts that share a batch.
        device_bytes: Memory of a device, if known.

    Raises:
        InputError: If `device_resident="on"` asks for more than a device has.
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
