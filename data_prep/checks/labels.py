"""Are the files behind a label fit, and do they lie where the imagery lies?"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioError

from data_prep import crs as crs_lib
from data_prep import imagery, vectors
from data_prep.checks import common
from data_prep.labels import RASTER_KINDS, LabelSource
from mmgr_jax.data import schema

_CLASSES_SHOWN = 12


def problems(
    name: str, settings: Mapping[str, Any], extent_deg: common.Bounds | None
) -> list[str]:
    """Everything that keeps a file from giving a label; see `labels.LabelSource`."""
    key = f"config.labels.{name}"
    allowed = [field.name for field in dataclasses.fields(LabelSource)]
    unknown = sorted(set(settings) - set(allowed))
    if unknown or not {"kind", "path"} <= set(settings):
        return [
            f"{key}: has {common.names(list(settings))}; kind and path are needed, "
            f"allowed are {common.names(allowed)}."
        ]
    if not re.fullmatch(r"\w+", name):
        return [f"{key}: a name has letters, digits and underscores only."]
    source = LabelSource(**settings)
    if source.kind not in schema.LABEL_KINDS:
        return [
            f"{key}.kind is {source.kind!r}; allowed: {', '.join(schema.LABEL_KINDS)}."
        ]
    is_raster = source.kind in RASTER_KINDS
    if not source.path or not Path(source.path).is_file():
        wanted = (
            f"a GeoTIFF with a CRS, band {source.band}, in {source.unit}"
            if is_raster
            else f"polygons with column {source.column!r}, one of "
            f"{', '.join(source.classes)}"
        )
        return [f"{key}.path {source.path!r}: no such file. Wanted: {wanted}."]
    try:
        if is_raster:
            return _raster_problems(key, source, extent_deg)
        return _polygon_problems(key, source, extent_deg)
    except RasterioError as error:
        return [str(imagery.unreadable(Path(source.path), error))]
    except common.UNREADABLE as error:
        return [common.no_table(source.path, error)]


def _raster_problems(
    key: str, source: LabelSource, extent_deg: common.Bounds | None
) -> list[str]:
    with rasterio.open(source.path) as raster:
        if not 1 <= source.band <= raster.count:
            return [
                f"{key}.band is {source.band}; {source.path} has {raster.count} "
                "band(s)."
            ]
        if raster.crs is None:
            return [common.no_crs(source.path)]
        if raster.transform.b or raster.transform.d:
            return [
                f"{source.path}: is rotated; turn it upright with `gdalwarp IN OUT`."
            ]
        common.probe(raster, [source.band])
        return _overlap_problems(
            key, source.path, tuple(raster.bounds), raster.crs.to_wkt(), extent_deg
        )


def _polygon_problems(
    key: str, source: LabelSource, extent_deg: common.Bounds | None
) -> list[str]:
    if source.column is None or not source.classes:
        return [f"{key}: a share needs column and classes."]
    header = vectors.header(source.path)
    found = common.column_problems(source.path, header, [source.column], key)
    if not header.has_geometry:
        found.append(f"{source.path}: has no geometries. Wanted: polygons.")
    elif header.crs is None:
        found.append(common.no_crs(source.path))
    if found:
        return found
    table = vectors.load(source.path)
    present = table[source.column].dropna().astype(str)
    unknown = present[~present.isin(list(source.classes))].value_counts()
    if len(unknown):
        rows = ", ".join(
            f"{value!r} ({count})" for value, count in unknown[:_CLASSES_SHOWN].items()
        )
        more = len(unknown) - _CLASSES_SHOWN
        rows += f" and {more} more" if more > 0 else ""
        found.append(
            f"{source.path}: column {source.column!r} holds {len(unknown)} class(es) "
            f"unknown to {key}.classes: {rows}. Allowed: {', '.join(source.classes)}. "
            "Rename them, extend the classes, or leave the cell empty for land without "
            "a class."
        )
    kinds = set(table.geom_type.dropna())
    if not kinds <= {"Polygon", "MultiPolygon"}:
        found.append(
            f"{source.path}: holds {common.names(sorted(kinds))}. Wanted: polygons."
        )
    bounds = tuple(float(edge) for edge in table.total_bounds)
    return found + _overlap_problems(key, source.path, bounds, header.crs, extent_deg)


def _overlap_problems(
    key: str,
    path: str,
    bounds: common.Bounds,
    crs: str,
    extent_deg: common.Bounds | None,
) -> list[str]:
    if extent_deg is None:
        return []
    west, south, east, north = crs_lib.transform_bounds(bounds, crs, crs_lib.WGS84)
    left, bottom, right, top = extent_deg
    if west < right and east > left and south < top and north > bottom:
        return []
    return [
        f"{key}: {path} does not overlap the imagery. It covers "
        f"{_box((west, south, east, north))}, the imagery {_box(extent_deg)}."
    ]


def _box(bounds_deg: common.Bounds) -> str:
    west, south, east, north = bounds_deg
    return f"{west:.4f} to {east:.4f} E, {south:.4f} to {north:.4f} N"
