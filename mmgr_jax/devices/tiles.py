"""Keeps all tiles of the records in the memory of every device.

A step then needs only the numbers of its regions from the host, and no tile is read
twice. Order and pixels are the same as for tiles that the host sends with each batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmgr_jax.data import pipeline
from mmgr_jax.data.source import RegionSource
from mmgr_jax.devices import sharding
from mmgr_jax.errors import InputError

_SHARE = 0.25
"""Share of a device's memory that tiles may take with "auto"."""

_PART = 256
"""Number of tiles that are sent at once."""

log = logging.getLogger(__name__)

Put = Callable[[pipeline.Batch], dict[str, jax.Array]]
"""Function from a host batch to the global batch on the mesh."""


def wanted(mode: str, source: RegionSource, mesh: Mesh) -> bool:
    """Decides whether the tiles should be kept on the devices.

    Args:
        mode: `DataSettings.device_resident`.
        source: The records.
        mesh: The devices.

    Raises:
        InputError: If the mode is "on" and a device has too little memory.
    """
    limits = [
        (device.memory_stats() or {}).get("bytes_limit")
        for device in mesh.local_devices
    ]
    return choose(mode, source.tiles_bytes, limits)


def choose(mode: str, size: int, limits: Sequence[int | None]) -> bool:
    """Decides as `wanted` does, for known numbers.

    Args:
        mode: `DataSettings.device_resident`.
        size: Bytes of all tiles.
        limits: Memory of each device in bytes; None where unknown.

    Raises:
        InputError: As for `wanted`.
    """
    if mode == "off":
        return False
    known = [limit for limit in limits if limit]
    if mode == "auto":
        return len(known) == len(limits) and size <= _SHARE * min(known)
    if known and size > min(known):
        raise InputError(
            f"config.data.device_resident='on': the tiles take {size / 2**30:.1f} GiB, "
            f"a device has {min(known) / 2**30:.1f} GiB. Use 'auto' or 'off'."
        )
    return True


def put(source: RegionSource, mesh: Mesh, num_threads: int) -> Put:
    """Sends every tile to every device; returns a function that adds them to batches.

    If several processes train together, each reads all the records.

    Args:
        source: The records.
        mesh: The devices.
        num_threads: Threads that read and decode.
    """
    log.info(
        "sending all %d tiles to each device: %.2f GiB",
        len(source),
        source.tiles_bytes / 2**30,
    )
    tiles = _load(source, mesh, num_threads)
    side = source.manifest.tile_size_px
    rows = sharding.split(mesh)

    @jax.jit(out_shardings=rows)
    def take(tiles: jax.Array, region_index: jax.Array) -> jax.Array:
        return tiles.at[region_index].get(mode="clip").reshape(-1, side, side, 3)

    def add(batch: pipeline.Batch) -> dict[str, jax.Array]:
        index = batch["region_index"].astype(np.int32)
        index = jax.make_array_from_process_local_data(rows, index)
        return {**sharding.put_batch(batch, mesh), "image": take(tiles, index)}

    return add


def _load(source: RegionSource, mesh: Mesh, num_threads: int) -> jax.Array:
    """Returns the tiles, uint8 [r h*w*3]: in two dimensions no TPU pads them."""
    whole = sharding.replicated(mesh)
    pixels = source.manifest.tile_size_px**2 * 3
    shape = (len(source), pixels)
    tiles = jax.jit(lambda: jnp.zeros(shape, jnp.uint8), out_shardings=whole)()

    @jax.jit(donate_argnums=0, out_shardings=whole)
    def fill(tiles: jax.Array, part: jax.Array, first: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice(tiles, part, (first, 0))

    batch_size = min(_PART, len(source))
    for batch in pipeline.epoch_batches(
        source, batch_size=batch_size, num_threads=num_threads
    ):
        part = batch["image"][batch["example_mask"]].reshape(-1, pixels)
        first = np.asarray(batch["region_index"][0], np.int32)
        tiles = fill(tiles, _everywhere(part, whole), _everywhere(first, whole))
    return tiles


def _everywhere(values: np.ndarray, whole: jax.sharding.Sharding) -> jax.Array:
    """Puts the same values on every device; each process serves its own devices."""
    return jax.make_array_from_callback(
        values.shape, whole, lambda index: values[index]
    )
