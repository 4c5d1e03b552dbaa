"""Settings of a label that contradict each other, and files that do not fit them."""

import re

import geopandas as gpd
import pandas as pd
import pytest
import shapely
import small_city
from test_labels import NORTH, WEST

from configs import common
from data_prep.labels import check as label_checks
from data_prep.labels.settings import LabelSettings
from data_prep.labels.source import problems
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

CLASSES = ("forest", "water")


def _share(**given):
    settings = dict(column="zone", classes=CLASSES) | given
    return LabelSettings("share", "a.gpkg", **settings)


@pytest.mark.parametrize(
    ("kind", "unit"),
    [
        ("count", "persons"),
        ("count", "million CNY"),
        ("density", "persons/km2"),
        ("density", "persons per km²"),
        ("density", "USD / ha"),
        ("density", "trees per hectare"),
        ("density", "persons/sq km"),
        ("scalar", "m"),
        ("scalar", "persons per cell of 1 km"),
    ],
)
def test_units_that_fit_their_kind(kind, unit):
    assert problems("config.labels.x", LabelSettings(kind, "a.tif", unit)) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            LabelSettings("count", "a.tif", "persons/km2"),
            "'count', but .* kind=\"density",
        ),
        (
            LabelSettings("count", "a.tif", "persons per pixel"),
            "per area. Name the unit ",
        ),
        (
            LabelSettings("density", "a.tif", "persons"),
            "'persons' names no area. Wanted: ",
        ),
        (LabelSettings("density", "a.tif", "GBP/household"), "names no area"),
        (_share(unit="%"), "kind is 'share', but the unit is '%'; allowed: \"1\""),
        (_share(column=None), "a share needs column and classes, or id_column"),
        (
            _share(mapping=(("a", "mars"),)),
            "mapping names 'mars'; .* are forest, water",
        ),
        (
            _share(uncovered="water"),
            "uncovered is 'water'; allowed: 'ignore' or 'class",
        ),
        (
            _share(uncovered="class:x"),
            "uncovered is 'class:x'; allowed: .*one of forest",
        ),
        (
            LabelSettings("count", "a.csv", id_column="id"),
            "a table needs column, the one",
        ),
    ],
)
def test_settings_that_contradict_each_other(source, message):
    (problem,) = problems("config.labels.x", source)
    assert problem.startswith("config.labels.x")
    assert re.search(message, problem), problem


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(kind="sum"), "kind='sum'; allowed: 'count', 'density', 'share', 'class'"),
        (dict(nodata="nan"), "nodata='nan'; allowed: 'unknown' or 'zero'."),
        (dict(min_known=0.0), "min_known=0.0; allowed: greater than 0."),
        (dict(min_known=1.1), "min_known=1.1; allowed: less than or equal to 1."),
        (
            dict(bands=2),
            r"bands is unknown \(did you mean 'band'\?\); allowed there: k",
        ),
    ],
)
def test_settings_that_are_none_of_the_allowed(wrong, message):
    given = dict(kind="count", path="a.tif") | wrong
    with pytest.raises(InputError, match="config.labels.x." + message):
        read(LabelSettings, given, "labels.x")


def _table(folder, columns, geometry=None):
    square = shapely.box(WEST, NORTH - 100, WEST + 100, NORTH)
    geometry = [square] * 2 if geometry is None else geometry
    path = folder / "zones.gpkg"
    gpd.GeoDataFrame(columns, geometry=geometry, crs=small_city.CRS).to_file(path)
    return str(path)


def _problems(settings):
    source = read(LabelSettings, settings, "labels.x")
    return label_checks.problems("x", source, (122.9, 31.0, 123.1, 31.3))


def test_unmapped_values_are_listed_with_their_counts(tmp_path):
    path = _table(tmp_path, dict(zone=["wood", "car park"]))
    settings = common.share_label(path, column="zone", mapping={"wood": "green_space"})
    (problem,) = _problems(settings)
    assert (
        "unknown to config.labels.x.mapping: 'car park' (1). Allowed: wood" in problem
    )
    mapping = {"wood": "green_space", "car park": None}
    settings = common.share_label(path, column="zone", mapping=mapping)
    assert _problems(settings) == []


def test_a_count_must_be_a_number(tmp_path):
    path = _table(tmp_path, dict(people=["12", "a dozen"]))
    (problem,) = _problems(common.count_label(path, column="people", unit="persons"))
    assert "column 'people', holds 'a dozen' (1), which is no number" in problem


def test_lines_are_no_polygons(tmp_path):
    line = shapely.LineString([(WEST, NORTH), (WEST + 100, NORTH)])
    square = shapely.box(WEST, NORTH - 100, WEST + 100, NORTH)
    path = _table(tmp_path, dict(people=[1, 2]), [square, line])
    (problem,) = _problems(common.count_label(path, column="people", unit="persons"))
    assert "holds 'LineString', 'Polygon'. Wanted: polygons" in problem


def test_coordinates_must_fit_the_crs(tmp_path):
    square = shapely.box(WEST, NORTH - 100, WEST + 100, NORTH)
    path = tmp_path / "wrong.gpkg"
    table = gpd.GeoDataFrame(dict(people=[1]), geometry=[square], crs="EPSG:4326")
    table.to_file(path)
    (problem,) = _problems(
        common.count_label(str(path), column="people", unit="persons")
    )
    assert "coordinates that do not fit its CRS" in problem


def test_a_table_needs_its_columns(tmp_path):
    path = tmp_path / "gdp.csv"
    pd.DataFrame(dict(region=["a"], gdp=[1.0])).to_csv(path)
    settings = dict(unit="million CNY", column="gdp")
    (problem,) = _problems(common.count_label(str(path), id_column="id", **settings))
    assert "has no column 'id', which config.labels.x names; its columns" in problem
    settings["id_column"] = "region"
    assert _problems(common.count_label(str(path), **settings)) == []
    shares = common.share_label(str(path), id_column="region", classes=("gdp", "rest"))
    (problem,) = _problems(shares)
    assert "has no column 'rest'" in problem


def test_what_is_missing_is_told_by_its_form():
    missing = dict(unit="persons")
    (problem,) = _problems(common.count_label("no.tif", **missing))
    assert "Wanted: a GeoTIFF with a CRS, in persons" in problem
    (problem,) = _problems(common.count_label("no.gpkg", column="pop", **missing))
    assert "Wanted: polygons with column 'pop', in persons" in problem
    table = dict(column="pop", id_column="id", **missing)
    (problem,) = _problems(common.count_label("no.csv", **table))
    assert "Wanted: a CSV or Parquet table with region ids in 'id'" in problem


def test_helpers_know_every_setting():
    made = common.scalar_label("a.tif", unit="m", year=2020, min_known=0.9)
    assert set(made) == set(LabelSettings.__dataclass_fields__)
    expected = LabelSettings("scalar", "a.tif", "m", year=2020, min_known=0.9)
    assert read(LabelSettings, made, "labels.x") == expected
    with pytest.raises(TypeError, match="unexpected keyword argument 'bands'"):
        common.count_label("a.tif", unit="persons", bands=2)
