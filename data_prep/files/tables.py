"""Reads tables with or without geometries: GeoParquet, GeoPackage, GeoJSON, CSV..."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from jaxtyping import Shaped
from shapely.errors import GEOSException

from data_prep.files import arrow_files, csv_files, encodings, shapefiles, table_formats
from data_prep.files.arrow_files import TableHeader
from data_prep.files.csv_files import Text
from mmgr_jax.data.names import one_form
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

__all__ = [
    "FORMATS",
    "TableHeader",
    "Text",
    "column",
    "header",
    "layer_problem",
    "load",
]

FORMATS = table_formats.FORMATS
# "a.b[0]": the item 0 of the list b of the struct a.
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
# Metres beyond which no grid on Earth has coordinates, whatever its false origin.
_FARTHEST_M = 1e8
# Drivers whose texts may be in another encoding than the format says.
_OPEN_TEXTS = (shapefiles.DRIVER, "GeoJSON", "GeoJSONSeq")


def header(
    path: str | Path, layer: str | None = None, text: Text | None = None
) -> TableHeader:
    """Reads columns, CRS and size of a file.

    Raises:
        InputError: If a file is damaged, a CSV is empty, not in its encoding or has
            another separator, a column name occurs twice, or nothing says the encoding
            of a Shapefile.
    """
    with table_formats.reading(path):
        return _header(path, layer, text or Text())


def _header(path: str | Path, layer: str | None, text: Text) -> TableHeader:
    if csv_files.is_csv(path) or _by_arrow(path):
        table_formats.check_packed(path)
    if csv_files.is_csv(path):
        named = tuple(name for name in csv_files.names(path, text) if name)
        return TableHeader(named, None, False, None)
    if _by_arrow(path):
        _refuse_encoding(path, text, "Parquet and JSON lines")
        return arrow_files.header(path)
    info = _info(path, layer, text)
    names = tuple(one_form(name) for name in info["fields"])
    return TableHeader(
        columns=names,
        crs=info["crs"],
        has_geometry=info["geometry_type"] is not None,
        num_rows=info["features"] if info["features"] >= 0 else None,
        nested=tuple(
            f"{name}[0]"
            for name, kind in zip(names, info["ogr_types"], strict=True)
            if kind.endswith("List")
        ),
        as_json=tuple(
            name
            for name, kind in zip(names, info["ogr_subtypes"], strict=True)
            if kind == "OFSTJSON"
        ),
    )


def load(
    path: str | Path,
    layer: str | None = None,
    text: Text | None = None,
    *,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Reads all rows; returns a GeoDataFrame where the file has geometries.

    Cells of a CSV are texts, as written; `cells` turns them into numbers.

    Args:
        path: The file.
        layer: Layer of a GeoPackage; None: its only one with geometries.
        text: How a text file is written.
        columns: Columns to read from a CSV or Parquet file, without geometries; None:
            all.

    Raises:
        InputError: If a file is damaged, a text is not in its encoding, or a row of a
            CSV has more or fewer fields than its header.
    """
    with table_formats.reading(path):
        return _load(path, layer, text or Text(), columns)


def _load(
    path: str | Path, layer: str | None, text: Text, columns: Sequence[str] | None
) -> pd.DataFrame:
    if csv_files.is_csv(path):
        tops = None
        if columns is not None:
            tops = list(dict.fromkeys(one_form(name) for name in columns))
        return csv_files.load(path, text, tops)
    if _by_arrow(path):
        return arrow_files.load(path, columns)
    return _load_layer(path, layer, text)


def column(table: pd.DataFrame, name: str) -> pd.Series:
    """Returns a column, or the values at a path in it; None where a row has none."""
    name = one_form(name)
    if name in table.columns:
        return table[name]
    top = arrow_files.top(name)
    if top not in table.columns:
        raise InputError(
            f"column {name!r}: the header of the file names it, but its rows have "
            f"{', '.join(map(repr, table.columns))}; the file is damaged."
        )
    values = table[top].astype(object)
    for key, index in _STEP.findall(name[len(top) :]):
        step = key or int(index)
        values = values.map(lambda row, step=step: _inside(row, step))
    return values.rename(name)


def moved(
    path: str | Path, geometry: gpd.GeoSeries, crs: str
) -> Shaped[np.ndarray, " n"]:
    """Transforms geometries of a file [n] to another CRS.

    Raises:
        InputError: If their coordinates have no place in that CRS.
    """
    assert geometry.crs is not None  # else `to_crs` refuses
    geometries = geometry.to_crs(crs).to_numpy()
    if not (np.abs(shapely.get_coordinates(geometries)) <= _FARTHEST_M).all():
        raise InputError(
            f"{path}: its coordinates do not fit its CRS, {geometry.crs.name!r}. "
            "Write the right one into the file, with `ogr2ogr -a_srs EPSG:... OUT "
            f"{path}`."
        )
    return geometries


def repaired(
    path: str | Path, geometry: Shaped[np.ndarray, " n"], **how: Any
) -> Shaped[np.ndarray, " n"]:
    """Returns valid geometries in place of those of a file [n].

    Args:
        path: The file.
        geometry: Shapely geometries.
        **how: Arguments of `shapely.make_valid`.

    Raises:
        InputError: If a geometry cannot be repaired.
    """
    try:
        return shapely.make_valid(geometry, **how)
    except GEOSException as error:
        raise InputError(
            f"{path}: an outline that crosses itself cannot be repaired ({error}). "
            f"Repair it with `ogr2ogr -makevalid OUT {path}`, or delete its row."
        ) from error


def layers(path: str | Path, *, spatial: bool = False) -> tuple[str, ...]:
    """Lists a file's layers, or those with geometries; empty without layers."""
    if csv_files.is_csv(path) or _by_arrow(path):
        return ()
    with table_formats.reading(path):
        table_formats.check_table(path)
        pairs = pyogrio.list_layers(path).tolist()
    return tuple(name for name, kind in pairs if kind is not None or not spatial)


def layer_problem(path: str | Path, layer: str | None, key: str | None) -> str | None:
    """Why a layer cannot be read; None when it can.

    Args:
        path: The file.
        layer: The wanted layer; None: the only one with geometries, or the only one.
        key: The config key that names the layer; None where no key does.
    """
    names = layers(path)
    listed = ", ".join(map(repr, names)) or "none"
    if layer is not None and layer not in names:
        return (
            f"{path}: has no layer {layer!r}, which {key} names; its layers: {listed}."
        )
    if layer is not None or len(names) < 2 or len(layers(path, spatial=True)) == 1:
        return None
    remedy = f"{key} must name one of {listed}"
    if key is None:
        remedy = f"save one of {listed} by itself, with `ogr2ogr OUT {path} LAYER`"
    return f"{path}: has {len(names)} layers; {remedy}."


def no_column(
    path: str | Path, header: TableHeader, wanted: Sequence[str]
) -> str | None:
    """Returns the message for missing columns, with the nearest ones the file has."""
    missing = [name for name in wanted if not header.has(name)]
    if not missing:
        return None
    all_names = [str(name) for name in (*header.columns, *header.nested)]
    folded = {name.casefold(): name for name in all_names}
    near = []
    for name in missing:
        close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
        near += [f"{folded[match]!r} for {name!r}" for match in close]
    advice = f" Perhaps {', '.join(near)}?" if near else ""
    shown = ", ".join(map(repr, all_names[:30])) or "none"
    return (
        f"{path}: has no column {', '.join(map(repr, missing))}, which config.pois "
        f"names; its columns: {shown}.{advice}"
    )


def _by_arrow(path: str | Path) -> bool:
    return arrow_files.is_parquet(path) or arrow_files.is_json_lines(path)


def _only_spatial(path: str | Path, layer: str | None) -> str | None:
    """The layer with geometries where tables of styles and the like lie beside it."""
    names = layers(path, spatial=True)
    return names[0] if layer is None and len(names) == 1 else layer


def _info(path: str | Path, layer: str | None, text: Text) -> dict[str, Any]:
    """What GDAL says of a layer, once it is known how to read its texts."""
    chosen = _only_spatial(path, layer)
    try:
        info = pyogrio.read_info(path, layer=chosen, encoding=text.encoding)
    except UnicodeError as error:
        raise _undecodable(path, text, error) from error
    table_formats.refuse_driver(path, info["driver"])
    if info["driver"] == shapefiles.DRIVER:
        shapefiles.refuse_unknown_encoding(path, info, text)
    elif info["driver"] not in _OPEN_TEXTS:
        _refuse_encoding(path, text, f"files of the format {info['driver']}")
    return info


def _refuse_encoding(path: str | Path, text: Text, what: str) -> None:
    declared = text.encoding
    if declared and encodings.python_name(declared) != encodings.DEFAULT:
        raise InputError(
            f"{path}: {text.key}.encoding is {declared!r}, but {what} are always in "
            "UTF-8. Set it to None."
        )


def _load_layer(path: str | Path, layer: str | None, text: Text) -> pd.DataFrame:
    chosen = _only_spatial(path, layer)
    _info(path, chosen, text)
    try:
        with warnings.catch_warnings():
            # Of columns in which some cells are JSON; `cells` tells them from text.
            warnings.filterwarnings("ignore", "Could not parse column", UserWarning)
            table = gpd.read_file(path, layer=chosen, encoding=text.encoding)
    except UnicodeError as error:
        raise _undecodable(path, text, error) from error
    return arrow_files.in_one_form(table)


def _undecodable(path: str | Path, text: Text, error: UnicodeError) -> InputError:
    key = text.key
    remedy = f"Declare its encoding in {key}.encoding" if key else "Save it as UTF-8"
    return InputError(f"{path}: {error}. {remedy}, such as 'utf-8' or 'gb18030'.")


def _inside(row: Any, step: str | int) -> Any:
    """Field or item of a struct or list, None where there is none."""
    if isinstance(row, str):
        try:
            row = files.from_json(row)
        except ValueError:
            return None
    if isinstance(step, str):
        return row.get(step) if isinstance(row, dict) else None
    if row is None or isinstance(row, (float, dict)) or len(row) <= step:
        return None
    return row[step]
