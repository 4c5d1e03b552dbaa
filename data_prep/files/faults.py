"""Functions shared by the checks of all kinds of sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from rasterio.windows import Window

from data_prep.files import crs as crs_lib
from data_prep.files import tables
from mmgr_jax.errors import InputError

Bounds = tuple[float, float, float, float]

_NAMES_SHOWN = 30


def probe(source: rasterio.DatasetReader, bands: Sequence[int]) -> None:
    """Reads the corners: a truncated file opens without error and fails at its end."""
    for row in {0, source.height - 1}:
        for column in {0, source.width - 1}:
            source.read(list(bands), window=Window(column, row, 1, 1))


def column_problems(
    path: str, header: tables.TableHeader, wanted: Sequence[str], key: str
) -> list[str]:
    """Lists columns that the config names and the file lacks."""
    missing = [name for name in wanted if not header.has(name)]
    if not missing:
        return []
    return [
        f"{path}: has no column {', '.join(map(repr, missing))}, which {key} names; "
        f"its columns: {names(header.columns)}."
    ]


def crs_problems(path: str | Path, crs: str | None) -> list[str]:
    """Lists what is wrong with a file's CRS."""
    commands = f"`rio edit-info --crs EPSG:... {path}` or `ogr2ogr -a_srs EPSG:... OUT "
    commands += f"{path}`."
    if crs is None:
        return [
            f"{path}: has no CRS, so nothing says where it lies. Write it into the "
            f"file, with {commands}"
        ]
    try:
        unusable = crs_lib.unusable(crs)
    except InputError as error:
        unusable = str(error)
    if not unusable:
        return []
    return [f"{path}: {unusable} Write the right one into it: {commands}"]


def overlap_problems(
    key: str,
    path: str,
    bounds: Bounds,
    crs: str,
    extent_deg: Bounds | None,
) -> list[str]:
    """Lists what is wrong with a label's place: away from the imagery, or nowhere.

    Args:
        key: The section of the config.
        path: The file.
        bounds: West, south, east, north of the file in its own CRS.
        crs: Its CRS.
        extent_deg: Bounds of the imagery in degrees; None: not known.
    """
    if extent_deg is None:
        return []
    west, south, east, north = crs_lib.transform_bounds(bounds, crs, crs_lib.WGS84)
    # Infinite coordinates fail here, too.
    if not (-360 <= west <= east <= 540 and -90.1 <= south <= north <= 90.1):
        return [
            f"{key}: {path} has coordinates that do not fit its CRS. Write the right "
            f"one into the file, with `ogr2ogr -a_srs EPSG:... OUT {path}`."
        ]
    left, bottom, right, top = extent_deg
    # Longitudes are the same after a whole turn: 181 degrees east is 179 west.
    meets = any(
        west + turn < right and east + turn > left for turn in (-360.0, 0.0, 360.0)
    )
    if meets and south < top and north > bottom:
        return []
    return [
        f"{key}: {path} does not overlap the imagery. It covers "
        f"{_box((west, south, east, north))}, the imagery {_box(extent_deg)}. "
        + crs_lib.wrong_place_advice(bounds, crs)
    ]


def _box(bounds_deg: Bounds) -> str:
    west, south, east, north = bounds_deg
    return f"{west:.4f} to {east:.4f} E, {south:.4f} to {north:.4f} N"


def refuse(city: str, problems: Sequence[str]) -> None:
    """Raises one `InputError` that lists everything wrong with a city."""
    if problems:
        listed = "".join(
            f"\n  {index}. {text}" for index, text in enumerate(problems, 1)
        )
        raise InputError(
            f"{city}: {len(problems)} problem(s), nothing was built.{listed}"
        )


def names(columns: Sequence[str]) -> str:
    """Writes names in words, shortened when there are many."""
    shown = ", ".join(repr(str(name)) for name in columns[:_NAMES_SHOWN])
    more = len(columns) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown or "none"


def rows(chosen: pd.Series) -> str:
    """Writes row numbers in words, counted from 1."""
    numbers = np.flatnonzero(chosen.to_numpy()) + 1
    more = f" and {len(numbers) - 5:,} more" if len(numbers) > 5 else ""
    return f"row {', '.join(map(str, numbers[:5]))}{more}"


def infinite(path: str | Path, table: gpd.GeoDataFrame) -> list[str]:
    """Finds rows with coordinates that are not finite; an empty geometry has none."""
    there = table.geometry.notna() & ~table.geometry.is_empty
    wrong = there & ~np.all(np.isfinite(table.bounds), axis=1)
    if not wrong.any():
        return []
    return [
        f"{path}: {int(wrong.sum())} row(s) have coordinates that are not finite: "
        f"{rows(wrong)}. Correct or delete them."
    ]
