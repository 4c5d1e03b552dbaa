"""Opens sources of POIs: any table, Overture Places, or an OpenStreetMap extract.

Each source gives a table with the same roles (category, first-level category, name,
place), so that later code does not need to know the source.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Bool

from data_prep.files import encodings, tables
from data_prep.pois.settings import NAME, OsmSettings, PoiSettings
from data_prep.pois.sources import osm, overture
from mmgr_jax.errors import InputError

WANTED = f"{tables.FORMATS}, Overture Places in GeoParquet or GeoJSON, or .osm.pbf"


@dataclasses.dataclass(frozen=True)
class Columns:
    """The column, or path within one, of each role; None: no column has the role."""

    category: str
    parent: str | None
    name: str | None
    x: str | None
    y: str | None

    @property
    def present(self) -> list[str]:
        """The roles that have a column."""
        roles = (self.category, self.parent, self.name, self.x, self.y)
        return [role for role in roles if role is not None]


@dataclasses.dataclass(frozen=True)
class Source:
    """A file of POIs, opened but not read.

    Attributes:
        path: The file.
        format: "table", "overture" or "osm".
        layer: Layer of a GeoPackage.
        text: How a text file is written.
        osm: How elements of OpenStreetMap become POIs.
        header: What the file says of itself.
        columns: The column of each role.
    """

    path: str
    format: str
    layer: str | None
    text: tables.Text
    osm: OsmSettings
    header: tables.TableHeader
    columns: Columns

    def load(self) -> tuple[pd.DataFrame, dict[str, Bool[np.ndarray, " n"]]]:
        """Reads the rows, named by their index, and those to leave out, by reason.

        Rows are named by their number, counted from 1 after any header, and elements
        of OpenStreetMap by their kind and number, such as "way/4711".

        Raises:
            InputError: If the file is damaged.
        """
        if self.format == "osm":
            return osm.load(self.path, self.osm, layer=self.layer, text=self.text)
        table = tables.load(
            self.path,
            self.layer,
            self.text,
            columns=self.columns.present if self.columns.name else None,
        )
        table.index = pd.RangeIndex(1, len(table) + 1)
        return table, {}


def open_source(settings: PoiSettings) -> Source:
    """Opens a file of POIs.

    Raises:
        InputError: If there is no such file, it has several layers and none is chosen,
            or a column is missing.
    """
    path = _refuse_no_file(settings.path)
    kind = settings.format or _format_of(path)
    text = tables.Text(settings.encoding, settings.separator, key="config.pois")
    encoding_problem = encodings.problem(settings.encoding, text.key)
    if encoding_problem:
        raise InputError(encoding_problem)
    header = _header(path, kind, settings.layer, text)
    columns = _columns(kind, header, settings)
    _refuse_missing(path, kind, header, columns)
    _refuse_containers(path, header, columns)
    return Source(path, kind, settings.layer, text, settings.osm, header, columns)


def places(path: str, table: pd.DataFrame) -> gpd.GeoSeries:
    """Returns one point per row; replaces other geometries by a point inside them.

    Args:
        path: The file, for messages.
        table: Its rows.

    Raises:
        InputError: If an outline cannot be repaired.
    """
    assert isinstance(table, gpd.GeoDataFrame)
    geometry = table.geometry
    other = geometry.geom_type.dropna()
    other = other[other != "Point"]
    if not len(other):
        return geometry
    counts = ", ".join(f"{n:,} {kind}" for kind, n in other.value_counts().items())
    logging.info("geometries replaced by a point inside them: %s", counts)
    rows = geometry.index.isin(other.index)
    points = geometry.copy()
    outlines = tables.repaired(path, geometry[rows].to_numpy())
    points[rows] = shapely.point_on_surface(outlines)
    return points


def _format_of(path: str) -> str:
    return "osm" if osm.is_extract(path) else "table"


def _refuse_missing(
    path: str, kind: str, header: tables.TableHeader, columns: Columns
) -> None:
    missing = tables.no_column(path, header, columns.present)
    if missing:
        tags = "" if kind == "osm" else osm.tags_advice(header)
        raise InputError(missing + tags)


def _refuse_containers(path: str, header: tables.TableHeader, columns: Columns) -> None:
    """Refuses columns of lists and structs that are named as a whole."""
    for key in ("category", "parent", "name", "x", "y"):
        name = getattr(columns, key)
        inside = header.inside(name) if name else ()
        if inside:
            raise InputError(
                f"{path}: column {name!r}, which config.pois.{key}_column names, holds "
                f"lists or structs, which are no names. Name one part of it: "
                f"{', '.join(map(repr, inside))}."
            )


def _refuse_no_file(path: str | None) -> str:
    """The path of a file that is there and holds something."""
    if path is not None and Path(path).is_dir():
        inside = sorted(part.name for part in Path(path).iterdir())[:5]
        raise InputError(
            f"config.pois.path {path!r} is a folder; name the one file in it with the "
            f"POIs ({', '.join(inside) or 'it is empty'})."
        )
    if path is None or not Path(path).is_file():
        raise InputError(f"config.pois.path {path!r}: no such file. Wanted: {WANTED}.")
    if not Path(path).stat().st_size:
        raise InputError(f"{path}: is empty. Wanted: {WANTED}.")
    return path


def _header(
    path: str, kind: str, layer: str | None, text: tables.Text
) -> tables.TableHeader:
    if kind == "osm" and osm.is_extract(path):
        return osm.header(path)
    several = tables.layer_problem(path, layer, "config.pois.layer")
    if several:
        raise InputError(several)
    header = tables.header(path, layer, text)
    return osm.header_of_table(path, header) if kind == "osm" else header


def _columns(kind: str, header: tables.TableHeader, settings: PoiSettings) -> Columns:
    category, parent = settings.category_column, settings.parent_column
    name = settings.name_column
    if kind == "overture":
        category, parent, name = overture.columns(header, category, parent, name)
    if kind == "osm":
        parent = parent or osm.PARENT
    has_name = name != NAME or header.has(NAME)
    return Columns(
        category,
        parent,
        name if has_name else None,
        settings.x_column,
        settings.y_column,
    )
