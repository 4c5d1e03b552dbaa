"""Checks that the file of POIs can be read."""

from __future__ import annotations

from pathlib import Path

from data_prep.files import crs as crs_lib
from data_prep.files import faults
from data_prep.pois import categories as poi_categories
from data_prep.pois.settings import PoiSettings
from data_prep.pois.sources import osm as osm_lib
from data_prep.pois.sources import source as sources
from mmgr_jax.errors import InputError


def problems(settings: PoiSettings) -> list[str]:
    """Lists everything that prevents reading a file as POIs; see `table.read`."""
    path, crs = settings.path, settings.crs
    x_column, y_column = settings.x_column, settings.y_column
    problems = _setting_problems(settings)
    if path is None:
        return problems
    if not Path(path).exists():
        columns = (settings.category_column, settings.parent_column, x_column, y_column)
        wanted = ", ".join(repr(name) for name in columns if name)
        text = f"config.pois.path {path!r}: no such file. Wanted: {sources.WANTED}"
        text += f" with one POI in each row, column(s) {wanted}, coordinates in "
        text += f"{crs or 'the CRS the file names'}, datum {settings.datum}."
        return [*problems, text]
    try:
        source = sources.open_source(settings)
    except InputError as error:
        return [*problems, str(error)]
    header = source.header
    if header.num_rows == 0:
        problems.append(f"{path}: holds no row. Wanted: one POI in each row.")
    if (x_column is None) != (y_column is None):
        problems.append("config.pois: give both x_column and y_column, or neither.")
    elif x_column is None and not header.has_geometry:
        problems.append(
            f"{path}: has no geometries, so config.pois.x_column and y_column must "
            f"name its coordinates; its columns: {faults.names(header.columns)}."
        )
    file_crs = header.crs if x_column is None else None
    return problems + _declared_crs_problems(path, crs, file_crs)


def _setting_problems(settings: PoiSettings) -> list[str]:
    """Problems seen without opening the file."""
    problems = poi_categories.problems(settings.categories)
    if settings.osm.table is not None:
        try:
            osm_lib.read_rules(settings.osm.table)
        except InputError as error:
            problems.append(str(error))
    return problems


def _declared_crs_problems(
    path: str, declared: str | None, file_crs: str | None
) -> list[str]:
    if declared is None and file_crs is None:
        return [
            f"{path}: names no CRS, so config.pois.crs must, such as 'EPSG:4326' for "
            "longitude and latitude."
        ]
    try:
        unusable = crs_lib.unusable(declared or file_crs or "")
        if unusable and declared:
            return [f"config.pois.crs {unusable} Allowed: such as 'EPSG:4326'."]
        if unusable:
            return [
                f"{path}: {unusable} Say in config.pois.crs what they are, such as "
                "'EPSG:4326' for longitude and latitude."
            ]
        valid_crs = None if file_crs is None or crs_lib.unusable(file_crs) else file_crs
        if declared and valid_crs and not crs_lib.same(declared, valid_crs):
            return [
                f"config.pois.crs is {declared!r}, but {path} is in "
                f"{crs_lib.parse(valid_crs).name!r}. Declare that one, or None, or "
                "correct the file."
            ]
    except InputError as error:
        return [f"config.pois.crs: {error}"]
    return []
