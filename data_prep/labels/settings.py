"""What `config.labels.NAME` says: where a label comes from, and how it is read."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import annotated_types as at

from mmgr_jax.settings import Section

LabelKind = Literal["count", "density", "share", "class", "scalar"]
IGNORE = "ignore"
CLASS = "class:"

FUNCTION_CLASSES = (
    "forest",
    "water",
    "unutilised",
    "transportation",
    "green_space",
    "industrial",
    "educational_governmental",
    "commercial",
    "residential",
    "agricultural",
)
"""The urban functions of Bai et al. (2023) and its sibling papers."""


@dataclasses.dataclass(frozen=True)
class LabelSettings(Section):
    """Source of one label, and how it is read.

    The file is a raster, or polygons where `column` names one of their columns, or a
    table of regions where `id_column` names the column with their ids. A count may
    come from points as well, such as the centres of census blocks: the region that
    holds a point gets its number.

    Attributes:
        kind: "count": numbers that are summed over a region, such as inhabitants; the
            total of the source is kept. "density", "scalar": numbers that are averaged
            over a region by area. "share": the area share of each class in a region.
            "class": the class with the largest area share, or the class that a table
            gives.
        path: The raster, vector file or table.
        unit: Unit of the numbers, such as "persons"; "1" for shares and classes.
        band: Band of the raster, counted from 1; None: its only one.
        column: Column with the number or the class. "*" for a count: each polygon or
            point counts as one.
        id_column: Column of a table with the ids of the regions; None: the label is no
            table of regions. For shares, a table has one column for each class;
            `column` names them.
        x_column: Column with longitude or easting of points in a table without
            geometries; None: the file has geometries.
        y_column: Column with latitude or northing.
        crs: CRS of these coordinates, such as "EPSG:4326".
        encoding: Character encoding of a CSV, Shapefile or GeoJSON; None: UTF-8, or
            what the .cpg file says.
        separator: Character between the fields of a CSV; None: a comma, in .tsv a tab.
        folders: Further folders in which the files of a mosaic may be.
        classes: Names of the classes, in the order in which they are stored.
        mapping: Pairs (value in the file, your class). With None as the class, such
            land is left out. (): the values of the file are the classes.
        nodata: Meaning of missing pixels, polygons and cells within the extent of the
            file. "unknown": no value is known there. "zero": the value is 0, as in
            WorldPop, where nobody lives there.
        min_known: A region has no value if less than this share of its area is known;
            above 0, at most 1.
        uncovered: Meaning of land without a polygon, for shares. "ignore": shares are
            of the covered part. "class:NAME": it belongs to that class.
        year: Reference year of the source.
        source: Who made the data.
        licence: Licence of the data.
    """

    kind: LabelKind
    path: str
    unit: str = "1"
    band: int | None = None
    column: str | None = None
    id_column: str | None = None
    x_column: str | None = None
    y_column: str | None = None
    crs: str | None = None
    encoding: str | None = None
    separator: str | None = None
    folders: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    mapping: tuple[tuple[str, str | None], ...] = ()
    nodata: Literal["unknown", "zero"] = "unknown"
    min_known: Annotated[float, at.Gt(0), at.Le(1)] = 0.5
    uncovered: str = IGNORE
    year: int | None = None
    source: str = ""
    licence: str = ""

    @property
    def form(self) -> Literal["raster", "polygons", "table"]:
        """What the file is."""
        if self.id_column is not None:
            return "table"
        return "raster" if self.column is None else "polygons"

    @property
    def has_classes(self) -> bool:
        """Whether the file says classes, not numbers."""
        return self.kind in ("share", "class")

    @property
    def uncovered_class(self) -> str | None:
        """The class of land without a polygon; None where it is ignored."""
        if self.uncovered == IGNORE:
            return None
        return self.uncovered.removeprefix(CLASS)
