"""Reads what a POI file says about itself: columns, coordinates, kinds of places."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from data_prep.files import crs as crs_lib
from data_prep.files import faults, fetched
from data_prep.first_config import columns
from data_prep.first_config.answers import (
    Answer,
    Answers,
    named,
    recorded,
    words,
    year_in,
)
from data_prep.first_config.columns import OpenedTable
from data_prep.pois import check
from data_prep.pois import table as poi_table
from data_prep.pois.settings import PoiSettings
from data_prep.pois.sources import osm
from mmgr_jax.errors import InputError

_CATEGORY = (
    "category", "categories", "fclass", "kind", "type", "class", "subtype", "amenity",
    "leibie", "code",
)  # fmt: skip
_NAME = ("name", "title", "label")
_OVERTURE = ("basic_category", "taxonomy.primary", "categories.primary")
_SHIFTED = {
    "gcj02": {"gcj", "gcj02", "amap", "gaode", "tencent"},
    "bd09": {"bd", "bd09", "baidu"},
}


@dataclasses.dataclass(frozen=True)
class PoiFacts:
    """What a file of POIs says.

    Attributes:
        answers: Answers for `c.pois`.
        summary: Everything in one line.
    """

    answers: Answers
    summary: str


def ask(path: str, crs: str, extent_deg: faults.Bounds) -> PoiFacts:
    """Reads the facts from a file of POIs.

    Args:
        path: The file.
        crs: Metric CRS of the city.
        extent_deg: West, south, east, north of the imagery in degrees.
    """
    try:
        answers = _answers(path, crs, extent_deg)
    except InputError as error:
        question = f"{error} Answer it in this section by hand."
        return PoiFacts({"c.pois.path": Answer(path, ask=question)}, f"POIs: {error}")
    if year := year_in([path]):
        answers["c.pois.year"] = Answer(year, "by the file's name")
    answers |= recorded("c.pois", fetched.beside(path))
    settings = PoiSettings(
        **{key.removeprefix("c.pois."): own.value for key, own in answers.items()}
    )
    summary, problem = _look(settings, crs, extent_deg)
    if problem:
        answers["c.pois.path"] = Answer(path, ask=problem)
    return PoiFacts(answers, summary)


def none_given() -> PoiFacts:
    """Returns the facts without a POI file: training on images alone."""
    alone = Answer(None, "none given: training on images alone")
    return PoiFacts({"c.pois.path": alone}, "POIs: none given; images alone are used")


def _answers(path: str, crs: str, extent_deg: faults.Bounds) -> Answers:
    if osm.is_extract(path):
        return _without_columns(path, None, "an extract of OpenStreetMap")
    table = columns.open_table(path)
    header = table.header
    if any(header.has(name) for name in _OVERTURE):
        return _without_columns(path, "overture", "Overture Places by its columns")
    kinds = columns.kinds(table)
    if osm.tags_advice(header) and not named(list(kinds), _CATEGORY[:6]):
        return _without_columns(path, "osm", "its columns are tags of OpenStreetMap")
    answers: Answers = {"c.pois.path": Answer(path), "c.pois.format": Answer(None)}
    answers |= _place(table, crs, extent_deg)
    answers |= _category(table, kinds)
    names = named(table.names, _NAME)
    answers["c.pois.name_column"] = Answer(names[0] if names else "name")
    if table.encoding:
        answers["c.pois.encoding"] = Answer(
            table.encoding,
            ask=("not UTF-8, but readable in this encoding: are the names right?"),
        )
    if table.separator:
        answers["c.pois.separator"] = Answer(table.separator, "by its first line")
    return answers


def _without_columns(path: str, kind: str | None, why: str) -> Answers:
    """Of formats that say themselves what their columns are."""
    unset = ("crs", "x_column", "y_column", "parent_column")
    answers: Answers = {f"c.pois.{name}": Answer(None) for name in unset}
    answers["c.pois.path"] = Answer(path, why)
    answers["c.pois.format"] = Answer(kind)
    return answers


def _place(table: OpenedTable, crs: str, extent_deg: faults.Bounds) -> Answers:
    answers: Answers = {
        "c.pois.x_column": Answer(None),
        "c.pois.y_column": Answer(None),
    }
    west, south, east, north = extent_deg
    if table.header.has_geometry:
        own = table.header.crs
        answers["c.pois.crs"] = Answer(None, "the file says it")
        if own is None or crs_lib.unusable(own):
            answers["c.pois.crs"] = Answer(
                "EPSG:4326", ask="the file has geometries, but names no usable CRS"
            )
    else:
        pair = columns.places(table)
        if pair is None:
            raise InputError(
                f"{table.path}: no columns of numbers that are named like lon and lat; "
                f"its columns: {faults.names(table.names)}."
            )
        x, y = pair
        answers["c.pois.x_column"], answers["c.pois.y_column"] = Answer(x), Answer(y)
        answers["c.pois.decimal"] = Answer(table.decimal(pair))
        easting, northing = table.numbers(x), table.numbers(y)
        answers["c.pois.crs"] = Answer("EPSG:4326", "degrees by their range")
        if not columns.in_degrees(easting, northing):
            answers["c.pois.crs"] = Answer(
                crs, ask="coordinates are not degrees: in which CRS are they?"
            )
        elif _is_swapped(easting, northing, extent_deg):
            answers["c.pois.x_column"] = Answer(y, "longitude, by where the imagery is")
            answers["c.pois.y_column"] = Answer(x)
    marks = {*words(table.path), *(word for own in table.names for word in words(own))}
    datum = next((key for key, own in _SHIFTED.items() if own & marks), None)
    answers["c.pois.datum"] = Answer(datum or "wgs84")
    if datum:
        answers["c.pois.datum"] = Answer(datum, "by the names of file and columns")
    elif crs_lib.shifted_datums((west + east) / 2, (south + north) / 2):
        answers["c.pois.datum"] = Answer(
            "wgs84",
            ask="in and near China maps use other datums, half a kilometre off: where "
            'are the POIs from? AMap, Tencent: "gcj02"; Baidu: "bd09"; else "wgs84".',
        )
    return answers


def _is_swapped(x: np.ndarray, y: np.ndarray, extent_deg: faults.Bounds) -> bool:
    """Whether the one column lies where the other should."""
    west, south, east, north = extent_deg
    here = (x >= west) & (x <= east) & (y >= south) & (y <= north)
    there = (y >= west) & (y <= east) & (x >= south) & (x <= north)
    return not here.any() and bool(there.any())


def _category(table: OpenedTable, kinds: dict[str, pd.Series]) -> Answers:
    if not kinds:
        ask_for = (
            "no column of kinds was found (texts that repeat); its columns: "
            f"{faults.names(table.names)}"
        )
        first = table.names[0] if table.names else "category"
        return {"c.pois.category_column": Answer(first, ask=ask_for)}
    by_name = named(list(kinds), _CATEGORY)
    category = (
        by_name[0] if by_name else max(kinds, key=lambda own: kinds[own].nunique())
    )
    parent = columns.above(kinds[category], kinds)
    others = [name for name in kinds if name not in (category, parent)]
    why = f"{kinds[category].nunique()} kinds"
    question = None
    if not by_name:
        question = "which column says what a place is? Kinds repeat in "
        question += f"{faults.names(list(kinds))}."
    elif len(by_name) > 1 and set(by_name[1:]) - {parent}:
        why += f"; others: {', '.join(others)}"
    return {
        "c.pois.category_column": Answer(category, why, question),
        "c.pois.parent_column": Answer(
            parent, f"{kinds[parent].nunique()} kinds, one for each" if parent else ""
        ),
    }


def _look(
    settings: PoiSettings, crs: str, extent_deg: faults.Bounds
) -> tuple[str, str | None]:
    """How many there are and how many lie in the imagery; and what is wrong."""
    if problems := check.problems(settings):
        return f"POIs: {problems[0]}", " ".join(problems)
    try:
        pois = poi_table.read(settings, city_crs=crs, area_deg=extent_deg)
    except InputError as error:
        return f"POIs: {error}", str(error)
    west, south, east, north = crs_lib.transform_bounds(extent_deg, crs_lib.WGS84, crs)
    inside = (pois.x_m >= west) & (pois.x_m <= east)
    inside &= (pois.y_m >= south) & (pois.y_m <= north)
    summary = (
        f"POIs: {len(pois):,} of {len(pois.categories)} kinds, {inside.mean():.0%} of "
        "them within the imagery's extent"
    )
    if inside.any():
        return summary, None
    far = f"x {pois.x_m.min():.0f} to {pois.x_m.max():.0f} m, "
    far += f"y {pois.y_m.min():.0f} to {pois.y_m.max():.0f} m"
    return summary, (
        f"none lies within the imagery ({far} in {crs}): is the file of another "
        "place, or crs, datum or a column wrong?"
    )
