"""Where a label comes from, and which settings of it contradict each other."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.files.csv_files import Text
from mmgr_jax.data.names import one_form
from mmgr_jax.data.schema import LABEL_KINDS, Label

NODATA = ("unknown", "zero")
IGNORE = "ignore"
CLASS = "class:"
EACH = "*"
"""As the column of a count: every polygon or point counts as one."""

_AREA = r"(?:km|m|mi|sq\.? ?km|sq\.? ?m|sq\.? ?mi)(?:2|²|\^2)?|ha|hectares?|acres?"
_PER_AREA = re.compile(rf"(?:/|\bper)\s*(?:{_AREA})(?!\w)", re.IGNORECASE)
_PER_PIXEL = re.compile(r"(?:/|\bper)\s*(?:pixel|cell|grid)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class LabelSource:
    """Where one label comes from, and how it is read.

    The file is a raster, or polygons where `column` names one of their columns, or a
    table of regions where `id_column` names the column with their ids. A count may
    come from points as well, such as the centres of census blocks: the region that
    holds a point gets its number.

    Attributes:
        kind: "count" (totals: summed over a region; the total of the source is
            preserved), "density" or "scalar" (averaged over a region, by area),
            "share" (a class for every place, taken as area shares of a region) or
            "class" (the class with the largest share, or the one a table gives).
        path: The raster, vector file or table.
        unit: Unit of the stored number, such as "persons"; "1" for shares and classes.
        band: Band of the raster, counted from 1; None: its only one.
        column: Column with the number or the class; "*": of a count, each polygon or
            point is one.
        id_column: Column of a table with the ids of the regions. The shares of a table
            stand in one column a class, its classes by name in `column`.
        classes: Names of the classes, in the order they are stored.
        mapping: Pairs of what the file says and the class that is meant; None for the
            class leaves such land out. Without pairs the file says the classes.
        nodata: What missing pixels, polygons and cells mean inside the extent of the
            file: "unknown", or "zero" (in WorldPop nobody lives there).
        min_known: A region of whose area less than this share is known has no value.
        uncovered: What land without a polygon means for shares: "ignore" (shares are
            of the covered part) or "class:NAME" (it belongs to that class).
        x_column: Column with longitude or easting of points in a table without
            geometries; None: the file has geometries.
        y_column: Column with latitude or northing.
        crs: CRS of these coordinates, such as "EPSG:4326".
        encoding: Of a CSV, Shapefile or GeoJSON; None: UTF-8, or what the .cpg says.
        separator: Between the fields of a CSV; None: comma, in .tsv a tab.
        folders: Where a mosaic may name files, beside its own folder.
        year: Reference year of the source.
        source: Who made the data.
        licence: Licence of the data.
    """

    kind: str
    path: str
    unit: str = "1"
    band: int | None = None
    column: str | None = None
    id_column: str | None = None
    classes: Sequence[str] = ()
    mapping: Mapping[str, str | None] | Sequence[Sequence[str | None]] = ()
    nodata: str = "unknown"
    min_known: float = 0.5
    uncovered: str = IGNORE
    x_column: str | None = None
    y_column: str | None = None
    crs: str | None = None
    encoding: str | None = None
    separator: str | None = None
    folders: Sequence[str] = ()
    year: int | None = None
    source: str = ""
    licence: str = ""

    @property
    def form(self) -> str:
        """`raster`, `polygons` or `table`."""
        if self.id_column is not None:
            return "table"
        return "raster" if self.column is None else "polygons"

    @property
    def has_classes(self) -> bool:
        """Whether the file says classes, not numbers."""
        return self.kind in ("share", "class")

    @property
    def class_of(self) -> dict[str, str | None]:
        """The class of everything the file may say, in one form; None: left out."""
        given: Any = self.mapping  # dict() takes both
        pairs: dict[Any, Any] = dict(given) or {c: c for c in self.classes}
        return {one_form(str(said)): meant for said, meant in pairs.items()}

    @property
    def uncovered_class(self) -> str | None:
        """The class of land without a polygon; None where it is ignored."""
        if self.uncovered == IGNORE:
            return None
        return self.uncovered.removeprefix(CLASS)

    @property
    def rule(self) -> str:
        """What counts as known, in words."""
        if self.form == "table":
            return "given by region"
        needed = f"a region needs {self.min_known:.0%} of its area known"
        if not self.has_classes:
            return f"missing data is {self.nodata}; {needed}"
        other = self.uncovered_class
        land = f"belongs to {other}" if other else "is left out"
        largest = "the class of most land; " if self.kind == "class" else ""
        return f"{largest}land without a class {land}; {needed}"

    def text(self, key: str) -> Text:
        """How the file is written, by the section of the config that says so."""
        return Text(self.encoding, self.separator, key)

    def meaning(self) -> Label:
        """The entry of the manifest."""
        return Label(
            kind=self.kind,
            unit=self.unit,
            classes=tuple(self.classes) if self.has_classes else (),
            year=self.year,
            source=self.source,
            licence=self.licence,
            rule=self.rule,
        )


def problems(key: str, source: LabelSource) -> list[str]:
    """Settings that contradict each other, seen without opening a file."""
    if source.kind not in LABEL_KINDS:
        return [f"{key}.kind is {source.kind!r}; allowed: {', '.join(LABEL_KINDS)}."]
    found = _unit_problems(key, source)
    if source.nodata not in NODATA:
        found.append(
            f"{key}.nodata is {source.nodata!r}; allowed: {', '.join(NODATA)}."
        )
    if not 0 < source.min_known <= 1:
        found.append(
            f"{key}.min_known is {source.min_known}; allowed: above 0, at most 1."
        )
    if source.has_classes:
        return found + _class_problems(key, source)
    if source.form == "table" and source.column is None:
        found.append(f"{key}: a table needs column, the one with the number.")
    return found + _place_problems(key, source)


def _place_problems(key: str, source: LabelSource) -> list[str]:
    """Problems with points, and with counting things themselves."""
    found = []
    given = (source.x_column, source.y_column, source.crs)
    if any(given) and not (all(given) and source.form == "polygons"):
        found.append(
            f"{key}: x_column, y_column and crs say where the points of a table lie, "
            f"and need each other and column; they are {given}."
        )
    if source.column == EACH and (source.kind != "count" or source.form == "table"):
        found.append(
            f"{key}.column is {EACH!r}, which counts polygons or points; allowed: with "
            "kind 'count' and without id_column."
        )
    return found


def names_area(unit: str) -> bool:
    """Whether a unit is per area, such as "persons/km2"."""
    return bool(_PER_AREA.search(unit))


def _unit_problems(key: str, source: LabelSource) -> list[str]:
    """A density taken for a count, and the like: errors that change every number."""
    unit = source.unit
    per_area = names_area(unit)
    if source.kind == "count" and (per_area or _PER_PIXEL.search(unit)):
        remedy = (
            'Say kind="density" for a source that is per area'
            if per_area
            else "Name the unit of the sum over a region, such as persons"
        )
        return [f"{key}: kind is 'count', but the unit {unit!r} is per area. {remedy}."]
    if source.kind == "density" and not per_area:
        return [
            f"{key}: kind is 'density', but the unit {unit!r} names no area. Wanted: a "
            'unit such as "persons/km2" ("/ha" and "/m2" are known, too); a raster of '
            'totals per pixel, such as that of WorldPop, has kind="count".'
        ]
    if source.has_classes and unit != "1":
        return [
            f'{key}: kind is {source.kind!r}, but the unit is {unit!r}; allowed: "1".'
        ]
    return []


def _class_problems(key: str, source: LabelSource) -> list[str]:
    if source.form == "raster" or not source.classes:
        return [
            f"{key}: a {source.kind} needs column and classes, or id_column and "
            "classes."
        ]
    if source.kind == "class" and source.column is None:
        return [f"{key}: a class needs column, the one with the name of the class."]
    found = []
    meant = {name for name in source.class_of.values() if name is not None}
    strangers = sorted(meant - set(source.classes))
    if strangers:
        found.append(
            f"{key}.mapping names {', '.join(map(repr, strangers))}; {key}.classes "
            f"are {', '.join(source.classes)}."
        )
    other = source.uncovered_class
    if other is not None and (
        not source.uncovered.startswith(CLASS) or other not in source.classes
    ):
        found.append(
            f"{key}.uncovered is {source.uncovered!r}; allowed: {IGNORE!r} or "
            f"'{CLASS}NAME' with one of {', '.join(source.classes)}."
        )
    return found
