"""Finds the columns of a table that give the place and the kind of each row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from jaxtyping import Float

from data_prep.files import cells, tables
from data_prep.first_config.answers import named, words
from mmgr_jax.errors import InputError

_X = ("lon", "lng", "long", "longitude", "lon84", "x", "easting", "east")
_Y = ("lat", "latitude", "lat84", "y", "northing", "north")
_SEPARATORS = (None, ";", "\t", "|")
_ENCODINGS = (None, "gb18030")
_MOST_KINDS = 3000


@dataclasses.dataclass(frozen=True)
class OpenedTable:
    """A table of any supported format, with the declarations needed to read it.

    Attributes:
        path: The file.
        header: Its columns and CRS.
        rows: All rows.
        encoding: Encoding of a CSV that is not UTF-8.
        separator: Separator of a CSV that does not use commas.
    """

    path: str
    header: tables.TableHeader
    rows: pd.DataFrame
    encoding: str | None = None
    separator: str | None = None

    @property
    def names(self) -> list[str]:
        """Names of the columns that hold no geometry."""
        own = getattr(self.rows, "_geometry_column_name", None)
        return [str(name) for name in self.rows.columns if name != own]

    def numbers(self, name: str) -> Float[np.ndarray, " n"]:
        """Returns a column as numbers, NaN for other cells; reads decimal commas."""
        column = self.rows[name]
        if _has_commas(column):
            column = column.astype("string").str.replace(",", ".", regex=False)
        try:
            values, wrong = cells.numbers(column, name)
        except (InputError, TypeError):
            return np.full(len(column), np.nan)
        return np.where(wrong, np.nan, values)

    def decimal(self, names: Sequence[str]) -> str:
        """Returns the decimal mark in numbers written as text."""
        return "," if any(_has_commas(self.rows[name]) for name in names) else "."

    def is_numeric(self, name: str) -> bool:
        """Whether nearly every non-empty cell is a number."""
        there = int(self.rows[name].notna().sum())
        numbers = int(np.isfinite(self.numbers(name)).sum())
        return there > 0 and numbers >= 0.95 * there

    def texts(self, name: str) -> pd.Series | None:
        """Returns a column as names; None for lists, structs and too long numbers."""
        try:
            return cells.text(self.rows[name], name)
        except (InputError, TypeError):
            return None


def open_table(path: str) -> OpenedTable:
    """Opens a table; for a CSV, tries the ways it may be written.

    Raises:
        InputError: If no way to read the table works, or it has several layers.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file.")
    if several := tables.layer_problem(path, None, None):
        raise InputError(several)
    first: InputError | None = None
    for encoding in _ENCODINGS:
        for separator in _SEPARATORS:
            text = tables.Text(encoding, separator, "c.pois")
            try:
                header = tables.header(path, None, text)
                rows = tables.load(path, None, text)
            except InputError as error:
                first = first or error
                continue
            return OpenedTable(path, header, rows, encoding, separator)
    assert first is not None
    raise first


def places(table: OpenedTable) -> tuple[str, str] | None:
    """Finds the columns of longitude and latitude, or easting and northing."""
    numeric = [name for name in table.names if table.is_numeric(name)]
    x, y = named(numeric, _X), named(numeric, _Y)
    return (x[0], y[0]) if x and y and x[0] != y[0] else None


def in_degrees(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> bool:
    """Whether coordinates may be longitude and latitude."""
    x, y = x[np.isfinite(x)], y[np.isfinite(y)]
    return bool(len(x) and (np.abs(x) <= 360).mean() > 0.9 and len(y)) and bool(
        (np.abs(y) <= 90).mean() > 0.9
    )


def kinds(table: OpenedTable, *, most: int = _MOST_KINDS) -> dict[str, pd.Series]:
    """Finds text columns that give the kind of a row: fewer kinds than rows."""
    found_kinds = {}
    for name in table.names:
        if table.is_numeric(name):
            continue
        texts = table.texts(name)
        if texts is None or set(words(name)) & {"name", "id", "address", "uuid"}:
            continue
        count = texts.nunique()
        if 2 <= count <= min(most, max(len(texts) // 2, 2)):
            found_kinds[name] = texts
    return found_kinds


def above(kind: pd.Series, others: dict[str, pd.Series]) -> str | None:
    """Finds the column of coarser kinds: one for each kind, and fewer in all."""
    coarser = []
    for name, texts in others.items():
        if texts.nunique() >= kind.nunique() or name == kind.name:
            continue
        there = kind.notna() & texts.notna()
        each = texts[there].groupby(kind[there].to_numpy()).nunique()
        if there.mean() > 0.9 and len(each) and each.max() == 1:
            coarser.append((texts.nunique(), name))
    return min(coarser)[1] if coarser else None


def points_of(table: OpenedTable) -> gpd.GeoSeries | None:
    """Returns a point in each geometry; None without geometries or without a CRS."""
    if not isinstance(table.rows, gpd.GeoDataFrame) or table.rows.crs is None:
        return None
    return table.rows.geometry.representative_point()


def _has_commas(column: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(column) or not len(column):
        return False
    try:
        text = column.dropna().astype("string")
    except (TypeError, ValueError):
        return False
    return bool(len(text) and text.str.fullmatch(r"\s*[-+]?\d+,\d+\s*").mean() > 0.5)
