"""Computes checksums of files by pieces, on all cores and with little memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PIECE_BYTES = 32 * 2**20
"""A file has a checksum for each piece of this size."""

_BUFFER_BYTES = 2**20

Sums = dict[str, dict[str, Any]]
"""Name -> {"bytes": size of the file, "sha256": a digest of each piece}."""


def of(folder: Path, names: Sequence[str]) -> Sums:
    """Computes the size and checksums of files.

    Args:
        folder: Folder of the files.
        names: Paths of the files in the folder.

    Raises:
        OSError: If a file cannot be read.
    """
    sizes = {name: (folder / name).stat().st_size for name in names}
    pieces = [(name, start) for name in names for start in _starts(sizes[name])]
    digests = _in_parallel(folder, pieces)
    sums: Sums = {name: {"bytes": size, "sha256": []} for name, size in sizes.items()}
    for (name, _), digest in zip(pieces, digests, strict=True):
        sums[name]["sha256"].append(digest)
    return sums


def differing(folder: Path, written: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Describes the first file that has changed; None if no file has.

    Args:
        folder: Folder of the files.
        written: Sizes and checksums, as `of` returned them.

    Raises:
        OSError: If a file that is there cannot be read.
    """
    for name, about in written.items():
        try:
            size = (folder / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return f"{name} is missing"
        if size != about["bytes"]:
            return f"{name} has {size} bytes instead of {about['bytes']}"
    now = of(folder, list(written))
    for name, about in written.items():
        if now[name] != dict(about):
            return f"{name} holds other bytes than were written"
    return None


def _starts(size: int) -> range:
    return range(0, max(size, 1), PIECE_BYTES)


def _in_parallel(folder: Path, pieces: Sequence[tuple[str, int]]) -> list[str]:
    def digest(piece: tuple[str, int]) -> str:
        name, start = piece
        return _digest(folder / name, start)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(digest, pieces))


def _digest(path: Path, start: int) -> str:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_BUFFER_BYTES))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = PIECE_BYTES
        while left and (count := file.readinto(buffer[: min(left, _BUFFER_BYTES)])):
            digest.update(buffer[:count])
            left -= count
    return digest.hexdigest()
