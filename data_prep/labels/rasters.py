"""Sums and means of a raster over regions, by the exact part of each pixel."""

from __future__ import annotations

import math
from typing import Any

import exactextract
import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from exactextract.raster import RasterioRasterSource
from jaxtyping import Float
from rasterio.windows import Window

from data_prep.labels import known as known_lib
from data_prep.labels import totals
from data_prep.labels.source import LabelSource
from data_prep.regions import Regions
from mmgr_jax.errors import InputError

# Of a larger raster, only the window around the regions is summed up for the check.
_WHOLE_PX = 50_000_000
# Pixels read at a time.
_READ_PX = 4_000_000


def extract(
    name: str, source: LabelSource, regions: Regions, city_crs: str
) -> tuple[Float[np.ndarray, " r"], dict[str, Any]]:
    """See `data_prep.labels.extract`."""
    with rasterio.open(source.path) as raster:
        # The raster keeps its own pixels: resampling it would change its total.
        outlines = gpd.GeoSeries(regions.geometry, crs=city_crs)
        outlines = outlines.to_crs(raster.crs.to_wkt()).to_numpy()
        missing = "(default_value=0)" if source.nodata == "zero" else ""
        wanted = {"sum": "sum", "min": "min"}
        wanted |= {name: name + missing for name in ("mean", "count")}
        found = _statistics(raster, source.band, outlines, wanted)
        # Both areas are in the raster's own units, degrees or not.
        pixel_area = abs(raster.transform.a * raster.transform.e)
        known_share = found["count"] * pixel_area / shapely.area(outlines)
        _refuse_infinite(name, source, found["mean"][found["count"] > 0])
        if source.kind != "count":
            return known_lib.mask(name, source, found["mean"], known_share)
        _refuse_negative(name, source, found["min"])
        values, told = known_lib.mask(name, source, found["sum"], known_share)
        total = _total(name, source, raster, outlines, found["sum"])
    return values, told | totals.check(name, source.path, total, values)


def _statistics(
    raster: rasterio.DatasetReader,
    band: int,
    outlines: np.ndarray,
    wanted: dict[str, str],
) -> dict[str, Float[np.ndarray, " m"]]:
    """Statistic -> its value over each outline, by the name given to an operation."""
    table = exactextract.exact_extract(
        RasterioRasterSource(raster, band),
        gpd.GeoDataFrame(geometry=outlines, crs=raster.crs.to_wkt()),
        [f"{name}={operation}" for name, operation in wanted.items()],
        output="pandas",
    )
    assert isinstance(table, pd.DataFrame)
    return {name: table[name].to_numpy(float) for name in wanted}


def _total(
    name: str,
    source: LabelSource,
    raster: rasterio.DatasetReader,
    outlines: np.ndarray,
    sums: Float[np.ndarray, " r"],
) -> totals.Total:
    """The total, from plain pixels and from the ground outside every region."""
    covered, overlapping = totals.union(outlines)
    window = Window(0, 0, raster.width, raster.height)
    whole = raster.width * raster.height <= _WHOLE_PX
    if not whole:
        rows, columns = raster.window(*covered.bounds).toranges()
        edges = (math.floor(rows[0]), math.ceil(rows[1]))
        sides = (math.floor(columns[0]), math.ceil(columns[1]))
        window = Window.from_slices(edges, sides).intersection(window)
    pixel_sum, lowest = _sum(raster, source.band, window)
    _refuse_negative(name, source, np.array([lowest]))
    rest = shapely.difference(shapely.box(*raster.window_bounds(window)), covered)
    outside = 0.0
    if not rest.is_empty:
        found = _statistics(raster, source.band, np.array([rest]), {"sum": "sum"})
        outside = float(np.nan_to_num(found["sum"][0], posinf=np.inf))
        _refuse_infinite(name, source, np.array([outside]))
    return totals.Total(sums, outside, pixel_sum, overlapping, whole)


def _sum(
    raster: rasterio.DatasetReader, band: int, window: Window
) -> tuple[float, float]:
    """Sum and lowest value of the pixels in a window that hold data."""
    total, lowest = 0.0, 0.0
    step = max(1, _READ_PX // int(window.width))
    last = int(window.row_off + window.height)
    for row in range(int(window.row_off), last, step):
        part = Window(window.col_off, row, window.width, min(step, last - row))
        pixels = raster.read(band, window=part, masked=True).compressed().astype(float)
        pixels = pixels[np.isfinite(pixels)]
        total += float(pixels.sum())
        lowest = min(lowest, float(pixels.min(initial=0.0)))
    return total, lowest


def _refuse_negative(
    name: str, source: LabelSource, minima: Float[np.ndarray, " m"]
) -> None:
    lowest = np.nanmin(minima, initial=0.0)
    if lowest < 0:
        raise InputError(
            f"config.labels.{name}: {source.path}, band {source.band}, holds the count "
            f"{lowest:g}; counts are 0 or more. If that marks missing data, declare it "
            f"in the file: `rio edit-info --nodata {lowest:g} {source.path}`."
        )


def _refuse_infinite(
    name: str, source: LabelSource, values: Float[np.ndarray, " m"]
) -> None:
    if not np.isfinite(values).all():
        raise InputError(
            f"config.labels.{name}: {source.path}, band {source.band}, holds infinite "
            "numbers. Put one in their place that is declared missing: `gdal_calc -A "
            f"{source.path} --A_band={source.band} --outfile=OUT --NoDataValue=-9999 "
            "--calc='numpy.where(numpy.isfinite(A), A, -9999)'`."
        )
