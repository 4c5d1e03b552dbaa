"""Folders that this program writes as a whole: marked, checked, replaced, cleaned up.

A folder is ours only where its mark says so, a file that lists what was written into
it. What else lies in such a folder is its user's and stays.

    data/city/records                    the folder, with its mark
    data/city/.records.partial-x7k2q1    grows; goes, or is gone on with, later
    data/city/.records.replaced-p0d3sk   was there before; goes at once
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgr_jax import __version__, checksums, files
from mmgr_jax.errors import InputError

MARK = "written_by_mmgr.json"
FORMAT = 1

Known = Callable[[Path], Collection[str]]
"""Names of what is ours in a folder without a mark, as earlier versions left; () where
the folder is not ours."""

_OWN = "own_sha256"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_BROKEN = (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO)
_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "bad_alloc", "allocate memory")

log = logging.getLogger(__name__)


class DamageError(Exception):
    """Files are not as they were written; says which, and how."""


# ---- what a folder says of itself ----


def mark(folder: Path, kind: str, *, sums: bool = False) -> None:
    """Marks a folder as ours, with all that lies in it now.

    Args:
        folder: The folder.
        kind: What it is, such as "records".
        sums: Whether `verify` shall notice damage: the mark then holds checksums of
            every file, and lies safely on the disk when this returns.
    """
    told: dict[str, Any] = {"format": FORMAT, "kind": kind, "made_by": __version__}
    if sums:
        told["files"] = checksums.of(folder, _below(folder))
    else:
        told["entries"] = sorted(_entries(folder))
    text = json.dumps(told | {_OWN: _digest(told)}, indent=1, sort_keys=True)
    with files.replacing(folder / MARK) as temporary:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            if sums:
                file.flush()
                os.fsync(file.fileno())
    if sums:
        sync(folder)


def mark_of(folder: Path) -> dict[str, Any] | None:
    """What a folder's mark says; None where there is none.

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
        raise unreadable(path, error) from error
    try:
        told = json.loads(text)
        own = told.pop(_OWN)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamageError(f"{MARK} is torn") from error
    if own != _digest(told):
        raise DamageError(f"{MARK} holds other bytes than were written")
    if told["format"] != FORMAT:
        raise InputError(
            f"{folder}: written in format {told['format']} by mmgr-jax "
            f"{told['made_by']}; this version reads format {FORMAT}. Use that version, "
            "or name another folder."
        )
    return told


def is_ours(folder: Path, kind: str) -> bool:
    """Whether an undamaged mark says that the folder is of this kind."""
    try:
        told = mark_of(folder)
    except DamageError:
        return False
    return told is not None and told["kind"] == kind


def verify(folder: Path, kind: str, parts: Sequence[str] | None = None) -> bool:
    """Compares the bytes of a folder's files with their checksums.

    Args:
        folder: Marked with checksums.
        kind: What it should be.
        parts: Folders in it to look at, beside the files that lie directly in it; None
            for all.

    Returns:
        Whether it had checksums: earlier versions wrote none.

    Raises:
        DamageError: Naming the first file that is absent or other than written.
        InputError: If the folder is of another kind or version, or cannot be read.
    """
    told = mark_of(folder)
    if told is None:
        return False
    if told["kind"] != kind:
        raise InputError(f"{folder}: holds {told['kind']}, not {kind}; name another.")
    wanted = {
        name: about
        for name, about in told.get("files", {}).items()
        if parts is None or "/" not in name or name.partition("/")[0] in parts
    }
    try:
        found = checksums.differing(folder, wanted)
    except (OSError, MemoryError) as error:
        raise unreadable(folder, error) from error
    if found:
        raise DamageError(found)
    return "files" in told


def refuse_unreadable(folder: Path) -> None:
    """Raises InputError where a file of a folder cannot be opened and read from."""
    for name in _below(folder):
        try:
            with (folder / name).open("rb") as file:
                file.read(1)
        except (OSError, MemoryError) as error:
            raise unreadable(folder / name, error) from error


def unreadable(path: Path, error: BaseException) -> InputError:
    """The error for what is there and cannot be read now: nothing is wrong with it."""
    if is_memory(error):
        return InputError(
            f"{path}: the memory does not suffice to read it. Nothing was changed; end "
            "other programs, or take a machine with more, and give the command again."
        )
    place = getattr(error, "filename", None) or path
    code = getattr(error, "errno", None)
    cause = os.strerror(code) if code else str(error)
    return InputError(
        f"{place}: cannot be read ({cause}). Nothing was changed: get the right to "
        "read it, or mend its disk, and give the command again."
    )


def is_memory(error: BaseException) -> bool:
    """Whether an error tells that memory was short, in whichever library."""
    return isinstance(error, MemoryError) or (
        not _says(error, (*_FULL, *_FORBIDDEN))
        and any(text in str(error) for text in (*_MEMORY, os.strerror(errno.ENOMEM)))
    )


def is_refusal(error: BaseException) -> bool:
    """Whether the system did not let a library read: no right, or a broken disk."""
    return "PERMISSION_DENIED" in str(error) or _says(error, (*_FORBIDDEN, *_BROKEN))


def unwritable(place: Path, error: BaseException) -> InputError | None:
    """The error for a folder that cannot be written to; None for another cause."""
    remedy = "Mend its disk, or name a folder on another one"
    if is_memory(error):
        remedy = "End other programs, or take a machine with more memory"
    elif _says(error, _FULL):
        remedy = "Make room on its disk, or name a folder on another one"
    elif _says(error, _FORBIDDEN):
        remedy = "Get the right to write there, or name another folder"
    elif not _says(error, _BROKEN):
        return None
    code = getattr(error, "errno", None)
    cause = os.strerror(code) if code else " ".join(str(error).split())[:200]
    return InputError(
        f"{place}: cannot be written ({cause or type(error).__name__}). {remedy}, and "
        "give the command again: what was finished before is whole, and it goes on "
        "from there."
    )


def _says(error: BaseException, codes: Collection[int]) -> bool:
    return getattr(error, "errno", None) in codes or any(
        os.strerror(code) in str(error) for code in codes
    )


# ---- writing ----


def real(path: str | Path) -> Path:
    """The folder that a path means, absolute and without links: those stay links.

    Raises:
        InputError: If it is a link to nowhere.
    """
    path = Path(path).absolute()
    found = path.resolve()
    if path.is_symlink() and not found.parent.is_dir():
        raise InputError(
            f"{path}: is a link to {found}, and {found.parent} does not exist. Mount "
            "its disk, or make the folder."
        )
    return found


def sync(folder: Path) -> None:
    """Makes the names in a folder outlive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not on every network disk
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial(place: Path, kind: str) -> Path:
    """A new marked folder beside a place, to be filled for `replace`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)
    folder = place.with_name(f".{place.name}.partial-{token}")
    folder.mkdir()
    mark(folder, kind)
    return folder


def replace(new: Path, place: Path, kind: str, known: Known, **marked: bool) -> None:
    """Puts a filled folder in place; of what was there before, ours goes.

    What a user laid beside it moves into the new folder. The caller holds the lock of
    the place, and has asked `refuse_foreign`.

    Args:
        new: The filled folder, beside the place.
        place: Where it goes, without links; see `real`.
        kind: What it is.
        known: For folders that earlier versions left.
        **marked: As for `mark`.

    Raises:
        OSError: If the system refuses; what was in place is there again.
    """
    mark(new, kind, **marked)
    old = None
    if place.exists():
        old = place.with_name(f"{_replaced(place)}{secrets.token_hex(4)}")
        place.rename(old)
    try:
        new.rename(place)
    except OSError:
        if old is not None:
            old.rename(place)
        raise
    if old is not None:
        _take_over(old, place, own(old, kind, known))


def refuse_foreign(place: Path, kind: str, known: Known, key: str) -> None:
    """Raises InputError where a place holds what this program did not write.

    Args:
        place: A folder, or nothing yet.
        kind: What it may be.
        known: For folders that earlier versions left.
        key: The config key that names it.
    """
    if place.is_dir():
        fine = own(place, kind, known) or not any(place.iterdir())
    else:
        fine = not place.exists()
    if not fine:
        raise InputError(
            f"{key} {place}: exists, but holds no {kind} of this program (no {MARK}). "
            "Name another folder or remove this one."
        )


def own(folder: Path, kind: str, known: Known) -> set[str]:
    """Names of the entries of a folder that this program wrote; none if not ours."""
    if not is_ours(folder, kind):
        return set(known(folder))
    told = mark_of(folder) or {}
    names = {name.partition("/")[0] for name in told.get("files", ())}
    return {*names, *told.get("entries", ()), MARK, *known(folder)}


def clean(place: Path, kind: str, known: Known) -> None:
    """Removes what killed starts left beside a place, and mends what broke off.

    The caller holds the lock of the place.
    """
    for leftover in _beside(place, _replaced(place)):
        names = own(leftover, kind, known)
        if names and not place.exists():
            leftover.rename(place)  # killed between two renames
            log.info("%s: put back after a start that was killed", place)
        elif names or not any(leftover.iterdir()):
            _take_over(leftover, place, names)
    for leftover in _beside(place, f".{place.name}.partial-"):
        if own(leftover, kind, known) or not any(leftover.iterdir()):
            log.info("%s: left by a start that was killed; removed", leftover)
            remove(leftover)


def remove(folder: Path) -> None:
    """Removes a folder of ours with all that is in it, as far as the system lets."""
    shutil.rmtree(folder, ignore_errors=True)


def _take_over(old: Path, place: Path, names: Collection[str]) -> None:
    """Removes ours from an old folder; what is its user's goes to the new one."""
    for entry in list(old.iterdir()):
        if entry.name in names:
            _remove(entry)
        elif not (place / entry.name).exists():
            entry.rename(place / entry.name)
    try:
        old.rmdir()
    except OSError:
        log.warning("%s: kept, with files that this program did not write", old)


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        remove(entry)
    else:
        entry.unlink(missing_ok=True)


def _replaced(place: Path) -> str:
    return f".{place.name}.replaced-"


def _beside(place: Path, prefix: str) -> list[Path]:
    """Folders, not links, beside a place whose names begin so."""
    if not place.parent.is_dir():
        return []
    return sorted(
        entry
        for entry in place.parent.iterdir()
        if entry.name.startswith(prefix) and entry.is_dir() and not entry.is_symlink()
    )


def _entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} | {MARK}


def _below(folder: Path) -> list[str]:
    """Paths below a folder, without its mark, in an order that is always the same."""

    def walk(place: Path) -> Iterator[Path]:
        for entry in sorted(place.iterdir()):
            if entry.is_dir():
                yield from walk(entry)
            elif entry != folder / MARK:
                yield entry

    return [path.relative_to(folder).as_posix() for path in walk(folder)]


def _digest(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
