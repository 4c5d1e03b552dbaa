"""Reads NumPy files from unknown sources without unpacking far more than they hold."""

from __future__ import annotations

import contextlib
import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

MAX_UNPACKED_BYTES = 4 << 30
"""An archive may unpack to this size, or to `MAX_RATIO` times its own size."""

MAX_RATIO = 20
_LAST_CHARACTER = 0x10FFFF


def load_npz(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by their names.

    Raises:
        ValueError: If it is damaged, holds objects, or unpacks to much more than it is.
        OSError: If it cannot be read now.
    """
    with _as_value_error(), zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        unpacked_bytes = sum(part.file_size for part in parts)
        if unpacked_bytes > max(
            MAX_UNPACKED_BYTES, MAX_RATIO * Path(path).stat().st_size
        ):
            raise ValueError(f"unpacks to {unpacked_bytes / 2**30:.1f} GiB")
        return {
            part.filename.removesuffix(".npy"): _array(archive.read(part))
            for part in parts
        }


def load_npy(path: str | Path) -> np.ndarray:
    """The array of an .npy file; it raises the same errors as `load_npz`."""
    with _as_value_error():
        return _array(Path(path).read_bytes())


def _array(content: bytes) -> np.ndarray:
    """An array from its bytes, once these are as many as its head says."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, is_fortran, kind = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, is_fortran, kind = np.lib.format.read_array_header_2_0(stream)
    if kind.hasobject:
        raise ValueError("Object arrays cannot be loaded: they may run any code")
    body = content[stream.tell() :]
    if min(shape, default=0) < 0 or len(body) != math.prod(shape) * kind.itemsize:
        raise ValueError(
            f"an array says it is {list(shape)} of {kind}, and has {len(body)} bytes"
        )
    if kind.itemsize == 0:
        return np.zeros(shape, kind)
    values = np.frombuffer(bytearray(body), kind)
    _refuse_no_text(values)
    return values.reshape(shape, order="F" if is_fortran else "C")


def _refuse_no_text(values: np.ndarray) -> None:
    """Python ends with an error of its own on characters that there are not."""
    if values.dtype.kind == "U":
        letters = values.view(values.dtype.byteorder.replace("|", "=") + "u4")
        if letters.size and letters.max() > _LAST_CHARACTER:
            raise ValueError("a text holds characters that Unicode does not have")


@contextlib.contextmanager
def _as_value_error() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, MemoryError):
        raise
    except Exception as error:  # of zipfile, zlib, ast, each with its own
        raise ValueError(str(error) or type(error).__name__) from error
