"""Hashes of the contents of files and values, not of their paths or names.

A file is hashed once. The hash is stored with the size of the file and the times of its
last changes, so that later starts need not read it. A copy, or a file whose times have
changed, is hashed again.
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
"""Beside records: sizes, times and hashes of files as they were last read."""

_FINE_NS = 50_000_000  # a file may be changed twice within what a clock tells apart
_COARSE_NS = 2_000_000_000  # likewise on file systems that keep whole seconds


def of_value(value: Any) -> str:
    """SHA-256 of anything that JSON can hold, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def of_file(path: str | Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files below a folder."""
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
    """All files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def size_and_times(path: Path) -> list[int]:
    """Bytes, and the newest time of a change of content and of anything, in ns.

    The last of them cannot be set: who edits a file and puts its time back is seen.
    """
    parts = [part.stat() for part in (files_in(path) if path.is_dir() else [path])]
    status = [*parts, path.stat()]  # a folder's own: files come and go
    return [
        sum(part.st_size for part in parts),
        max(part.st_mtime_ns for part in status),
        max(part.st_ctime_ns for part in status),
    ]


class Stamps:
    """Hashes of files that need not be read again."""

    def __init__(self, path: Path) -> None:
        """Reads what is remembered; nothing, where the file is absent or damaged."""
        self._path = path
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError):
            known = files.from_json(path.read_text(encoding="utf-8"))
            if isinstance(known, dict):
                self._known = known

    def sha256(self, name: str, path: Path) -> str:
        """The hash of a file or folder; read only if it may have changed.

        Args:
            name: Under which it is remembered.
            path: Where it lies.
        """
        before = size_and_times(path)
        if known := self.remembered(name, before):
            return known
        sha256 = of_file(path)
        self.remember(name, path, sha256, before)
        return sha256

    def remembered(self, name: str, now: list[int]) -> str | None:
        """The hash of a file whose `size_and_times` are these; None if not known."""
        known = self._known.get(name)
        if isinstance(known, list) and len(known) == 4 and known[:3] == now:
            return str(known[3])
        return None

    def remember(self, name: str, path: Path, sha256: str, before: list[int]) -> None:
        """Keeps a hash of what had `before` when its reading began, if it has still."""
        self.forget(name)
        if _settled(before) and size_and_times(path) == before:
            self._known[name] = [*before, sha256]
            self._changed = True

    def forget(self, name: str) -> None:
        """Has a file hashed the next time it is asked for."""
        self._changed |= self._known.pop(name, None) is not None

    def save(self) -> None:
        """Writes what is remembered; what cannot be written to goes without."""
        if self._changed and self._path.parent.is_dir():
            with contextlib.suppress(OSError):
                files.write_text(self._path, json.dumps(self._known, indent=0) + "\n")


@contextlib.contextmanager
def stamps(folder: Path) -> Iterator[Stamps]:
    """The stamps of a folder of records, saved at the end."""
    kept = Stamps(folder / STAMPS_FILE)
    try:
        yield kept
    finally:
        kept.save()


def relative(path: str | Path, folder: str | Path) -> str:
    """A path as written beside other things: from their folder, so both can move."""
    path = os.path.abspath(path)
    with contextlib.suppress(ValueError):  # another drive
        return Path(os.path.relpath(path, os.path.abspath(folder))).as_posix()
    return path


def _settled(stamp: list[int]) -> bool:
    """Whether a change from now on would show in the times."""
    newest = max(stamp[1:])
    coarse = newest % 1_000_000_000 == 0
    return time.time_ns() - newest > (_COARSE_NS if coarse else _FINE_NS)
