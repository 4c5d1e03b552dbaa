"""The largest batch of the training step that one device holds."""

from __future__ import annotations

import argparse
import os
import statistics
import time

from benchmarks import step, turns
from benchmarks.table import Row
from mmgr_jax.settings import FloatName

ABOUT = """The ResNet-50 training step of section `step`, ours, at growing batches.

Each batch is compiled and stepped in a process of its own; the first that fails, for
example because memory is short, ends the series, and its row says why. planned_gib is
what the compiler sets aside, peak_gib what the device has given out, limit_gib what it
can give. The last row follows a straight line through the last two plans: how many
regions would fit.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--batches", type=int, nargs="+", help="regions, growing")
    parser.add_argument("--size", type=int, help="px (default: CPU 96, GPU 224)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--steps", type=int, default=3, help="steps that are timed")


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each batch that was tried, and one for the limit by the plans."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")
    _, batch, size, dtype = step.defaults()
    batches = options.batches or [batch, 2 * batch, 4 * batch, 6 * batch, 8 * batch]
    size, dtype = options.size or size, options.dtype or dtype
    tried: list[Row] = []
    for batch in sorted(batches):
        row: Row = {"batch": batch, "size_px": size, "dtype": dtype}
        try:
            row |= turns.alone(_measure, batch, size, dtype, options.steps)
        except Exception as error:
            tried.append(row | {"failed": turns.first_line(error)})
            break
        tried.append(row)
    return tried + _by_plans([row for row in tried if "failed" not in row])


def _by_plans(held: list[Row]) -> list[Row]:
    """The row of the batch at which the plans would reach the limit."""
    if len(held) < 2 or not held[-1]["limit_gib"]:
        return []
    first, last = held[-2:]
    gib_a_region = (last["planned_gib"] - first["planned_gib"]) / (
        last["batch"] - first["batch"]
    )
    left_gib = last["limit_gib"] - last["planned_gib"]
    batch = last["batch"] + int(left_gib / gib_a_region)
    return [{"batch": batch, "planned_gib": last["limit_gib"], "by": "the plans"}]


def _measure(batch: int, size: int, dtype: FloatName, steps: int) -> Row:
    import jax

    update, state, arrays = step.program(batch, size, dtype, "joint")
    state, arrays = state(), arrays()
    compiled = update.lower(state, *arrays).compile()
    plan = compiled.memory_analysis()
    planned = plan.argument_size_in_bytes + plan.temp_size_in_bytes
    planned += plan.output_size_in_bytes - plan.alias_size_in_bytes
    seconds = []
    for _ in range(1 + steps):
        start = time.perf_counter()
        state, metrics = compiled(state, *arrays)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - start)
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    return {
        "device": device.device_kind,
        **turns.spread("seconds", seconds[1:]),
        "views_per_s": 2 * batch / statistics.median(seconds[1:]),
        "planned_gib": planned / 2**30,
        "peak_gib": stats.get("peak_bytes_in_use", 0) / 2**30 or None,
        "limit_gib": stats.get("bytes_limit", 0) / 2**30 or None,
    }
