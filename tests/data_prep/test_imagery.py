import resource

import numpy as np
import pyproj
import pytest
import rasterio
import small_city
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from data_prep.imagery import paths as paths_lib
from data_prep.imagery import reader
from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.settings import ImagerySettings
from mmgr_jax.errors import InputError

WEST, NORTH, GSD = small_city.WEST_M, small_city.NORTH_M, small_city.GSD_M


def _open(*paths, gsd_m=GSD, crs=small_city.CRS, bands=(1, 2, 3)):
    files = ImagerySettings(tuple(map(str, paths)), bands)
    return Imagery(files, crs=crs, gsd_m=gsd_m)


def _bounds(column, row, size_px, imagery, gsd_m=GSD):
    """Bounds of a tile whose corner is so many pixels from the imagery's."""
    west, north = imagery.bounds_m[0], imagery.bounds_m[3]
    left, top = west + column * gsd_m, north - row * gsd_m
    return (left, top - size_px * gsd_m, left + size_px * gsd_m, top)


def _image(array):
    return np.moveaxis(array, 0, -1)


def test_a_tile_on_the_grid_is_an_exact_copy(tmp_path):
    pixels = small_city.pixels()
    path = small_city.write_raster(tmp_path / "a.tif", pixels, nodata=0)
    with _open(path) as imagery:
        tile, valid = imagery.read_tile(_bounds(40, 5, 24, imagery), 24)
    np.testing.assert_array_equal(tile, _image(pixels[:, 5:29, 40:64]))
    np.testing.assert_array_equal(valid, pixels[0, 5:29, 40:64] > 0)


def test_bands_are_taken_in_the_order_asked_for(tmp_path):
    pixels = np.stack([np.full((16, 16), value, np.uint8) for value in (1, 2, 3, 4)])
    path = small_city.write_raster(tmp_path / "a.tif", pixels, alpha="unspecified")
    with _open(path, bands=(4, 1, 2)) as imagery:
        tile, valid = imagery.read_tile(_bounds(0, 0, 16, imagery), 16)
    assert tile[3, 3].tolist() == [4, 1, 2] and valid.all()


def test_beyond_the_edge_there_is_nothing(tmp_path):
    pixels = np.full((3, 16, 16), 9, np.uint8)
    path = small_city.write_raster(tmp_path / "a.tif", pixels)
    with _open(path) as imagery:
        tile, valid = imagery.read_tile(_bounds(8, 12, 16, imagery), 16)
        assert imagery.coverage(_bounds(8, 12, 16, imagery), 16) == 8 * 4 / 256
        assert imagery.coverage(_bounds(99, 0, 16, imagery), 16) == 0
    assert valid[:4, :8].all() and valid.sum() == 32
    assert tile[:4, :8].min() == 9 and tile.sum() == 32 * 3 * 9


def test_files_side_by_side_read_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_MAX_OPEN", 1)
    pixels = small_city.pixels()
    for index in range(4):
        columns = slice(index * 16, index * 16 + 16)
        moved = from_origin(WEST + index * 32, NORTH, GSD, GSD)
        part = pixels[:, :, columns]
        path = tmp_path / f"part{index}.tif"
        small_city.write_raster(path, part, transform=moved, nodata=0)
    with _open(tmp_path / "part*.tif") as imagery:
        tile, valid = imagery.read_tile(_bounds(3, 2, 44, imagery), 44)
        assert len(imagery.paths) == 4
        assert len(imagery._readers) == 1
    np.testing.assert_array_equal(tile, _image(pixels[:, 2:46, 3:47]))
    assert valid.all()


def test_the_first_file_wins_where_it_has_pixels(tmp_path):
    first = np.full((3, 16, 16), 50, np.uint8)
    first[:, :, 8:] = 0
    second = np.full((3, 16, 16), 90, np.uint8)
    a = small_city.write_raster(tmp_path / "a.tif", first, nodata=0)
    b = small_city.write_raster(tmp_path / "b.tif", second, nodata=0)
    with _open(b, a) as imagery:
        tile, valid = imagery.read_tile(_bounds(0, 0, 16, imagery), 16)
    assert (tile[:, :8] == 50).all() and (tile[:, 8:] == 90).all() and valid.all()


def _write_masked(path, pixels, valid, kind):
    if kind == "nodata":
        small_city.write_raster(path, pixels * valid, nodata=0)
    elif kind == "alpha":
        alpha = np.where(valid, 255, 0).astype(np.uint8)[None]
        small_city.write_raster(path, np.concatenate([pixels, alpha]))
        with rasterio.open(path, "r+") as target:
            target.colorinterp = [
                ColorInterp.red,
                ColorInterp.green,
                ColorInterp.blue,
                ColorInterp.alpha,
            ]
    else:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            small_city.write_raster(path, pixels)
            with rasterio.open(path, "r+") as target:
                target.write_mask(valid)


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask"])
@pytest.mark.parametrize("shift_m", [0.0, 0.5])
def test_every_way_to_mark_missing_pixels_counts(tmp_path, kind, shift_m):
    pixels = np.full((3, 16, 32), 77, np.uint8)
    valid = np.ones((16, 32), bool)
    valid[:, 10:20] = False
    _write_masked(tmp_path / "a.tif", pixels, valid, kind)
    # A second file half a pixel off the grid has to be resampled.
    anchor = from_origin(WEST - 64 - shift_m, NORTH + shift_m, GSD, GSD)
    small_city.write_raster(tmp_path / "b.tif", pixels[:, :, :16], transform=anchor)
    with _open(tmp_path / "a.tif", tmp_path / "b.tif") as imagery:
        tile, found = imagery.read_tile(_bounds(32, 0, 32, imagery), 32)
        shares = imagery.coverage(_bounds(32, 0, 32, imagery), 32)
    middle = slice(2, 14)
    assert not found[middle, 12:18].any()
    assert found[middle, 2:9].all() and found[middle, 22:30].all()
    assert (tile[middle, 2:9] == 77).all()
    assert shares == found.mean()


def test_finer_pixels_are_averaged(tmp_path):
    rng = np.random.default_rng(1)
    fine = rng.integers(1, 256, (3, 64, 64), np.uint8)
    path = small_city.write_raster(
        tmp_path / "a.tif", fine, transform=from_origin(WEST, NORTH, 0.5, 0.5)
    )
    with _open(path) as imagery:
        tile, valid = imagery.read_tile(_bounds(0, 0, 16, imagery), 16)
    mean = fine.reshape(3, 16, 4, 16, 4).mean(axis=(2, 4))
    assert valid.all()
    assert np.abs(_image(mean) - tile).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(("gsd_m", "shift_m"), [(0.5, 0.5), (0.3, 0.0), (0.7, 1.3)])
def test_averages_weigh_pixels_by_their_overlap(tmp_path, gsd_m, shift_m):
    rng = np.random.default_rng(2)
    fine = rng.integers(0, 256, (3, 100, 100), np.uint8)
    small_city.write_raster(
        tmp_path / "a.tif", fine, transform=from_origin(WEST, NORTH, gsd_m, gsd_m)
    )
    anchor = from_origin(WEST - 100 - shift_m, NORTH + shift_m, GSD, GSD)
    small_city.write_raster(tmp_path / "b.tif", fine[:, :8, :8], transform=anchor)
    size_px = int(100 * gsd_m / GSD) - 1
    with _open(tmp_path / "a.tif", tmp_path / "b.tif") as imagery:
        column = round(np.ceil((WEST - imagery.bounds_m[0]) / GSD))
        row = round(np.ceil((imagery.bounds_m[3] - NORTH) / GSD))
        bounds = _bounds(column, row, size_px, imagery)
        tile, valid = imagery.read_tile(bounds, size_px)
        # One pixel further it begins outside the file, and is read another way.
        wider, there = imagery.read_tile(
            _bounds(column - 2, row - 2, size_px + 2, imagery), size_px + 2
        )
    left_px = (bounds[0] - WEST) / gsd_m
    top_px = (NORTH - bounds[3]) / gsd_m
    across = _overlaps(left_px, GSD / gsd_m, size_px, 100)
    down = _overlaps(top_px, GSD / gsd_m, size_px, 100)
    expected = np.einsum("ri,kij,cj->rck", down, fine.astype(float), across)
    assert valid.all() and there[2:, 2:].all()
    assert np.abs(tile - expected).max() <= 1.0
    assert np.abs(wider[2:, 2:] - expected).max() <= 1.0


def _overlaps(first_px, step_px, count, length):
    """Share of each of `count` long pixels that each of `length` short ones fills."""
    low = first_px + step_px * np.arange(count)[:, None]
    edge = np.arange(length)[None, :]
    overlap = np.minimum(low + step_px, edge + 1) - np.maximum(low, edge)
    return np.maximum(overlap, 0) / step_px


def test_half_a_pixel_off_is_interpolated(tmp_path):
    x = WEST + 1 + 2 * np.arange(40)
    values = np.tile(np.round(10 + 4 * np.arange(40)).astype(np.uint8), (3, 40, 1))
    path = small_city.write_raster(tmp_path / "a.tif", values)
    other = np.full((3, 8, 8), 1, np.uint8)
    anchor = from_origin(WEST - 101, NORTH, GSD, GSD)  # puts the grid 1 m off
    small_city.write_raster(tmp_path / "b.tif", other, transform=anchor)
    with _open(path, tmp_path / "b.tif") as imagery:
        bounds = _bounds(60, 8, 16, imagery)
        tile, valid = imagery.read_tile(bounds, 16)
    centres = bounds[0] + 1 + 2 * np.arange(16)
    expected = np.interp(centres, x, values[0, 0])
    assert valid.all()
    assert np.abs(tile[:, :, 0] - expected).max() <= 0.51


def test_another_crs_is_warped_to_the_right_place(tmp_path):
    # UTM 50 imagery on a UTM 51 grid, as at the border of two zones.
    size, gsd_m = 160, 2.0
    west, north = 789_000.0, 3_460_000.0
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    red, green = 20 + columns * 1.3, 20 + rows * 1.3
    pixels = np.round(np.stack([red, green, red])).astype(np.uint8)
    path = small_city.write_raster(
        tmp_path / "a.tif",
        pixels,
        crs="EPSG:32650",
        transform=from_origin(west, north, gsd_m, gsd_m),
    )
    with _open(path) as imagery:
        middle = round((imagery.bounds_m[2] - imagery.bounds_m[0]) / gsd_m / 2) - 24
        bounds = _bounds(middle, middle, 48, imagery)
        tile, valid = imagery.read_tile(bounds, 48)
        corner = imagery.coverage(_bounds(0, 0, 8, imagery), 8)
    x, y = np.meshgrid(
        bounds[0] + gsd_m * (np.arange(48) + 0.5),
        bounds[3] - gsd_m * (np.arange(48) + 0.5),
    )
    back = pyproj.Transformer.from_crs("EPSG:32651", "EPSG:32650", always_xy=True)
    x_source, y_source = back.transform(x, y)
    expected_red = 20 + ((x_source - west) / gsd_m - 0.5) * 1.3
    expected_green = 20 + ((north - y_source) / gsd_m - 0.5) * 1.3
    assert valid.all()
    assert np.abs(tile[:, :, 0] - expected_red).max() < 1.2
    assert np.abs(tile[:, :, 1] - expected_green).max() < 1.2
    assert corner < 1  # the turned image leaves the corner of its box empty


def test_memory_does_not_grow_with_the_raster(tmp_path):
    side = 16_384  # 800 MB of pixels, none of them stored
    path = tmp_path / "huge.tif"
    profile = dict(
        driver="GTiff", crs=small_city.CRS, transform=from_origin(WEST, NORTH, 1, 1),
        count=3, height=side, width=side, dtype="uint8", tiled=True, sparse_ok=True,
    )  # fmt: skip
    with rasterio.open(path, "w", **profile):
        pass
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with _open(path, gsd_m=1.0) as imagery:
        for start in range(0, side - 224, 2000):
            tile, valid = imagery.read_tile(
                _bounds(start, start, 224, imagery, gsd_m=1.0), 224
            )
            assert tile.shape == (224, 224, 3) and valid.all()
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert grown_kib < 200 * 1024


def test_a_file_that_breaks_while_reading_is_named(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 512, 512), np.uint8)
    path = small_city.write_raster(tmp_path / "cut.tif", pixels, compress="deflate")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with (
        pytest.raises(
            InputError,
            match=r"cut.tif: cannot be read at columns 0 to 512, rows 0 .*truncated",
        ),
        _open(path) as imagery,
    ):
        imagery.read_tile(_bounds(0, 0, 512, imagery), 512)


def test_a_name_with_brackets_is_no_pattern(tmp_path):
    path = small_city.write_raster(tmp_path / "a[1].tif", small_city.pixels())
    assert paths_lib.expand([str(path)]) == [path]
    assert paths_lib.expand([str(tmp_path / "*.tif"), str(path)]) == [path]
