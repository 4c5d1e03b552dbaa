from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import small_city
import small_regions
from rasterio.transform import from_origin
from small_regions import cut

from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.settings import ImagerySettings
from data_prep.pois import assign
from data_prep.pois.table import PoiTable
from data_prep.regions import cutting, tiles
from mmgr_jax.errors import InputError

REAL = Path(__file__).parents[3] / "shared" / "data" / "santa_monica"


def _chip(folder, name, right, down, height_px=16, width_px=16, gsd_m=2.0):
    """A file some tiles east and south of the corner."""
    west, north = small_city.place_m(right, down)
    grid = from_origin(west, north, gsd_m, gsd_m)
    image = small_regions.noise(height_px, width_px)
    folder.mkdir(exist_ok=True)
    return small_city.write_raster(folder / f"{name}.tif", image, transform=grid)


def test_each_file_is_a_region_named_by_its_stem(tmp_path):
    paths = [
        _chip(tmp_path, name, right, down)
        for name, right, down in [("c_2", 0, 0), ("a_1", 7, 3), ("b.5", 2.5, 1.125)]
    ]
    with small_regions.open_imagery(*paths) as imagery:
        regions = cut(imagery, kind="chips")
        shown = [tiles.read(imagery, regions, index) for index in range(3)]
    assert regions.ids == ["a_1", "b.5", "c_2"]
    west, south = small_city.place_m(2.5, 2.125)
    east, north = small_city.place_m(3.5, 1.125)
    assert regions.bounds_m[1].tolist() == [west, south, east, north]
    pixels = np.moveaxis(small_regions.noise(16, 16), 0, -1)
    for tile in shown:
        np.testing.assert_array_equal(tile, pixels)
    assert regions.overlap_groups().tolist() == [0, 1, 2]


def test_finer_chips_are_averaged(tmp_path):
    path = _chip(tmp_path, "fine", 0, 0, 32, 32, gsd_m=1.0)
    with small_regions.open_imagery(path) as imagery:
        regions = cut(imagery, kind="chips")
        tile = tiles.read(imagery, regions, 0)
    fine = np.moveaxis(small_regions.noise(32, 32), 0, -1).astype(float)
    means = fine.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(tile, means, atol=0.51)


def test_overlapping_chips_have_a_common_group(tmp_path):
    paths = [_chip(tmp_path, f"c{k}", x, 0) for k, x in enumerate([0, 3, 0.5])]
    with small_regions.open_imagery(*paths) as imagery:
        assert cut(imagery, kind="chips").overlap_groups().tolist() == [0, 1, 0]


def test_chips_of_another_size_are_named_with_what_fits(tmp_path):
    paths = [
        _chip(tmp_path, "fine", 0, 0),
        _chip(tmp_path, "wide", 3, 0, 16, 20),
        _chip(tmp_path, "also_fine", 6, 0),
    ]
    with small_regions.open_imagery(*paths) as imagery:
        with pytest.raises(InputError, match=r"1 of 3 are not: .*wide.tif \(40.0 by"):
            cut(imagery, kind="chips")
    with small_regions.open_imagery(paths[0], paths[2], gsd_m=1.0) as imagery:
        with pytest.raises(InputError, match="tile_size_px 16 that is gsd_m 2"):
            cut(imagery, kind="chips", gsd_m=1.0)


def test_files_of_one_name_are_refused(tmp_path):
    paths = [_chip(tmp_path / "a", "x", 0, 0), _chip(tmp_path / "b", "x", 2, 0)]
    with small_regions.open_imagery(*paths) as imagery:
        with pytest.raises(InputError, match=r"must be unique: .*a/x.tif = .*b/x.tif"):
            cut(imagery, kind="chips")


@pytest.mark.skipif(not REAL.exists(), reason="the real sample lies beside a checkout")
def test_real_chips_take_the_pois_around_them():
    crs, buffer_m = "EPSG:26911", 150.0
    pattern = str(REAL / "chips" / "*.tif")
    section = small_regions.settings(
        kind="chips", tile_size_px=256, gsd_m=0.6, poi_buffer_m=buffer_m
    )
    with Imagery(ImagerySettings((pattern,)), crs=crs, gsd_m=0.6) as imagery:
        assert {file.resampling for file in imagery.files} == {None}
        regions = cutting.cut(imagery, crs, section)
    assert len(regions) == 92
    assert "santa_monica_2020_0" in regions.ids
    points = gpd.read_file(REAL / "pois.geojson").to_crs(crs).geometry
    x_m, y_m = points.x.to_numpy(), points.y.to_numpy()
    table = PoiTable(x_m, y_m, np.zeros(len(x_m), np.int32), ("any",), ("any",), {})
    found = assign.assign(table, regions)
    for region, (west, south, east, north) in enumerate(regions.bounds_m):
        beside_m = np.maximum(np.maximum(west - x_m, x_m - east), 0)
        above_m = np.maximum(np.maximum(south - y_m, y_m - north), 0)
        near = np.hypot(beside_m, above_m) <= buffer_m
        assert found.of(region).tolist() == np.flatnonzero(near).tolist()
    assert len(found.poi) > 300
