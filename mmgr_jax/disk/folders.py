"""Replaces folders as a whole, cleans up after killed processes, and keeps links.

data/city/raw                    the folder, with its mark
data/city/.raw.lock              names the process that is writing the folder
data/city/.raw.partial-7f3a91c0  the unfinished new folder; if its writer was killed,
                                 the next start removes it
data/city/.raw.replaced-1b22e08d the older folder; it is removed at once
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from mmgr_jax.disk import locks, marks, refusals
from mmgr_jax.disk.marks import MARK, Known
from mmgr_jax.errors import InputError

log = logging.getLogger(__name__)


def real(path: str | Path) -> Path:
    """Returns the absolute folder that a path leads to, with all links followed.

    Raises:
        InputError: If it is a link to nowhere.
    """
    path = Path(path).absolute()
    target = path.resolve()
    if path.is_symlink() and not target.parent.is_dir():
        raise InputError(
            f"{path}: is a link to {target}, and {target.parent} does not exist. Mount "
            "its disk, or make the folder."
        )
    return target


@contextlib.contextmanager
def replacing(
    place: str | Path,
    kind: str,
    *,
    key: str,
    known: Known = lambda _: (),
    sums: bool = False,
    unsealed: Collection[str] = (),
) -> Iterator[Path]:
    """Makes a new folder to fill, which replaces an older one at the end.

    No other process writes there meanwhile. After an error, or if the process is
    killed, the older folder is unchanged. Files that a user put into it move into the
    new folder.

    Args:
        place: Path of the folder; a link stays a link.
        kind: Kind of the folder, such as "heads".
        key: Key that names the place, such as "config.toy_city.out_dir".
        known: Names our files in folders that earlier versions left there; see `Known`.
        sums: As for `mark`.
        unsealed: As for `mark`.

    Yields:
        The new folder.

    Raises:
        InputError: If the place holds something else, another process writes there, or
            the system does not allow writing.
    """
    place = real(place)
    with refusals.explained(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with locks.held(lock_of(place), f"writing {kind}", f"name another {key}"):
            refuse_foreign(place, kind, known, key)
            clean(place, kind, known)
            new = partial(place, kind)
            try:
                yield new
                replace(new, place, kind, known, sums=sums, unsealed=unsealed)
            finally:
                remove(new)


def lock_of(place: Path) -> Path:
    """Returns the path of the lock file of a folder, next to the folder."""
    return place.with_name(f".{place.name}.lock")


def partial(place: Path, kind: str) -> Path:
    """Makes a new marked folder next to a place, to be filled for `replace`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    folder = place.with_name(_partial(place) + secrets.token_hex(4))
    folder.mkdir()
    marks.mark(folder, kind)
    return folder


def replace(
    new: Path,
    place: Path,
    kind: str,
    known: Known,
    *,
    sums: bool = False,
    unsealed: Collection[str] = (),
) -> None:
    """Puts a filled folder in place, and removes our files that were there before.

    Files that a user put there move into the new folder. The caller must hold the lock
    of the place, and must have called `refuse_foreign`.

    Args:
        new: The filled folder, next to the place.
        place: Path that it gets, without links; see `real`.
        kind: Kind of the folder.
        known: As for `replacing`.
        sums: As for `mark`.
        unsealed: As for `mark`.

    Raises:
        OSError: If the system does not allow it; the older folder is back in place.
    """
    marks.mark(new, kind, sums=sums, unsealed=unsealed)
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
        _take_over(old, place, marks.own(old, kind, known))


def refuse_foreign(place: Path, kind: str, known: Known, key: str) -> None:
    """Raises InputError if a place holds what this program did not write.

    Args:
        place: Path of a folder, or of nothing yet.
        kind: Kind of folder that is allowed.
        known: As for `replacing`.
        key: The config key that names it.
    """
    try:
        is_folder = stat.S_ISDIR(os.lstat(place).st_mode)
    except FileNotFoundError:
        return
    fine = is_folder and (marks.own(place, kind, known) or not any(place.iterdir()))
    if not fine:
        raise InputError(
            f"{key} {place}: exists, but holds no {kind} of this program (no {MARK}). "
            "Name another folder or remove this one."
        )


def clean(
    place: Path, kind: str, known: Known, *, unfinished: str | None = None
) -> None:
    """Removes what killed processes left next to a place, or puts it back.

    An older folder goes back if its process was killed before the new one was in place.
    The caller must hold the lock of the place.

    Args:
        place: The folder, without links.
        kind: Kind of the folder.
        known: As for `replacing`.
        unfinished: Beginning of the names of unfinished folders; None: as `partial`
            names them.
    """
    for leftover in _beside(place, _replaced(place)):
        names = marks.own(leftover, kind, known)
        if names and not place.exists():
            leftover.rename(place)  # killed between two renames
            log.info("%s: put back after a start that was killed", place)
        elif names or _is_empty(leftover):
            _take_over(leftover, place, names)
    for leftover in _beside(place, unfinished or _partial(place)):
        if marks.own(leftover, kind, known) or _is_empty(leftover):
            log.info("%s: left by a start that was killed; removed", leftover)
            remove(leftover)


def remove(folder: Path) -> None:
    """Removes a folder of this program with its content, as far as the system allows.

    The mark is removed last: until then the folder is known as ours.
    """
    with contextlib.suppress(OSError):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != MARK:
                entry.unlink(missing_ok=True)
        if all(entry.name == MARK for entry in folder.iterdir()):
            (folder / MARK).unlink(missing_ok=True)
            folder.rmdir()


def _take_over(old: Path, place: Path, names: Collection[str]) -> None:
    """Moves the user's files from an old folder to the new one; removes the rest."""
    left = False
    for entry in list(old.iterdir()):
        if entry.name not in names and (place / entry.name).exists():
            left = True
        elif entry.name not in names:
            entry.rename(place / entry.name)
    if left:
        log.warning(
            "%s: kept, as it holds files of yours with names that %s has, too",
            old,
            place.name,
        )
        return
    # A half-removed folder must never be put back, so it is renamed as unfinished.
    gone = old.with_name(_partial(place) + secrets.token_hex(4))
    old.rename(gone)
    remove(gone)


def _is_empty(folder: Path) -> bool:
    """Returns whether a folder is empty, except for an unfinished mark."""
    return all(entry.name.startswith(f".{MARK}.") for entry in folder.iterdir())


def _partial(place: Path) -> str:
    return f".{place.name}.partial-"


def _replaced(place: Path) -> str:
    return f".{place.name}.replaced-"


def _beside(place: Path, prefix: str) -> list[Path]:
    """Lists folders, not links, next to a place, whose names begin with a prefix."""
    if not place.parent.is_dir():
        return []
    return sorted(
        entry
        for entry in place.parent.iterdir()
        if entry.name.startswith(prefix) and entry.is_dir() and not entry.is_symlink()
    )
