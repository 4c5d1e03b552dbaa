"""Reads points of interest from any source: categories and metric positions."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping

import geopandas as gpd
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int32

from data_prep.files import cells, tables
from data_prep.pois import categories as poi_categories
from data_prep.pois import places
from data_prep.pois.settings import PoiSettings
from data_prep.pois.sources import source as sources
from mmgr_jax.errors import InputError

NO_POIS = "no POIs"
"""The one category of a city without a file of POIs."""

_ROWS_NAMED = 5

_Column = Float[np.ndarray, " n"]
_Rows = Bool[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class PoiTable:
    """The POIs of a city, in the order of the file.

    Attributes:
        x_m: East coordinate in metres of the study area's CRS [n].
        y_m: North coordinate [n].
        category: Index into `categories` [n].
        categories: Category names: sorted, or in the order of the list that is shared.
        parents: First-level category of each category; the category itself where the
            file names none.
        dropped: Number of rows left out, by reason.
        row: Which row of the file each POI is, counted from 1, or which element of
            OpenStreetMap [n]; None where there is no file.
        counted_as_other: POIs whose category is not in the list that is shared, and
            that count as its `unknown` one.
        name: Name of each POI, "" where it has none [n]; None where no column names
            them.
    """

    x_m: Float[np.ndarray, " n"]
    y_m: Float[np.ndarray, " n"]
    category: Int32[np.ndarray, " n"]
    categories: tuple[str, ...]
    parents: tuple[str, ...]
    dropped: dict[str, int]
    row: pd.Index | None = None
    counted_as_other: int = 0
    name: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of POIs n."""
        return len(self.x_m)


def read(
    settings: PoiSettings, *, city_crs: str, area_deg: places.Area | None = None
) -> PoiTable:
    """Reads POIs from a table, with or without geometries, or an extract of OSM.

    Rows without usable coordinates or category are left out, and so are duplicates:
    rows of the same name, category and position, or, in a table without names, rows
    equal in every column. All these rows are counted, and the first ones logged. A
    geometry that is no point is replaced by a point inside it.

    Args:
        settings: The file, and what its columns mean.
        city_crs: Metric CRS of the study area.
        area_deg: The study area, to detect swapped coordinates; None: where `city_crs`
            may be used.

    Returns:
        The POIs with positions in metres of `city_crs`.

    Raises:
        InputError: If the file cannot be read as declared, its coordinates differ in
            kind from the declared ones, or no row is left.
    """
    shared = poi_categories.shared_list(settings.categories)
    source = sources.open_source(settings)
    path = source.path
    table, reasons = source.load()
    x, y = places.coordinates(table, source, settings.decimal)
    source_crs = settings.crs or source.header.crs or ""
    places.refuse_implausible(x, y, source, source_crs, city_crs, area_deg)
    x_m, y_m = places.to_metres(x, y, source_crs, settings.datum, city_crs)
    category = _names(path, table, source.columns.category, "category_column")
    cells.refuse_printed(category, _what(path, source.columns.category))
    unlisted = poi_categories.unlisted(category, shared)
    reasons = {
        "invalid coordinates": ~np.isfinite(x_m + y_m),
        "missing category": category.isna().to_numpy(),
        **({"unknown category": unlisted} if shared and not shared.other else {}),
        **reasons,
    }
    name = None
    if source.columns.name is not None:
        name = _names(path, table, source.columns.name, "name_column")
    key = _identity(table, name, category, x, y)
    fine, dropped = _usable(path, key, reasons)
    if not fine.any():
        raise InputError(_none_usable(path, table, dropped, source))
    listed = shared or poi_categories.own_list(category[fine])
    ids = poi_categories.ids_of(category[fine], listed)
    parent = None
    if source.columns.parent is not None:
        parent = _names(path, table, source.columns.parent, "parent_column")[fine]
    return PoiTable(
        x_m=x_m[fine],
        y_m=y_m[fine],
        category=ids,
        categories=listed.names,
        parents=poi_categories.parents_of(listed, ids, parent),
        dropped=dropped,
        row=table.index[fine],
        counted_as_other=int((unlisted & fine).sum()),
        name=None if name is None else name[fine].fillna("").to_numpy(object),
    )


def none() -> PoiTable:
    """Returns no POIs but one category, so that a table of category vectors exists."""
    place = np.zeros(0)
    return PoiTable(
        place, place, place.astype(np.int32), (NO_POIS,), (NO_POIS,), dropped={}
    )


def counted(counts: Mapping[str, int]) -> str:
    """Counts in words, such as "3 duplicates, 1 missing category"."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def rows_in_words(rows: pd.Index) -> str:
    """The first of some rows, such as "row 3, 17 and 5 more"."""
    shown = ", ".join(map(str, rows[:_ROWS_NAMED]))
    more = len(rows) - _ROWS_NAMED
    return f"row {shown}" + (f" and {more:,} more" if more > 0 else "")


def _names(path: str, table: pd.DataFrame, column: str, key: str) -> pd.Series:
    """A column of names; see `cells.text`."""
    what = f"{_what(path, column)}, which config.pois.{key} names,"
    return cells.text(tables.column(table, column), what)


def _what(path: str, column: str) -> str:
    return f"{path}: column {column!r}"


def _identity(
    table: pd.DataFrame,
    name: pd.Series | None,
    category: pd.Series,
    x: _Column,
    y: _Column,
) -> pd.DataFrame:
    """What two rows share when they are one POI."""
    if name is not None:
        return pd.DataFrame(dict(name=name, category=category, x=x, y=y))
    plain = pd.DataFrame(table)
    if isinstance(table, gpd.GeoDataFrame):
        plain = plain.drop(columns=table.geometry.name)
    return plain.astype(str).assign(_x=x, _y=y)


def _usable(
    path: str, key: pd.DataFrame, reasons: Mapping[str, _Rows]
) -> tuple[_Rows, dict[str, int]]:
    """Rows to keep, and how many go for which reason: the first that holds."""
    fine = np.ones(len(key), bool)
    dropped = {}
    for reason, rows in reasons.items():
        rows = rows & fine
        fine &= ~rows
        dropped[reason] = _count(path, reason, key.index[rows])
    repeated = np.zeros(len(key), bool)
    repeated[fine] = key[fine].duplicated().to_numpy()
    dropped["duplicates"] = _count(path, "duplicates", key.index[repeated])
    return fine & ~repeated, dropped


def _count(path: str, reason: str, rows: pd.Index) -> int:
    if len(rows):
        logging.info("%s: left out, %s: %s", path, reason, rows_in_words(rows))
    return len(rows)


def _none_usable(
    path: str, table: pd.DataFrame, dropped: dict[str, int], source: sources.Source
) -> str:
    why = counted(dropped) or "the file ends after its header"
    return (
        f"{path}: no usable POI among its {len(table)} rows ({why}). Check "
        f"config.pois.category_column {source.columns.category!r} and the coordinates."
    )
