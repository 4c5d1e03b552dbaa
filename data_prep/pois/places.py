"""Converts POI coordinates, as declared, to metres; refuses impossible ones."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from data_prep.files import cells, tables
from data_prep.files import crs as crs_lib
from data_prep.pois.sources import source as sources
from mmgr_jax.errors import InputError

Area = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

_Column = Float[np.ndarray, " n"]
_Rows = Bool[np.ndarray, " n"]
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
# POIs this far outside an area are not near it by oversight.
_FAR_DEG = 1.0


def coordinates(
    table: pd.DataFrame, source: sources.Source, decimal: str
) -> tuple[_Column, _Column]:
    """Reads coordinates as they are in the file [n], NaN where a row has none.

    Args:
        table: The rows of the source.
        source: Where they come from.
        decimal: "." or ",", the decimal mark of numbers written as text.

    Raises:
        InputError: If most numbers of a column are written in another way.
    """
    columns = source.columns
    if columns.x is not None and columns.y is not None:
        return (
            _numbers(table, columns.x, decimal, source.path),
            _numbers(table, columns.y, decimal, source.path),
        )
    points = sources.places(source.path, table)
    return points.x.to_numpy(float), points.y.to_numpy(float)


def to_metres(
    x: _Column, y: _Column, source_crs: str, datum: str, city_crs: str
) -> tuple[_Column, _Column]:
    """Metric positions [n]; not finite where a coordinate is missing or impossible.

    Args:
        x: Longitude or easting in units of `source_crs` [n].
        y: Latitude or northing [n].
        source_crs: CRS of the coordinates.
        datum: "wgs84", "gcj02" or "bd09".
        city_crs: Metric CRS of the study area.
    """
    x, y = x.copy(), y.copy()
    if crs_lib.parse(source_crs).is_geographic:
        wrong = ~_on_earth(x, y)
        x[wrong] = y[wrong] = np.nan
    if datum != "wgs84":
        x, y = crs_lib.transform(x, y, source_crs, crs_lib.WGS84)
        x, y = crs_lib.to_wgs84(x, y, datum)
        source_crs = crs_lib.WGS84
    return crs_lib.transform(x, y, source_crs, city_crs)


def refuse_implausible(
    x: _Column,
    y: _Column,
    source: sources.Source,
    source_crs: str,
    city_crs: str,
    area_deg: Area | None,
) -> None:
    """Refuses coordinates of another unit, order or part of the world.

    Args:
        x: Longitude or easting as the file has it [n].
        y: Latitude or northing [n].
        source: Where they come from.
        source_crs: CRS they are declared to be in.
        city_crs: CRS of the study area.
        area_deg: The study area; None: where `city_crs` may be used.

    Raises:
        InputError: Naming the first row, its coordinates, and what to declare instead.
    """
    given = np.isfinite(x) & np.isfinite(y) & ~((x == 0) & (y == 0))
    if not given.any():
        return
    x, y, first = x[given], y[given], int(np.argmax(given)) + 1
    seen = f"{source.path}: row {first} has the coordinates ({x[0]:g}, {y[0]:g})"
    is_geographic = crs_lib.parse(source_crs).is_geographic
    name = crs_lib.parse(source_crs).name
    if not is_geographic and (np.abs(x) <= 180).all() and (np.abs(y) <= 180).all():
        raise InputError(
            f"{seen}, and none is beyond 180: these look like degrees, but config.pois."
            f"crs or the file says {name!r}, which is not in degrees. Declare "
            "config.pois.crs='EPSG:4326', or correct the file's own CRS."
        )
    if is_geographic and np.mean((np.abs(x) > 360) | (np.abs(y) > 360)) > 0.5:
        raise InputError(
            f"{seen}, which are no degrees, but config.pois.crs or the file says "
            f"{name!r}. Declare the CRS they are in, such as that of the study area, "
            f"config.pois.crs={city_crs!r}, if it is theirs."
        )
    area = area_deg or _area_of_use(city_crs)
    if not is_geographic or area is None:
        return
    where = "the study area" if area_deg else f"where {city_crs} is made for"
    there, swapped = _near(x, y, area), _near(y, x, area)
    if np.mean(there) < 0.01 and np.mean(swapped) > 0.5:
        raise InputError(
            f"{seen}, far from {where} ({_words(area)}), but "
            f"{swapped.mean():.0%} of the {len(x):,} POIs fall there with longitude "
            "and latitude swapped. " + _swap_advice(source.columns)
        )
    if area_deg is None and not there.any() and _on_earth(x, y).any():
        raise InputError(
            f"{seen}, and none of {len(x):,} POIs lies {where}, the CRS of "
            f"config.city ({_words(area)}). Is it the file of another city, or "
            "config.pois.crs wrong?"
        )


def _numbers(table: pd.DataFrame, name: str, decimal: str, path: str) -> _Column:
    values = tables.column(table, name)
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(float, na_value=np.nan)
    if decimal == ",":
        values = values.astype("string").str.replace(",", ".", regex=False)
    numbers, wrong = cells.numbers(values, f"{path}: column {name!r}")
    text = cells.text(values[wrong], f"{path}: column {name!r}")
    with_comma = np.flatnonzero(wrong)[
        text.str.fullmatch(_DECIMAL_COMMA).to_numpy(bool, na_value=False)
    ]
    if len(with_comma) > 0.5 * values.notna().sum():
        first = with_comma[0]
        raise InputError(
            f"{path}: column {name!r} holds numbers with a decimal comma, such as "
            f"{values.iloc[first]!r} in row {table.index[first]}. Set "
            "config.pois.decimal to ','."
        )
    return numbers


def _on_earth(x: _Column, y: _Column) -> _Rows:
    # Longitudes may count from 0 to 360. (0, 0) is what a failed geocoder writes.
    return (x >= -180) & (x <= 360) & (np.abs(y) <= 90) & ~((x == 0) & (y == 0))


def _near(lon_deg: _Column, lat_deg: _Column, area: Area) -> _Rows:
    """Which places lie in an area, widened by its own size and some more."""
    west, south, east, north = area
    wide, high = east - west + _FAR_DEG, north - south + _FAR_DEG
    middle = (west + east) / 2
    inside = (
        np.abs(crs_lib.near_deg(lon_deg, middle) - middle) <= (east - west) / 2 + wide
    )
    return inside & (lat_deg >= south - high) & (lat_deg <= north + high)


def _area_of_use(crs: str) -> Area | None:
    use = crs_lib.parse(crs).area_of_use
    if use is None:
        return None
    east = use.east + 360 if use.west > use.east else use.east  # across 180 degrees
    return use.west, use.south, east, use.north


def _words(area: Area) -> str:
    west, south, east, north = area
    return f"{west:.3f} to {east:.3f} E, {south:.3f} to {north:.3f} N"


def _swap_advice(columns: sources.Columns) -> str:
    if columns.x is None:
        return "Correct the file: its geometries must be written as (lon, lat)."
    return (
        f"Set config.pois.x_column to {columns.y!r} and config.pois.y_column to "
        f"{columns.x!r}."
    )
