"""Finds the POIs of an OpenStreetMap extract, and their categories.

`osm_categories.csv` decides. Each line gives a key, a value or "*" for any other, and
the category and first-level category, in which "*" stands for the value; a line without
category says that such elements are no POIs. Where several keys of an element have a
category, the earlier line wins, so that an element is one POI.

Points are POIs themselves; ways and multipolygons are replaced by a point inside them.
Relations that only list others (routes, sites, stop areas) are left out, since their
members stand for them.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Bool

from data_prep.files import cells, csv_files, tables
from data_prep.pois.settings import OsmSettings
from data_prep.pois.sources import osm_readers
from mmgr_jax.errors import InputError

SUFFIXES = (".pbf", ".osm")
CRS = "EPSG:4326"
PARENT = "parent"
COLUMNS = ("name", "category", PARENT)
TWICE = "mapped twice"
TABLE = Path(__file__).with_name("osm_categories.csv")
_FIELDS = ("key", "value", "category", "parent")
# Columns of tables with the name of an element, and such a name.
_IDS = ("@id", "id")
_ELEMENT = re.compile(r"(?:node|way|relation)/\d+")
# A key; with other characters the condition that GDAL is given would be another.
_KEY = re.compile(r"[\w:.\-]+")
_TAGS_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Rule:
    """One line of the table: its rank, and what it makes of a value."""

    rank: int
    category: str
    parent: str


def header(path: str) -> tables.TableHeader:
    """Columns and CRS of what `load` makes of an extract.

    Raises:
        InputError: If it is no extract, or damaged.
    """
    osm_readers.probe(path)
    return tables.TableHeader(COLUMNS, CRS, True, None)


def is_extract(path: str) -> bool:
    """Whether a file's name is that of an extract."""
    return path.lower().endswith(SUFFIXES)


def header_of_table(path: str, header: tables.TableHeader) -> tables.TableHeader:
    """Columns and CRS of what `load` makes of a table with one column per tag.

    Raises:
        InputError: If it has no geometries.
    """
    if not header.has_geometry:
        raise InputError(
            f"{path}: config.pois.format is 'osm', but the file has no geometries. "
            "Wanted: an extract (.osm.pbf), or a table with geometries and one "
            "column for each tag, such as the GeoJSON of overpass-turbo."
        )
    return tables.TableHeader(COLUMNS, header.crs, True, header.num_rows)


def tags_advice(header: tables.TableHeader) -> str:
    """Says what to do with a table whose columns are tags; "" for other tables."""
    tags = [name for name in header.columns if name in _own_rules()]
    if not tags or not header.has_geometry:
        return ""
    shown = ", ".join(map(repr, tags[:_TAGS_SHOWN]))
    return (
        f" Its column(s) {shown} are tags of OpenStreetMap: set config.pois.format to "
        f"'osm' to make categories of them by {TABLE.name}."
    )


def load(
    path: str,
    settings: OsmSettings,
    *,
    layer: str | None = None,
    text: tables.Text | None = None,
) -> tuple[gpd.GeoDataFrame, dict[str, Bool[np.ndarray, " n"]]]:
    """The POIs of an extract, named by their elements, such as "node/17".

    Args:
        path: A file .osm.pbf or .osm, or a table with geometries and one column per
            tag.
        settings: How elements become POIs.
        layer: Layer of a table; None: its only one.
        text: How a table is written.

    Returns:
        Columns name, category, parent and geometry; and which rows are places that
        occur twice in the file: they lie within an area of the same category and have
        its name or no name.

    Raises:
        InputError: If a file is damaged or nothing in it is a POI.
    """
    rules = read_rules(settings.table or TABLE)
    wanted = {key: tuple(of_key) for key, of_key in rules.items()}
    if is_extract(path):
        elements = osm_readers.READERS[settings.reader](path, wanted)
    else:
        elements = _tagged(path, layer, text, wanted)
    pois = categorised(elements, rules)
    if not len(pois):
        raise InputError(
            f"{path}: none of {len(elements):,} elements is a POI by "
            f"{settings.table or TABLE.name}. Is it an extract with points and "
            "areas, and does config.pois.osm.table name the keys it uses?"
        )
    return pois, {TWICE: _within_same(pois)}


def read_rules(path: str | Path) -> dict[str, dict[str, Rule]]:
    """The table of categories: key -> value -> rule.

    Raises:
        InputError: If the file lacks a column or a line makes no sense.
    """
    try:
        names = csv_files.names(path, csv_files.Text())
        lines = csv_files.load(path, csv_files.Text()).to_dict("records")
    except OSError as error:
        raise InputError(f"config.pois.osm.table {str(path)!r}: {error}.") from error
    if names != _FIELDS:
        raise InputError(
            f"{path}: its columns are {', '.join(names) or 'none'}; wanted: "
            f"{', '.join(_FIELDS)} (config.pois.osm.table)."
        )
    rules: dict[str, dict[str, Rule]] = {}
    for rank, row in enumerate(lines):
        key, value, category, parent = (_plain(row[name]) for name in _FIELDS)
        of_key = rules.setdefault(key, {})
        is_key = bool(_KEY.fullmatch(key))
        if not is_key or not value or value in of_key or bool(category) != bool(parent):
            line = ",".join((key, value, category, parent))
            raise InputError(
                f"{path}: row {rank + 1}, {line!r}: wanted: a key (of "
                "letters, digits and _:.-) and a value, each pair once, and either "
                "both category and parent or neither."
            )
        of_key[value] = Rule(rank, category, parent)
    return rules


def categorised(
    elements: gpd.GeoDataFrame, rules: dict[str, dict[str, Rule]]
) -> gpd.GeoDataFrame:
    """The elements that are POIs, with their category and first-level category.

    Args:
        elements: One row per element, with a column for each key of the rules, and
            "name".
        rules: See `read_rules`.
    """
    best = np.full(len(elements), np.iinfo(np.int64).max)
    category = np.full(len(elements), None, object)
    parent = np.full(len(elements), None, object)
    for key, of_key in rules.items():
        # "cafe;bar" is a cafe: the first value is the main one.
        value = elements[key].astype("string").str.split(";").str[0].str.strip()
        for text, rows in value.groupby(value).indices.items():
            rule = of_key.get(str(text), of_key.get("*"))
            if rule is None or not rule.category:
                continue
            rows = np.asarray(rows)[best[rows] > rule.rank]
            best[rows] = rule.rank
            category[rows] = rule.category.replace("*", str(text))
            parent[rows] = rule.parent.replace("*", str(text))
    pois = gpd.GeoDataFrame(
        dict(name=elements["name"], category=category, parent=parent),
        geometry=elements.geometry,
        index=elements.index,
    )
    return pois[pois["category"].notna()]


def _plain(cell: object) -> str:
    return cell.strip() if isinstance(cell, str) else ""


@functools.cache
def _own_rules() -> dict[str, dict[str, Rule]]:
    return read_rules(TABLE)


def _tagged(
    path: str,
    layer: str | None,
    text: tables.Text | None,
    wanted: osm_readers.Wanted,
) -> gpd.GeoDataFrame:
    """Elements of a table with a column a tag, as the readers of extracts have them.

    Raises:
        InputError: If no column is a tag that matters.
    """
    table = tables.load(path, layer, text)
    assert isinstance(table, gpd.GeoDataFrame)
    keys = [key for key in wanted if key in table.columns]
    if not keys:
        raise InputError(
            f"{path}: config.pois.format is 'osm', but none of its columns is a tag "
            f"that makes a category: {', '.join(map(repr, table.columns))}. Wanted: "
            f"columns such as {', '.join(map(repr, list(wanted)[:_TAGS_SHOWN]))}; or "
            "name the extract (.osm.pbf) itself."
        )
    columns = {
        key: cells.text(table[key], f"{path}: column {key!r}") if key in table else None
        for key in ("name", *wanted)
    }
    elements = gpd.GeoDataFrame(
        pd.DataFrame(columns, index=table.index), geometry=table.geometry, crs=table.crs
    )
    elements.index = _element_names(table)
    return elements


def _element_names(table: pd.DataFrame) -> pd.Index:
    """Names of the elements where a column has them, else the rows from 1."""
    for column in _IDS:
        if column in table.columns:
            names = table[column].astype("string").fillna("")
            if names.str.fullmatch(_ELEMENT).all() and names.is_unique:
                return pd.Index(names, name="element")
    return pd.RangeIndex(1, len(table) + 1)


def _within_same(pois: gpd.GeoDataFrame) -> Bool[np.ndarray, " n"]:
    """Which POIs lie in an area that is the same place."""
    geometry = pois.geometry.to_numpy()
    size = np.nan_to_num(shapely.area(geometry))
    areas = np.flatnonzero((size > 0) & shapely.is_valid(geometry))
    tree = shapely.STRtree(shapely.point_on_surface(geometry))
    area, inner = tree.query(geometry[areas], predicate="contains")
    outer = areas[area]
    category = pd.factorize(pois["category"])[0]
    name = pd.factorize(pois["name"])[0]  # -1: without a name
    same = (category[inner] == category[outer]) & (size[inner] < size[outer])
    same &= (name[inner] == name[outer]) | (name[inner] == -1)
    twice = np.zeros(len(pois), bool)
    twice[inner[same]] = True
    return twice
