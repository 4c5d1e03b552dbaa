"""The free memory of this machine, and errors for work that does not fit into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from mmgr_jax.errors import InputError

_GIB = 2**30


def available_bytes(root: Path = Path("/")) -> int | None:
    """Returns the bytes this process can still take; None if unknown.

    If it takes more, the kernel ends it. The result is the smaller of two numbers: the
    free memory of the machine, with its swap, and what the limit of a container leaves.
    Memory pages that only cache files count as free.

    Args:
        root: The folder that holds `proc` and `sys`.
    """
    bounds = []
    meminfo = _table(root / "proc/meminfo")
    if "MemAvailable:" in meminfo:
        free = meminfo["MemAvailable:"] + meminfo.get("SwapFree:", 0)
        bounds.append(free * 1024)
    groups = root / "sys/fs/cgroup"
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ):
        most, taken = _number(groups / limit), _number(groups / used)
        if most is not None and taken is not None:
            pages = _table((groups / limit).with_name("memory.stat"))
            bounds.append(most - taken + pages.get(cache, 0))
    return min(bounds, default=None)


def refuse_too_large(state: Any, params: Any) -> None:
    """Raises InputError if training cannot fit into memory, before it begins.

    It counts only what every run needs: the copy of the state that a save makes, and on
    CPUs the state on each device and its gradients. Images, activations and libraries
    need more memory in addition.

    Args:
        state: Shapes, types and shardings of the training state.
        params: Shapes, types and shardings of its parameters.
    """
    free = available_bytes()
    parts = {"a copy of it that each save makes": _whole(state)}
    if jax.default_backend() == "cpu":
        parts = {
            "the state": _held(state),
            "its gradients": _held(params),
            **parts,
        }
    needed = sum(parts.values())
    if free is None or needed <= free:
        return
    shares = ", ".join(
        f"{size / _GIB:.1f} GiB for {name}" for name, size in parts.items()
    )
    raise InputError(
        f"training needs more than {needed / _GIB:.1f} GiB of memory ({shares}), and "
        f"{max(free, 0) / _GIB:.1f} GiB are left here. End other programs, take a "
        "smaller config.model, config.cpu_devices=1 or config.mesh.fsdp, or a machine "
        "with more."
    )


def refuse_program(compiled: jax.stages.Compiled) -> None:
    """Raises InputError if a program on the CPU needs more memory than is free.

    It counts what XLA has planned for the program in addition to its arguments.
    """
    analysis = compiled.memory_analysis()
    free = available_bytes()
    if analysis is None or free is None or jax.default_backend() != "cpu":
        return
    own = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    needed = max(own - analysis.alias_size_in_bytes, 0) * jax.local_device_count()
    if needed > free:
        raise InputError(
            f"a step needs {needed / _GIB:.1f} GiB of memory in addition to what is "
            f"held, but only {max(free, 0) / _GIB:.1f} GiB are left here. Take a "
            "smaller config.data.batch_size or config.train.microbatch_size, end "
            "other programs, or take a machine with more."
        )


def _whole(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _held(tree: Any) -> int:
    """Returns the bytes of a tree on all devices of this process together."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shard = leaf.sharding.shard_shape(leaf.shape)
        size = leaf.dtype.itemsize
        for length in shard:
            size *= length
        total += size * len(leaf.sharding.addressable_devices)
    return total


def _table(path: Path) -> dict[str, int]:
    """First word of each line -> the number behind it."""
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None  # "max": no limit
