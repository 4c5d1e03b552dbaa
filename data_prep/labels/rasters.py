"""Computes sums and means of a raster over regions, with exact parts of pixels."""

from __future__ import annotations

import logging
import math
from typing import Any

import exactextract
import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Float
from rasterio.windows import Window

from data_prep.labels import known as known_lib
from data_prep.labels import raster_files, totals
from data_prep.labels.raster_files import Band
from data_prep.labels.settings import LabelSettings
from data_prep.regions.regions import Regions
from mmgr_jax.errors import InputError

# Of a larger raster, only the window around the regions is summed up for the check.
_WHOLE_PX = 50_000_000
# Pixels read at a time.
_READ_PX = 4_000_000


def extract(
    name: str, source: LabelSettings, regions: Regions, city_crs: str
) -> tuple[Float[np.ndarray, " r"], dict[str, Any]]:
    """See `extraction.extract`."""
    with raster_files.open_band(f"config.labels.{name}", source) as band:
        logging.info("label %s: band %s of %s", name, band.in_words, source.path)
        # The raster keeps its own pixels: resampling it would change its total.
        outlines = band.outlines(regions.geometry, city_crs)
        missing = "(default_value=0)" if source.nodata == "zero" else ""
        wanted = {"sum": "sum", "min": "min", "max": "max"}
        wanted |= {name: name + missing for name in ("mean", "count")}
        statistics = _statistics(band, outlines, wanted)
        # A pixel's area is 1.
        known_share = statistics["count"] / shapely.area(outlines)
        _refuse_infinite(name, source, statistics["mean"][statistics["count"] > 0])
        _refuse_impossible(name, source, band, statistics["min"], statistics["max"])
        if source.kind != "count":
            return known_lib.mask(name, source, statistics["mean"], known_share)
        values, report = known_lib.mask(name, source, statistics["sum"], known_share)
        total = _total(name, source, band, outlines, statistics["sum"])
    return values, report | totals.check(name, source.path, total, values)


def _statistics(
    band: Band, outlines: np.ndarray, wanted: dict[str, str]
) -> dict[str, Float[np.ndarray, " m"]]:
    """Statistic -> its value over each outline, by the name given to an operation."""
    table = exactextract.exact_extract(
        band,
        gpd.GeoDataFrame(geometry=outlines, crs=band.srs_wkt()),
        [f"{name}={operation}" for name, operation in wanted.items()],
        output="pandas",
    )
    assert isinstance(table, pd.DataFrame)
    return {name: table[name].to_numpy(float) for name in wanted}


def _total(
    name: str,
    source: LabelSettings,
    band: Band,
    outlines: np.ndarray,
    sums: Float[np.ndarray, " r"],
) -> totals.Total:
    """The total, from plain pixels and from the ground outside every region."""
    covered, overlapping = totals.union(outlines)
    width, height = band.raster.width, band.raster.height
    whole = width * height <= _WHOLE_PX
    left, right, top, bottom = 0, width, 0, height
    if not whole:
        west, south, east, north = shapely.bounds(covered)
        left, right = _pixels_between(west, east, width)
        top, bottom = _pixels_between(-north, -south, height)
    pixel_sum, lowest, highest = _sum(band, left, top, right, bottom)
    _refuse_impossible(name, source, band, np.array([lowest]), np.array([highest]))
    rest = shapely.difference(shapely.box(left, -bottom, right, -top), covered)
    outside = 0.0
    if not rest.is_empty:
        statistics = _statistics(band, np.array([rest]), {"sum": "sum"})
        outside = float(np.nan_to_num(statistics["sum"][0], posinf=np.inf))
        _refuse_infinite(name, source, np.array([outside]))
    return totals.Total(sums, outside, pixel_sum, overlapping, whole)


def _pixels_between(low: float, high: float, size: int) -> tuple[int, int]:
    """First and last pixel of those that a stretch touches, within a side."""
    first = min(max(math.floor(low), 0), size)
    return first, max(min(math.ceil(high), size), first)


def _sum(
    band: Band, left: int, top: int, right: int, bottom: int
) -> tuple[float, float, float]:
    """Sum, lowest and highest of the numbers in a window, of which 0 is always one."""
    total, lowest, highest = 0.0, 0.0, 0.0
    width = min(right - left, _READ_PX)
    height = max(1, _READ_PX // max(width, 1))
    for row in range(top, bottom, height):
        for column in range(left, right, width):
            part = Window(
                column, row, min(width, right - column), min(height, bottom - row)
            )
            numbers = band.read(part).compressed().astype(float)
            numbers = numbers[np.isfinite(numbers)]
            total += float(numbers.sum())
            lowest = min(lowest, float(numbers.min(initial=0.0)))
            highest = max(highest, float(numbers.max(initial=0.0)))
    return total, lowest, highest


def _refuse_impossible(
    name: str,
    source: LabelSettings,
    band: Band,
    lowest: Float[np.ndarray, " n"],
    highest: Float[np.ndarray, " n"],
) -> None:
    """Refuses fill that nobody declared; and says what is but suspicious."""
    fault = known_lib.impossible(source.kind, lowest, highest)
    if fault:
        number, why = fault
        stored = (number - band.offset) / band.scale
        raise InputError(
            f"config.labels.{name}: {source.path}, band {band.in_words}, holds the "
            f"{source.kind} {number:.10g}; {why}. If that marks missing data, declare "
            f"it in the file: `rio edit-info --nodata {stored:.10g} {source.path}`."
        )
    most = band.largest
    if most is not None and np.nanmax(highest, initial=0.0) >= most:
        logging.warning(
            "label %s: %s holds %.10g, the largest number that its type can hold; if "
            "that marks missing data, declare it with `rio edit-info --nodata`",
            name,
            source.path,
            most,
        )


def _refuse_infinite(
    name: str, source: LabelSettings, values: Float[np.ndarray, " m"]
) -> None:
    if not np.isfinite(values).all():
        raise InputError(
            f"config.labels.{name}: {source.path}, band {source.band or 1}, holds "
            "infinite numbers. Replace them by a number that is declared as missing: "
            f"`gdal_calc -A {source.path} --A_band={source.band or 1} --outfile=OUT "
            "--NoDataValue=-9999 --calc='numpy.where(numpy.isfinite(A), A, -9999)'`."
        )
