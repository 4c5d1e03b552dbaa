"""What `config.pois` says: which file holds the POIs, and how it is read."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mmgr_jax.settings import Section

NAME = "name"
"""Column that also stands for whatever a format calls so; a table need not have it."""


@dataclasses.dataclass(frozen=True)
class CategoryListSettings(Section):
    """A list of categories that cities share; without one, those of the file.

    Attributes:
        path: A CSV with a column "category" and, if wanted, "parent".
        unknown: The category that takes POIs of categories which are not in the list;
            None: they are left out.
    """

    path: str | None = None
    unknown: str | None = None


@dataclasses.dataclass(frozen=True)
class OsmSettings(Section):
    """How extracts of OpenStreetMap become POIs.

    Attributes:
        reader: "gdal" comes with pyogrio; "quackosm" (the extra `osm`) is made for
            whole countries, and leaves out ways that the edge of an extract cuts.
        table: A CSV with columns key, value, category and parent; None: ours.
    """

    reader: Literal["gdal", "quackosm"] = "gdal"
    table: str | None = None


@dataclasses.dataclass(frozen=True)
class PoiSettings(Section):
    """A file of POIs, and what its columns mean.

    Attributes:
        path: The file: GeoParquet, GeoPackage, GeoJSON, Shapefile, JSON lines, a CSV
            (.csv, .tsv, .txt) or .osm.pbf; None: there are none, and images alone are
            trained on, see `recipes.image_only`.
        format: "overture", "osm" (an extract, or a table with a column a tag) or
            "table"; None: "osm" for .pbf and .osm, else "table".
        layer: Layer of a GeoPackage; None: its only one.
        encoding: Of a CSV, Shapefile or GeoJSON, such as "gb18030"; None: UTF-8, or
            what the .cpg says.
        separator: Between the fields of a CSV, such as ";"; None: comma, in .tsv a tab.
        decimal: Mark in numbers written as text.
        crs: CRS of the coordinates; None where the file says it itself.
        datum: Datum of the coordinates: AMap and Tencent use "gcj02", Baidu "bd09".
        category_column: Column with the category of a POI, or a path within one, such
            as "categories.primary" and "taxonomy.hierarchy[0]". "category" also
            stands for what `format` calls so.
        parent_column: Column or path with the first-level category; None: that of
            `format`, or none.
        name_column: Column or path with the name; it helps to distinguish duplicates
            from neighbours.
        x_column: Column with longitude or easting; None if there are geometries.
        y_column: Column with latitude or northing; None if there are geometries.
        categories: The list of categories that cities share.
        osm: How extracts of OpenStreetMap are read.
        source: Who made the data. For an extract of OpenStreetMap this and the licence
            are known. Cards of models name both.
        licence: Licence of the data.
        year: Of the data.
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
