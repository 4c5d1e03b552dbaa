"""Reads tables with Arrow: Parquet, GeoParquet, and JSON with one object per line."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import pyproj
from pyproj.exceptions import CRSError

from data_prep.files import csv_files
from mmgr_jax.data.names import one_form
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

PARQUET = (".parquet", ".geoparquet", ".pq")
JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")

# A line that is longer cannot be read.
_LONGEST_LINE = 1 << 26
# What pandas calls the row numbers it saves.
_ROW_NUMBERS = re.compile(r"__index_level_\d+__")


@dataclasses.dataclass(frozen=True)
class TableHeader:
    """What a file says about itself without reading its rows.

    Attributes:
        columns: Names of the attribute columns, in one form (`names.one_form`).
        crs: CRS of the geometries as WKT; None where the file names none.
        has_geometry: Whether rows carry geometries.
        num_rows: Number of rows; None where only reading the rows would show it.
        nested: Paths within columns of structs and lists, such as "categories.primary"
            and "taxonomy.hierarchy[0]", as far as the file's header shows them.
        as_json: Columns that hold structs and lists as JSON texts, as in GeoJSON; only
            reading the rows would show their content.
    """

    columns: tuple[str, ...]
    crs: str | None
    has_geometry: bool
    num_rows: int | None
    nested: tuple[str, ...] = ()
    as_json: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Whether `tables.column` would find a column or a path within one."""
        name = one_form(name)
        if name in self.columns:
            return True
        path = re.sub(r"\[\d+\]", "[0]", name)
        return path in self.nested or top(name) in self.as_json

    def inside(self, name: str) -> tuple[str, ...]:
        """Returns paths within a column of structs or lists; none in a plain column."""
        start = one_form(name)
        return tuple(
            path for path in self.nested if path.startswith((f"{start}.", f"{start}["))
        )


def is_parquet(path: str | Path) -> bool:
    """Whether a file's name is that of a Parquet file."""
    return str(path).lower().endswith(PARQUET)


def is_json_lines(path: str | Path) -> bool:
    """Whether a file has one plain JSON object per line, not a GeoJSON feature."""
    if not str(path).lower().endswith(JSON_LINES):
        return False
    with pa.input_stream(str(path)) as stream:
        first = stream.read(_LONGEST_LINE).lstrip().split(b"\n", 1)[0]
    try:
        parsed = files.from_json(first)
    except ValueError:
        return True  # and reading says what is wrong
    return not (isinstance(parsed, dict) and parsed.get("type") == "Feature")


def header(path: str | Path) -> TableHeader:
    """Columns, CRS and size of a file.

    Raises:
        InputError: If a column name occurs twice.
    """
    if not is_parquet(path):
        table = _read_json(path)
        return TableHeader(
            *_columns(path, table.schema, {}), table.num_rows, _nested(table.schema)
        )
    return header_of(path, pq.read_metadata(path))


def header_of(path: str | Path, metadata: pq.FileMetaData) -> TableHeader:
    """Reads columns, CRS and size of a Parquet file from its footer.

    Args:
        path: Name of the file in messages.
        metadata: The footer.

    Raises:
        InputError: If a column name occurs twice, or its CRS is no CRS.
    """
    schema = metadata.schema.to_arrow_schema()
    columns, crs, has_geometry = _columns(path, schema, _geo(schema))
    return TableHeader(columns, crs, has_geometry, metadata.num_rows, _nested(schema))


def load(path: str | Path, columns: Sequence[str] | None) -> pd.DataFrame:
    """Reads all rows; returns a GeoDataFrame where the file has geometries.

    An index that pandas has saved is read as a column if it has a name, and omitted if
    it has none. Integers stay integers in columns with empty cells.

    Args:
        path: The file.
        columns: Names, or paths within columns, without geometries; None: everything.
    """
    exact = dict(integer_object_nulls=True)
    if not is_parquet(path):
        return _named(_read_json(path).to_pandas(**exact))
    schema = pq.read_schema(path)
    geo = _geo(schema)
    chosen = None
    if columns is not None:
        tops = {top(one_form(name)) for name in columns}
        chosen = [name for name in schema.names if one_form(name) in tops]
        chosen += [geo["primary_column"]] if geo else []
    if geo:
        table = gpd.read_parquet(path, columns=chosen, to_pandas_kwargs=exact)
    else:
        table = pq.read_table(path, columns=chosen).to_pandas(**exact)
    return _named(table)


def top(path: str) -> str:
    """Returns the column that a path begins with."""
    return re.split(r"[.\[]", path, maxsplit=1)[0]


def _read_json(path: str | Path) -> pa.Table:
    options = pa_json.ReadOptions(block_size=_LONGEST_LINE)
    with pa.input_stream(str(path)) as stream:
        return pa_json.read_json(stream, read_options=options)


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose columns are all that has a name, each in one form."""
    if any(name is not None for name in table.index.names):
        table = table.reset_index()
    unnamed = [name for name in table if _ROW_NUMBERS.fullmatch(str(name))]
    table = table.drop(columns=unnamed).reset_index(drop=True)
    return in_one_form(table)


def in_one_form(table: pd.DataFrame) -> pd.DataFrame:
    """Brings the column names to one form, except that of the geometries."""
    kept = table.geometry.name if isinstance(table, gpd.GeoDataFrame) else None
    return table.rename(
        columns=lambda name: name if name == kept else one_form(str(name))
    )


def _columns(
    path: str | Path, schema: pa.Schema, geo: dict[str, Any]
) -> tuple[tuple[str, ...], str | None, bool]:
    """Columns, CRS, and whether there are geometries."""
    spatial = geo.get("columns", {})
    names = [
        one_form(name)
        for name in schema.names
        if name not in spatial and not _ROW_NUMBERS.fullmatch(name)
    ]
    csv_files.refuse_repeated(path, names)
    if not geo:
        return tuple(names), None, False
    # GeoParquet: an absent CRS means OGC:CRS84, an explicit null an unknown one.
    crs = spatial[geo["primary_column"]].get("crs", "OGC:CRS84")
    try:
        wkt = pyproj.CRS.from_user_input(crs).to_wkt() if crs else None
    except CRSError as error:
        raise InputError(
            f"{path}: its CRS is unknown ({str(error)[:80]}). Write the right one "
            f"into the file, with `ogr2ogr -a_srs EPSG:... OUT {path}`."
        ) from error
    return tuple(names), wkt, True


def _geo(schema: pa.Schema) -> dict[str, Any]:
    """What GeoParquet says of its geometries; empty where there are none."""
    geo = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
    # Programs that drop the column often keep what was said of it.
    return geo if geo.get("primary_column") in schema.names else {}


def _nested(schema: pa.Schema) -> tuple[str, ...]:
    return tuple(
        place for field in schema for place in _inside(one_form(field.name), field.type)
    )


def _inside(name: str, kind: pa.DataType) -> list[str]:
    """Paths of everything within a struct or list."""
    if pa.types.is_struct(kind):
        inner = [(f"{name}.{field.name}", field.type) for field in kind]
    elif any(
        is_list(kind)
        for is_list in (
            pa.types.is_list,
            pa.types.is_large_list,
            pa.types.is_fixed_size_list,
        )
    ):
        inner = [(f"{name}[0]", kind.value_type)]
    else:
        return []
    return [place for path, below in inner for place in (path, *_inside(path, below))]
