"""Checks that `config.regions`, and the file it names, can give regions."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pandas as pd

from data_prep.files import encodings, faults, tables
from data_prep.regions import hexagons
from data_prep.regions import polygons as polygons_lib
from data_prep.regions.settings import PolygonSettings, RegionSettings
from mmgr_jax.errors import InputError

_OUTLINED = ("h3", "polygons")
_MIN_CELL_PX = 8
_POLYGONS = ("Polygon", "MultiPolygon")


def problems(settings: RegionSettings) -> list[str]:
    """Lists everything that prevents cutting regions; see `cutting.cut`.

    Errors that depend on the imagery, such as the size of a chip, appear when regions
    are cut.
    """
    problems = []
    if settings.mask_outside and settings.kind not in _OUTLINED:
        problems.append(
            "config.regions.mask_outside is True, but a region of kind "
            f"{settings.kind!r} is its whole tile; allowed: False, or kind 'h3' or "
            "'polygons'."
        )
    if settings.kind == "h3":
        problems += _h3_problems(settings)
    if settings.kind == "polygons":
        problems += _polygon_problems(settings.polygons)
    return problems


def _h3_problems(settings: RegionSettings) -> list[str]:
    resolution = settings.h3.resolution
    if resolution not in hexagons.RESOLUTIONS:
        return [
            f"config.regions.h3.resolution is {resolution}; allowed: 0 to 15. Cells of "
            "10 are about 150 m across, of 9 about 400 m, of 8 about 1.1 km.",
        ]
    width_px = hexagons.diameter_m(resolution) / settings.gsd_m
    if width_px >= _MIN_CELL_PX:
        return []
    return [
        f"config.regions.h3.resolution is {resolution}: its cells are about "
        f"{width_px:.1f} pixels of gsd_m {settings.gsd_m:g} across; allowed: at least "
        f"{_MIN_CELL_PX}. Take a smaller resolution or a finer gsd_m."
    ]


def _polygon_problems(settings: PolygonSettings) -> list[str]:
    key = polygons_lib.KEY
    path, layer, id_column = settings.path, settings.layer, settings.id_column
    if path is None or not Path(path).is_file():
        return [
            f"{key}.path {path!r}: no such file. Wanted: polygons in GeoParquet, "
            "GeoPackage, GeoJSON or a Shapefile, one region in each row.",
        ]
    problems: list[str] = []
    try:
        several = tables.layer_problem(path, layer, f"{key}.layer")
        if several:
            return [several]
        text = tables.Text(settings.encoding, key=key)
        if problem := encodings.problem(settings.encoding, key):
            return [problem]
        header = tables.header(path, layer, text)
        wanted = [id_column] if id_column else []
        problems += faults.column_problems(path, header, wanted, f"{key}.id_column")
        if not header.has_geometry:
            return [*problems, f"{path}: has no geometries. Wanted: polygons."]
        problems += faults.crs_problems(path, header.crs)
        return problems or _row_problems(
            path, tables.load(path, layer, text), id_column
        )
    except InputError as error:
        return [*problems, str(error)]


def _row_problems(path: str, table: pd.DataFrame, id_column: str | None) -> list[str]:
    """Rows that are no region, or share the id of another."""
    assert isinstance(table, gpd.GeoDataFrame)
    kind = table.geom_type
    there = kind.notna() & ~table.geometry.is_empty
    problems = faults.infinite(path, table)
    if not there.any():
        problems.append(
            f"{path}: no row has a geometry. Wanted: one polygon in each row."
        )
    other = there & ~kind.isin(_POLYGONS)
    if other.any():
        problems.append(
            f"{path}: {int(other.sum())} row(s) hold "
            f"{faults.names(sorted(set(kind[other])))}: {faults.rows(other)}. Wanted: "
            "polygons; lines and points have no area."
        )
    if id_column is None:
        return problems
    ids = pd.Series(
        polygons_lib.ids_of(tables.column(table, id_column)), index=table.index
    )
    missing = there & (ids == "")
    if missing.any():
        problems.append(
            f"{path}: {int(missing.sum())} row(s) have no id in column {id_column!r}: "
            f"{faults.rows(missing)}. Fill it in, or take another "
            "config.regions.polygons.id_column, or None for ids made of the outlines."
        )
    twice = there & (ids != "") & ids.where(there).duplicated(keep=False)
    if twice.any():
        shown = [
            f"{name!r} ({faults.rows(twice & (ids == name))})"
            for name in ids[twice].unique()[:5]
        ]
        problems.append(
            f"{path}: column {id_column!r}, which config.regions.polygons.id_column "
            f"names, holds {ids[twice].nunique()} id(s) more than once: "
            f"{', '.join(shown)}. Ids must be unique: correct them, dissolve the rows "
            "of one region, or take another column, or None."
        )
    return problems
