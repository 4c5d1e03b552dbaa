"""The files a city is made from: which they are and whether they changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rasterio

from data_prep import imagery
from mmgr_jax.data import schema

Sections = Mapping[str, Any]
"""The data preparation sections of a config as plain dicts."""


def named(sections: Sections) -> dict[str, str]:
    """The key of each path or pattern the config names, and the path."""
    found = {
        f"config.imagery.paths[{index}]": str(path)
        for index, path in enumerate(sections["imagery"]["paths"])
    }
    pois = sections["pois"]
    for name, path in (
        ("path", pois["path"]),
        ("categories.path", pois["categories"]["path"]),
        ("osm.table", pois["osm"]["table"]),
    ):
        if path:
            found[f"config.pois.{name}"] = path
    if (
        sections["regions"]["kind"] == "polygons"
        and sections["regions"]["polygons"]["path"]
    ):
        found["config.regions.polygons.path"] = sections["regions"]["polygons"]["path"]
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


def fingerprint(settings: Mapping[str, Any], paths: Sequence[Path]) -> str:
    """Changes with the settings, the sources' sizes and times, and the layout."""
    stats = {str(path): _stat(path) for path in paths}
    content = json.dumps([schema.VERSION, settings, stats], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def describe(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Size, time and hash of each source, as the manifest keeps them.

    Args:
        paths: Files, and folders: of a folder the files in it count, not those below.
    """
    return {str(path): {**_stat(path), "sha256": sha256(path)} for path in paths}


def unchanged(
    described: Mapping[str, Mapping[str, Any]], paths: Sequence[Path]
) -> bool:
    """Whether the sources are still those a manifest describes.

    A source of another time but the same size is hashed: copying changes the time.
    """
    now = {str(path): path for path in paths}
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


def sha256(path: Path) -> str:
    """Hash of a file, or of the names and contents of a folder's files."""
    if path.is_dir():
        parts = [f"{part.name} {sha256(part)}\n" for part in _files_in(path)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _stat(path: Path) -> dict[str, int]:
    status = [part.stat() for part in (_files_in(path) if path.is_dir() else [path])]
    # A folder has a time of its own: it changes when a file comes, goes or is replaced.
    times = [part.st_mtime_ns for part in (*status, path.stat())]
    return {"bytes": sum(part.st_size for part in status), "modified_ns": max(times)}


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())
