"""Every way a file of POIs is found wanting in practice, and what is said of it."""

import json
import logging

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
import small_city
from poi_settings import SETTINGS

from data_prep.pois import check as checks
from data_prep.pois import table as pois
from data_prep.pois.settings import PoiSettings
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

TABLE = dict(x_column="lon", y_column="lat", crs="EPSG:4326")
LON_DEG, LAT_DEG = np.array([123.0, 123.1, 123.2]), np.array([31.0, 31.1, 31.2])
AREA_DEG = (122.9, 30.9, 123.3, 31.3)


def _read(path, **changes):
    """What `build` does with a file: its checks, then reading it."""
    area_deg = changes.pop("area_deg", None)
    settings = read(PoiSettings, SETTINGS | changes | dict(path=str(path)), "pois")
    found = checks.problems(settings)
    if found:
        raise InputError("\n".join(found))
    return pois.read(settings, city_crs=small_city.CRS, area_deg=area_deg)


def _frame(**changes):
    columns = dict(name=list("abc"), category=["cafe", "park", "bar"])
    return pd.DataFrame(columns | dict(lon=LON_DEG, lat=LAT_DEG) | changes)


def _csv(folder, **changes):
    _frame(**changes).to_csv(folder / "pois.csv", index=False)
    return folder / "pois.csv"


def _points(crs="EPSG:4326", lon=LON_DEG, lat=LAT_DEG):
    plain = _frame().drop(columns=["lon", "lat"])
    return gpd.GeoDataFrame(plain, geometry=shapely.points(lon, lat), crs=crs)


def _text(folder, content, name="pois.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _empty(folder):
    _read(_text(folder, ""), **TABLE)


def _blank(folder):
    _read(_text(folder, "\n\n"), **TABLE)


def _header_only(folder):
    _read(_text(folder, "name,category,lon,lat\n"), **TABLE)


def _gbk(folder):
    rows = "name,category,lon,lat\n外滩,公园,123.0,31.0\n".encode("gb18030")
    _read(_text(folder, rows), **TABLE)


def _wrong_encoding(folder):
    rows = "name,category,lon,lat\n外滩,公园,123.0,31.0\n".encode("gb18030")
    _read(_text(folder, rows), **TABLE, encoding="utf8")


def _no_encoding(folder):
    _read(_csv(folder), **TABLE, encoding="GBKK")


def _swapped(folder):
    _read(_csv(folder), **(TABLE | dict(x_column="lat", y_column="lon")))


def _swapped_in_the_area(folder):
    # South of Kenya: both orders are on Earth, so only the area tells.
    path = _csv(folder, lon=[37.0, 37.1, 37.2], lat=[-1.0, -1.1, -1.2])
    settings = TABLE | dict(x_column="lat", y_column="lon")
    _read(path, **settings, area_deg=(36.9, -1.4, 37.4, -0.9))


def _swapped_geometries(folder):
    _points(lon=LAT_DEG, lat=LON_DEG).to_parquet(folder / "pois.parquet")
    _read(folder / "pois.parquet", area_deg=AREA_DEG)


def _elsewhere(folder):
    _read(_csv(folder, lon=[-118.5] * 3, lat=[34.0] * 3), **TABLE)


def _degrees_as_metres(folder):
    _read(_csv(folder), **(TABLE | dict(crs=small_city.CRS)))


def _degrees_in_a_metric_file(folder):
    _points(crs=small_city.CRS).to_file(folder / "pois.gpkg")
    _read(folder / "pois.gpkg")


def _metres_as_degrees(folder):
    _read(_csv(folder, lon=500_000 + LON_DEG, lat=3.4e6 + LAT_DEG), **TABLE)


def _no_coordinates(folder):
    _read(_csv(folder, lon=[np.nan, np.inf, -np.inf]), **TABLE)


def _column(folder):
    _read(_csv(folder), **TABLE, category_column="Categorie")


def _name_column(folder):
    _read(_csv(folder), **TABLE, name_column="names")


def _no_geometry(folder):
    _frame().to_parquet(folder / "pois.parquet")
    _read(folder / "pois.parquet")


def _geometry_gone(folder):
    _points().to_parquet(folder / "whole.parquet")
    table = pq.read_table(folder / "whole.parquet")
    pq.write_table(table.drop_columns(["geometry"]), folder / "pois.parquet")
    _read(folder / "pois.parquet")


def _another_crs(folder):
    _points().to_file(folder / "pois.gpkg")
    _read(folder / "pois.gpkg", crs="EPSG:3857")


def _no_such_crs(folder):
    _read(_csv(folder), **(TABLE | dict(crs="EPSG:0")))


def _layers(folder):
    for layer in ("shops", "parks"):
        _points().to_file(folder / "pois.gpkg", layer=layer)
    _read(folder / "pois.gpkg")


def _no_such_layer(folder):
    _points().to_file(folder / "pois.gpkg", layer="shops")
    _read(folder / "pois.gpkg", layer="shop")


def _datum(folder):
    _read(_csv(folder), **TABLE, datum="GCJ02")


def _no_category(folder):
    _read(_csv(folder, category=["", " ", None]), **TABLE)


def _half_parquet(folder):
    _points().to_parquet(folder / "pois.parquet")
    _text(folder, (folder / "pois.parquet").read_bytes()[:-20], "pois.parquet")
    _read(folder / "pois.parquet")


def _damaged_parquet(folder):
    _points().to_parquet(folder / "pois.parquet")
    content = bytearray((folder / "pois.parquet").read_bytes())
    content[4:60] = bytes(56)
    _read(_text(folder, bytes(content), "pois.parquet"))


def _half_gzip(folder):
    many = pd.concat([_frame()] * 2000, ignore_index=True)
    many["name"] = np.random.default_rng(0).integers(0, 1 << 60, len(many))
    many.to_csv(folder / "pois.csv.gz", index=False)
    content = (folder / "pois.csv.gz").read_bytes()
    _read(_text(folder, content[: len(content) // 2], "pois.csv.gz"), **TABLE)


def _no_geopackage(folder):
    _read(_text(folder, "<html>404</html>", "pois.gpkg"))


def _half_geopackage(folder):
    _points().to_file(folder / "pois.gpkg")
    _text(folder, (folder / "pois.gpkg").read_bytes()[:3000], "pois.gpkg")
    _read(folder / "pois.gpkg")


def _no_pbf(folder):
    _read(_text(folder, "<html>404</html>", "city.osm.pbf"))


def _half_osm(folder):
    node = '<node id="1" lat="31" lon="123"><tag k="shop" v="books"/></node>'
    _read(_text(folder, f'<osm version="0.6">{node}<way id="2"', "city.osm"))


def _folder(folder):
    _csv(folder)
    _read(folder, **TABLE)


def _twice(folder):
    rows = "name,category,lon,lat,category\na,cafe,123.0,31.0,bar\n"
    _read(_text(folder, rows), **TABLE)


def _decimal_comma(folder):
    rows = "name;category;lon;lat\na;cafe;123,0;31,0\nb;bar;123,1;31,1\n"
    _read(_text(folder, rows), **TABLE, separator=";")


def _semicolons(folder):
    _read(_text(folder, "name;category;lon;lat\na;cafe;123.0;31.0\n"), **TABLE)


def _ragged(folder):
    rows = "name,category,lon,lat\na,cafe,123.0,31.0\nb,bar, grill,123.1,31.1\n"
    _read(_text(folder, rows), **TABLE)


def _format(folder):
    _read(_csv(folder), **TABLE, format="Overture")


def _missing(folder):
    _read(folder / "pois.csv", **TABLE)


BAD_INPUTS = [
    (_empty, r"pois.csv: is empty. Wanted: GeoParquet, .* or .osm.pbf"),
    (_blank, r"pois.csv: is empty; wanted: a line of column names"),
    (_header_only, r"no usable POI among its 0 rows \(the file ends after its header"),
    (_gbk, r"byte 22 \(0xcd, in line 2\) is not in UTF-8.*pois.encoding.*'gb18030'"),
    (_wrong_encoding, r"is not in 'utf8', as config.pois.encoding says"),
    (
        _no_encoding,
        r"pois.encoding is 'GBKK', which Python does not .* such as 'utf-8'",
    ),
    (
        _swapped,
        r"row 1 has the coordinates \(31, 123\), far from .* 100% of the 3 POIs fall "
        r"there with longitude and latitude swapped. Set config.pois.x_column to 'lon'",
    ),
    (_swapped_in_the_area, r"\(-1, 37\), far from .*36.900 to 37.400 E.* swapped"),
    (_swapped_geometries, r"pois.parquet: .* swapped. Correct the file: its geometri"),
    (_elsewhere, r"\(-118.5, 34\), and none of 3 POIs lies where EPSG:32651 is"),
    (
        _degrees_as_metres,
        r"\(123, 31\), and none is beyond 180: .*'WGS 84 / UTM zone 51N'.*"
        r"config.pois.crs='EPSG:4326'",
    ),
    (_degrees_in_a_metric_file, r"pois.gpkg: row 1 .* look like degrees"),
    (_metres_as_degrees, r"\(500123, 3.40003e\+06\), which are no degrees.*'WGS 84'"),
    (_no_coordinates, r"no usable POI among its 3 rows \(3 invalid coordinates\)"),
    (_column, r"no column 'Categorie', which config.pois names; .* 'category' for"),
    (_name_column, r"has no column 'names'.*Perhaps 'name' for 'names'\?"),
    (_no_geometry, r"has no geometries, so config.pois.x_column and y_column must"),
    (_geometry_gone, r"has no geometries, so config.pois.x_column and y_column must"),
    (_another_crs, r"pois.crs is 'EPSG:3857', but .*pois.gpkg is in 'WGS 84'"),
    (_no_such_crs, r"config.pois.crs: CRS 'EPSG:0' is unknown"),
    (_layers, r"has 2 layers; config.pois.layer must name one of 'shops', 'parks'"),
    (_no_such_layer, r"has no layer 'shop'.*its layers: 'shops'"),
    (_datum, r"config.pois.datum='GCJ02'; allowed: 'wgs84', 'gcj02' or"),
    (_no_category, r"no usable POI among its 3 rows \(3 missing category\)"),
    (_half_parquet, r"pois.parquet: cannot be read .*truncated"),
    (_damaged_parquet, r"pois.parquet: cannot be read .*truncated"),
    (_half_gzip, r"pois.csv.gz: .*cannot be read .*truncated"),
    (_no_geopackage, r"pois.gpkg: cannot be read .* Wanted: GeoPackage, GeoJ"),
    (_half_geopackage, r"pois.gpkg: cannot be read"),
    (_no_pbf, r"city.osm.pbf: cannot be read"),
    (_half_osm, r"city.osm: cannot be read as an OpenStreetMap extract"),
    (_folder, r"is a folder; name the one file in it with the POIs \(pois.csv\)"),
    (_twice, r"column 'category' occurs more than once"),
    (_decimal_comma, r"'lon' holds .* a decimal comma, such as '123,0' in row 1. Set"),
    (_semicolons, r"is one column when split at ','. Set config.pois.separator to ';'"),
    (_ragged, r"pois.csv: .*line 3.*as many fields as the header"),
    (_format, r"pois.format='Overture'; allowed: 'overture', 'osm' or"),
    (_missing, r"pois.csv': no such file. Wanted: GeoParquet.*column\(s\) 'category'"),
]


@pytest.mark.parametrize(
    ("damage", "message"), BAD_INPUTS, ids=[row[0].__name__ for row in BAD_INPUTS]
)
def test_a_bad_file_is_explained(tmp_path, damage, message):
    with pytest.raises(InputError, match=message):
        damage(tmp_path)


# ---- what looks bad and is not ----


def test_a_byte_order_mark_and_declared_habits_are_read(tmp_path):
    rows = "name;category;lon;lat\n外滩;公园;123,5;31,25\n"
    declared = TABLE | dict(separator=";", decimal=",")
    expected = _read(_text(tmp_path, rows.encode("utf-8-sig")), **declared)
    assert expected.categories == ("公园",)
    other = _read(
        _text(tmp_path, rows.encode("gb18030")), **declared, encoding="gb18030"
    )
    assert other.categories == expected.categories
    np.testing.assert_array_equal(other.x_m, expected.x_m)


def test_codes_keep_their_zeros(tmp_path):
    table = _read(_csv(tmp_path, category=["050100", "060000", None]), **TABLE)
    assert table.categories == ("050100", "060000")


def test_geometries_of_every_kind_become_points(tmp_path, caplog):
    shapes = [
        shapely.Point(123.0, 31.0),
        shapely.box(123.1, 31.0, 123.2, 31.1),
        shapely.LineString([(123.0, 31.0), (123.2, 31.0)]),
        shapely.MultiPoint([(123.0, 31.2), (123.1, 31.2)]),
        shapely.Polygon([(123, 31), (123.1, 31.1), (123.1, 31), (123, 31.1)]),
        None,
        shapely.Point(),
    ]
    features = [
        dict(
            type="Feature",
            properties=dict(name=str(index), category="place"),
            geometry=json.loads(shapely.to_geojson(shape)) if shape else None,
        )
        for index, shape in enumerate(shapes)
    ]
    path = tmp_path / "mixed.geojson"
    path.write_text(json.dumps(dict(type="FeatureCollection", features=features)))
    with caplog.at_level(logging.INFO):
        table = _read(path)
    assert table.row.tolist() == [1, 2, 3, 4, 5]
    assert table.dropped["invalid coordinates"] == 2
    assert "geometries replaced by a point inside them: 2 Polygon" in caplog.text
    assert "invalid coordinates: row 6, 7" in caplog.text


def test_one_layer_of_several_can_be_chosen(tmp_path):
    path = tmp_path / "pois.gpkg"
    _points().to_file(path, layer="shops")
    _points().iloc[:1].to_file(path, layer="parks")
    assert len(_read(path, layer="parks")) == 1
