"""Points of interest: any table of points -> categories and metric positions."""

from __future__ import annotations

import dataclasses
import logging

import geopandas as gpd
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Int32

from data_prep import crs as crs_lib
from data_prep import vectors
from data_prep.grid import Regions
from mmgr_jax.errors import InputError

NAME_COLUMN = "name"
_ROWS_NAMED = 5

_Column = Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class PoiTable:
    """The POIs of a city, in the order of the file.

    Attributes:
        x_m: East coordinate in metres of the study area's CRS [n].
        y_m: North coordinate [n].
        category: Index into `categories` [n].
        categories: Category names, sorted.
        parents: First-level category of each category; the category itself where the
            file names none.
        dropped: Number of rows left out, by reason.
    """

    x_m: Float[np.ndarray, " n"]
    y_m: Float[np.ndarray, " n"]
    category: Int32[np.ndarray, " n"]
    categories: tuple[str, ...]
    parents: tuple[str, ...]
    dropped: dict[str, int]

    def __len__(self) -> int:
        """Number of POIs n."""
        return len(self.x_m)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which POIs belong to which region.

    Attributes:
        poi: POI indices [m], region by region, in file order within a region.
        start: Where each region's POIs start in `poi` [r + 1].
        outside: Number of POIs in no region.
    """

    poi: Int[np.ndarray, " m"]
    start: Int[np.ndarray, " starts"]
    outside: int

    def of(self, region: int) -> Int[np.ndarray, " n"]:
        """Indices of the POIs of one region [n]."""
        return self.poi[self.start[region] : self.start[region + 1]]

    @property
    def counts(self) -> Int[np.ndarray, " r"]:
        """Number of POIs of each region [r]."""
        return np.diff(self.start)


def read(
    path: str,
    *,
    crs: str | None,
    datum: str,
    category_column: str,
    parent_column: str | None,
    x_column: str | None,
    y_column: str | None,
    city_crs: str,
    layer: str | None = None,
) -> PoiTable:
    """Reads POIs from GeoParquet, GeoPackage, GeoJSON, Shapefile or CSV.

    Rows without usable coordinates or category are left out, and so are duplicates:
    rows of the same name, category and position, or, in a table without a column
    "name", rows equal in every column. All are counted and the first ones logged.
    Of a geometry that is no point, a point inside it is taken.

    Args:
        path: The file.
        crs: CRS of the coordinates; None where the file says it itself.
        datum: "wgs84", "gcj02" or "bd09".
        category_column: Column with the category of a POI.
        parent_column: Column with the first-level category, or None.
        x_column: Column with longitude or easting; None where there are geometries.
        y_column: Column with latitude or northing; None where there are geometries.
        city_crs: Metric CRS of the study area.
        layer: Layer of a GeoPackage; None: its only one.

    Returns:
        The POIs with positions in metres of `city_crs`.

    Raises:
        InputError: If no row is left.
    """
    table = vectors.load(path, layer)
    x, y = _coordinates(table, x_column, y_column)
    source_crs = crs or vectors.header(path, layer).crs
    x_m, y_m = _to_metres(x, y, source_crs, datum, city_crs)
    category = _text(table[category_column])
    fine, dropped = _usable(table, x, y, np.isfinite(x_m + y_m), category, path)
    if not fine.any():
        raise InputError(
            f"{path}: no usable POI among its {len(table)} rows "
            f"({counted(dropped)}). Check config.pois.category_column "
            f"{category_column!r} and the coordinates."
        )
    names, ids = np.unique(category[fine].to_numpy(str), return_inverse=True)
    parents = tuple(names.tolist())
    if parent_column is not None:
        parents = _parents(parents, ids, _text(table[parent_column])[fine])
    return PoiTable(
        x_m=x_m[fine],
        y_m=y_m[fine],
        category=ids.reshape(-1).astype(np.int32),
        categories=tuple(names.tolist()),
        parents=parents,
        dropped=dropped,
    )


def assign(pois: PoiTable, regions: Regions) -> Assignment:
    """Finds each region's POIs.

    A region owns its west and its north edge, so without a buffer a POI belongs to at
    most one region. With `regions.poi_buffer_m` a POI belongs to every region whose
    square, widened by the buffer on each side, it lies in.

    Args:
        pois: POIs in metres of the regions' CRS.
        regions: Cells of one grid.

    Returns:
        The POIs of each region.
    """
    size = regions.tile_size_m
    right = (pois.x_m - regions.origin_m[0]) / size
    down = (regions.origin_m[1] - pois.y_m) / size
    margin = regions.poi_buffer_m / size
    steps = range(-int(np.ceil(margin)), int(np.ceil(margin)) + 1)
    found = [
        _at_step(right, down, regions, margin, row_step, column_step)
        for row_step in steps
        for column_step in steps
    ]
    poi = np.concatenate([pair[0] for pair in found])
    region = np.concatenate([pair[1] for pair in found])
    order = np.lexsort((poi, region))
    return Assignment(
        poi=poi[order],
        start=np.searchsorted(region[order], np.arange(len(regions) + 1)),
        outside=len(pois) - len(np.unique(poi)),
    )


def diagonal_m(pois: PoiTable, poi: Int[np.ndarray, " m"]) -> float:
    """Diagonal of the bounding box of some of the POIs in metres; 0 for none."""
    if not len(poi):
        return 0.0
    return float(np.hypot(np.ptp(pois.x_m[poi]), np.ptp(pois.y_m[poi])))


def counted(counts: dict[str, int]) -> str:
    """Counts in words, such as "3 duplicates, 1 missing category"."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _at_step(
    right: _Column,
    down: _Column,
    regions: Regions,
    margin: float,
    row_step: int,
    column_step: int,
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """POIs that belong to the cell so many steps from their own, and its region."""
    row = np.floor(down).astype(np.int64) + row_step
    column = np.floor(right).astype(np.int64) + column_step
    inside = (down >= row - margin) & (down < row + 1 + margin)
    inside &= (right >= column - margin) & (right < column + 1 + margin)
    inside &= (column >= 0) & (column <= regions.column.max())
    poi = np.flatnonzero(inside)
    num_columns = int(regions.column.max()) + 1
    # Regions come row by row, so these keys are sorted.
    key_of_region = regions.row * num_columns + regions.column
    key = row[poi] * num_columns + column[poi]
    region = np.minimum(np.searchsorted(key_of_region, key), len(regions) - 1)
    exists = key_of_region[region] == key
    return poi[exists], region[exists]


def _coordinates(
    table: pd.DataFrame, x_column: str | None, y_column: str | None
) -> tuple[_Column, _Column]:
    """Coordinates as the file has them; NaN where a row has none."""
    if x_column is not None and y_column is not None:
        x = pd.to_numeric(table[x_column], errors="coerce").to_numpy(float)
        y = pd.to_numeric(table[y_column], errors="coerce").to_numpy(float)
        return x, y
    assert isinstance(table, gpd.GeoDataFrame)
    points = table.geometry
    if not (points.geom_type.dropna() == "Point").all():
        points = points.representative_point()
    return points.x.to_numpy(float), points.y.to_numpy(float)


def _to_metres(
    x: _Column, y: _Column, source_crs: str, datum: str, city_crs: str
) -> tuple[_Column, _Column]:
    """Metric positions; not finite where a coordinate is missing or impossible."""
    x, y = x.copy(), y.copy()
    if crs_lib.parse(source_crs).is_geographic:
        # (0, 0) is what a failed geocoder writes.
        wrong = (np.abs(x) > 180) | (np.abs(y) > 90) | ((x == 0) & (y == 0))
        x[wrong] = y[wrong] = np.nan
    if datum != "wgs84":
        x, y = crs_lib.transform(x, y, source_crs, crs_lib.WGS84)
        x, y = crs_lib.to_wgs84(x, y, datum)
        source_crs = crs_lib.WGS84
    return crs_lib.transform(x, y, source_crs, city_crs)


def _usable(
    table: pd.DataFrame,
    x: _Column,
    y: _Column,
    has_place: Bool[np.ndarray, " n"],
    category: pd.Series,
    path: str,
) -> tuple[Bool[np.ndarray, " n"], dict[str, int]]:
    """Rows to keep, and how many are left out for which reason."""
    has_category = category.notna().to_numpy()
    if NAME_COLUMN in table.columns:
        name = _text(table[NAME_COLUMN])
        key = pd.DataFrame(dict(name=name, category=category, x=x, y=y))
    else:
        key = pd.DataFrame(table.drop(columns="geometry", errors="ignore"))
        key = key.astype(str).assign(x=x, y=y)
    fine = has_place & has_category
    repeated = np.zeros(len(table), bool)
    repeated[fine] = key[fine].duplicated().to_numpy()
    reasons = {
        "invalid coordinates": ~has_place,
        "missing category": has_place & ~has_category,
        "duplicates": repeated,
    }
    for reason, rows in reasons.items():
        _log_rows(path, reason, rows)
    return fine & ~repeated, {name: int(rows.sum()) for name, rows in reasons.items()}


def _log_rows(path: str, reason: str, rows: Bool[np.ndarray, " n"]) -> None:
    numbers = np.flatnonzero(rows) + 1
    if not len(numbers):
        return
    shown = ", ".join(map(str, numbers[:_ROWS_NAMED]))
    more = len(numbers) - _ROWS_NAMED
    tail = f" and {more:,} more" if more > 0 else ""
    logging.info("%s: left out, %s: row %s%s", path, reason, shown, tail)


def _text(column: pd.Series) -> pd.Series:
    """Stripped strings, missing where there is nothing but space."""
    text = column.astype("string").str.strip()
    return text.mask(text == "")


def _parents(
    names: tuple[str, ...], ids: Int[np.ndarray, " n"], parent: pd.Series
) -> tuple[str, ...]:
    """The most frequent parent of each category, the category itself for none."""
    pairs = pd.DataFrame(dict(id=ids.reshape(-1), parent=parent.to_numpy(object)))
    counts = pairs.dropna().value_counts().reset_index(name="count")
    counts = counts.sort_values(
        ["id", "count", "parent"], ascending=[True, False, True]
    )
    torn = counts["id"][counts["id"].duplicated()].unique()
    if len(torn):
        logging.warning(
            "categories with several parents, the most frequent is taken: %s",
            ", ".join(names[index] for index in torn[:_ROWS_NAMED]),
        )
    first = counts.drop_duplicates("id").set_index("id")["parent"]
    return tuple(str(first.get(index, name)) for index, name in enumerate(names))
