import geopandas as gpd
import numpy as np
import pytest
import shapely
import small_city
import small_regions
from small_city import place_m
from small_regions import cut

from data_prep.regions import tiles
from mmgr_jax.errors import InputError


@pytest.fixture
def imagery(tmp_path):
    path = tmp_path / "city.tif"
    small_city.write_raster(path, small_regions.noise(48, 64))
    with small_regions.open_imagery(path) as imagery:
        yield imagery


def _box(west, north, east, south):
    """A rectangle by tiles from the north-west corner."""
    return shapely.box(*place_m(west, south), *place_m(east, north))


def _write(folder, outlines, crs=small_city.CRS, **columns):
    path = folder / "zones.gpkg"
    table = gpd.GeoDataFrame(columns, geometry=outlines, crs=small_city.CRS)
    table.to_crs(crs).to_file(path)
    return str(path)


def _polygons(path, id_column=None, fit="refuse"):
    return dict(path=path, layer=None, id_column=id_column, fit=fit)


def _cut(imagery, path, id_column=None, fit="refuse", **changes):
    section = _polygons(path, id_column, fit)
    return cut(imagery, kind="polygons", polygons=section, **changes)


def test_a_tile_lies_in_the_middle_of_a_polygon(imagery, tmp_path):
    triangle = shapely.Polygon([place_m(1, 1), place_m(1.75, 1), place_m(1, 1.5)])
    path = _write(tmp_path, [triangle, _box(0, 0, 1, 1)], zone=["b", "a"])
    regions = _cut(imagery, path, "zone")
    assert regions.ids == ["b", "a"]
    # The box of the triangle is 24 by 16 m, its middle 12 and 8 m off its corner.
    middle = np.array(place_m(1, 1)) + [12, -8]
    assert regions.centre_m[0].tolist() == middle.tolist()
    assert regions.bounds_m[0].tolist() == [
        *(middle - small_city.TILE_M / 2),
        *(middle + small_city.TILE_M / 2),
    ]
    assert regions.area_m2.tolist() == [24 * 16 / 2, 32 * 32]
    assert regions.dropped["without imagery"] == 0


def test_ids_are_hashes_of_the_outline_where_no_column_is_named(imagery, tmp_path):
    shapes = [_box(0, 0, 1, 1), _box(1, 1, 2, 2), _box(0, 0, 1, 1)]
    first = _cut(imagery, _write(tmp_path, shapes))
    assert len(set(first.ids)) == 2 and all(len(name) == 16 for name in first.ids)
    assert first.dropped["repeated"] == 1
    # The order of rows and of corners does not matter.
    turned = [shapely.reverse(shapes[1]), shapes[0]]
    again = _cut(imagery, _write(tmp_path, turned))
    assert again.ids == first.ids[::-1]


def test_whole_numbers_stay_whole_as_ids(imagery, tmp_path):
    shapes = [_box(0, 0, 1, 1), _box(1, 0, 2, 1), None]
    path = _write(tmp_path, shapes, zone=[7.0, 12.0, np.nan])
    regions = _cut(imagery, path, "zone")
    assert regions.ids == ["7", "12"]
    assert regions.dropped["without geometry"] == 1


def test_outlines_that_cross_themselves_are_repaired(imagery, tmp_path):
    bow = shapely.Polygon([place_m(0, 0), place_m(1, 1), place_m(1, 0), place_m(0, 1)])
    far = shapely.transform(bow, lambda corners: corners + 5000)
    path = _write(tmp_path, [bow, _box(1, 1, 2, 2), far])
    regions = _cut(imagery, path)
    assert regions.noted == {"outline repaired": 1}
    # Two triangles that meet in the middle make half of the square.
    assert regions.area_m2[0] == pytest.approx(32 * 32 / 2)
    assert regions.geometry[0].is_valid


def test_a_line_that_pretends_to_be_a_polygon_has_no_area(imagery, tmp_path):
    flat = shapely.Polygon([place_m(0, 0), place_m(1, 1), place_m(0, 0)])
    regions = _cut(imagery, _write(tmp_path, [flat, _box(0, 0, 1, 1)]))
    assert len(regions) == 1 and regions.dropped["without area"] == 1


def test_polygons_far_from_the_imagery_are_counted(imagery, tmp_path):
    shapes = [_box(0, 0, 1, 1), _box(50, 50, 90, 90), _box(3.5, 0, 4.5, 1)]
    regions = _cut(imagery, _write(tmp_path, shapes))
    assert regions.dropped == {
        "without imagery": 1,
        "partly covered": 1,
        "blank": 0,
    }
    half = _cut(imagery, _write(tmp_path, shapes), min_coverage=0.5)
    assert half.coverage.tolist() == [1.0, 0.5]


def test_no_polygon_near_the_imagery_is_explained(imagery, tmp_path):
    path = _write(tmp_path, [_box(50, 50, 51, 51)])
    with pytest.raises(InputError, match=r"none of its 1 polygons meets the imagery"):
        _cut(imagery, path)


def test_another_crs_is_brought_over(imagery, tmp_path):
    path = _write(tmp_path, [_box(0, 0, 1, 1)], crs="EPSG:4326")
    regions = _cut(imagery, path)
    assert regions.area_m2[0] == pytest.approx(32 * 32, abs=1e-3)


def test_a_large_polygon_is_refused_with_what_fits(imagery, tmp_path):
    path = _write(tmp_path, [_box(0, 0, 3, 2), _box(0, 0, 1, 1)], zone=["big", "small"])
    with pytest.raises(InputError, match=r"1 of 2 polygons.*'big' \(96 m\)") as caught:
        _cut(imagery, path, "zone")
    assert "tile_size_px of at least 48, or gsd_m of at least 6" in str(caught.value)
    assert len(_cut(imagery, path, "zone", tile_size_px=48)) == 2


def test_a_scaled_tile_is_the_mean_of_its_pixels(imagery, tmp_path):
    path = _write(
        tmp_path, [_box(0, 0, 3, 2.5), _box(0, 0, 1, 1)], zone=["big", "small"]
    )
    regions = _cut(imagery, path, "zone", fit="scale")
    assert regions.noted == {"tile scaled to fit": 1}
    assert regions.gsd_m.tolist() == [6.0, 2.0]
    west, south, east, north = regions.bounds_m[0]
    # 96 m wide in the middle of 96 by 80 m, so 8 m go beyond the north and the south.
    assert (east - west, north - south) == (96.0, 96.0)
    assert north == small_city.NORTH_M + 8
    found = tiles.read(imagery, regions, 0)
    image = np.moveaxis(small_regions.noise(48, 64), 0, -1).astype(float)
    for row, column in [(2, 0), (5, 7), (15, 15)]:
        rows = slice(3 * row - 4, 3 * row - 1)
        patch = image[rows, 3 * column : 3 * column + 3]
        expected = patch.mean(axis=(0, 1))
        np.testing.assert_allclose(found[row, column], expected, atol=0.51)
    # The first row holds none, the second two rows of pixels of three.
    assert found[0].max() == 0
    np.testing.assert_allclose(found[1, 0], image[:2, :3].mean(axis=(0, 1)), atol=0.51)
    usual = tiles.read(imagery, regions, 1)
    np.testing.assert_array_equal(usual, image[:16, :16])


def test_a_tile_can_be_black_outside_its_region(imagery, tmp_path):
    left_half = _box(0, 0, 0.5, 1)
    path = _write(tmp_path, [shapely.union_all([left_half, _box(0, 0, 1, 0.25)])])
    plain = _cut(imagery, path)
    masked = _cut(imagery, path, mask_outside=True)
    tile = tiles.read(imagery, plain, 0)
    expected = tile.copy()
    expected[4:, 8:] = 0
    assert tile[4:, 8:].any()
    np.testing.assert_array_equal(tiles.read(imagery, masked, 0), expected)


def test_overlapping_polygons_have_a_common_group(imagery, tmp_path):
    shapes = [
        _box(0, 0, 1, 1),
        _box(2, 2, 3, 3),
        _box(0.5, 0, 1.5, 1),  # half over the first
        _box(1.4, 0, 2.4, 1),  # a tenth over the third
        _box(3, 2, 4, 3),  # touches the second
        _box(2.995, 1.005, 3.995, 2.005),  # a sliver over the fourth and the fifth
    ]
    regions = _cut(imagery, _write(tmp_path, shapes))
    assert regions.overlap_groups().tolist() == [0, 1, 0, 0, 2, 3]
