"""From a table of POIs to category vectors: seconds by stage, and peak memory."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from benchmarks import growth
from benchmarks.data_prep import synthetic
from mmgr_jax.errors import InputError

LIMIT_S = 180.0
LIMIT_MIB = 4096.0

_STAGES = ("POIs", "network", "walks", "training")
_STAGE_LINE = re.compile(r"^(\w+) +([\d.]+) s \(processor", re.MULTILINE)
_COUNT_LINE = re.compile(r"^(\d+) POIs of (\d+) categories", re.MULTILINE)


def bench(config: ConfigDict, num_pois: int) -> dict[str, Any]:
    """Measures the making of category vectors.

    Args:
        config: The city: `city`, `pois` and `category_vectors`. Where it names no
            table of POIs, those of a synthetic city are made.
        num_pois: POIs of the synthetic city.

    Returns:
        Counts, `seconds` by stage, `peak_mib`, the limits, and for a synthetic city
        `walks`: what `drawn_walks` finds, None without igraph.

    Raises:
        InputError: If the command fails; it has told why.
    """
    config = config.copy_and_resolve_references()
    with tempfile.TemporaryDirectory() as folder:
        is_synthetic = config.pois.path is None
        if is_synthetic:
            config.pois.path = str(Path(folder) / "pois.csv")
            synthetic.write(Path(config.pois.path), num_pois)
        result = _run_command(config, Path(folder))
        result["walks"] = _drawn(config.pois.path) if is_synthetic else None
    return {
        "city": config.city.name,
        "synthetic": is_synthetic,
        "method": config.category_vectors.method,
        **result,
        "limit_s": LIMIT_S,
        "limit_mib": LIMIT_MIB,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
    }


def table(result: dict[str, Any]) -> str:
    """The result of `bench` for people to read."""
    seconds, peak_mib = result["seconds"], result["peak_mib"]
    lines = [
        f"category vectors of {result['pois']:,} POIs in {result['categories']} "
        f"categories ({result['city']}, {result['method']}; {result['machine']})",
        *(f"  {name:<16} {value:8.2f} s" for name, value in seconds.items()),
        f"  {'peak memory':<16} {peak_mib:8.0f} MiB",
        f"  limits: {_verdict(seconds['whole process'], result['limit_s'], 's')}, "
        f"{_verdict(peak_mib, result['limit_mib'], 'MiB')}",
    ]
    walks = result["walks"]
    if walks:
        lines.append(
            f"  walks, processor seconds: {walks['ours_cpu_s']:.2f} expected; "
            f"{walks['igraph_cpu_s']:.2f} drawn by igraph, whose counts are off by "
            f"{walks['whole_error']:.0%}"
        )
    elif result["synthetic"]:
        lines.append("  walks: pip install igraph to see them beside drawn ones")
    return "\n".join(lines)


def _drawn(table: str) -> dict[str, Any] | None:
    """What `drawn_walks` prints of a table, in a process of its own."""
    if not importlib.util.find_spec("igraph"):
        return None
    command = [sys.executable, "-m", "benchmarks.data_prep.drawn_walks", table]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise InputError(
            f"`{' '.join(command)}` failed with status {done.returncode}, see above."
        )
    return json.loads(done.stdout)


def _run_command(config: ConfigDict, folder: Path) -> dict[str, Any]:
    """Counts, seconds and peak memory of the command in a process of its own.

    The system counts the memory of the process that starts another one, too, so
    nothing heavy is imported here before.
    """
    config.category_vectors.out = str(folder / "vectors.npy")
    path = folder / "config.py"
    path.write_text(
        "import json\nfrom ml_collections import ConfigDict\n"
        f"def get_config():\n"
        f"    return ConfigDict(json.loads({config.to_json_best_effort()!r}))\n",
        encoding="utf-8",
    )
    name = "data_prep.category_embedding"
    cost, told = growth.measured("-m", name, f"--config={path}")
    stages = {name: float(value) for name, value in _STAGE_LINE.findall(told)}
    counted = _COUNT_LINE.search(told)
    assert counted, told
    seconds = {name: stages[name] for name in _STAGES if name in stages}
    seconds["start and rest"] = cost["seconds"] - sum(seconds.values())
    return {
        "pois": int(counted[1]),
        "categories": int(counted[2]),
        "seconds": {**seconds, "whole process": cost["seconds"]},
        "peak_mib": cost["peak_mib"],
    }


def _verdict(value: float, limit: float, unit: str) -> str:
    word = "within" if value <= limit else "BEYOND"
    return f"{value:,.0f} {unit} is {word} {limit:,.0f} {unit}"
