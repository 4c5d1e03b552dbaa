"""Lists the source files of a city, and finds whether they changed.

A source's name says which setting names it and where it lies below that path, but never
the path itself: a city that was moved is the same city.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.files import side_files
from data_prep.imagery import paths
from data_prep.settings import PreparationSettings
from mmgr_jax.data import contents, schema
from mmgr_jax.data.contents import Stamps
from mmgr_jax.errors import InputError

sha256 = contents.of_file


def named(settings: PreparationSettings) -> dict[str, str]:
    """The key of each path or pattern the config names, and the path."""
    path_of: dict[str, str | None] = {
        f"config.imagery.paths[{index}]": path
        for index, path in enumerate(settings.imagery.paths)
    }
    pois, regions = settings.pois, settings.regions
    path_of["config.pois.path"] = pois.path
    path_of["config.pois.categories.path"] = pois.categories.path
    path_of["config.pois.osm.table"] = pois.osm.table
    if regions.kind == "polygons":
        path_of["config.regions.polygons.path"] = regions.polygons.path
    for name, label in settings.labels.items():
        path_of[f"config.labels.{name}.path"] = label.path
    return {key: path for key, path in path_of.items() if path}


def present(path: str) -> bool:
    """Whether a path or pattern of the config names at least one file."""
    return bool(paths.expand([path]))


def files(settings: PreparationSettings) -> dict[str, Path]:
    """Every file whose content decides the records, by its name.

    These are the files that the config names, the members of mosaics (also of mosaics
    within mosaics), and side files that are read with a file: see `side_files`.
    """
    source_files: dict[str, Path] = {}
    look = side_files.Finder()
    for key, pattern in named(settings).items():
        base = _base(pattern)
        for path in paths.expand([pattern]):
            name = contents.relative(path, base)
            source_files |= look.whole(f"{key.removeprefix('config.')}/{name}", path)
    return dict(sorted(source_files.items()))


def fingerprint(
    settings: Mapping[str, Any], described: Mapping[str, Mapping[str, Any]]
) -> str:
    """Returns a hash that changes with settings, content of sources, and layout."""
    hashes = {name: source["sha256"] for name, source in described.items()}
    return contents.of_value([schema.VERSION, settings, hashes])


def describe(
    source_files: Mapping[str, Path], folder: Path, stamps: Stamps
) -> dict[str, dict[str, Any]]:
    """Path, size and hash of each source, as the manifest keeps them.

    Args:
        source_files: Name -> file or folder; for a folder, all files below it count.
        folder: Folder of the records; paths are written relative to it.
        stamps: Remembers what was read.
    """
    return {
        name: {
            "path": contents.relative(path, folder),
            "bytes": contents.size_and_times(path)[0],
            "sha256": _hash(name, path, stamps),
        }
        for name, path in source_files.items()
    }


def changed(
    described: Mapping[str, Mapping[str, Any]],
    source_files: Mapping[str, Path],
    stamps: Stamps,
) -> list[str]:
    """Names of the sources that differ from their description; empty: none differs.

    Args:
        described: By `describe`.
        source_files: What there is now.
        stamps: Stamps of the records; a file with unchanged size and times is not read.
    """
    return [
        name
        for name in sorted(described.keys() | source_files.keys())
        if name not in described
        or name not in source_files
        or described[name]["sha256"] != _hash(name, source_files[name], stamps)
    ]


def changed_since(
    manifest: schema.Manifest, source_files: Mapping[str, Path], records_dir: Path
) -> list[str]:
    """Names of the sources that differ from those the records were made from.

    Args:
        manifest: Of the records.
        source_files: What there is now.
        records_dir: Their folder.
    """
    described = manifest.sources
    if any("modified_ns" in source for source in described.values()):
        return _changed_before(
            described, source_files, records_dir / schema.MANIFEST_FILE
        )
    with contents.stamps(records_dir) as stamps:
        return changed(described, source_files, stamps)


def _changed_before(
    described: Mapping[str, Mapping[str, Any]],
    source_files: Mapping[str, Path],
    manifest_file: Path,
) -> list[str]:
    """The same for records of before, which told sources by path and time.

    They do not tell of side files: one is another where it is younger than the records.
    """
    now = {str(path): path for path in source_files.values()}
    mains = {
        str(path) for path in source_files.values() if not side_files.is_side(path)
    }
    built_ns = manifest_file.stat().st_mtime_ns
    names = [name for name in described if name not in now]
    names += [name for name in mains if name not in described]
    for name, path in now.items():
        if name not in described:
            younger = contents.size_and_times(path)[1] > built_ns
            names += [name] if younger and name not in mains else []
        elif _stat(path) != {
            key: described[name][key] for key in ("bytes", "modified_ns")
        }:
            same = sha256(path) == described[name]["sha256"]
            names += [] if same else [name]
    return sorted(names)


def refuse_changed(
    described: Mapping[str, Mapping[str, Any]],
    source_files: Mapping[str, Path],
    stamps: Stamps,
) -> None:
    """Raises InputError if sources changed while records were made from them."""
    if names := changed(described, source_files, stamps):
        raise InputError(
            f"{', '.join(names[:3])}: changed while the records were made from it. "
            "Give the command again when no program writes to it."
        )


def _hash(name: str, path: Path, stamps: Stamps) -> str:
    known = side_files.of_statistics(path)
    return known or stamps.sha256(f"source {name}", path)


def _base(pattern: str) -> Path:
    """The folder below which a pattern finds files, or in which a file lies."""
    if Path(pattern).exists():
        return Path(pattern).parent
    return paths.fixed_folder(pattern)


def _stat(path: Path) -> dict[str, int]:
    size, modified_ns, _ = contents.size_and_times(path)
    return {"bytes": size, "modified_ns": modified_ns}
