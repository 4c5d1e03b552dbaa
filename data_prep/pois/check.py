"""Is the file of POIs fit to be read?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.files import crs as crs_lib
from data_prep.files import faults
from data_prep.pois import categories as poi_categories
from data_prep.pois import sources
from data_prep.pois.sources import osm as osm_lib
from data_prep.pois.sources import osm_readers
from mmgr_jax.errors import InputError


def problems(
    *,
    path: str | None,
    crs: str | None,
    datum: str,
    category_column: str,
    parent_column: str | None,
    x_column: str | None,
    y_column: str | None,
    layer: str | None = None,
    format: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    decimal: str = ".",
    name_column: str = sources.NAME,
    categories: Mapping[str, Any] | None = None,
    osm: Mapping[str, Any] | None = None,
) -> list[str]:
    """Everything that keeps a file from being read as POIs; see `pois.read`."""
    found = _setting_problems(datum, decimal, categories or {}, osm or {})
    if path is None or not Path(path).exists():
        columns = (category_column, parent_column, x_column, y_column)
        wanted = ", ".join(repr(name) for name in columns if name)
        text = f"config.pois.path {path!r}: no such file. Wanted: {sources.WANTED}"
        text += f" with one POI a row, column(s) {wanted}, coordinates in "
        return [*found, f"{text}{crs or 'the CRS the file names'}, datum {datum}."]
    try:
        source = sources.open_source(
            path,
            format=format,
            layer=layer,
            encoding=encoding,
            separator=separator,
            category_column=category_column,
            parent_column=parent_column,
            name_column=name_column,
            x_column=x_column,
            y_column=y_column,
            osm=osm or {},
        )
    except InputError as error:
        return [*found, str(error)]
    header = source.header
    if header.num_rows == 0:
        found.append(f"{path}: holds no row. Wanted: one POI a row.")
    if (x_column is None) != (y_column is None):
        found.append("config.pois: give both x_column and y_column, or neither.")
    elif x_column is None and not header.has_geometry:
        found.append(
            f"{path}: has no geometries, so config.pois.x_column and y_column must "
            f"name its coordinates; its columns: {faults.names(header.columns)}."
        )
    file_crs = header.crs if x_column is None else None
    return found + _declared_crs_problems(path, crs, file_crs)


def _setting_problems(
    datum: str, decimal: str, categories: Mapping[str, Any], osm: Mapping[str, Any]
) -> list[str]:
    """Problems seen without opening the file."""
    found = poi_categories.problems(categories)
    if datum not in crs_lib.DATUMS:
        found.append(
            f"config.pois.datum is {datum!r}; allowed: {', '.join(crs_lib.DATUMS)}."
        )
    if decimal not in (".", ","):
        found.append(f"config.pois.decimal is {decimal!r}; allowed: '.' and ','.")
    reader = osm.get("reader")
    if reader is not None and reader not in osm_readers.READERS:
        found.append(
            f"config.pois.osm.reader is {reader!r}; allowed: "
            f"{', '.join(osm_readers.READERS)}."
        )
    if osm.get("table") is not None:
        try:
            osm_lib.read_rules(osm["table"])
        except InputError as error:
            found.append(str(error))
    return found


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
        told = None if file_crs is None or crs_lib.unusable(file_crs) else file_crs
        if declared and told and not crs_lib.same(declared, told):
            return [
                f"config.pois.crs is {declared!r}, but {path} is in "
                f"{crs_lib.parse(told).name!r}. Declare that one, or None, or "
                "correct the file."
            ]
    except InputError as error:
        return [f"config.pois.crs: {error}"]
    return []
