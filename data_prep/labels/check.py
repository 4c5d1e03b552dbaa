"""Checks that the files of a label can be used and lie where the imagery lies."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from data_prep.files import cells, csv_files, encodings, faults, table_formats, tables
from data_prep.files import crs as crs_lib
from data_prep.labels import check_rasters, points, polygons
from data_prep.labels import source as source_lib
from data_prep.labels.settings import LabelSettings
from mmgr_jax.errors import InputError

_CLASSES_SHOWN = 12


def problems(
    name: str, source: LabelSettings, extent_deg: faults.Bounds | None
) -> list[str]:
    """Lists everything that prevents a label from a file; see `extraction.extract`."""
    key = f"config.labels.{name}"
    if not re.fullmatch(r"\w+", name):
        return [f"{key}: a name has letters, digits and underscores only."]
    problems = source_lib.problems(key, source)
    encoding = encodings.problem(source.encoding, key)
    problems += [encoding] if encoding else []
    if problems:
        return problems
    if not source.path or not Path(source.path).is_file():
        what = "is a folder" if Path(source.path).is_dir() else "no such file"
        what = what if source.path else "names no file"
        return [f"{key}.path {source.path!r}: {what}. Wanted: {_wanted(source)}."]
    try:
        if source.form == "raster":
            if _is_table(source.path):
                return [_no_raster(key, source)]
            return check_rasters.problems(key, source, extent_deg)
        if source.form == "table":
            return _table_problems(key, source)
        return _polygon_problems(key, source, extent_deg)
    except InputError as error:
        message = str(error)
        return [message if message.startswith(key) else f"{key}: {message}"]


def _wanted(source: LabelSettings) -> str:
    """What kind of file would do."""
    if source.form == "raster":
        return f"a GeoTIFF with a CRS, in {source.unit}"
    if source.form == "table":
        return f"a CSV or Parquet table with region ids in {source.id_column!r}"
    content = f"in {source.unit}"
    if source.has_classes:
        content = f"one of {', '.join(source_lib.class_of(source))}"
    return f"polygons with column {source.column!r}, {content}"


def _table_problems(key: str, source: LabelSettings) -> list[str]:
    assert source.id_column is not None
    header = _header(key, source)
    is_share = source.kind == "share"
    named = source_lib.class_of(source) if is_share else [source.column or ""]
    return faults.column_problems(source.path, header, [source.id_column, *named], key)


def _header(key: str, source: LabelSettings) -> tables.TableHeader:
    """The columns of the one layer of a file.

    Raises:
        InputError: If it has several, or cannot be read.
    """
    if several := tables.layer_problem(source.path, None, None):
        raise InputError(several)
    return tables.header(source.path, None, source_lib.text(source, key))


def _polygon_problems(
    key: str, source: LabelSettings, extent_deg: faults.Bounds | None
) -> list[str]:
    assert source.column is not None
    header = _header(key, source)
    named = [source.column, source.x_column, source.y_column]
    wanted = [name for name in named if name and name != source_lib.EACH]
    problems = faults.column_problems(source.path, header, wanted, key)
    crs = source.crs or header.crs
    if not header.has_geometry and source.x_column is None:
        problems.append(
            f"{source.path}: has no geometries. Wanted: polygons, or id_column for a "
            "table of regions, or x_column, y_column and crs for points with a count."
        )
    elif source.crs is None:
        problems += faults.crs_problems(source.path, header.crs)
    elif unusable := _unusable(source.crs):
        problems.append(f"{key}.crs: {unusable}")
    if problems:
        return problems
    assert crs is not None
    table = points.load(key, source)
    if not (table.geometry.notna() & ~table.geometry.is_empty).any():
        return [
            f"{source.path}: no row has a geometry. Wanted: polygons with column "
            f"{source.column!r}, at least one."
        ]
    if infinite := faults.infinite(source.path, table):
        return infinite
    if source.has_classes:
        problems += _unknown_classes(key, source, tables.column(table, source.column))
    elif source.column != source_lib.EACH:
        problems += _no_numbers(key, source, tables.column(table, source.column))
    kinds = set(table.geom_type.dropna())
    if not kinds <= set(polygons.POLYGONS) and not (
        source.kind == "count" and points.are_points(table)
    ):
        problems.append(
            f"{source.path}: holds {faults.names(sorted(kinds))}. Wanted: polygons; or "
            "points alone, which carry a count (kind 'count') and nothing else."
        )
    west, south, east, north = table.total_bounds.tolist()
    bounds = (west, south, east, north)
    return problems + faults.overlap_problems(key, source.path, bounds, crs, extent_deg)


def _unusable(crs: str) -> str | None:
    try:
        return crs_lib.unusable(crs)
    except InputError as error:
        return str(error)


def _is_table(path: str) -> bool:
    """Whether a file that is no raster is a table or has geometries."""
    if csv_files.is_csv(path) or path.lower().endswith(".parquet"):
        return True
    try:
        table_formats.check_table(path)
    except InputError:
        return False
    return True


def _no_raster(key: str, source: LabelSettings) -> str:
    return (
        f"{key}: {source.path} is a table, not a raster, and {key}.column names none "
        f"of its columns. Name the one with the {source.kind}, and id_column where "
        f"rows are regions; {source_lib.EACH!r} counts polygons or points themselves."
    )


def _unknown_classes(key: str, source: LabelSettings, column: pd.Series) -> list[str]:
    what = f"{source.path}: column {source.column!r}"
    present = cells.text(column, what).dropna()
    unknown = present[~present.isin(list(source_lib.class_of(source)))].value_counts()
    if not len(unknown):
        return []
    where = f"{key}.mapping" if len(source.mapping) else f"{key}.classes"
    return [
        f"{source.path}: column {source.column!r} holds {len(unknown)} class(es) "
        f"unknown to {where}: {_counted(unknown)}. Allowed: "
        f"{', '.join(source_lib.class_of(source))}. Give each a class, or None to "
        f"leave it out, in {key}.mapping, or leave the cell empty for land without a "
        "class."
    ]


def _no_numbers(key: str, source: LabelSettings, column: pd.Series) -> list[str]:
    what = f"{source.path}: column {source.column!r}"
    wrong = column[cells.numbers(column, what)[1]]
    if not len(wrong):
        return []
    return [
        f"{key}: {source.path}, column {source.column!r}, holds "
        f"{_counted(wrong.astype(str).value_counts())}, which is no number. Leave the "
        'cell empty where it is missing; classes are of kind "share" or "class".'
    ]


def _counted(values: pd.Series) -> str:
    """Values with how often they occur, shortened when there are many."""
    shown = values[:_CLASSES_SHOWN].items()
    rows = ", ".join(f"{value!r} ({count})" for value, count in shown)
    more = len(values) - _CLASSES_SHOWN
    return rows + (f" and {more} more" if more > 0 else "")
