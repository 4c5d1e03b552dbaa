"""Errors for a folder that cannot be written to: full, read-only or missing."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from mmgr_jax.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def writing(path: Path, key: str = "config.records.dir") -> Iterator[None]:
    """Turns a failure to write into an error that says what to do.

    Args:
        path: What is written; used in the message if the failure names no file.
        key: The config key that decides the place.

    Raises:
        InputError: If the system refuses to write. The work can continue once it allows
            it.
    """
    try:
        yield
    except OSError as error:
        place = error.filename2 or error.filename or path
        cause = os.strerror(error.errno) if error.errno else str(error)
        raise unwritable(place, cause, key) from error


def unwritable(
    place: str | Path, cause: str, key: str = "config.records.dir"
) -> InputError:
    """Returns the error for a place that cannot be written to.

    Args:
        place: The file or folder.
        cause: What the system or the writer says about it.
        key: The config key that decides the place.
    """
    remedy = f"Name another folder in {key}"
    if _says(cause, _FULL):
        remedy = f"Make room on its disk, or name a folder on another one in {key}"
    elif _says(cause, _FORBIDDEN):
        remedy = f"Get the right to write there, or name another folder in {key}"
    return InputError(
        f"{place}: cannot be written ({cause}). {remedy}, and give the command again: "
        "in the same folder it continues from what is finished."
    )


def _says(cause: str, codes: tuple[int, ...]) -> bool:
    return any(os.strerror(code) in cause for code in codes)
