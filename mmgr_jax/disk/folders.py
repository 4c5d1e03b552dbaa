"""Folders that this program writes as a whole: replaced and cleaned up, links kept.

data/city/raw                    the folder, with its mark
data/city/.raw.lock              says who is writing it
data/city/.raw.partial-7f3a91c0  grows; goes at the next start, if that was killed
data/city/.raw.replaced-1b22e08d was there before; goes at once
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
    """The folder that a path means, absolute and without links: those stay links.

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
    """A new folder to fill, which takes the place of an older one at the end.

    Nobody else writes there meanwhile. After an error, or a kill, the older one is as
    it was. What a user laid beside our files moves into the new folder.

    Args:
        place: Where the folder shall be; a link stays one.
        kind: What it is, such as "heads".
        key: What names the place, such as "config.toy_city.out_dir".
        known: For folders that earlier versions left there.
        sums: As for `mark`.
        unsealed: As for `mark`.

    Raises:
        InputError: If the place holds something else, another process writes there, or
            the system does not let this one.
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
    """The lock of a folder that is replaced as a whole: a file beside it."""
    return place.with_name(f".{place.name}.lock")


def partial(place: Path, kind: str) -> Path:
    """A new marked folder beside a place, to be filled for `replace`."""
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
    """Puts a filled folder in place; of what was there before, ours goes.

    What a user laid beside it moves into the new folder. The caller holds the lock of
    the place, and has asked `refuse_foreign`.

    Args:
        new: The filled folder, beside the place.
        place: Where it goes, without links; see `real`.
        kind: What it is.
        known: For folders that earlier versions left.
        sums: As for `mark`.
        unsealed: As for `mark`.

    Raises:
        OSError: If the system refuses; what was in place is there again.
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
    """Raises InputError where a place holds what this program did not write.

    Args:
        place: A folder, or nothing yet.
        kind: What it may be.
        known: For folders that earlier versions left.
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
    """Removes what killed starts left beside a place, and mends what broke off.

    The caller holds the lock of the place.

    Args:
        place: The folder, without links.
        kind: What it is.
        known: For folders that earlier versions left.
        unfinished: How the names of unfinished ones begin; None: as `partial` names
            them.
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
    """Removes a folder of ours with all that is in it, as far as the system lets.

    Its mark goes last: as long as something is left, the folder is known as ours.
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
    """Moves what is its user's from an old folder to the new one; the rest goes."""
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
    # Half removed, it must never be put back: it gets the name of what never is.
    gone = old.with_name(_partial(place) + secrets.token_hex(4))
    old.rename(gone)
    remove(gone)


def _is_empty(folder: Path) -> bool:
    """Whether nothing is in a folder, but a mark that was being written."""
    return all(entry.name.startswith(f".{MARK}.") for entry in folder.iterdir())


def _partial(place: Path) -> str:
    return f".{place.name}.partial-"


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
