"""Sums the counts of points in the region that contains each point."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Float, Int

from data_prep.files import cells, tables
from data_prep.labels import known as known_lib
from data_prep.labels import source as source_lib
from data_prep.labels import totals
from data_prep.labels.settings import LabelSettings
from data_prep.regions.regions import Regions
from mmgr_jax.errors import InputError

POINTS = ("Point",)

_Pairs = tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]


def load(key: str, source: LabelSettings) -> gpd.GeoDataFrame:
    """Reads the rows of a file with its geometries, or points from two columns.

    Args:
        key: The section of the config, for messages.
        source: The file.

    Raises:
        InputError: If a coordinate is no number.
    """
    table = tables.load(source.path, None, source_lib.text(source, key))
    if source.x_column is None or source.y_column is None:
        assert isinstance(table, gpd.GeoDataFrame)
        return table
    places = []
    for name in (source.x_column, source.y_column):
        what = f"{source.path}: column {name!r}"
        place, wrong = cells.numbers(tables.column(table, name), what)
        if wrong.any():
            row = int(np.argmax(wrong))
            cell = str(tables.column(table, name).iloc[row])
            raise InputError(
                f"{key}: {what}, row {row + 1}: {cell!r} is no coordinate. Correct the "
                "cell, or leave it empty where the place is unknown."
            )
        places.append(place)
    x, y = places
    point = shapely.points(x, y)
    point[np.isnan(x) | np.isnan(y)] = None
    return gpd.GeoDataFrame(table, geometry=point, crs=source.crs)


def are_points(table: gpd.GeoDataFrame) -> bool:
    """Whether geometries are points, not polygons."""
    return set(table.geom_type.dropna()) <= set(POINTS)


def counts(
    name: str,
    source: LabelSettings,
    regions: Regions,
    point: np.ndarray,
    value: Float[np.ndarray, " m"],
) -> tuple[known_lib.Values, dict[str, Any]]:
    """Sums values over the points in each region.

    A point on the line between regions counts in the first of them only. A point in
    overlapping regions counts in each. The value of a region without a point is
    unknown; where `source.nodata` says so, it is zero if the region meets the box
    around the points.

    Args:
        name: Name of the label, for messages.
        source: Where it comes from.
        regions: The regions.
        point: Shapely points [m] in the CRS of the regions.
        value: Value of each point [m], NaN where it is missing.
    """
    held, region = _holders(point, regions.geometry)
    number = len(regions)
    sums = np.bincount(region, np.nan_to_num(value[held]), minlength=number)
    points = np.bincount(region, minlength=number)
    if source.nodata == "zero":
        extent = shapely.box(*shapely.total_bounds(point))
        share = shapely.intersects(regions.geometry, extent).astype(float)
    else:
        there = np.bincount(region, ~np.isnan(value[held]), minlength=number)
        share = there / np.maximum(points, 1)
    values, report = known_lib.mask(name, source, sums, share)
    covered, overlapping = totals.union(regions.geometry)
    total = totals.Total(
        regions=sums,
        outside=float(np.nansum(value[~shapely.intersects(covered, point)])),
        source=float(np.nansum(value)),
        overlapping=overlapping,
    )
    report = report | {
        "points": len(point),
        "regions without a point": int((points == 0).sum()),
    }
    return values, report | totals.check(name, source.path, total, values)


def _holders(point: np.ndarray, outlines: np.ndarray) -> _Pairs:
    """Pairs of a point and a region that holds it, each on an edge with one alone."""
    region, held = shapely.STRtree(point).query(outlines, predicate="intersects")
    inner = shapely.contains_properly(outlines[region], point[held])
    order = np.lexsort((region, ~inner, held))  # of each point: inner ones come first
    region, held, inner = region[order], held[order], inner[order]
    first = np.diff(held, prepend=-1) > 0
    keep = inner | first
    return held[keep], region[keep]
