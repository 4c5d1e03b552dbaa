"""Reads and writes `sources.json`: source, licence and year of the files next to it."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError

SOURCES_FILE = "sources.json"
_FOLDERS_UP = 3


@dataclasses.dataclass(frozen=True)
class Fetched:
    """Files of one source.

    Attributes:
        files: The files, relative to the folder, with SHA-256 and bytes.
        source: Who must be named.
        licence: Licence as the publisher names it; "" where unknown.
        year: Year of the data; None: see `details`, or not known.
        unit: Unit of the numbers; "" where there are none.
        crs: CRS of the files.
        address: Address they came from, without secrets.
        details: What else is known, such as the scenes of a mosaic.
    """

    files: dict[str, dict[str, Any]]
    source: str
    licence: str
    year: int | None
    unit: str
    crs: str
    address: str
    details: dict[str, Any]


def described(folder: Path, path: Path) -> dict[str, dict[str, Any]]:
    """Returns name, SHA-256 and size of a file."""
    known = {"sha256": sha256(path), "bytes": path.stat().st_size}
    return {path.relative_to(folder).as_posix(): known}


def sha256(path: Path) -> str:
    """Returns the hash of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(
    folder: Path, area: dict[str, Any], parts: Mapping[str, Fetched | None]
) -> Path:
    """Writes the record of what was fetched; keeps parts of other commands.

    Args:
        folder: Folder with the files.
        area: Name of the area in the command, its outline and the outline's source.
        parts: "imagery", "pois" and labels by name.
    """
    path = folder / SOURCES_FILE
    known = read(folder) | {name: part for name, part in parts.items() if part}
    text = {name: dataclasses.asdict(part) for name, part in known.items()}
    with refusals.explained(folder):
        files.write_text(path, json.dumps({"area": area, "parts": text}, indent=1))
    return path


def read(folder: Path) -> dict[str, Fetched]:
    """Reads what was fetched into a folder, by "imagery", "pois" and names of labels.

    Raises:
        InputError: If the record is damaged.
    """
    path = folder / SOURCES_FILE
    if not path.is_file():
        return {}
    try:
        parts = files.from_json(path.read_bytes())["parts"]
        return {str(name): Fetched(**part) for name, part in parts.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is damaged. Remove it, and give the command of `data_prep.fetch` "
            "again."
        ) from error


def beside(pattern: str) -> Fetched | None:
    """Reads what the record next to some files says about them; None: no record.

    Args:
        pattern: A file, or a pattern of files.

    Raises:
        InputError: If the record is damaged.
    """
    path = Path(pattern)
    for folder in list(path.parents)[:_FOLDERS_UP]:
        name = path.relative_to(folder).as_posix()
        for part in read(folder).values():
            if fnmatch.filter(part.files, name):
                return part
    return None
