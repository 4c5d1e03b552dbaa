"""Whole builds of cities of several sizes: seconds by stage, memory, and exponents."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import growth

REGIONS = (1600, 6400, 25600)

_WORTH_S = 0.05  # a stage that took less has no exponent


def bench(sizes: Sequence[int], workers: int) -> dict[str, Any]:
    """Builds a sparse city of each size by the command's own code.

    Args:
        sizes: Regions of each city.
        workers: Processes that write shards; 0 chooses as the command does.

    Returns:
        A row a size: `regions`, `seconds` by stage, `whole_s`, `processor_s`,
        `peak_mib` of all its processes together, `raw_mib`, `records_mib`, `load`.
    """
    return {
        "rows": [_one(size, workers) for size in sorted(sizes)],
        "workers": workers,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
    }


def table(result: dict[str, Any]) -> str:
    """The result of `bench` for people to read.

    Beside each size but the first stands the exponent from the one before: 1 where
    twice the regions take twice the seconds.
    """
    rows = result["rows"]
    lines = [
        f"builds of sparse cities ({result['machine']}; load "
        + ", ".join(f"{row['load']:.1f}" for row in rows)
        + "); exponents in brackets",
        _line("regions", [f"{row['regions']:,}" for row in rows]),
    ]
    for stage in rows[-1]["seconds"]:
        lines.append(_costs(stage, [row["seconds"][stage] for row in rows], rows, "s"))
    for name, key, unit in (
        ("whole process", "whole_s", "s"),
        ("processor", "processor_s", "s"),
        ("peak PSS", "peak_mib", "MiB"),
        ("records", "records_mib", "MiB"),
    ):
        lines.append(_costs(name, [row[key] for row in rows], rows, unit))
    return "\n".join(lines)


def _costs(
    name: str, costs: Sequence[float], rows: Sequence[dict[str, Any]], unit: str
) -> str:
    cells = []
    for place, cost in enumerate(costs):
        power = None
        if place:
            sizes = (rows[place - 1]["regions"], rows[place]["regions"])
            if min(costs[place - 1], cost) >= _WORTH_S:
                power = growth.exponent((costs[place - 1], cost), sizes)
        beside = "      " if power is None else f"({power:4.2f})"
        cells.append(f"{cost:.{2 if unit == 's' else 0}f} {beside}")
    return _line(f"{name}, {unit}", cells)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"  {name:<22}" + "".join(f"{cell:>17}" for cell in cells)


def _one(num_regions: int, workers: int) -> dict[str, Any]:
    """The row of one size; its files are gone afterwards."""
    from benchmarks.data_prep import sparse_city  # it loads libraries

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = sparse_city.write(folder, num_regions)
        raw_mib = _mib(folder)
        path = folder / "config.py"
        path.write_text(
            "import json\nfrom ml_collections import ConfigDict\n"
            "def get_config():\n"
            f"    return ConfigDict(json.loads({config.to_json_best_effort()!r}))\n",
            encoding="utf-8",
        )
        result = _run(path, workers)
        records = Path(config.records.dir)
        regions = json.loads((records / "manifest.json").read_text("utf-8"))[
            "num_regions"
        ]
        result |= {"raw_mib": raw_mib, "records_mib": _mib(records)}
        shutil.rmtree(records)
    return {"regions": regions, **result}


def _run(config: Path, workers: int) -> dict[str, Any]:
    """Stages, processor seconds and memory of one build."""
    name = "benchmarks.data_prep.build_worker"
    cost, printed = growth.measured("-m", name, str(config), str(workers))
    return {
        "seconds": json.loads(printed.splitlines()[-1]),
        "whole_s": cost.pop("seconds"),
        **cost,
    }


def _mib(folder: Path) -> float:
    """What a folder takes on disk, holes of files not counted."""
    blocks = (path.stat().st_blocks for path in folder.rglob("*") if path.is_file())
    return sum(blocks) * 512 / 2**20
