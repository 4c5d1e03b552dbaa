"""Computes counts, means, area shares and main classes of polygons over regions.

Points can only give counts, see `points`.
"""

from __future__ import annotations

import logging
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Float

from data_prep.files import cells, tables
from data_prep.labels import known as known_lib
from data_prep.labels import points, totals
from data_prep.labels import source as source_lib
from data_prep.labels.known import Values
from data_prep.labels.overlay import Pieces, overlay
from data_prep.labels.settings import LabelSettings
from data_prep.labels.source import EACH
from data_prep.regions.regions import Regions
from mmgr_jax.errors import InputError

POLYGONS = ("Polygon", "MultiPolygon")
# Regions covered by more than this have polygons that overlap.
_FULL = 1.001


def extract(
    name: str, source: LabelSettings, regions: Regions, city_crs: str
) -> tuple[Values, dict[str, Any]]:
    """See `extraction.extract`."""
    table, report = read(f"config.labels.{name}", source, city_crs)
    if source.has_classes:
        values, more = _shares(name, source, regions, table)
        if source.kind == "class":
            values = _main_class(values)
    elif source.kind == "count":
        values, more = _counts(name, source, regions, table)
    else:
        values, more = _means(name, source, regions, table)
    return values, more | report


def read(
    key: str, source: LabelSettings, city_crs: str
) -> tuple[gpd.GeoDataFrame, dict[str, int]]:
    """Reads valid polygons or points in the study area's CRS; reports repairs.

    Args:
        key: The section of the config, for messages.
        source: The file.
        city_crs: CRS of the study area.

    Raises:
        InputError: If there are none, or coordinates do not fit the CRS of the file.
    """
    table = points.load(key, source)
    empty = table.geometry.isna() | table.geometry.is_empty
    table = table[~empty]
    if not len(table):
        raise InputError(f"{source.path}: holds no polygon.")
    places = tables.moved(source.path, table.geometry, city_crs)
    table = table.set_geometry(gpd.GeoSeries(places, table.index, crs=city_crs))
    broken = ~table.geometry.is_valid
    report = {"polygons repaired": int(broken.sum())} if broken.any() else {}
    if empty.any():
        report["rows without a polygon"] = int(empty.sum())
    # Repairs turn a bow tie into two triangles; lines and points that fall off have
    # no area and do not count.
    return table.set_geometry(
        tables.repaired(source.path, table.geometry.to_numpy())
    ), report


def _counts(
    name: str, source: LabelSettings, regions: Regions, table: gpd.GeoDataFrame
) -> tuple[Float[np.ndarray, " r"], dict[str, Any]]:
    """Each polygon's count spread evenly over its area; that of a point is whole."""
    value = _numbers(source, table)
    _refuse_impossible(name, source, value)
    polygons = table.geometry.to_numpy()
    if points.are_points(table):
        return points.counts(name, source, regions, polygons, value)
    area_m2 = shapely.area(polygons)
    pieces = overlay(regions.geometry, polygons)
    per_m2 = np.nan_to_num(value / np.where(area_m2 > 0, area_m2, np.inf))
    sums = pieces.sum_over_regions(pieces.area_m2 * per_m2[pieces.polygon])
    known = ~np.isnan(value[pieces.polygon]) | (source.nodata == "zero")
    share = _known_share(source, regions, table, pieces, known)
    values, report = known_lib.mask(name, source, sums, share)
    covered, overlapping = totals.union(regions.geometry)
    touched = np.flatnonzero(np.bincount(pieces.polygon))
    outside_m2 = area_m2.copy()
    outside_m2[touched] = shapely.area(shapely.difference(polygons[touched], covered))
    flat = float(np.nansum(value[area_m2 == 0]))
    total = totals.Total(
        regions=sums,
        outside=float((outside_m2 * per_m2).sum()) + flat,
        source=float(np.nansum(value)),
        overlapping=overlapping,
    )
    return values, report | totals.check(name, source.path, total, values)


def _means(
    name: str, source: LabelSettings, regions: Regions, table: gpd.GeoDataFrame
) -> tuple[Float[np.ndarray, " r"], dict[str, Any]]:
    """Means weighted by area; what is missing counts as zero or not at all."""
    value = _numbers(source, table)
    _refuse_impossible(name, source, value)
    pieces = overlay(regions.geometry, table.geometry.to_numpy())
    known = ~np.isnan(value[pieces.polygon])
    sums = pieces.sum_over_regions(
        pieces.area_m2 * np.nan_to_num(value[pieces.polygon])
    )
    share = _known_share(source, regions, table, pieces, known)
    covered_m2 = pieces.sum_over_regions(pieces.area_m2 * known)
    if source.nodata == "zero":
        covered_m2 = np.maximum(covered_m2, share * shapely.area(regions.geometry))
    means = sums / np.where(covered_m2 > 0, covered_m2, np.nan)
    return known_lib.mask(name, source, means, share)


def _refuse_impossible(
    name: str, source: LabelSettings, value: Float[np.ndarray, " m"]
) -> None:
    if fault := known_lib.impossible(source.kind, value, value):
        number, why = fault
        raise InputError(
            f"config.labels.{name}: {source.path}, column {source.column!r}, holds the "
            f"{source.kind} {number:.10g}; {why}. Leave the cell empty where the "
            f"{source.kind} is missing."
        )


def _known_share(
    source: LabelSettings,
    regions: Regions,
    table: gpd.GeoDataFrame,
    pieces: Pieces,
    known: np.ndarray,
) -> Float[np.ndarray, " r"]:
    """Share of each region about which a file says something."""
    if source.nodata == "zero":
        return known_lib.within(tuple(table.total_bounds.tolist()), regions.geometry)
    known_m2 = pieces.sum_over_regions(pieces.area_m2 * known)
    return known_m2 / shapely.area(regions.geometry)


def _shares(
    name: str, source: LabelSettings, regions: Regions, table: gpd.GeoDataFrame
) -> tuple[Float[np.ndarray, "r k"], dict[str, Any]]:
    """Area shares of the classes, uncovered land being left out or a class."""
    assert source.column is not None
    what = f"{source.path}: column {source.column!r}"
    names = cells.text(tables.column(table, source.column), what)
    meant = names.astype(object).map(source_lib.class_of(source), na_action="ignore")
    left_out = names.notna() & meant.isna()
    classed = table[meant.notna()]
    index_of = {known: index for index, known in enumerate(source.classes)}
    class_of = meant.dropna().map(index_of).to_numpy(int)
    pieces = overlay(regions.geometry, classed.geometry.to_numpy())
    area_m2 = np.zeros((len(regions), len(source.classes)))
    np.add.at(area_m2, (pieces.region, class_of[pieces.polygon]), pieces.area_m2)
    region_m2 = shapely.area(regions.geometry)
    covered = area_m2.sum(axis=1) / region_m2
    share = covered
    other = source.uncovered_class
    if other is not None:
        area_m2[:, index_of[other]] += np.maximum(1 - covered, 0) * region_m2
        share = known_lib.within(tuple(table.total_bounds.tolist()), regions.geometry)
    whole_m2 = area_m2.sum(axis=1, keepdims=True)
    shares = area_m2 / np.where(whole_m2 > 0, whole_m2, np.nan)
    values, report = known_lib.mask(name, source, shares, share)
    overlapping = int((covered > _FULL).sum())
    if overlapping:
        logging.warning(
            "%s: polygons overlap in %d regions; overlaps count once per polygon",
            source.path,
            overlapping,
        )
    report["mean covered share"] = round(float(np.minimum(covered, 1).mean()), 4)
    report["regions with overlapping polygons"] = overlapping
    if left_out.any():
        report["polygons left out by the mapping"] = int(left_out.sum())
    return values, report


def _main_class(shares: Float[np.ndarray, "r k"]) -> Float[np.ndarray, " r"]:
    """Index of the largest share, the first of equal ones; NaN where none is known."""
    known = ~np.any(np.isnan(shares), axis=1)
    main = np.argmax(np.where(known[:, None], shares, 0.0), axis=1)
    return np.where(known, main, np.nan).astype(np.float32)


def _numbers(source: LabelSettings, table: gpd.GeoDataFrame) -> Float[np.ndarray, " m"]:
    assert source.column is not None
    if source.column == EACH:
        return np.ones(len(table))
    what = f"{source.path}: column {source.column!r}"
    numbers, wrong = cells.numbers(tables.column(table, source.column), what)
    return np.where(wrong, np.nan, numbers)
