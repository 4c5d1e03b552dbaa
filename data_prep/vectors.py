"""Tables with or without geometries: GeoParquet, GeoPackage, GeoJSON, CSV, ..."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyproj

from data_prep import csv_files
from data_prep.csv_files import Text
from mmgr_jax.errors import InputError

FORMATS = "GeoParquet, GeoPackage, GeoJSON, Shapefile or CSV"
_PARQUET = (".parquet", ".geoparquet", ".pq")
# "a.b[0]": the item 0 of the list b of the struct a.
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of itself without reading its rows.

    Attributes:
        columns: Names of the attribute columns.
        crs: CRS of the geometries as WKT, None where the file names none.
        has_geometry: Whether rows carry geometries.
        num_rows: Number of rows, None where only reading would tell.
        nested: Paths within columns of structs and lists, such as "categories.primary"
            and "taxonomy.hierarchy[0]"; of Parquet.
        as_json: Columns that hold structs and lists as JSON texts, as in GeoJSON; only
            reading would tell what is in them.
    """

    columns: tuple[str, ...]
    crs: str | None
    has_geometry: bool
    num_rows: int | None
    nested: tuple[str, ...] = ()
    as_json: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Whether `column` would find a column or a path within one."""
        if name in self.columns:
            return True
        path = re.sub(r"\[\d+\]", "[0]", name)
        return path in self.nested or _top(name) in self.as_json


def header(
    path: str | Path, layer: str | None = None, text: Text | None = None
) -> Header:
    """Columns, CRS and size of a file.

    Raises:
        InputError: If a CSV is empty, not in its encoding or has another separator, or
            a column stands twice.
    """
    text = text or Text()
    if csv_files.is_csv(path):
        return Header(csv_files.names(path, text), None, False, None)
    if _is_parquet(path):
        return _parquet_header(path)
    chosen = _only_spatial(path, layer)
    info = pyogrio.read_info(path, layer=chosen, encoding=text.encoding)
    return Header(
        columns=tuple(info["fields"]),
        crs=info["crs"],
        has_geometry=info["geometry_type"] is not None,
        num_rows=info["features"] if info["features"] >= 0 else None,
        as_json=tuple(
            name
            for name, kind in zip(info["fields"], info["ogr_subtypes"], strict=True)
            if kind == "OFSTJSON"
        ),
    )


def load(
    path: str | Path,
    layer: str | None = None,
    text: Text | None = None,
    *,
    columns: Sequence[str] | None = None,
    as_text: Sequence[str] = (),
) -> pd.DataFrame:
    """All rows; a GeoDataFrame where the file has geometries.

    Args:
        path: The file.
        layer: Layer of a GeoPackage; None: its only one with geometries.
        text: How a text file is written.
        columns: What a Parquet file is asked for, geometries aside; None: everything.
        as_text: Columns of a CSV kept as written: "050101" is no number.

    Raises:
        InputError: If a text is not in its encoding, or a row of a CSV has another
            number of fields than its header.
    """
    text = text or Text()
    if csv_files.is_csv(path):
        return csv_files.load(path, text, as_text)
    if not _is_parquet(path):
        return _load_layer(path, layer, text)
    geo = _geo(pq.read_schema(path))
    if columns is not None:
        tops = [_top(name) for name in columns]
        columns = list(dict.fromkeys(tops + ([geo["primary_column"]] if geo else [])))
    if geo:
        return gpd.read_parquet(path, columns=columns)
    return pd.read_parquet(path, columns=columns)


def column(table: pd.DataFrame, name: str) -> pd.Series:
    """A column, or what stands at a path within one; None where a row has none."""
    if name in table.columns:
        return table[name]
    top = _top(name)
    values = table[top]
    for key, index in _STEP.findall(name[len(top) :]):
        step = key or int(index)
        values = values.map(lambda row, step=step: _inside(row, step))
    return values


def layers(path: str | Path, *, spatial: bool = False) -> tuple[str, ...]:
    """Names of a file's layers, or of those with geometries; none without layers."""
    if _is_parquet(path) or csv_files.is_csv(path):
        return ()
    found = pyogrio.list_layers(path).tolist()
    return tuple(name for name, kind in found if kind is not None or not spatial)


def layer_problem(path: str | Path, layer: str | None, key: str | None) -> str | None:
    """Why a layer cannot be read, or None when it can.

    Args:
        path: The file.
        layer: The layer that is asked for; None: the only one with geometries, or the
            only one.
        key: The config key that names the layer; None where none does.
    """
    found = layers(path)
    listed = ", ".join(map(repr, found)) or "none"
    if layer is not None and layer not in found:
        return (
            f"{path}: has no layer {layer!r}, which {key} names; its layers: {listed}."
        )
    if layer is not None or len(found) < 2 or len(layers(path, spatial=True)) == 1:
        return None
    remedy = f"{key} must name one of {listed}"
    if key is None:
        remedy = f"save one of {listed} by itself, with `ogr2ogr OUT {path} LAYER`"
    return f"{path}: has {len(found)} layers; {remedy}."


def no_column(path: str | Path, found: Header, wanted: Sequence[str]) -> str | None:
    """The message for columns that a file lacks, with the nearest ones it has."""
    missing = [name for name in wanted if not found.has(name)]
    if not missing:
        return None
    all_names = [str(name) for name in (*found.columns, *found.nested)]
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


def _is_parquet(path: str | Path) -> bool:
    return str(path).lower().endswith(_PARQUET)


def _only_spatial(path: str | Path, layer: str | None) -> str | None:
    """The layer with geometries where tables of styles and the like lie beside it."""
    found = layers(path, spatial=True)
    return found[0] if layer is None and len(found) == 1 else layer


def _load_layer(path: str | Path, layer: str | None, text: Text) -> pd.DataFrame:
    try:
        chosen = _only_spatial(path, layer)
        return gpd.read_file(path, layer=chosen, encoding=text.encoding)
    except UnicodeError as error:
        raise InputError(
            f"{path}: {error}. Declare its encoding in config.pois.encoding, such as "
            "'utf-8' or 'gb18030'."
        ) from error


def _parquet_header(path: str | Path) -> Header:
    metadata = pq.read_metadata(path)
    schema = metadata.schema.to_arrow_schema()
    csv_files.refuse_repeated(path, schema.names)
    nested = tuple(
        place for field in schema for place in _nested(field.name, field.type)
    )
    geo = _geo(schema)
    if not geo:
        return Header(tuple(schema.names), None, False, metadata.num_rows, nested)
    # GeoParquet: an absent CRS means OGC:CRS84, an explicit null an unknown one.
    crs = geo["columns"][geo["primary_column"]].get("crs", "OGC:CRS84")
    return Header(
        columns=tuple(name for name in schema.names if name not in geo["columns"]),
        crs=pyproj.CRS.from_user_input(crs).to_wkt() if crs else None,
        has_geometry=True,
        num_rows=metadata.num_rows,
        nested=nested,
    )


def _geo(schema: pa.Schema) -> dict[str, Any]:
    """What GeoParquet says of its geometries; empty where there are none."""
    geo = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
    # Programs that drop the column often keep what was said of it.
    return geo if geo.get("primary_column") in schema.names else {}


def _nested(name: str, kind: pa.DataType) -> list[str]:
    """Paths of everything within a struct or list."""
    if pa.types.is_struct(kind):
        inner = [(f"{name}.{field.name}", field.type) for field in kind]
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = [(f"{name}[0]", kind.value_type)]
    else:
        return []
    return [place for path, below in inner for place in (path, *_nested(path, below))]


def _top(name: str) -> str:
    return re.split(r"[.\[]", name, maxsplit=1)[0]


def _inside(row: Any, step: str | int) -> Any:
    """Field or item of a struct or list, None where there is none."""
    if isinstance(row, str):
        row = json.loads(row)
    if isinstance(step, str):
        return row.get(step) if isinstance(row, dict) else None
    if row is None or isinstance(row, (float, dict)) or len(row) <= step:
        return None
    return row[step]
