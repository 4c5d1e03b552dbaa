"""Where the numbers of a report come from: data, config, versions, checkpoint."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import __version__, checkpoint
from mmgr_jax.data import schema
from mmgr_jax.evaluators import report_json
from mmgr_jax.feature_sets import City

PACKAGES = ("jax", "flax", "orbax-checkpoint", "numpy", "scipy")


def of(config: ConfigDict, city: City, bundle: Path) -> dict[str, Any]:
    """What a report says of its origin; see `evaluators.report_json`."""
    manifest, folder = city.source.manifest, city.source.records_dir
    shards = [path.name for path in manifest.shard_paths(folder)]
    files = {
        name: sha256(folder / name)
        for name in (schema.MANIFEST_FILE, schema.SPLITS_FILE)
        if (folder / name).exists()
    }
    trained = checkpoint.load_metadata(bundle).config
    return {
        "schema": report_json.SCHEMA,
        "created": datetime.datetime.now(datetime.UTC).isoformat(),
        "versions": versions(),
        "checkpoint": str(bundle),
        "training_seed": trained.get("seed"),
        "config": config.to_dict(),
        "settings": config.eval.to_dict(),
        "data": {
            "city": manifest.city,
            "crs": manifest.crs,
            "records": str(folder),
            "num_regions": len(city.source),
            "num_blocks": len(np.unique(city.regions.block_id)),
            "block_size_m": manifest.block_size_m,
            "tile_size_px": manifest.tile_size_px,
            "tile_size_m": manifest.tile_size_m,
            "empty_share": manifest.empty_share,
            "hashes": {
                **files,
                **dict(zip(shards, manifest.shard_sha256, strict=True)),
            },
            "sources": dict(manifest.sources),
        },
    }


def versions() -> dict[str, str]:
    """Versions of this program, of Python and of the packages that make numbers."""
    return {
        "mmgr-jax": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def sha256(path: Path) -> str:
    """Hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
