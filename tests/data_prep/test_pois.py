import logging

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import small_city

from benchmarks.data_prep import pois as pois_bench
from data_prep.files import crs as crs_lib
from data_prep.pois import table as pois
from data_prep.pois.settings import PoiSettings
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

SETTINGS = dict(
    crs="EPSG:4326",
    datum="wgs84",
    category_column="category",
    parent_column="parent",
    x_column=None,
    y_column=None,
)


def _read(path, settings):
    given = read(PoiSettings, dict(settings, path=path), "pois")
    return pois.read(given, city_crs=small_city.CRS)


def _expected_m():
    places = [small_city.place_m(row[0], row[1]) for row in small_city.poi_rows()]
    return np.array(places).T


def _write(folder, table, suffix):
    path = folder / f"pois{suffix}"
    if suffix.startswith(".csv"):
        plain = pd.DataFrame(table.drop(columns="geometry"))
        plain.assign(lon=table.geometry.x, lat=table.geometry.y).to_csv(path)
    elif suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_file(path)
    return str(path)


@pytest.mark.parametrize(
    "suffix", [".parquet", ".gpkg", ".geojson", ".shp", ".csv", ".csv.gz"]
)
def test_every_format_gives_the_same_pois(tmp_path, suffix):
    path = _write(tmp_path, small_city.poi_table(), suffix)
    columns = dict(x_column="lon", y_column="lat") if ".csv" in suffix else {}
    table = _read(path, SETTINGS | columns)
    x_m, y_m = _expected_m()
    np.testing.assert_allclose(table.x_m, x_m, atol=1e-2)
    np.testing.assert_allclose(table.y_m, y_m, atol=1e-2)
    assert table.categories == ("cafe", "park", "school")
    assert table.parents == ("food", "leisure", "education")
    names = [table.categories[index] for index in table.category]
    assert names == [row[2] for row in small_city.poi_rows()]
    assert table.dropped == {
        "invalid coordinates": 0,
        "missing category": 0,
        "duplicates": 0,
    }


def test_projected_coordinates_are_taken_as_they_are(tmp_path):
    path = _write(tmp_path, small_city.poi_table(small_city.CRS), ".gpkg")
    table = _read(path, SETTINGS | dict(crs=None))
    np.testing.assert_allclose(table.x_m, _expected_m()[0], atol=1e-6)


def test_polygons_count_as_a_point_inside(tmp_path):
    x, y = small_city.place_m(1.5, 1.5)
    ring = shapely.box(x, y, x + 10, y + 10)
    columns = dict(category=["park"], parent=["leisure"])
    table = gpd.GeoDataFrame(columns, geometry=[ring], crs=small_city.CRS)
    settings = SETTINGS | dict(crs=None)
    found = _read(_write(tmp_path, table, ".gpkg"), settings)
    assert ring.contains(shapely.Point(found.x_m[0], found.y_m[0]))


def _csv(folder, rows, columns=("name", "category", "lon", "lat")):
    path = folder / "pois.csv"
    pd.DataFrame(rows, columns=list(columns)).to_csv(path, index=False)
    return str(path)


CSV = SETTINGS | dict(x_column="lon", y_column="lat", parent_column=None)


def test_unusable_rows_are_left_out_counted_and_named(tmp_path, caplog):
    path = _csv(
        tmp_path,
        [
            ("a", "cafe", 123.0, 31.0),
            ("b", "cafe", None, 31.0),  # row 2: no longitude
            ("c", "cafe", 0.0, 0.0),  # row 3: where failed geocoders put things
            ("d", "cafe", 123.0, 99.0),  # row 4: no such latitude
            ("e", "cafe", "east", 31.0),  # row 5: not a number
            ("f", "  ", 123.0, 31.0),  # row 6: blank category
            ("g", None, 123.0, 31.0),  # row 7
            ("a", "cafe", 123.0, 31.0),  # row 8: row 1 again
            ("a", "bar", 123.0, 31.0),  # another category there
            ("h", " cafe ", 123.0, 31.0),  # another name there
        ],
    )
    with caplog.at_level(logging.INFO):
        table = _read(path, CSV)
    assert table.dropped == {
        "invalid coordinates": 4,
        "missing category": 2,
        "duplicates": 1,
    }
    assert [table.categories[i] for i in table.category] == ["cafe", "bar", "cafe"]
    assert table.parents == table.categories == ("bar", "cafe")
    assert "invalid coordinates: row 2, 3, 4, 5" in caplog.text
    assert "missing category: row 6, 7" in caplog.text
    assert "duplicates: row 8" in caplog.text


def test_a_category_of_rows_left_out_alone_is_none(tmp_path):
    path = _csv(tmp_path, [("a", "cafe", 123.0, 31.0), ("b", "zoo", None, 31.0)])
    table = _read(path, CSV)
    assert table.categories == ("cafe",) and table.row.tolist() == [1]


def test_without_names_only_equal_rows_are_duplicates(tmp_path):
    rows = [(1, "cafe", 123.0, 31.0), (2, "cafe", 123.0, 31.0), (2, "cafe", 123.0, 31)]
    path = _csv(tmp_path, rows, ("id", "category", "lon", "lat"))
    table = _read(path, CSV)
    assert len(table) == 2 and table.dropped["duplicates"] == 1


def test_the_most_frequent_parent_wins(tmp_path, caplog):
    rows = [
        ("a", "other", "shops", 123.0, 31.0),
        ("b", "other", "food", 123.1, 31.0),
        ("c", "other", "food", 123.2, 31.0),
        ("d", "lonely", None, 123.3, 31.0),
    ]
    path = _csv(tmp_path, rows, ("name", "category", "parent", "lon", "lat"))
    table = _read(path, CSV | dict(parent_column="parent"))
    assert dict(zip(table.categories, table.parents, strict=True)) == {
        "other": "food",
        "lonely": "lonely",
    }
    assert "several parents" in caplog.text and "other" in caplog.text


def test_no_usable_row_is_explained(tmp_path):
    path = _csv(tmp_path, [("a", None, 123.0, 31.0)])
    with pytest.raises(InputError, match=r"no usable POI among its 1 rows \(1 missing"):
        _read(path, CSV)


@pytest.mark.parametrize("datum", ["gcj02", "bd09"])
def test_a_declared_datum_is_undone(tmp_path, datum):
    lon, lat = np.random.default_rng(0).uniform((121.0, 30.9), (121.9, 31.5), (50, 2)).T
    shifted = crs_lib.wgs84_to_gcj02(lon, lat)
    if datum == "bd09":
        shifted = crs_lib.gcj02_to_bd09(*shifted)
    path = _csv(
        tmp_path,
        [("a", f"c{i}", *place) for i, place in enumerate(np.transpose(shifted))],
    )
    x_m, y_m = crs_lib.transform(lon, lat, "EPSG:4326", small_city.CRS)
    declared = _read(path, CSV | dict(datum=datum))
    left_m = np.hypot(declared.x_m - x_m, declared.y_m - y_m)
    assert left_m.max() < 0.01
    ignored = _read(path, CSV)
    assert np.hypot(ignored.x_m - x_m, ignored.y_m - y_m).min() > 300


def test_datums_match_published_numbers():
    # The worked example in the README of wandergis/coordtransform.
    lon, lat = np.array([116.404]), np.array([39.915])
    gcj02 = np.concatenate(crs_lib.wgs84_to_gcj02(lon, lat))
    np.testing.assert_allclose(gcj02, [116.41024449916938, 39.91640428150164])
    bd09 = np.concatenate(crs_lib.gcj02_to_bd09(lon, lat))
    np.testing.assert_allclose(bd09, [116.41036949371029, 39.92133699351021])


def test_outside_china_gcj02_is_wgs84():
    lon, lat = np.array([-118.5, 24.9, 180.0]), np.array([34.0, 60.2, 0.0])
    for shifted, plain in zip(
        crs_lib.wgs84_to_gcj02(lon, lat), (lon, lat), strict=True
    ):
        np.testing.assert_array_equal(shifted, plain)


def test_an_unknown_datum_is_refused():
    with pytest.raises(InputError, match=r"'mars'; allowed: wgs84, gcj02, bd09"):
        crs_lib.to_wgs84(np.zeros(1), np.zeros(1), "mars")


def test_the_bench_measures_every_step():
    rows = pois_bench.rows(num_pois=2000, side=20)
    assert [(row["step"], row["buffer_m"]) for row in rows] == [
        ("assignment", 0.0),
        ("graph of each region", 0.0),
        ("assignment", 150.0),
        ("graph of each region", 150.0),
        ("graph of the city", 0.0),
    ]
    assert all(0 < row["seconds"] < row["limit_s"] for row in rows)
    # A triangulation of n points has 3n - 3 edges, less those of its hull.
    assert 3 * 2000 - 60 < rows[-1]["edges"] < 3 * 2000 - 3
    assert rows[1]["edges"] < rows[3]["edges"]
