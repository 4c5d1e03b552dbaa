"""Kinds of files as they come, each with a truth to hold it against."""

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.shutil
import small_city
from affine import Affine
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from small_imagery import (
    CRS,
    GSD,
    NORTH,
    WEST,
    as_image,
    open_files,
    tile_at,
    write_vrt,
)

from mmgr_jax.errors import InputError


def _ramp(size):
    """Red grows to the east, green to the south, by two levels a pixel."""
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    return np.stack([20 + 2 * columns, 20 + 2 * rows, 20 + 2 * columns]).astype(
        np.uint8
    )


def _expected(x_m, y_m, to_pixel):
    """Red and green of `_ramp` at places, by bilinear reading of a straight ramp."""
    column, row = to_pixel(x_m, y_m)
    return 20 + 2 * (column - 0.5), 20 + 2 * (row - 0.5)


def _check_ramp(imagery, to_pixel, *, size_px=16, gsd_m=GSD, tolerance=1.1):
    middle = [
        round((high - low) / gsd_m / 2) - size_px // 2
        for low, high in zip(imagery.bounds_m[:2], imagery.bounds_m[2:], strict=True)
    ]
    tile, valid = tile_at(imagery, *middle, size_px, gsd_m)
    steps = gsd_m * (np.arange(size_px) + 0.5)
    x, y = np.meshgrid(
        imagery.bounds_m[0] + middle[0] * gsd_m + steps,
        imagery.bounds_m[3] - middle[1] * gsd_m - steps,
    )
    red, green = _expected(x, y, to_pixel)
    assert valid.all()
    assert np.abs(tile[:, :, 0] - red).max() < tolerance
    assert np.abs(tile[:, :, 1] - green).max() < tolerance


def test_degrees_are_longitude_and_latitude(tmp_path):
    to_deg = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    lon, lat = to_deg.transform(WEST, NORTH)
    grid = from_origin(lon, lat, 2.1e-5, 1.8e-5)  # some 2 m
    path = tmp_path / "a.tif"
    small_city.write_raster(path, _ramp(100), crs="EPSG:4326", transform=grid)
    with open_files(path) as imagery:
        assert imagery.bounds_m[0] == pytest.approx(WEST, abs=1)
        assert imagery.report["resampling"] == {"bilinear": 1}
        _check_ramp(imagery, lambda x, y: ~grid @ to_deg.transform(x, y))


def test_a_rotated_file_is_turned_upright(tmp_path):
    grid = Affine.translation(WEST, NORTH) @ Affine.rotation(30) @ Affine.scale(2, -2)
    path = small_city.write_raster(tmp_path / "a.tif", _ramp(100), transform=grid)
    with open_files(path) as imagery:
        _check_ramp(imagery, lambda x, y: ~grid @ (x, y))
        _, valid = tile_at(imagery, 0, 0, 8)
        assert not valid.any()  # the corner of the box round it


def test_a_file_from_south_to_north_is_turned(tmp_path):
    grid = Affine(2, 0, WEST, 0, 2, NORTH)
    path = small_city.write_raster(tmp_path / "a.tif", _ramp(100), transform=grid)
    with open_files(path) as imagery:
        _check_ramp(imagery, lambda x, y: ~grid @ (x, y))


def test_files_with_the_grid_are_copied_whatever_begins_it(tmp_path):
    pixels = small_city.pixels()
    small_city.write_raster(tmp_path / "b.tif", pixels)
    odd = from_origin(WEST - 33.3, NORTH + 40.7, 3.0, 3.0)
    small_city.write_raster(tmp_path / "a.tif", _ramp(8), transform=odd)
    with open_files(tmp_path / "*.tif") as imagery:
        assert imagery.report["resampling"] == {"bilinear": 1, "copied": 1}
        west, south, east, north = imagery.bounds_m
        assert WEST - 35.3 < west <= WEST - 33.3 and (WEST - west) % GSD == 0
        assert NORTH + 40.7 <= north < NORTH + 42.7 and (north - NORTH) % GSD == 0
        column, row = round((WEST - west) / GSD), round((north - NORTH) / GSD)
        tile, valid = tile_at(imagery, column + 8, row + 8, 24)
    np.testing.assert_array_equal(tile, as_image(pixels[:, 8:32, 8:32]))
    assert valid.all()


def test_a_declared_nodata_counts_where_the_file_is_silent(tmp_path):
    pixels = np.full((3, 16, 32), 77, np.uint8)
    pixels[:, :, 10:20] = 255
    pixels[0, :, 25] = 255  # a red roof is no hole
    marked = np.full((3, 16, 32), 255, np.uint8)
    small_city.write_raster(tmp_path / "a.tif", pixels)
    small_city.write_raster(
        tmp_path / "b.tif",
        marked,
        nodata=0,
        transform=from_origin(WEST + 64, NORTH, 2, 2),
    )
    off = from_origin(WEST + 1, NORTH - 31, GSD, GSD)
    small_city.write_raster(tmp_path / "c.tif", pixels, transform=off)
    with open_files(tmp_path / "?.tif", nodata=255.0) as imagery:
        tile, valid = tile_at(imagery, 0, 0, 16)
        assert valid[:, :10].all() and not valid[:, 10:].any()
        assert not tile[:, 10:].any()
        assert tile_at(imagery, 20, 0, 12)[1].all()
        assert tile_at(imagery, 32, 0, 16)[1].all()  # this file says 0, not 255
        _, valid = tile_at(imagery, 0, 18, 12)
        assert valid[:, 1:10].all() and not valid[:, 11:].any()
        bounds = (WEST, NORTH - 32, WEST + 32, NORTH)
        assert imagery.coverage(bounds, 16) == 10 / 16


@pytest.mark.parametrize("shift_m", [0.0, 1.0])
def test_nan_is_missing(tmp_path, shift_m):
    pixels = np.full((3, 32, 32), 0.5, np.float32)
    pixels[:, :, :8] = np.nan
    small_city.write_raster(tmp_path / "a.tif", pixels)
    anchor = from_origin(WEST - 32 - shift_m, NORTH + shift_m, GSD, GSD)
    small_city.write_raster(tmp_path / "b.tif", pixels[:, :8, :8], transform=anchor)
    with open_files(tmp_path / "?.tif", stretch=("linear", 0, 1)) as imagery:
        tile, valid = tile_at(imagery, 16, 1, 24)
    found = valid[2:-2].all(axis=0)
    assert not found[:8].any() and found[9:].all()
    assert (tile[4:-4, 10:] == 128).all()  # 127.5 is rounded up


def test_a_mosaic_with_relative_paths_reads_as_its_parts(tmp_path, monkeypatch):
    (tmp_path / "parts").mkdir()
    pixels = small_city.pixels()
    small_city.write_raster(tmp_path / "parts" / "a.tif", pixels[:, :, :20])
    small_city.write_raster(
        tmp_path / "parts" / "b.tif", pixels[:, :, 20:],
        transform=from_origin(WEST + 40, NORTH, GSD, GSD),
    )  # fmt: skip
    height, width = pixels.shape[1:]
    write_vrt(
        tmp_path / "city.vrt", (width, height), GSD,
        [("parts/a.tif", 0, 0, 20, height), ("parts/b.tif", 20, 0, width - 20, height)],
    )  # fmt: skip
    monkeypatch.chdir("/")
    with open_files(tmp_path / "city.vrt") as imagery:
        tile, valid = tile_at(imagery, 10, 4, 32)
        assert imagery.report["resampling"] == {"copied": 1}
    np.testing.assert_array_equal(tile, as_image(pixels[:, 4:36, 10:42]))
    assert valid.all()
    (tmp_path / "parts" / "b.tif").unlink()
    with pytest.raises(InputError, match=r"city.vrt: names .*b.tif, which is not"):
        open_files(tmp_path / "city.vrt")


def test_overviews_are_read_when_they_are_fine_enough(tmp_path):
    rng = np.random.default_rng(3)
    fine = rng.integers(0, 256, (3, 256, 256), np.uint8)
    quarter = from_origin(WEST, NORTH, 0.25, 0.25)
    plain = small_city.write_raster(tmp_path / "plain.tif", fine, transform=quarter)
    cog = tmp_path / "cog.tif"
    with rasterio.open(plain) as source:
        rasterio.shutil.copy(
            source, cog, driver="COG", blocksize=64, overview_resampling="average",
            compress="deflate",
        )  # fmt: skip
    mean = as_image(fine.reshape(3, 64, 4, 64, 4).mean(axis=(2, 4)))
    with open_files(cog, gsd_m=1.0) as imagery:
        tile, valid = tile_at(imagery, 0, 0, 64, 1.0)
        assert imagery.report["from overviews"] == 1
        assert imagery.files[0].overview == 0  # of 0.5 m; that of 1 m is too coarse
    assert valid.all() and np.abs(tile - mean).max() <= 1.01
    # An overview that shows something else proves which pixels were read.
    with rasterio.open(plain, "r+") as target:
        target.build_overviews([2, 4], Resampling.average)
    with rasterio.open(plain, "r+", OVERVIEW_LEVEL=0) as target:
        target.write(np.full((3, 128, 128), 200, np.uint8))
    with open_files(plain, gsd_m=1.0) as imagery:
        assert (tile_at(imagery, 8, 8, 32, 1.0)[0] == 200).all()
    with open_files(plain, gsd_m=0.4) as imagery:  # finer than two of its pixels
        assert imagery.report["from overviews"] == 0
        assert np.ptp(tile_at(imagery, 8, 8, 32, 0.4)[0]) > 100


def test_colours_in_jpeg_come_out_as_colours(tmp_path):
    flat = np.zeros((3, 64, 64), np.uint8)
    flat[0], flat[1], flat[2] = 200, 90, 30
    path = small_city.write_raster(
        tmp_path / "a.tif", flat, compress="jpeg", photometric="ycbcr", tiled=True,
        blockxsize=32, blockysize=32,
    )  # fmt: skip
    with open_files(path) as imagery:
        tile, valid = tile_at(imagery, 8, 8, 40)
    assert valid.all()
    assert np.abs(tile.astype(int) - np.array([200, 90, 30])).max() <= 3


def test_grey_serves_when_it_is_asked_for(tmp_path):
    pixels = small_city.pixels()[:1]
    path = small_city.write_raster(tmp_path / "a.tif", pixels)
    with open_files(path, bands=(1, 1, 1)) as imagery:
        tile, _ = tile_at(imagery, 0, 0, 24)
    for band in range(3):
        np.testing.assert_array_equal(tile[:, :, band], pixels[0, :24, :24])
    with pytest.raises(InputError, match=r"1 band.*asks for \[2, 3\]; .* For a grey"):
        open_files(path)


def test_a_file_without_any_imagery_covers_nothing(tmp_path):
    small_city.write_raster(
        tmp_path / "a.tif", np.zeros((3, 16, 16), np.uint8), nodata=0
    )
    small_city.write_raster(
        tmp_path / "b.tif", small_city.pixels()[:, :16, :16] | 1,
        transform=from_origin(WEST + 32, NORTH, GSD, GSD),
    )  # fmt: skip
    with open_files(tmp_path / "?.tif") as imagery:
        bounds = (WEST, NORTH - 32, WEST + 32, NORTH)
        assert imagery.coverage(bounds, 16) == 0
        assert tile_at(imagery, 16, 0, 16)[1].all()
