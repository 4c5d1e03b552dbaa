"""What `config.pois` says: which file holds the POIs, and how it is read."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mmgr_jax.settings import Section

NAME = "name"
"""Column that also stands for whatever a format calls so; a table need not have it."""


@dataclasses.dataclass(frozen=True)
class CategoryListSettings(Section):
    """A list of categories for several cities; without it, each file has its own.

    Attributes:
        path: A CSV with a column "category" and an optional column "parent"; None: no
            list.
        unknown: Category for POIs whose own category is not in the list; None: these
            POIs are left out.
    """

    path: str | None = None
    unknown: str | None = None


@dataclasses.dataclass(frozen=True)
class OsmSettings(Section):
    """How POIs are read from extracts of OpenStreetMap.

    Attributes:
        reader: Library that reads the extract. "gdal" comes with pyogrio. "quackosm"
            (the extra `osm`) is made for whole countries; it leaves out ways that cross
            the edge of the extract.
        table: A CSV with columns key, value, category and parent, which says which tags
            become which category; None: the program's own.
    """

    reader: Literal["gdal", "quackosm"] = "gdal"
    table: str | None = None


@dataclasses.dataclass(frozen=True)
class PoiSettings(Section):
    """A file of POIs, and what its columns mean.

    Attributes:
        path: The file: GeoParquet, GeoPackage, GeoJSON, Shapefile, JSON lines, a CSV
            (.csv, .tsv, .txt) or .osm.pbf; None: no POIs, training uses images only
            (recipe `image_only`).
        format: "overture" (Overture Places), "osm" (an extract of OpenStreetMap, or a
            table with a column for each tag) or "table" (any other table); None: "osm"
            for .pbf and .osm, else "table".
        layer: Layer of a GeoPackage; None: its only one.
        encoding: Character encoding of a CSV, Shapefile or GeoJSON, such as "gb18030";
            None: UTF-8, or what the .cpg file says.
        separator: Character between the fields of a CSV, such as ";"; None: a comma, in
            .tsv a tab.
        decimal: Decimal mark in numbers.
        crs: CRS of the coordinates, such as "EPSG:4326"; None: the one that the file
            names.
        datum: Datum of the coordinates: AMap and Tencent use "gcj02", Baidu "bd09".
        category_column: Column with the category of a POI, or a part of a column, such
            as "categories.primary" or "taxonomy.hierarchy[0]". "category" also stands
            for the column in which files of this `format` have it.
        parent_column: Column, or part of a column, with the first-level category; None:
            that of `format`, if it has one.
        name_column: Column, or part of a column, with the name; it helps to tell
            duplicates from neighbouring POIs.
        x_column: Column with longitude or easting; None if there are geometries.
        y_column: Column with latitude or northing; None if there are geometries.
        categories: The list of categories that cities share.
        osm: How extracts of OpenStreetMap are read.
        source: Who made the data. For an extract of OpenStreetMap the program knows
            this and the licence. Model cards name both.
        licence: Licence of the data.
        year: Reference year of the data.
    """

    path: str | None = None
    format: Literal["overture", "osm", "table"] | None = None
    layer: str | None = None
    encoding: str | None = None
    separator: str | None = None
    decimal: Literal[".", ","] = "."
    crs: str | None = None
    datum: Literal["wgs84", "gcj02", "bd09"] = "wgs84"
    category_column: str = "category"
    parent_column: str | None = None
    name_column: str = NAME
    x_column: str | None = None
    y_column: str | None = None
    categories: CategoryListSettings = CategoryListSettings()
    osm: OsmSettings = OsmSettings()
    source: str = ""
    licence: str = ""
    year: int | None = None
