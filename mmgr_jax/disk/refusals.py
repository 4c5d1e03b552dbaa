"""Errors for files and folders that exist but that the system does not let us use."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from mmgr_jax.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_BUSY = (errno.EMFILE, errno.ENFILE, errno.EBUSY, errno.ETIMEDOUT, errno.EAGAIN)
_BROKEN = (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO)
_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "bad_alloc", "allocate memory")


def unreadable(path: Path, error: BaseException) -> InputError:
    """Makes the error for an undamaged file or folder that cannot be read now."""
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
    """Returns whether an error of any library means that memory was too small."""
    return isinstance(error, MemoryError) or (
        not _says(error, (*_FULL, *_FORBIDDEN))
        and any(text in str(error) for text in (*_MEMORY, os.strerror(errno.ENOMEM)))
    )


def is_refusal(error: BaseException) -> bool:
    """Returns whether a permission or a broken disk kept a library from reading."""
    codes = (*_FORBIDDEN, *_BROKEN, *_BUSY)
    return "PERMISSION_DENIED" in str(error) or _says(error, codes)


def refuse_unreadable(path: Path, error: BaseException) -> None:
    """Raises `unreadable` if an error comes from the system, not from a file's content.

    It is for callers that would otherwise take every error for damage.

    Args:
        path: File or folder that was read.
        error: Error that a library raised.
    """
    if is_memory(error) or is_refusal(error):
        raise unreadable(path, error) from error


def remedy(error: BaseException) -> str:
    """Says what to do after such an error, as the beginning of a sentence."""
    if is_memory(error):
        return "End other programs, or take a machine with more memory"
    if _says(error, _FULL):
        return "Make room on its disk, or name a place on another one"
    if _says(error, _FORBIDDEN):
        return "Get the right to use it, or name another place"
    if _says(error, _BROKEN):
        return "Mend its disk, or name a place on another one"
    return "Mend what is there, or name another place"


@contextlib.contextmanager
def explained(place: Path) -> Iterator[None]:
    """Explains in one sentence why a folder cannot be written to.

    Raises:
        InputError: If any library fails because disk space, a permission or memory is
            missing.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        refusal = _unwritable(place, error)
        if refusal is None:
            raise
        raise refusal from error


def _unwritable(place: Path, error: BaseException) -> InputError | None:
    while error.__cause__ is not None:  # where libraries hide it
        error = error.__cause__
    remedy = "Name another folder"
    if is_memory(error):
        remedy = "End other programs, or take a machine with more memory"
    elif _says(error, _FULL):
        remedy = "Make room on its disk, or name a folder on another one"
    elif _says(error, _FORBIDDEN):
        remedy = "Get the right to write there, or name another folder"
    elif _says(error, _BROKEN):
        remedy = "Mend its disk, or name a folder on another one"
    elif not isinstance(error, OSError) or not error.errno:
        return None
    code = getattr(error, "errno", None)
    cause = os.strerror(code) if code else " ".join(str(error).split())[:200]
    return InputError(
        f"{place}: cannot be written ({cause or type(error).__name__}). {remedy}, and "
        "give the command again: what was finished before is complete, and the "
        "command continues from there."
    )


def _says(error: BaseException, codes: Collection[int]) -> bool:
    return getattr(error, "errno", None) in codes or any(
        os.strerror(code) in str(error) for code in codes
    )
