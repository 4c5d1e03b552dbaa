"""The mesh of devices, and how batches and the training state are placed on it.

Batches are split over all devices. Parameters, optimiser state and keys are whole on
every device. Where rules say so, an array is instead split along the mesh axis `fsdp`:
between steps a device then holds only its share. The losses gather the projections of
the global batch. So loss and gradient do not depend on the number of devices or
processes (checked by tests).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mmgr_jax.devices.settings import MeshSettings, ShardingSettings
from mmgr_jax.errors import InputError
from mmgr_jax.typing import MESH_AXES


def make_mesh(settings: MeshSettings, devices: Sequence[Any] | None = None) -> Mesh:
    """Makes a mesh with the axes `data` and `fsdp`.

    Args:
        settings: The section `mesh`.
        devices: Devices to choose from; None for those of all processes. If several
            processes train, the same number is taken from each.

    Raises:
        InputError: If there are too few devices, they cannot be divided evenly over
            the processes, or a group would lie in two slices.
    """
    data, fsdp = settings.data, settings.fsdp
    devices = in_order(jax.devices() if devices is None else devices)
    processes = Counter(device.process_index for device in devices)
    fitting = [
        count
        for count in range(len(processes), len(devices) + 1, len(processes))
        if fsdp > 0 and count % fsdp == 0
    ]
    count = len(devices) if data == -1 else data * fsdp
    if count not in fitting:
        several = f" in {len(processes)} processes" if len(processes) > 1 else ""
        and_fsdp = f", config.mesh.fsdp={fsdp}" if fsdp != 1 else ""
        raise InputError(
            f"config.mesh.data={data}{and_fsdp}, but {len(devices)} devices are "
            f"available{several}. " + _advice(fitting, fsdp, len(devices))
        )
    share = count // len(processes)
    first = [[d for d in devices if d.process_index == p][:share] for p in processes]
    chosen = np.asarray([device for some in first for device in some])
    groups = chosen.reshape(-1, fsdp)
    _refuse_torn(groups)
    return Mesh(groups, MESH_AXES, axis_types=(AxisType.Auto,) * 2)


def local_mesh(settings: MeshSettings) -> Mesh:
    """Makes a mesh of this process's devices only, for work that one process does.

    Args:
        settings: As for `make_mesh`. If they ask for more devices than this one of
            several processes has, it takes all it has. State is whole on each.
    """
    devices = jax.local_devices()
    count = -1 if settings.data == -1 else settings.data * settings.fsdp
    if jax.process_count() > 1 and count > len(devices):
        count = len(devices)
    return make_mesh(MeshSettings(data=count, fsdp=1), devices)


def in_order(devices: Sequence[Any]) -> list[Any]:
    """Sorts devices by slice, and within a slice by process.

    So each process holds consecutive rows of a batch, as the input pipeline deals
    them, for any number of processes. Neighbours, such as a group of BatchNorm, share a
    host or a slice's fast links where possible. So the outer axis of a mesh goes over
    slices, as in a hybrid mesh, and a ring of all devices leaves each slice only once.
    """
    return sorted(
        devices,
        key=lambda device: (slice_of(device), device.process_index, device.id),
    )


def slice_of(device: Any) -> int:
    """Returns the number of a device's slice; 0 if there are no slices."""
    return getattr(device, "slice_index", 0) or 0


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the layout of an array that is whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Returns the layout that splits the first axis, the batch, over all devices."""
    return NamedSharding(mesh, PartitionSpec(MESH_AXES))


def lay_out(state: Any, mesh: Mesh, settings: ShardingSettings) -> Any:
    """Decides how each array of a state is laid out on the devices.

    Args:
        state: Arrays, or their shapes.
        mesh: The devices.
        settings: The section `sharding`.

    Returns:
        The tree of `state` with a sharding for each array.

    Raises:
        InputError: If a rule is no regular expression, or matches no array.
    """
    rules = settings.rules
    for pattern, _ in rules:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"config.sharding.rules: {pattern!r} is no regular expression ({error})"
                "."
            ) from error
    met = set()

    def of(path: Any, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        hits = [k for k, (pattern, _) in enumerate(rules) if re.search(pattern, name)]
        met.update(hits)
        if not hits or rules[hits[0]][1] == "whole" or leaf.size < settings.min_size:
            return replicated(mesh)
        count = mesh.shape["fsdp"]
        sides = [(size, k) for k, size in enumerate(leaf.shape) if size % count == 0]
        if count == 1 or not sides:
            return replicated(mesh)
        _, side = max(sides)
        return NamedSharding(mesh, PartitionSpec(*[None] * side, "fsdp"))

    layouts = jax.tree_util.tree_map_with_path(of, state)
    idle = [pattern for k, (pattern, _) in enumerate(rules) if k not in met]
    if idle:
        raise InputError(
            f"config.sharding.rules: {', '.join(map(repr, idle))} matches no path of "
            "a parameter or optimiser state. Paths begin with params/, batch_stats/ "
            "or opt_state/, such as params/image_encoder/...; correct or remove it."
        )
    return layouts


def check_batch(
    mesh: Mesh, batch_size: int, microbatch_size: int | None = None
) -> None:
    """Refuses a batch that cannot be divided evenly over devices and micro-batches.

    Raises:
        InputError: If it cannot; the message gives the nearest sizes that fit.
    """
    count = mesh.size
    if batch_size % count:
        lower = max(batch_size // count, 1) * count
        raise InputError(
            f"config.data.batch_size={batch_size} cannot be divided evenly over "
            f"{count} devices. Take {lower} or {lower + count}."
        )
    microbatches(mesh, batch_size, microbatch_size)


def microbatches(mesh: Mesh, batch_size: int, microbatch_size: int | None) -> int:
    """Returns the number of micro-batches in which a batch is encoded.

    Raises:
        InputError: If they do not divide the batch; the message gives sizes that do.
    """
    if microbatch_size is None:
        return 1
    count = mesh.size
    fitting = [
        size for size in range(count, batch_size + 1, count) if batch_size % size == 0
    ]
    if microbatch_size not in fitting:
        nearest = sorted(fitting, key=lambda size: abs(size - microbatch_size))[:3]
        raise InputError(
            f"config.train.microbatch_size={microbatch_size} does not divide batches "
            f"of {batch_size} over {count} device(s) evenly. The nearest that do: "
            f"{', '.join(map(str, sorted(nearest)))}."
        )
    return batch_size // microbatch_size


def describe_batch(mesh: Mesh, batch_size: int, microbatch_size: int | None) -> str:
    """Describes a batch, such as "64 over 2 cpu devices (32 on each)"."""
    devices = mesh.devices.ravel()
    processes = len({device.process_index for device in devices})
    slices = len(set(map(slice_of, devices)))
    shares = []
    if processes > 1:
        shares.append(f"{batch_size // processes} in each of {processes} processes")
    if len(devices) > 1:
        shares.append(f"{batch_size // len(devices)} on each")
    if microbatch_size:
        shares.append(f"{microbatch_size // len(devices)} there at a time")
    return (
        f"{batch_size} over {len(devices)} {devices[0].platform} "
        f"device{'s' * (len(devices) > 1)}{f' of {slices} slices' * (slices > 1)}"
        + (f" ({', '.join(shares)})" if shares else "")
    )


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts this process's rows on its devices, as its part of the global batch."""
    layout = split(mesh)
    return {
        name: jax.make_array_from_process_local_data(layout, rows)
        for name, rows in batch.items()
        if name != "region_index"
    }


def _refuse_torn(groups: np.ndarray) -> None:
    """Raises InputError if a group that shares state lies in two slices."""
    if all(len(set(map(slice_of, group))) == 1 for group in groups):
        return
    sizes = Counter(map(slice_of, groups.flat))
    raise InputError(
        f"config.mesh.fsdp={groups.shape[1]}: a group of so many devices would span "
        f"two slices, with {sizes[slice_of(groups.flat[0])]} devices each, and would "
        "gather its state over the hosts' network in every step. Take a number that "
        "divides the devices of a slice."
    )


def _advice(fitting: Sequence[int], fsdp: int, num_devices: int) -> str:
    """Names the numbers of groups that fit, or says what to do if none fits."""
    if not fitting:
        divisors = [k for k in range(1, num_devices + 1) if num_devices % k == 0]
        return (
            "Take a config.mesh.fsdp that divides the devices taken, such as one of "
            f"{', '.join(map(str, divisors))}."
        )
    groups = [count // fsdp for count in fitting]
    step = groups[1] - groups[0] if len(groups) > 1 else groups[0]
    if step == groups[0] == 1:
        return f"Take {groups[0]} to {groups[-1]}, or -1 for all."
    return f"Take a multiple of {step} up to {groups[-1]}, or -1 for all."
