"""The files a city is built from: which they are and whether they changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rasterio

from data_prep import imagery
from mmgr_jax.data import schema

_CHUNK_BYTES = 1 << 22

Sections = Mapping[str, Any]
"""The data preparation sections of a config as plain dicts."""


def named(sections: Sections) -> dict[str, str]:
    """The key of each path or pattern the config names, and the path."""
    found = {
        f"config.imagery.paths[{index}]": str(path)
        for index, path in enumerate(sections["imagery"]["paths"])
    }
    if sections["pois"]["path"]:
        found["config.pois.path"] = sections["pois"]["path"]
    for name, label in sections["labels"].items():
        if label.get("path"):
            found[f"config.labels.{name}.path"] = label["path"]
    return found


def present(path: str) -> bool:
    """Whether a path or pattern of the config names at least one file."""
    return bool(imagery.expand([path]))


def files(sections: Sections) -> list[Path]:
    """Every file whose content decides the records, sorted, each once."""
    found: set[Path] = set()
    for path in imagery.expand(list(named(sections).values())):
        found.add(path)
        if path.suffix.lower() == ".shp":
            parts = (path.with_suffix(end) for end in (".dbf", ".prj", ".cpg"))
            found.update(part for part in parts if part.exists())
        if path.suffix.lower() == ".vrt":
            with rasterio.open(path) as mosaic:
                found.update(Path(part) for part in mosaic.files)
    return sorted(found)


def fingerprint(sections: Sections) -> str:
    """Changes with the settings, the sources' sizes and times, and the layout."""
    stats = {str(path): _stat(path) for path in files(sections)}
    return _digest([schema.VERSION, comparable(sections), stats])


def describe(sections: Sections) -> dict[str, dict[str, Any]]:
    """Size, time and hash of each source, as the manifest keeps them."""
    return {
        str(path): {**_stat(path), "sha256": sha256(path)} for path in files(sections)
    }


def unchanged(described: Mapping[str, Mapping[str, Any]], sections: Sections) -> bool:
    """Whether the sources are still those a manifest describes.

    A file of another time but the same size is hashed: copying changes the time.
    """
    now = {str(path): path for path in files(sections)}
    if set(now) != set(described):
        return False
    return all(
        _stat(path)["bytes"] == described[name]["bytes"]
        and (
            _stat(path)["modified_ns"] == described[name]["modified_ns"]
            or sha256(path) == described[name]["sha256"]
        )
        for name, path in now.items()
    )


def comparable(sections: Sections) -> dict[str, Any]:
    """The sections as JSON gives them back, without where the records go."""
    plain = json.loads(json.dumps(sections))
    plain["records"].pop("dir", None)
    return plain


def sha256(path: Path) -> str:
    """Hash of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _stat(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
