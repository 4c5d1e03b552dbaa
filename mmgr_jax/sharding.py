"""Which device holds what: one mesh, and the two layouts of this program.

Batches are split along `data`; parameters, optimiser state and keys are whole on every
device. The losses see the global batch because the whole step is one jitted program
over the mesh: negatives are gathered by the compiler, so loss and gradient do not
depend on the number of devices (held by a test).
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mmgr_jax.errors import InputError


def make_mesh(*, data: int) -> Mesh:
    """A mesh with one axis, `data`.

    Args:
        data: Number of devices, -1 for all there are.

    Raises:
        InputError: If there are fewer devices.
    """
    devices = jax.devices()
    count = len(devices) if data == -1 else data
    if not 1 <= count <= len(devices):
        raise InputError(
            f"config.mesh.data={data}, but {len(devices)} devices are at hand. "
            f"Take 1 to {len(devices)}, or -1 for all."
        )
    return Mesh(np.asarray(devices[:count]), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Split along the leading axis, the batch."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch(mesh: Mesh, batch_size: int) -> None:
    """Refuses a batch the devices cannot share evenly.

    Raises:
        InputError: With the nearest sizes that fit.
    """
    count = mesh.shape["data"]
    if batch_size % count:
        lower = batch_size // count * count
        raise InputError(
            f"config.data.batch_size={batch_size} does not divide over {count} "
            f"devices. Take {lower or count} or {lower + count}."
        )


def microbatches(mesh: Mesh, batch_size: int, microbatch_size: int | None) -> int:
    """How many parts a batch is encoded in.

    Raises:
        InputError: If the batch does not fall into such parts, with sizes that fit.
    """
    if microbatch_size is None:
        return 1
    count = mesh.shape["data"]
    fitting = [
        size for size in range(count, batch_size + 1, count) if batch_size % size == 0
    ]
    if microbatch_size not in fitting:
        nearest = sorted(fitting, key=lambda size: abs(size - microbatch_size))[:3]
        raise InputError(
            f"config.train.microbatch_size={microbatch_size} does not part batches of "
            f"{batch_size} over {count} device(s) evenly. Near it fit: "
            f"{', '.join(map(str, sorted(nearest)))}."
        )
    return batch_size // microbatch_size


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows as its part of the global batch."""
    layout = split(mesh)
    return {
        name: jax.make_array_from_process_local_data(layout, rows)
        for name, rows in batch.items()
        if name != "region_index"
    }
