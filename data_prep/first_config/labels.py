"""Reads what a label file says about itself: form, kind, column, unit, year."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from data_prep.files import crs as crs_lib
from data_prep.files import faults, fetched, formats
from data_prep.files.fetched import Fetched
from data_prep.first_config import columns
from data_prep.first_config.answers import named, words, year_in
from data_prep.first_config.columns import OpenedTable
from data_prep.labels import check, source
from data_prep.labels.settings import LabelKind, LabelSettings
from mmgr_jax.errors import InputError

# Words in names of files, bands and columns -> what their numbers are.
_COUNTS = {
    "population": "persons", "pop": "persons", "people": "persons", "ppp": "persons",
    "persons": "persons", "inhabitants": "persons", "worldpop": "persons",
    "households": "households", "dwellings": "dwellings", "jobs": "jobs",
    "employment": "jobs", "buildings": "buildings", "gdp": "",
}  # fmt: skip
_DENSITIES = ("density", "dens", "km2", "ha", "sqkm")
_SCALARS = (
    "ntl", "lights", "viirs", "height", "dem", "elevation", "temperature", "lst",
    "ndvi", "price", "income", "rent", "index", "score", "mean", "median",
)  # fmt: skip
_CLASSES = (
    "zone", "zoning", "landuse", "land", "function", "use", "class", "classes",
    "category", "type", "kind", "fclass", "item", "level", "code",
)  # fmt: skip
_MOST_CLASSES = 40
_SAMPLE_PX = 1024
_FACTORY = {
    "count": "count_label", "density": "density_label", "scalar": "scalar_label",
    "share": "share_label", "class": "class_label",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LabelFacts:
    """What a file of labels says.

    Attributes:
        name: Of the label.
        factory: The function of `configs.common` that makes the label.
        path: The file.
        given: Arguments of that function.
        questions: Questions that only the user can answer.
        usable: Whether a build can read the label so; otherwise it is written as a
            comment.
        summary: Everything in one line.
    """

    name: str
    factory: str
    path: str
    given: dict[str, Any]
    questions: tuple[str, ...]
    usable: bool
    summary: str


def ask(path: str, extent_deg: faults.Bounds, taken: Sequence[str] = ()) -> LabelFacts:
    """Reads the facts from a file of labels.

    Args:
        path: A raster or a table.
        extent_deg: West, south, east, north of the imagery in degrees.
        taken: Names that other labels already have.
    """
    name = _name(path, taken)
    record = fetched.beside(path)
    try:
        kind, given, questions = _content(path, extent_deg, record)
        settings = _settings(kind, path, given)
        problems = check.problems(name, settings, extent_deg)
    except InputError as error:
        kind, given, questions = "count", dict[str, Any](unit="?"), list[str]()
        problems = [str(error)]
    year = record.year if record else None
    given |= dict(
        year=year or year_in([Path(path).name]),
        source=record.source if record else "",
        licence=record.licence if record else "",
    )
    asked = (*questions, *problems)
    summary = f"label {name}: {kind}, {_in_words(given)}"
    if problems:
        summary = f"label {name}: {problems[0]}"
    return LabelFacts(name, _FACTORY[kind], path, given, asked, not problems, summary)


def _in_words(given: dict[str, Any]) -> str:
    shown = {key: value for key, value in given.items() if value not in (None, "")}
    return ", ".join(
        f"{key} {', '.join(value) if key == 'classes' else value}"
        for key, value in shown.items()
    )


def _settings(kind: LabelKind, path: str, given: dict[str, Any]) -> LabelSettings:
    return LabelSettings(kind=kind, path=path, **given)


def _name(path: str, taken: Sequence[str]) -> str:
    stem = Path(path).name.split(".")[0]
    name = re.sub(r"\W+|_+", "_", stem).strip("_").casefold() or "label"
    name = f"label_{name}" if name[0].isdigit() else name
    number = 2
    while (own := name if number == 2 else f"{name}_{number - 1}") in taken:
        number += 1
    return own


def _content(
    path: str, extent_deg: faults.Bounds, record: Fetched | None
) -> tuple[LabelKind, dict[str, Any], list[str]]:
    """Kind, what is given beside, and questions."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file.")
    if _is_raster(path):
        return _raster(path, extent_deg, record)
    return _table(columns.open_table(path))


def _is_raster(path: str) -> bool:
    try:
        formats.check_raster(Path(path))
    except InputError:
        return False
    return True


def _kind_of_numbers(names: Sequence[str], unit: str) -> tuple[LabelKind, str, bool]:
    """Kind and unit of numbers by their names; whether these say so."""
    own = {word for name in names for word in words(name)}
    if source.names_area(unit) or own & set(_DENSITIES):
        return "density", unit or "persons/km2", source.names_area(unit)
    if own & set(_SCALARS):
        return "scalar", unit or "1", bool(unit)
    for word, known_unit in _COUNTS.items():
        if word in own:
            return "count", unit or known_unit or "?", bool(unit or known_unit)
    return "scalar", unit or "?", False


def _numbers_asked(kind: str, unit: str) -> str:
    return (
        f"are these numbers totals to be summed over a region (count_label), amounts "
        f"per area (density_label) or anything else to be averaged (scalar_label)? "
        f"Taken as {kind} in {unit!r}."
    )


# ---- rasters ----


def _raster(
    path: str, extent_deg: faults.Bounds, record: Fetched | None
) -> tuple[LabelKind, dict[str, Any], list[str]]:
    with (
        formats.settings(),
        formats.reading(Path(path)),
        formats.open_raster(path) as raster,
    ):
        bands = [
            band
            for band, color in zip(raster.indexes, raster.colorinterp, strict=True)
            if color != ColorInterp.alpha
        ]
        band = bands[0] if bands else 1
        title = raster.descriptions[band - 1] or ""
        unit = raster.units[band - 1] or ""
        values, missing = _sample(raster, band, extent_deg)
        is_palette = ColorInterp.palette in raster.colorinterp
    few = len(np.unique(values)) <= _MOST_CLASSES and np.all(values == np.round(values))
    kind, unit, is_sure = _kind_of_numbers([Path(path).stem, title], unit)
    reading = record.details.get("reading", {}) if record else {}
    if reading and record:
        kind, unit, is_sure = reading["kind"], record.unit, True
    if is_palette or (few and len(values) > 500 and not is_sure):
        raise InputError(
            f"{path}: a raster of classes, but shares are computed from polygons: "
            f"make them with `gdal_polygonize.py {path} OUT.gpkg` and name that file."
        )
    given: dict[str, Any] = dict(unit=unit)
    questions = [] if is_sure else [_numbers_asked(kind, unit)]
    if len(bands) > 1:
        given["band"] = band
        questions.append(f"{len(bands)} bands: which one is meant?")
    if "nodata" in reading:
        given["nodata"] = reading["nodata"]
    elif missing > 0.05:
        given["nodata"] = "unknown"
        questions.append(
            f"{missing:.0%} of its pixels in the imagery's extent are missing. Does "
            'missing mean zero there (nodata="zero", as in WorldPop)?'
        )
    return kind, given, questions


def _sample(
    raster: rasterio.DatasetReader, band: int, extent_deg: faults.Bounds
) -> tuple[np.ndarray, float]:
    """Values of a band where the imagery lies, and the share that is missing."""
    left, top, right, bottom = 0, 0, raster.width, raster.height
    if raster.crs is not None:
        box = crs_lib.transform_bounds(extent_deg, crs_lib.WGS84, raster.crs.to_wkt())
        corners = [~raster.transform @ (x, y) for x in box[::2] for y in box[1::2]]
        column, row = np.array(corners).T
        if np.isfinite(corners).all():
            left, right = (int(side) for side in _within(column, raster.width))
            top, bottom = (int(side) for side in _within(row, raster.height))
    if right <= left or bottom <= top:
        return np.zeros(0), 0.0
    window = Window(left, top, right - left, bottom - top)
    height, width = min(bottom - top, _SAMPLE_PX), min(right - left, _SAMPLE_PX)
    pixels = raster.read(
        band, window=window, masked=True, out_shape=(height, width)
    ).astype(float)
    kept = pixels.compressed()
    kept = kept[np.isfinite(kept)]
    return kept, 1 - len(kept) / pixels.size


def _within(places: np.ndarray, length: int) -> np.ndarray:
    """First and last pixel of some places, within a raster."""
    return np.clip([np.floor(places.min()), np.ceil(places.max())], 0, length)


# ---- tables ----


def _table(table: OpenedTable) -> tuple[LabelKind, dict[str, Any], list[str]]:
    given: dict[str, Any] = {}
    if table.encoding:
        given["encoding"] = table.encoding
    if table.separator:
        given["separator"] = table.separator
    if not table.header.has_geometry:
        pair = columns.places(table)
        if pair is None:
            raise InputError(
                f"{table.path}: a table without geometries and without columns named "
                "like lon and lat. If its rows are regions, give id_column with "
                "their ids (in a grid such as r0012c0031) and column."
            )
        x, y = pair
        given |= dict(x_column=x, y_column=y, crs="EPSG:4326")
        is_points = True
    else:
        assert isinstance(table.rows, gpd.GeoDataFrame)
        kinds = set(table.rows.geom_type.dropna())
        is_points = bool(kinds) and kinds <= {"Point"}
    numeric = [
        name
        for name in table.names
        if table.is_numeric(name) and name not in given.values()
    ]
    counts = named(numeric, (*_COUNTS, *_DENSITIES, *_SCALARS))
    classes = columns.kinds(table, most=_MOST_CLASSES)
    by_name = named(list(classes), _CLASSES)
    if counts:
        return _numbers(table, counts, given, is_points)
    if classes and not is_points:
        column = by_name[0] if by_name else next(iter(classes))
        return _shares(classes, column, given, is_sure=bool(by_name))
    if is_points or not numeric:
        question = (
            "counts the polygons or points themselves; is a column meant "
            "instead? Columns of numbers: "
        )
        question += faults.names(numeric)
        unit = Path(table.path).name.split(".")[0]
        return "count", given | dict(column=source.EACH, unit=unit), [question]
    codes = named(numeric, _CLASSES)
    if codes and (share := _codes(table, codes[0])) is not None:
        return _shares({codes[0]: share}, codes[0], given, is_sure=False)
    return _numbers(table, numeric, given, is_points)


def _numbers(
    table: OpenedTable, numeric: Sequence[str], given: dict[str, Any], is_points: bool
) -> tuple[LabelKind, dict[str, Any], list[str]]:
    column = numeric[0]
    kind, unit, is_sure = _kind_of_numbers([column], "")
    if is_points:
        kind = "count"
    elif kind == "density" and not source.names_area(unit):
        unit, is_sure = "persons/km2", False
    questions = [] if is_sure else [_numbers_asked(kind, unit)]
    if len(numeric) > 1 and not is_sure:
        questions.append(f"other columns of numbers: {faults.names(numeric[1:])}")
    return kind, given | dict(column=column, unit=unit), questions


def _codes(table: OpenedTable, column: str) -> pd.Series | None:
    texts = table.texts(column)
    few = texts is not None and 2 <= texts.nunique() <= _MOST_CLASSES
    return texts if few else None


def _shares(
    classes: dict[str, pd.Series], column: str, given: dict[str, Any], *, is_sure: bool
) -> tuple[LabelKind, dict[str, Any], list[str]]:
    """Area shares of the classes that a column names, the most frequent first."""
    counts = classes[column].value_counts()
    questions = []
    if not is_sure:
        questions.append(
            "which column says the class? Kinds repeat in "
            f"{faults.names(list(classes))}."
        )
    names = tuple(str(name) for name in counts.index)
    return "share", given | dict(column=column, classes=names), questions
