"""Counts that points carry, and things that are counted themselves."""

import dataclasses

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
import small_city
from test_labels import NORTH, WEST, _box, _extract, _regions, _twice

from data_prep.labels import check as checks
from data_prep.labels.settings import LabelSettings
from mmgr_jax.errors import InputError


def _points(folder, shapes, values, suffix=".gpkg", **given):
    table = gpd.GeoDataFrame(dict(people=values), geometry=shapes, crs=small_city.CRS)
    path = folder / f"blocks{suffix}"
    table.to_file(path)
    settings = dict(column="people", nodata="zero") | given
    return LabelSettings("count", str(path), "persons", **settings)


def test_counts_go_to_the_region_that_holds_the_point(tmp_path):
    rng = np.random.default_rng(0)
    places = rng.uniform((WEST - 80, NORTH - 680), (WEST + 580, NORTH + 80), (300, 2))
    values = rng.integers(0, 2000, 300)
    regions = _regions(rows=6, columns=5)
    points = shapely.points(places)
    found, report = _extract(_points(tmp_path, points, values), regions)
    outlines = gpd.GeoDataFrame(geometry=regions.geometry, crs=small_city.CRS)
    held = gpd.GeoDataFrame(dict(v=values), geometry=points, crs=small_city.CRS)
    joined = held.sjoin(outlines, predicate="within")
    expected = joined.groupby("index_right")["v"].sum().reindex(range(30), fill_value=0)
    np.testing.assert_array_equal(found, expected)
    assert report["total"] + report["outside every region"] == values.sum()
    assert report["points"] == 300
    unknown, _ = _extract(_points(tmp_path, points, values, nodata="unknown"), regions)
    np.testing.assert_array_equal(
        np.isnan(unknown), ~expected.index.isin(joined.index_right)
    )


def test_a_point_on_an_edge_counts_once(tmp_path):
    shapes = [
        shapely.Point(WEST + 100, NORTH - 50),  # between two regions
        shapely.Point(WEST + 100, NORTH - 100),  # on the corner of four
        shapely.Point(WEST, NORTH),  # on the corner of one
    ]
    regions = _regions(rows=2, columns=2)
    found, report = _extract(_points(tmp_path, shapes, [1, 10, 100]), regions)
    assert found.tolist() == [111, 0, 0, 0] and report["outside every region"] == 0


def test_a_point_in_regions_that_overlap_counts_in_each(tmp_path):
    shapes = [shapely.Point(WEST + 50, NORTH - 50)]
    found, report = _extract(
        _points(tmp_path, shapes, [7]), _twice(_regions(rows=1, columns=1))
    )
    assert found.tolist() == [7, 7]
    assert report["counted more than once, as regions overlap"] == 7


def test_a_missing_count_makes_its_region_unknown(tmp_path):
    shapes = [shapely.Point(WEST + x, NORTH - 50) for x in (20, 40, 60, 150)]
    values = [np.nan, np.nan, 5.0, 6.0]
    source = _points(tmp_path, shapes, values, nodata="unknown")
    found, report = _extract(source, _regions(rows=1, columns=3))
    np.testing.assert_array_equal(found, np.float32([np.nan, 6, np.nan]))
    assert report["total in regions without a value"] == 5
    half = dataclasses.replace(source, min_known=0.3)
    found, _ = _extract(half, _regions(rows=1, columns=3))
    np.testing.assert_array_equal(found, np.float32([5, 6, np.nan]))
    zero = dataclasses.replace(source, nodata="zero")
    found, _ = _extract(zero, _regions(rows=1, columns=2))
    assert found.tolist() == [5, 6]


CENTRES = dict(
    kind="count",
    unit="persons",
    column="POPULATION",
    x_column="LONGITUDE",
    y_column="LATITUDE",
    crs="EPSG:4326",
    nodata="zero",
)


def _centres(folder, lon_deg, lat_deg, people):
    """As the United States Census writes its centres of population."""
    rows = [
        f"06,037,{row:06d},1,{count},{lat:+.6f},{lon:+.6f}"
        for row, (lon, lat, count) in enumerate(
            zip(lon_deg, lat_deg, people, strict=True)
        )
    ]
    head = "STATEFP,COUNTYFP,TRACTCE,BLKGRPCE,POPULATION,LATITUDE,LONGITUDE"
    path = folder / "CenPop2020_Mean_BG06.txt"
    path.write_text("\n".join([head, *rows]), encoding="utf-8-sig")
    return str(path)


def test_centres_of_census_blocks_are_read_from_a_text(tmp_path):
    regions = _regions(rows=2, columns=2)
    transform = pyproj.Transformer.from_crs(small_city.CRS, 4326, always_xy=True)
    x, y = WEST + np.array([30, 130, 140, 30]), NORTH - np.array([30, 30, 40, 130])
    lon, lat = transform.transform(x, y)
    path = _centres(tmp_path, lon, lat, [10, 20, 30, 40])
    assert checks.problems("people", LabelSettings(**CENTRES, path=path), None) == []
    found, report = _extract(LabelSettings(path=path, **CENTRES), regions)
    assert found.tolist() == [10, 50, 40, 0] and report["total of the source"] == 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(crs=None),
            r"x_column, y_column and crs say where .* must be given "
            r"together",
        ),
        (dict(x_column="lon"), r"has no column 'lon', which config.labels.people na"),
        (dict(crs="EPSG:0"), r"config.labels.people.crs: CRS 'EPSG:0' is unknown"),
        (
            dict(x_column=None, y_column=None, crs=None),
            r"or x_column, y_column and crs",
        ),
        (dict(kind="scalar"), r"points alone, which carry a count \(kind 'count'\)"),
        (dict(column="TRACTCE", x_column="LATITUDE"), None),
    ],
)
def test_points_that_are_not_declared_well(tmp_path, changes, message):
    path = _centres(tmp_path, [123.0], [31.0], [5])
    source = LabelSettings(**(CENTRES | changes), path=path)
    found = checks.problems("people", source, None)
    if message is None:
        assert found == []
    else:
        with pytest.raises(InputError, match=message):
            raise InputError("\n".join(found))


def test_a_coordinate_that_is_none_is_named(tmp_path):
    path = _centres(tmp_path, [123.0, 123.0], [31.0, 31.1], [5, 6])
    with open(path, encoding="utf-8-sig") as file:
        text = file.read().replace("+31.100000", "31° N")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    (found,) = checks.problems("people", LabelSettings(**CENTRES, path=path), None)
    assert "column 'LATITUDE', row 2: '31° N' is no coordinate" in found


def test_things_are_counted_themselves(tmp_path):
    buildings = [_box(10, 10, 20, 20), _box(95, 10, 105, 20), _box(500, 100, 510, 110)]
    table = gpd.GeoDataFrame(geometry=buildings, crs=small_city.CRS)
    table.to_file(tmp_path / "buildings.gpkg")
    source = LabelSettings(
        "count",
        str(tmp_path / "buildings.gpkg"),
        "buildings",
        column="*",
        nodata="zero",
    )
    assert checks.problems("buildings", source, None) == []
    found, report = _extract(source, _regions(rows=1, columns=2))
    np.testing.assert_allclose(found, [1.5, 0.5])
    assert report["total of the source"] == 3
    trees = gpd.GeoDataFrame(geometry=table.centroid, crs=small_city.CRS)
    trees.to_file(tmp_path / "trees.geojson")
    found, _ = _extract(
        dataclasses.replace(source, path=str(tmp_path / "trees.geojson")),
        _regions(rows=1, columns=2),
    )
    assert found.sum() == 2
    (told,) = checks.problems("b", dataclasses.replace(source, kind="scalar"), None)
    assert (
        "column is '*', which counts polygons or points; allowed only with kind" in told
    )


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".csv", ".parquet"])
def test_a_table_where_a_raster_is_wanted_is_explained(tmp_path, suffix):
    path = tmp_path / f"blocks{suffix}"
    table = gpd.GeoDataFrame(
        dict(people=[1]), geometry=[_box(0, 0, 1, 1)], crs=small_city.CRS
    )
    if suffix == ".csv":
        pd.DataFrame(table[["people"]]).to_csv(path)
    elif suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_file(path)
    source = LabelSettings("count", str(path), "persons")
    (found,) = checks.problems("people", source, None)
    assert "is a table, not a raster" in found and "'*' counts polygons" in found
