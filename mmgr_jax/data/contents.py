"""Hashes of the contents of files and values, independent of paths and names.

The hash of a file is stored with its size and the times of its last changes, so that a
later start need not read the file. A copy or a changed file is hashed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmgr_jax.disk import files

STAMPS_FILE = "verified.json"
"""File in a records folder: sizes, times and hashes of files when last read."""

_FINE_NS = 50_000_000  # two changes closer than this may get the same time
_COARSE_NS = 2_000_000_000  # the same, on file systems that keep whole seconds


def of_value(value: Any) -> str:
    """Returns the SHA-256 of a JSON value; the order of its keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def of_file(path: str | Path) -> str:
    """Returns the SHA-256 of a file, or of all names and contents in a folder."""
    path = Path(path)
    if path.is_dir():
        parts = [
            f"{part.relative_to(path).as_posix()} {of_file(part)}\n"
            for part in files_in(path)
        ]
        return hashlib.sha256("".join(parts).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_in(folder: Path) -> list[Path]:
    """Lists all files in a folder and its subfolders, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def size_and_times(path: Path) -> list[int]:
    """Returns the size in bytes and two times in ns: of changes of content, of any.

    Programs cannot set the last of these times, so an edit is noticed even if the time
    of the content was set back.
    """
    parts = [part.stat() for part in (files_in(path) if path.is_dir() else [path])]
    status = [*parts, path.stat()]  # a folder's own times show added or removed files
    return [
        sum(part.st_size for part in parts),
        max(part.st_mtime_ns for part in status),
        max(part.st_ctime_ns for part in status),
    ]


class Stamps:
    """Stored hashes of files, so that unchanged files need not be read again."""

    def __init__(self, path: Path) -> None:
        """Reads the stored hashes; begins empty if the file is missing or damaged."""
        self._path = path
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError):
            known = files.from_json(path.read_text(encoding="utf-8"))
            if isinstance(known, dict):
                self._known = known

    def sha256(self, name: str, path: Path) -> str:
        """Returns the hash of a file or folder; reads it only if it may have changed.

        Args:
            name: Name under which the hash is stored.
            path: The file or folder.
        """
        before = size_and_times(path)
        if known := self.remembered(name, before):
            return known
        sha256 = of_file(path)
        self.remember(name, path, sha256, before)
        return sha256

    def remembered(self, name: str, now: list[int]) -> str | None:
        """Returns the stored hash if `now` equals the stored size and times."""
        known = self._known.get(name)
        if isinstance(known, list) and len(known) == 4 and known[:3] == now:
            return str(known[3])
        return None

    def remember(self, name: str, path: Path, sha256: str, before: list[int]) -> None:
        """Stores a hash if size and times are still `before`, as when reading began."""
        self.forget(name)
        if _settled(before) and size_and_times(path) == before:
            self._known[name] = [*before, sha256]
            self._changed = True

    def forget(self, name: str) -> None:
        """Removes a stored hash, so that the file is hashed again when needed."""
        self._changed |= self._known.pop(name, None) is not None

    def save(self) -> None:
        """Writes the stored hashes; does nothing if the folder cannot be written to."""
        if self._changed and self._path.parent.is_dir():
            with contextlib.suppress(OSError):
                files.write_text(self._path, json.dumps(self._known, indent=0) + "\n")


@contextlib.contextmanager
def stamps(folder: Path) -> Iterator[Stamps]:
    """Opens the stored hashes of a records folder, and saves them at the end."""
    kept = Stamps(folder / STAMPS_FILE)
    try:
        yield kept
    finally:
        kept.save()


def relative(path: str | Path, folder: str | Path) -> str:
    """Returns a path relative to a folder, so that both can be moved together."""
    path = os.path.abspath(path)
    with contextlib.suppress(ValueError):  # another drive
        return Path(os.path.relpath(path, os.path.abspath(folder))).as_posix()
    return path


def _settled(stamp: list[int]) -> bool:
    """Whether any later change would be visible in the times."""
    newest = max(stamp[1:])
    coarse = newest % 1_000_000_000 == 0
    return time.time_ns() - newest > (_COARSE_NS if coarse else _FINE_NS)
