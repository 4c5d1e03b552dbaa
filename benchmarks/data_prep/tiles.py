"""From imagery to encoded tiles: tiles a second, and peak memory, beside a peer."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mmgr_jax.errors import InputError

LIMIT_MIB = 2048.0
AIM = 0.7
"""Share of the plain peer's tiles a second that we mean to reach."""

NUM_TILES = 400

_IMAGES = {
    "tiled GeoTIFF": "generated.tif",
    "mosaic of 100,000 px a side": "mosaic.vrt",
}


def bench(num_tiles: int) -> dict[str, Any]:
    """Measures reading and encoding tiles of generated images.

    Args:
        num_tiles: Tiles of each image.

    Returns:
        For each image tiles a second of ours and of the peer, `ratio`, `peak_mib`.
    """
    with tempfile.TemporaryDirectory() as folder:
        _run("make", folder)
        images = {
            name: json.loads(_run("read", str(Path(folder) / file), str(num_tiles)))
            for name, file in _IMAGES.items()
        }
    return {
        "num_tiles": num_tiles,
        "images": images,
        "aim": AIM,
        "limit_mib": LIMIT_MIB,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
    }


def table(result: dict[str, Any]) -> str:
    """The result of `bench` for people to read."""
    lines = [
        f"tiles read and encoded by one thread, {result['num_tiles']:,} of each image "
        f"({result['machine']})"
    ]
    for name, found in result["images"].items():
        enough = "at least" if found["ratio"] >= result["aim"] else "BELOW"
        within = "within" if found["peak_mib"] <= result["limit_mib"] else "BEYOND"
        lines += [
            f"  {name}",
            f"    ours              {found['ours_per_s']:8.1f} tiles/s",
            f"    rasterio + Pillow {found['peer_per_s']:8.1f} tiles/s",
            f"    ratio             {found['ratio']:8.2f}, {enough} {result['aim']:g}",
            f"    peak memory       {found['peak_mib']:8.0f} MiB, {within} "
            f"{result['limit_mib']:,.0f} MiB",
        ]
    return "\n".join(lines)


def _run(*words: str) -> str:
    """What the worker prints; a process of its own for each, to see its own memory."""
    command = [sys.executable, "-m", "benchmarks.data_prep.tile_worker", *words]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if told.returncode:
        raise InputError(
            f"`{' '.join(command)}` failed with status {told.returncode}, see above. "
            f"Is there room for 50 MiB in {tempfile.gettempdir()}?"
        )
    return told.stdout
