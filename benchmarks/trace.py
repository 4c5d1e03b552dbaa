"""Where the time of a training step goes, by JAX's profiler."""

from __future__ import annotations

import argparse
import collections
import gzip
import json
from pathlib import Path

from benchmarks import step
from benchmarks.table import Row
from mmgr_jax.errors import InputError

ABOUT = """The training step of section `step`, ours, under the profiler.

The trace stays in --folder: perfetto_trace.json.gz for https://ui.perfetto.dev, the
rest for TensorBoard. The rows are the operations that took longest, by their names in
the compiled program without numbers; the share is of the seconds of all operations,
which on several queues or threads is more than the clock's.
"""
MOST_ROWS = 20


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--folder", type=Path, required=True, help="for the trace")
    parser.add_argument("--batch", type=int, help="regions (default: CPU 8, GPU 256)")
    parser.add_argument("--size", type=int, help="px (default: CPU 96, GPU 224)")
    parser.add_argument("--encoder", choices=step.ENCODERS, default="resnet50")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--steps", type=int, default=3, help="steps that are traced")


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each kind of operation, the longest first."""
    import jax

    _, batch, size, dtype = step.defaults()
    batch, size = options.batch or batch, options.size or size
    way = step.ours(batch, size, options.dtype or dtype, "joint", options.encoder)
    way.call()
    with jax.profiler.trace(options.folder, create_perfetto_trace=True):
        for number in range(options.steps):
            with jax.profiler.StepTraceAnnotation("train", step_num=number):
                way.call()
    return operations(options.folder, options.steps)


def operations(folder: Path, steps: int) -> list[Row]:
    """The operations of a trace that took longest.

    Args:
        folder: Of the trace.
        steps: That were traced.

    Returns:
        A row each kind: `operation`, `calls` and `ms` a step, `share`.

    Raises:
        InputError: If there is no trace.
    """
    paths = sorted(folder.glob("plugins/profile/*/perfetto_trace.json.gz"))
    if not paths:
        raise InputError(f"{folder}: no perfetto_trace.json.gz in it; trace once more.")
    with gzip.open(paths[-1], "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    spent: dict[str, list[float]] = collections.defaultdict(list)
    for event in events:
        name = event.get("args", {}).get("hlo_op")
        if name and event.get("ph") == "X":
            spent[name.rstrip("0123456789").rstrip(".")].append(event["dur"])
    whole = sum(sum(durations) for durations in spent.values())
    longest = sorted(spent, key=lambda name: -sum(spent[name]))[:MOST_ROWS]
    return [
        {
            "operation": name,
            "calls": len(spent[name]) / steps,
            "ms": sum(spent[name]) / 1e3 / steps,
            "share": sum(spent[name]) / whole,
        }
        for name in longest
    ]
