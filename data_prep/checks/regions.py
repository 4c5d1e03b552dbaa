"""Can the settings of `config.regions`, and the file they name, give regions?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from data_prep import crs as crs_lib
from data_prep import encodings, vectors
from data_prep import regions as regions_lib
from data_prep.checks import common
from data_prep.regions import TileSpec, hexagons
from data_prep.regions import polygons as polygons_lib
from mmgr_jax.errors import InputError

_OUTLINED = ("h3", "polygons")
_MIN_TILE_PX = 8
_POLYGONS = ("Polygon", "MultiPolygon")


def problems(
    *, kind: str, h3: Mapping[str, Any], polygons: Mapping[str, Any], **tile: Any
) -> list[str]:
    """Everything that keeps regions from being cut; see `regions.cut`.

    What hangs on the imagery, such as the size of a chip, is found when it is cut.
    """
    spec = regions_lib.tile_spec(**tile)
    found = _tile_problems(spec)
    if kind not in regions_lib.KINDS:
        allowed = ", ".join(map(repr, regions_lib.KINDS))
        return [*found, f"config.regions.kind is {kind!r}; allowed: {allowed}."]
    if spec.mask_outside and kind not in _OUTLINED:
        found.append(
            f"config.regions.mask_outside is True, but a region of kind {kind!r} is "
            "its whole tile; allowed: False, or kind 'h3' or 'polygons'."
        )
    if kind == "h3":
        found += _h3_problems(spec, **h3)
    if kind == "polygons":
        found += _polygon_problems(**polygons)
    return found


def _tile_problems(spec: TileSpec) -> list[str]:
    most = spec.max_regions
    limits: list[tuple[str, Any, bool, str]] = [
        ("tile_size_px", spec.size_px, spec.size_px >= _MIN_TILE_PX, "at least 8"),
        ("gsd_m", spec.gsd_m, spec.gsd_m > 0, "above 0"),
        (
            "min_coverage",
            spec.min_coverage,
            0 < spec.min_coverage <= 1,
            "above 0, at most 1",
        ),
        (
            "max_blank_share",
            spec.max_blank_share,
            0 < spec.max_blank_share <= 1,
            "above 0, at most 1",
        ),
        ("poi_buffer_m", spec.poi_buffer_m, spec.poi_buffer_m >= 0, "0 or more"),
        ("max_regions", most, most is None or most > 0, "above 0"),
    ]
    return [
        f"config.regions.{name} is {value!r}; allowed: {allowed}."
        for name, value, fine, allowed in limits
        if not fine
    ]


def _h3_problems(spec: TileSpec, *, resolution: int, containment: str) -> list[str]:
    found = []
    if containment not in hexagons.CONTAINMENTS:
        allowed = " or ".join(map(repr, hexagons.CONTAINMENTS))
        found.append(
            f"config.regions.h3.containment is {containment!r}; allowed: {allowed}."
        )
    if resolution not in hexagons.RESOLUTIONS:
        return [
            *found,
            f"config.regions.h3.resolution is {resolution}; allowed: 0 to 15. Cells of "
            "10 are about 150 m across, of 9 about 400 m, of 8 about 1.1 km.",
        ]
    width_px = hexagons.diameter_m(resolution) / max(spec.gsd_m, 1e-9)
    if width_px < _MIN_TILE_PX:
        found.append(
            f"config.regions.h3.resolution is {resolution}: its cells are about "
            f"{width_px:.1f} pixels of gsd_m {spec.gsd_m:g} across; allowed: at least "
            f"{_MIN_TILE_PX}. Take a smaller resolution or a finer gsd_m."
        )
    return found


def _polygon_problems(
    *,
    path: str | None,
    layer: str | None,
    id_column: str | None,
    fit: str,
    encoding: str | None = None,
) -> list[str]:
    key = polygons_lib.KEY
    found = []
    if fit not in polygons_lib.FITS:
        allowed = " or ".join(map(repr, polygons_lib.FITS))
        found.append(f"{key}.fit is {fit!r}; allowed: {allowed}.")
    if path is None or not Path(path).is_file():
        return [
            *found,
            f"{key}.path {path!r}: no such file. Wanted: polygons in GeoParquet, "
            "GeoPackage, GeoJSON or a Shapefile, one region a row.",
        ]
    try:
        several = vectors.layer_problem(path, layer, f"{key}.layer")
        if several:
            return [*found, several]
        text = vectors.Text(encoding, key=key)
        if problem := encodings.problem(encoding, key):
            return [*found, problem]
        header = vectors.header(path, layer, text)
        wanted = [id_column] if id_column else []
        found += common.column_problems(path, header, wanted, f"{key}.id_column")
        if not header.has_geometry:
            return [*found, f"{path}: has no geometries. Wanted: polygons."]
        if header.crs is None:
            found.append(common.no_crs(path))
        elif unusable := crs_lib.unusable(header.crs):
            found.append(f"{path}: {unusable} {common.CRS_REMEDY} {path}`.")
        return found or _row_problems(path, vectors.load(path, layer, text), id_column)
    except InputError as error:
        return [*found, str(error)]


def _row_problems(path: str, table: pd.DataFrame, id_column: str | None) -> list[str]:
    """Rows that are no region, or share the id of another."""
    assert isinstance(table, gpd.GeoDataFrame)
    kind = table.geom_type
    there = kind.notna() & ~table.geometry.is_empty
    found = common.infinite(path, table)
    if not there.any():
        found.append(f"{path}: no row has a geometry. Wanted: one polygon a row.")
    other = there & ~kind.isin(_POLYGONS)
    if other.any():
        found.append(
            f"{path}: {int(other.sum())} row(s) hold "
            f"{common.names(sorted(set(kind[other])))}: {common.rows(other)}. Wanted: "
            "polygons; lines and points have no area."
        )
    if id_column is None:
        return found
    ids = pd.Series(
        polygons_lib.ids_of(vectors.column(table, id_column)), index=table.index
    )
    missing = there & (ids == "")
    if missing.any():
        found.append(
            f"{path}: {int(missing.sum())} row(s) have no id in column {id_column!r}: "
            f"{common.rows(missing)}. Fill it in, or take another "
            "config.regions.polygons.id_column, or None for ids made of the outlines."
        )
    twice = there & (ids != "") & ids.where(there).duplicated(keep=False)
    if twice.any():
        shown = [
            f"{name!r} ({common.rows(twice & (ids == name))})"
            for name in ids[twice].unique()[:5]
        ]
        found.append(
            f"{path}: column {id_column!r}, which config.regions.polygons.id_column "
            f"names, holds {ids[twice].nunique()} id(s) more than once: "
            f"{', '.join(shown)}. Ids must be unique: correct them, dissolve the rows "
            "of one region, or take another column, or None."
        )
    return found
