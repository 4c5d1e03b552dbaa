"""Looks up coordinate reference systems by the text that names them."""

from __future__ import annotations

from pathlib import Path

import pyproj
from pyproj.exceptions import CRSError

from mmgr_jax.errors import InputError


def known(path: str | Path, crs: str) -> pyproj.CRS:
    """Looks up the system that a text names.

    Args:
        path: The file that is written, for the message.
        crs: The text, such as "EPSG:32651".

    Raises:
        InputError: If there is no system of this name.
    """
    try:
        return pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise InputError(
            f"{path}: CRS {crs!r} is unknown ({error}). Give a code such as "
            '"EPSG:32651" as config.city.crs.'
        ) from error
