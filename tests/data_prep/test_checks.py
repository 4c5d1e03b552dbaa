from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_city

from configs import shanghai
from data_prep import build
from mmgr_jax.errors import InputError


@pytest.fixture
def config(tmp_path):
    return small_city.write(tmp_path)


def _raw(config):
    return Path(config.pois.path).parent


def _missing_raster(config):
    (_raw(config) / "imagery.tif").unlink()


def _no_crs(config):
    path = _raw(config) / "imagery.tif"
    small_city.write_raster(path, small_city.pixels(), crs=None)


def _deep_pixels(config):
    path = _raw(config) / "imagery.tif"
    small_city.write_raster(path, small_city.pixels().astype(np.uint16))


def _missing_band(config):
    config.imagery.bands = (1, 2, 7)


def _corrupt_tiff(config):
    path = _raw(config) / "imagery.tif"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _no_tiff(config):
    (_raw(config) / "imagery.tif").write_text("<html>404 Not Found</html>")


def _column_absent(config):
    config.pois.category_column = "kind"


def _wrong_declared_crs(config):
    config.pois.crs = "EPSG:32651"


def _swapped_axes(config):
    table = small_city.poi_table()
    plain = pd.DataFrame(dict(category=table.category, parent=table.parent))
    plain = plain.assign(lon=table.geometry.y, lat=table.geometry.x)
    path = _raw(config) / "swapped.csv"
    plain.to_csv(path)
    config.pois.path = str(path)
    config.pois.x_column, config.pois.y_column = "lon", "lat"


def _csv_without_crs(config):
    _swapped_axes(config)
    config.pois.crs = None


def _csv_without_coordinates(config):
    _swapped_axes(config)
    config.pois.x_column = config.pois.y_column = None


def _empty_pois(config):
    small_city.poi_table().iloc[:0].to_parquet(config.pois.path)


def _empty_csv(config):
    _swapped_axes(config)
    Path(config.pois.path).write_text("category,parent,lon,lat\n")


def _damaged_pois(config):
    Path(config.pois.path).write_bytes(b"PAR1 is not enough")


def _unknown_datum(config):
    config.pois.datum = "gcj-02"


def _degrees(config):
    config.city.crs = "EPSG:4326"


def _web_mercator(config):
    config.city.crs = "EPSG:3857"


def _unknown_crs(config):
    config.city.crs = "EPSG:1"


def _bad_name(config):
    config.city.name = "small city"


def _raster_elsewhere(config):
    people = np.ones((3, 4), np.float32)
    path = Path(config.labels.people.path)
    small_city.write_raster(path, people, crs="EPSG:32650")


def _label_band(config):
    config.labels.people.band = 2


def _label_kind(config):
    config.labels.people.kind = "sum"


def _label_key(config):
    with config.unlocked():
        config.labels.people.bands = 1


def _label_missing(config):
    Path(config.labels.people.path).unlink()


def _unknown_class(config):
    table = small_city.zone_table()
    table["zone"] = ["forest", "car park"]
    table.to_file(config.labels.zones.path)


def _zone_column(config):
    config.labels.zones.column = "ZONE"


def _negative_count(config):
    people = np.full((3, 4), -99, np.float32)
    small_city.write_raster(Path(config.labels.people.path), people)


def _image_format(config):
    config.records.image_format = "gif"


BAD_INPUTS = [
    (_missing_raster, r"imagery.paths .*imagery.tif': no such file. Wanted: an 8-bit"),
    (_no_crs, r"imagery.tif: has no CRS.*rio edit-info --crs"),
    (_deep_pixels, r"imagery.tif: pixels are uint16, 8-bit .*imagery.stretch="),
    (_missing_band, r"has 3 band\(s\), config.imagery.bands asks for \[7\]"),
    (_corrupt_tiff, r"imagery.tif: cannot be read .*truncated or damaged"),
    (_no_tiff, r"imagery.tif: cannot be read .*not recognized"),
    (_column_absent, r"no column 'kind'.*its columns: 'poi_id', 'name', 'category'"),
    (
        _wrong_declared_crs,
        r"pois.crs is 'EPSG:32651', but .*pois.parquet is in 'WGS 84'",
    ),
    (
        _swapped_axes,
        r"100% of the 9 POIs fall there with longitude and latitude swapped",
    ),
    (_csv_without_crs, r"swapped.csv: names no CRS, so config.pois.crs must"),
    (_csv_without_coordinates, r"no geometries.*x_column and y_column must name"),
    (_empty_pois, r"pois.parquet: holds no row"),
    (_empty_csv, r"no usable POI among its 0 rows"),
    (_damaged_pois, r"pois.parquet: cannot be read .*Wanted: GeoParquet, GeoPackage"),
    (_unknown_datum, r"pois.datum is 'gcj-02'; allowed: wgs84, gcj02, bd09"),
    (_degrees, r"city.crs 'EPSG:4326' is in units of degree.*such as 'EPSG:32651'"),
    (_web_mercator, r"'EPSG:3857' makes areas 1.3\d\d times.*such as 'EPSG:32651'"),
    (_unknown_crs, r"config.city.crs: CRS 'EPSG:1' is unknown"),
    (_bad_name, r"config.city.name is 'small city'; allowed: letters, digits"),
    (_raster_elsewhere, r"labels.people: .*people.tif does not overlap the imagery"),
    (_label_band, r"labels.people.band is 2; .*people.tif has 1 band"),
    (_label_kind, r"labels.people.kind is 'sum'; allowed: count, density, share"),
    (_label_key, r"labels.people: has .*'bands'.*allowed are 'kind', 'path'"),
    (_label_missing, r"people.tif': no such file. Wanted: a GeoTIFF .* in persons"),
    (_unknown_class, r"zones.gpkg: column 'zone' .*'car park' \(1\).*Allowed: forest"),
    (_zone_column, r"zones.gpkg: has no column 'ZONE'.*its columns: 'zone'"),
    (_negative_count, r"labels.people: .*holds the count -99.*--nodata -99"),
    (_image_format, r"records.image_format is 'gif'; allowed: png"),
]


@pytest.mark.parametrize(
    ("damage", "message"), BAD_INPUTS, ids=[row[0].__name__ for row in BAD_INPUTS]
)
def test_bad_input_is_explained_and_nothing_is_built(config, damage, message):
    damage(config)
    with pytest.raises(InputError, match=message) as raised:
        build.build(config)
    assert "\n" not in str(raised.value).strip() or "problem(s)" in str(raised.value)
    assert sorted(path.name for path in _raw(config).parent.iterdir()) == ["raw"]


def test_all_problems_are_told_at_once(config):
    for damage in (_missing_raster, _column_absent, _label_missing, _zone_column):
        damage(config)
    with pytest.raises(InputError) as raised:
        build.build(config)
    lines = str(raised.value).splitlines()
    assert "4 problem(s)" in lines[0]
    assert [line.split(".")[0].strip() for line in lines[1:]] == ["1", "2", "3", "4"]


def test_a_truncated_image_is_found_before_any_work(config):
    _corrupt_tiff(config)
    _label_missing(config)
    with pytest.raises(InputError, match=r"(?s)2 problem.*truncated.*people.tif"):
        build.build(config)


def test_a_city_without_files_is_told_what_to_bring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = shanghai.get_config()
    with pytest.raises(InputError) as raised:
        build.build(config, dry_run=True)
    message = str(raised.value)
    wanted = [*config.imagery.paths, config.pois.path, config.pois.category_column]
    wanted += [label.path for label in config.labels.values()]
    for text in wanted:
        assert text in message
    assert list(tmp_path.iterdir()) == []
