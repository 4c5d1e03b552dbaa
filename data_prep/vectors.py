"""Tables with or without geometries: GeoParquet, GeoPackage, GeoJSON, CSV, ..."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pyproj

FORMATS = "GeoParquet, GeoPackage, GeoJSON, Shapefile or CSV"
_PARQUET = (".parquet", ".geoparquet", ".pq")
_SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of itself without reading its rows.

    Attributes:
        columns: Names of the attribute columns.
        crs: CRS of the geometries as WKT, None where the file names none.
        has_geometry: Whether rows carry geometries.
        num_rows: Number of rows, None where only reading would tell.
    """

    columns: tuple[str, ...]
    crs: str | None
    has_geometry: bool
    num_rows: int | None


def header(path: str | Path, layer: str | None = None) -> Header:
    """Columns, CRS and size of a file."""
    separator = _separator(path)
    if separator:
        columns = pd.read_csv(path, sep=separator, nrows=0).columns
        return Header(tuple(columns), None, False, None)
    if str(path).lower().endswith(_PARQUET):
        return _parquet_header(path)
    info = pyogrio.read_info(path, layer=layer)
    return Header(
        columns=tuple(info["fields"]),
        crs=info["crs"],
        has_geometry=info["geometry_type"] is not None,
        num_rows=info["features"] if info["features"] >= 0 else None,
    )


def load(path: str | Path, layer: str | None = None) -> pd.DataFrame:
    """All rows; a GeoDataFrame where the file has geometries."""
    separator = _separator(path)
    if separator:
        return pd.read_csv(path, sep=separator, low_memory=False)
    if not str(path).lower().endswith(_PARQUET):
        return gpd.read_file(path, layer=layer)
    if _parquet_header(path).has_geometry:
        return gpd.read_parquet(path)
    return pd.read_parquet(path)


def _separator(path: str | Path) -> str | None:
    name = str(path).lower()
    return next(
        (mark for suffix, mark in _SEPARATORS.items() if name.endswith(suffix)), None
    )


def _parquet_header(path: str | Path) -> Header:
    metadata = pq.read_metadata(path)
    schema = metadata.schema.to_arrow_schema()
    geo = (schema.metadata or {}).get(b"geo")
    if geo is None:
        return Header(tuple(schema.names), None, False, metadata.num_rows)
    described = json.loads(geo)
    # GeoParquet: an absent CRS means OGC:CRS84, an explicit null an unknown one.
    primary = described["columns"][described["primary_column"]]
    crs = primary.get("crs", "OGC:CRS84")
    return Header(
        columns=tuple(
            name for name in schema.names if name not in described["columns"]
        ),
        crs=pyproj.CRS.from_user_input(crs).to_wkt() if crs else None,
        has_geometry=True,
        num_rows=metadata.num_rows,
    )
