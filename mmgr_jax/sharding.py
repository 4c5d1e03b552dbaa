"""Which device holds what: one mesh, and the two layouts of this program.

Batches are split along `data`; parameters, optimiser state and keys are whole on every
device. The losses see the global batch because the whole step is one jitted program
over the mesh: negatives are gathered by the compiler, so loss and gradient do not
depend on the number of devices or of processes (held by tests).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mmgr_jax.errors import InputError


def make_mesh(*, data: int, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with one axis, `data`.

    Args:
        data: Number of devices, -1 for all there are. Where several processes train,
            all of them take equally many.
        devices: Which to choose from; None for those of all processes.

    Raises:
        InputError: If there are fewer devices, or they do not go into the processes.
    """
    devices = in_order(jax.devices() if devices is None else devices)
    processes = Counter(device.process_index for device in devices)
    count = len(devices) if data == -1 else data
    fitting = range(len(processes), len(devices) + 1, len(processes))
    if count not in fitting:
        raise InputError(
            f"config.mesh.data={data}, but {len(devices)} devices are at hand"
            + (f" in {len(processes)} processes" if len(processes) > 1 else "")
            + f". Take {_listed(fitting)}, or -1 for all."
        )
    share = count // len(processes)
    first = [[d for d in devices if d.process_index == p][:share] for p in processes]
    chosen = np.asarray([device for some in first for device in some])
    return Mesh(chosen, ("data",), axis_types=(AxisType.Auto,))


def local_mesh(*, data: int) -> Mesh:
    """The same of this process's devices alone, for work that one process does.

    Args:
        data: Number of devices at most, -1 for all there are.
    """
    devices = jax.local_devices()
    count = len(devices) if jax.process_count() > 1 and data > len(devices) else data
    return make_mesh(data=count, devices=devices)


def in_order(devices: Sequence[Any]) -> list[Any]:
    """Devices slice by slice and process by process.

    So each process holds consecutive rows of a batch, as the input pipeline deals
    them, whatever the number of processes; and neighbours, such as a group of
    BatchNorm, share a host or a slice's fast links wherever they can. With one axis
    this is also the order of a hybrid mesh of several slices.
    """
    return sorted(
        devices,
        key=lambda device: (
            getattr(device, "slice_index", 0) or 0,
            device.process_index,
            device.id,
        ),
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Split along the leading axis, the batch."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch(
    mesh: Mesh, batch_size: int, microbatch_size: int | None = None
) -> None:
    """Refuses a batch the devices cannot share evenly, whole and in its parts.

    Raises:
        InputError: With the nearest sizes that fit.
    """
    count = mesh.shape["data"]
    if batch_size % count:
        lower = max(batch_size // count, 1) * count
        raise InputError(
            f"config.data.batch_size={batch_size} does not divide over {count} "
            f"devices. Take {lower} or {lower + count}."
        )
    microbatches(mesh, batch_size, microbatch_size)


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


def describe_batch(mesh: Mesh, batch_size: int, microbatch_size: int | None) -> str:
    """Such as "64 over 2 cpu devices (32 on each)"."""
    devices = mesh.devices.ravel()
    processes = len({device.process_index for device in devices})
    shares = []
    if processes > 1:
        shares.append(f"{batch_size // processes} in each of {processes} processes")
    if len(devices) > 1:
        shares.append(f"{batch_size // len(devices)} on each")
    if microbatch_size:
        shares.append(f"{microbatch_size // len(devices)} there at a time")
    return (
        f"{batch_size} over {len(devices)} {devices[0].platform} "
        f"device{'s' * (len(devices) > 1)}"
        + (f" ({', '.join(shares)})" if shares else "")
    )


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows as its part of the global batch."""
    layout = split(mesh)
    return {
        name: jax.make_array_from_process_local_data(layout, rows)
        for name, rows in batch.items()
        if name != "region_index"
    }


def _listed(numbers: range) -> str:
    """All of a few numbers, or the way through many."""
    if numbers.step == 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return f"a multiple of {numbers.step} up to {numbers[-1]}"
