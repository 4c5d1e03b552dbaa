"""Writes a city's predictions as a GeoPackage with styles that QGIS applies.

The GeoPackage holds no embeddings.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely

from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.geo import columns as columns_lib
from mmgr_jax.geo import qgis_styles
from mmgr_jax.geo.columns import Column, Mapped
from mmgr_jax.geo.panels import Breaks
from mmgr_jax.terminal import visible

LAYER, GEOMETRY = "regions", "geom"

VERSION = "1.3"
"""Of the GeoPackage standard; GDAL before 3.7 warns of 1.4."""

MOST_COLUMNS = 1990
"""SQLite holds 2,000 columns a table; some are ours."""

STYLES = "styles"
"""The folder of .qml files beside the GeoPackage."""

_LAYER_STYLES = """CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
    f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
    styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN,
    description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"""
"""As QGIS makes the table in which it looks for styles."""

_DATA_COLUMNS = """CREATE TABLE gpkg_data_columns (
    table_name TEXT NOT NULL, column_name TEXT NOT NULL, name TEXT, title TEXT,
    description TEXT, mime_type TEXT, constraint_name TEXT,
    CONSTRAINT pk_gdc PRIMARY KEY (table_name, column_name),
    CONSTRAINT gdc_tn UNIQUE (table_name, name))"""
"""Of the extension "Schema" of the GeoPackage standard (OGC 12-128)."""

_SCHEMA_EXTENSION = (
    "gpkg_schema",
    "http://www.geopackage.org/spec121/#extension_schema",
    "read-write",
)


def write(
    path: Path,
    *,
    region_ids: Sequence[str],
    geometry_wkb: Sequence[bytes],
    crs: str,
    mapped: Sequence[Mapped],
    breaks: Mapping[str, Breaks | None],
    level: float,
    members: Mapping[int, np.ndarray],
) -> list[Path]:
    """Writes the layer `regions`, and its styles inside and beside the file.

    Columns have readable names (`population_predicted`). GDAL and QGIS show a title
    with the unit, and a sentence as description. A limit of an interval that cannot be
    promised is empty; in the table of embeddings it is infinite. QGIS opens the layer
    with the style of the first label's prediction.

    Args:
        path: File ending in .gpkg. The styles go to `styles/<name>.qml` beside it.
        region_ids: Stable names of the regions.
        geometry_wkb: Polygons in `crs`.
        crs: Anything pyproj understands.
        mapped: Known and predicted values of each label.
        breaks: Label -> values at which the colours change; None for shares and
            classes.
        level: Level of the intervals, such as 0.9.
        members: Number of clusters -> the cluster of each region.

    Returns:
        The files written.

    Raises:
        InputError: If there are more columns than a GeoPackage holds.
    """
    values, described = _columns(path, mapped, level, members)
    frame = _frame(region_ids, geometry_wkb, crs, values, described)
    styles = _styles(mapped, breaks, members, described)
    with files.replacing(path) as temporary:
        temporary.unlink()  # GDAL makes its own
        with warnings.catch_warnings():  # of the ending, which the final name has
            warnings.filterwarnings("ignore", message=".*extension should be.*")
            pyogrio.write_dataframe(
                frame, temporary, layer=LAYER, driver="GPKG",
                dataset_options={"VERSION": VERSION},
                layer_options={"GEOMETRY_NAME": GEOMETRY},
                geometry_type="MultiPolygon", promote_to_multi=True,
            )  # fmt: skip
        _describe(temporary, described, styles)
    written = [path]
    for style in styles:
        name = files.safe_name(style.name)
        written.append(path.parent / STYLES / f"{name}.qml")
        files.write_text(written[-1], style.qml)
    return written


def _columns(
    path: Path,
    mapped: Sequence[Mapped],
    level: float,
    members: Mapping[int, np.ndarray],
) -> tuple[dict[str, np.ndarray], list[Column]]:
    """Values by the names of the table, and the columns with readable names."""
    values: dict[str, np.ndarray] = {
        f"cluster_of_{count}": cluster for count, cluster in members.items()
    }
    described = [*columns_lib.OWN[:3], *map(columns_lib.about_clusters, members)]
    for one in mapped:
        values |= columns_lib.of_task(one)
        described += columns_lib.about_task(one.task, one.label, level)
    if len(values) > MOST_COLUMNS:
        raise InputError(
            f"{path}: {len(values)} columns, and a GeoPackage holds {MOST_COLUMNS:,}. "
            "Leave 'gpkg' out of config.embed.formats; embeddings.parquet has them all."
        )
    return values, [
        dataclasses.replace(column, readable=name)
        for column, name in zip(described, _readable(described), strict=True)
    ]


def _styles(
    mapped: Sequence[Mapped],
    breaks: Mapping[str, Breaks | None],
    members: Mapping[int, np.ndarray],
    described: Sequence[Column],
) -> list[qgis_styles.Style]:
    fields = {column.name: column.readable for column in described}
    styles = [
        style
        for one in mapped
        for style in qgis_styles.of_label(one.task, one.label, breaks[one.task], fields)
    ]
    for count, cluster in members.items():
        field = fields[f"cluster_of_{count}"]
        styles.append(qgis_styles.of_clusters(field, int(cluster.max()) + 1))
    return styles


def _readable(described: Sequence[Column]) -> list[str]:
    """Names of columns in the layer: SQLite does not tell "Water" from "water"."""
    taken, names = {"fid", GEOMETRY}, []
    for column in described:
        name = first = visible(column.readable or column.name)
        count = 1
        while name.lower() in taken:
            count += 1
            name = f"{first}_{count}"
        taken.add(name.lower())
        names.append(name)
    return names


def _frame(
    region_ids: Sequence[str],
    geometry_wkb: Sequence[bytes],
    crs: str,
    values: Mapping[str, np.ndarray],
    described: Sequence[Column],
) -> gpd.GeoDataFrame:
    outlines = gpd.GeoSeries(shapely.from_wkb(geometry_wkb), crs=crs)
    centre = outlines.centroid.to_crs("OGC:CRS84")
    given = {
        "region_id": np.asarray(region_ids, object),
        "lon_deg": centre.x.to_numpy(),
        "lat_deg": centre.y.to_numpy(),
        **values,
    }
    content = {}
    for column in described:
        known = given[column.name]
        if known.dtype.kind == "f":
            known = np.where(np.isfinite(known), known, np.nan)
        elif known.dtype.kind == "O":
            known = [None if text is None else visible(text) for text in known]
        content[column.readable] = known
    return gpd.GeoDataFrame(content, geometry=outlines, crs=crs)


def _describe(
    path: Path, described: Sequence[Column], styles: Sequence[qgis_styles.Style]
) -> None:
    """Puts titles and descriptions of columns, and styles, into the file."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(_DATA_COLUMNS)
        database.executemany(
            "INSERT INTO gpkg_data_columns (table_name, column_name, name, title, "
            "description) VALUES (?, ?, ?, ?, ?)",
            [
                (LAYER, one.readable, _title(one), _title(one), _sentence(one))
                for one in described
            ],
        )
        database.execute(
            "CREATE TABLE IF NOT EXISTS gpkg_extensions (table_name TEXT, column_name "
            "TEXT, extension_name TEXT NOT NULL, definition TEXT NOT NULL, scope TEXT "
            "NOT NULL, CONSTRAINT ge_tce UNIQUE (table_name, column_name, "
            "extension_name))"
        )
        database.execute(
            "INSERT INTO gpkg_extensions VALUES ('gpkg_data_columns', NULL, ?, ?, ?)",
            _SCHEMA_EXTENSION,
        )
        if not styles:
            return
        database.execute(_LAYER_STYLES)
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) "
            "VALUES ('layer_styles', 'attributes', 'layer_styles')"
        )
        database.executemany(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, "
            "f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, "
            "description, owner) VALUES ('', '', ?, ?, ?, ?, '', ?, ?, '')",
            [
                (LAYER, GEOMETRY, style.name, style.qml, index == 0, style.about)
                for index, style in enumerate(styles)
            ],
        )


def _title(column: Column) -> str:
    shown = column.readable.replace("_", " ")
    return shown if column.unit in ("", "1") else f"{shown} ({column.unit})"


def _sentence(column: Column) -> str:
    label = column.label
    if label is None:
        return column.about
    facts = (label.source, "" if label.year is None else str(label.year), label.licence)
    known = ", ".join(fact for fact in facts if fact)
    return f"{column.about} Label: {known}." if known else column.about
