"""Marks: files that say that this program wrote a folder, and which files with it.

A folder belongs to this program only if it has a mark. The mark lists the files that
the program wrote. All other files in the folder belong to the user and are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgr_jax import __version__
from mmgr_jax.disk import checksums, files, refusals
from mmgr_jax.errors import InputError

MARK = "written_by_mmgr.json"
FORMAT = 1

Known = Callable[[Path], Collection[str]]
"""Function that names our files in a folder without a mark, from an earlier version;
() if the folder is not ours."""

_OWN = "own_sha256"


class DamageError(Exception):
    """Files are not as they were written; the message says which, and how."""


def mark(
    folder: Path, kind: str, *, sums: bool = False, unsealed: Collection[str] = ()
) -> None:
    """Marks a folder as written by this program, with all that lies in it now.

    Args:
        folder: The folder.
        kind: Kind of the folder, such as "records".
        sums: Whether `verify` can notice damage: the mark then holds checksums of
            every file, and is safely on the disk when this returns.
        unsealed: Names of our files that a user may edit; they get no checksums.
    """
    content: dict[str, Any] = {"format": FORMAT, "kind": kind, "made_by": __version__}
    if sums:
        sealed = [name for name in _below(folder) if name not in unsealed]
        content["files"] = checksums.of(folder, sealed)
        if unsealed:
            content["entries"] = sorted(unsealed)
    else:
        content["entries"] = sorted(_entries(folder))
    text = json.dumps(content | {_OWN: _digest(content)}, indent=1, sort_keys=True)
    with files.replacing(folder / MARK) as temporary:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            if sums:
                file.flush()
                os.fsync(file.fileno())
    if sums:
        sync(folder)


def mark_of(folder: Path) -> dict[str, Any] | None:
    """Reads the mark of a folder; None if there is none.

    Raises:
        DamageError: If the mark is damaged.
        InputError: If it is of another version, or cannot be read.
    """
    path = folder / MARK
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, MemoryError) as error:
        raise refusals.unreadable(path, error) from error
    try:
        content = files.from_json(text)
        own = content.pop(_OWN)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamageError(f"{MARK} is incomplete") from error
    if own != _digest(content):
        raise DamageError(f"{MARK} holds other bytes than were written")
    if content["format"] != FORMAT:
        raise InputError(
            f"{folder}: written in format {content['format']} by mmgr-jax "
            f"{content['made_by']}; this version reads format {FORMAT}. Use that "
            "version, or name another folder."
        )
    return content


def is_ours(folder: Path, kind: str) -> bool:
    """Returns whether a folder has an undamaged mark of this kind."""
    try:
        content = mark_of(folder)
    except DamageError:
        return False
    return content is not None and content["kind"] == kind


def verify(folder: Path, kind: str, parts: Sequence[str] | None = None) -> bool:
    """Compares the bytes of a folder's files with their checksums.

    Args:
        folder: A folder that was marked with checksums.
        kind: Kind that it should have.
        parts: Folders in it to compare, in addition to the files directly in it; None
            for all.

    Returns:
        Whether it had checksums: earlier versions wrote none.

    Raises:
        DamageError: If a file is absent or changed; the message names the first one.
        InputError: If the folder is of another kind or version, or cannot be read.
    """
    content = mark_of(folder)
    if content is None:
        return False
    if content["kind"] != kind:
        raise InputError(
            f"{folder}: holds {content['kind']}, not {kind}; name another."
        )
    wanted = {
        name: about
        for name, about in content.get("files", {}).items()
        if parts is None or "/" not in name or name.partition("/")[0] in parts
    }
    try:
        damage = checksums.differing(folder, wanted)
    except (OSError, MemoryError) as error:
        raise refusals.unreadable(folder, error) from error
    if damage:
        raise DamageError(damage)
    return "files" in content


def own(folder: Path, kind: str, known: Known) -> set[str]:
    """Names the entries of a folder that this program wrote; none if not ours."""
    if not is_ours(folder, kind):
        return set(known(folder))
    content = mark_of(folder) or {}
    names = {name.partition("/")[0] for name in content.get("files", ())}
    return {*names, *content.get("entries", ()), MARK, *known(folder)}


def refuse_unreadable(folder: Path) -> None:
    """Raises InputError if a file of a folder cannot be opened and read."""
    for name in _below(folder):
        try:
            with (folder / name).open("rb") as file:
                file.read(1)
        except (OSError, MemoryError) as error:
            raise refusals.unreadable(folder / name, error) from error


def sync(folder: Path) -> None:
    """Writes the names in a folder to the disk, so that they survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not on every network disk
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} | {MARK}


def _below(folder: Path) -> list[str]:
    """Lists paths below a folder, without its mark, always in the same order."""

    def walk(place: Path) -> Iterator[Path]:
        for entry in sorted(place.iterdir()):
            if entry.is_dir():
                yield from walk(entry)
            elif entry != folder / MARK:
                yield entry

    return [path.relative_to(folder).as_posix() for path in walk(folder)]


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
