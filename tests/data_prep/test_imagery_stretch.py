"""More than 8 bits become 8, as stated; tiles of one colour are found."""

import json
import re

import numpy as np
import pytest
import small_city
from rasterio.transform import from_origin
from small_imagery import open_files, problems

from data_prep.imagery import headers
from data_prep.imagery import stretch as stretch_lib
from data_prep.imagery.blank import blank_share
from data_prep.imagery.settings import ImagerySettings
from data_prep.imagery.stretch import Stretch
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

CRS, WEST, NORTH, GSD = (
    small_city.CRS, small_city.WEST_M, small_city.NORTH_M, small_city.GSD_M,
)  # fmt: skip
BANDS = (1, 2, 3)


def _open(*paths, bands=BANDS, **settings):
    return open_files(*paths, bands=bands, **settings)


def _whole(imagery, size_px):
    west, north = imagery.bounds_m[0], imagery.bounds_m[3]
    side_m = size_px * GSD
    return imagery.read_tile((west, north - side_m, west + side_m, north), size_px)


def _deep(low=200, high=4000, size=64, dtype=np.uint16):
    rng = np.random.default_rng(0)
    return rng.integers(low, high, (3, size, size)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, np.uint8])
def test_a_linear_stretch_is_the_formula(tmp_path, dtype):
    low, high = (40, 200) if dtype == np.uint8 else (500, 3000)
    pixels = _deep(high=250 if dtype == np.uint8 else 4000, low=1, dtype=dtype)
    path = small_city.write_raster(tmp_path / "a.tif", pixels)
    with _open(path, stretch=("linear", low, high)) as imagery:
        tile, valid = _whole(imagery, 64)
    exact = 255 * (pixels.astype(float) - low) / (high - low)
    expected = np.floor(exact + 0.5).clip(0, 255)
    assert valid.all() and tile.dtype == np.uint8
    off = np.abs(np.moveaxis(tile, -1, 0) - expected)
    assert off.max() <= 1 and (off > 0).mean() < 1e-3  # float32 at the halves
    assert tile.min() == 0 and tile.max() == 255


def test_each_band_has_its_own_ends(tmp_path):
    pixels = np.stack(
        [np.full((16, 16), value, np.uint16) for value in (300, 300, 300)]
    )
    path = small_city.write_raster(tmp_path / "a.tif", pixels)
    with _open(path, stretch=("linear", (0, 200, 300), (300, 400, 600))) as imagery:
        assert _whole(imagery, 16)[0][0, 0].tolist() == [255, 128, 0]


def test_deep_pixels_are_resampled_before_they_are_cut_off(tmp_path):
    pixels = np.zeros((3, 32, 32), np.uint16)
    pixels[:, :, ::2] = 4000  # twice the high end; their mean is white, not grey
    path = small_city.write_raster(
        tmp_path / "a.tif", pixels, transform=from_origin(WEST, NORTH, 1, 1)
    )
    with _open(path, stretch=("linear", 0, 2000)) as imagery:
        tile, valid = _whole(imagery, 16)
    assert valid.all() and (tile == 255).all()


@pytest.mark.parametrize("shift_m", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_nodata_of_deep_pixels_is_missing_and_bleeds_nowhere(tmp_path, dtype, shift_m):
    pixels = np.full((3, 32, 32), 1000, dtype)
    pixels[:, :, :8] = -9999 if dtype == np.int16 else 65535
    nodata = int(pixels[0, 0, 0])
    small_city.write_raster(tmp_path / "a.tif", pixels, nodata=nodata)
    anchor = from_origin(WEST - 16 - shift_m, NORTH + shift_m, GSD, GSD)
    small_city.write_raster(
        tmp_path / "b.tif", pixels[:, :8, :8], transform=anchor, nodata=nodata
    )
    with _open(tmp_path / "?.tif", stretch=("linear", 0, 2000)) as imagery:
        tile, valid = _whole(imagery, 32)
    columns = valid[2:].all(axis=0)
    assert not columns[:16].any() and columns[17:].all()
    assert set(np.unique(tile[valid])) == {128}


def test_percentiles_are_those_of_all_pixels_nearly(tmp_path):
    rng = np.random.default_rng(1)
    levels = np.array([400, 900, 1500])[:, None, None]
    pixels = rng.gamma(4, levels / 4, (3, 1200, 900)).astype(np.uint16) + 1
    pixels[:, :300, :300] = 0
    path = small_city.write_raster(tmp_path / "a.tif", pixels, nodata=0, tiled=True)
    with _open(path, stretch=("percentile", 2, 98)) as imagery:
        found = imagery.stretch
        assert imagery.report["stretch"] == {"low": found.low, "high": found.high}
        json.dumps(imagery.report)
        tile, _ = _whole(imagery, 320)
    there = pixels[:, (pixels > 0).any(axis=0)]
    expected = np.percentile(there, (2, 98), axis=1)
    np.testing.assert_allclose([found.low, found.high], expected, rtol=0.03)
    with _open(path, stretch=("percentile", 2, 98)) as again:
        assert again.stretch == found
    as_numbers = ("linear", found.low, found.high)
    with _open(path, stretch=as_numbers) as again:
        np.testing.assert_array_equal(_whole(again, 320)[0], tile)


def test_a_sample_spans_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(stretch_lib, "_SAMPLE_WINDOWS", 4)
    for index in range(7):
        pixels = np.full((3, 8, 8), 100 * index, np.uint16)
        small_city.write_raster(tmp_path / f"{index}.tif", pixels)
    read = [headers.read(path) for path in sorted(tmp_path.glob("*.tif"))]
    sample = stretch_lib.sample(read, BANDS, None)
    assert sample.shape == (3, 4 * 64)
    assert set(sample[0]) == {0, 200, 400, 600}
    assert set(stretch_lib.sample(read, BANDS, 0.0)[0]) == {200, 400, 600}


def test_deep_pixels_without_a_stretch_are_refused_with_one(tmp_path):
    small_city.write_raster(tmp_path / "a.tif", _deep())
    small_city.write_raster(tmp_path / "b.tif", _deep())
    with pytest.raises(
        InputError, match=r"a.tif: pixels are uint16.*\(and of 1 more"
    ) as raised:
        _open(tmp_path / "?.tif")
    (told,) = problems(tmp_path / "?.tif")
    assert told == str(raised.value) and "A sample holds 200 to 3999." in told
    line = re.search(r'stretch=(\("linear".*?\)\)), which', told)
    proposed = eval(line.group(1))  # a line of a config, as one would paste it
    np.testing.assert_allclose(proposed[1], 276, atol=30)
    np.testing.assert_allclose(proposed[2], 3924, atol=30)
    assert problems(tmp_path / "?.tif", stretch=proposed) == []
    with _open(tmp_path / "?.tif", stretch=proposed) as imagery:
        assert _whole(imagery, 64)[0].max() == 255


def test_pixels_of_several_types_are_refused(tmp_path):
    small_city.write_raster(tmp_path / "a.tif", _deep())
    small_city.write_raster(tmp_path / "b.tif", small_city.pixels())
    with pytest.raises(InputError, match="uint16 in .*a.tif, uint8 in .*b.tif"):
        _open(tmp_path / "?.tif", stretch=("percentile", 2, 98))


def test_a_sample_of_one_number_is_refused(tmp_path):
    flat = np.full((3, 16, 16), 7, np.uint16)
    path = small_city.write_raster(tmp_path / "a.tif", flat, nodata=7)
    with pytest.raises(InputError, match="a.tif, holds no pixel. Check the files"):
        _open(path, stretch=("percentile", 2, 98))
    path = small_city.write_raster(tmp_path / "b.tif", flat)
    with pytest.raises(InputError, match=r"nothing between \[7.* Give numbers"):
        _open(path, stretch=("percentile", 2, 98))


@pytest.mark.parametrize(
    "setting",
    [
        ("linear", 0), ("linear", 5, 5), ("linear", (0, 0), (1, 1)),
        ("percentile", 2, 101),
        ("percentile", 98, 2), ("sigma", 1, 2), ("linear",), ("linear", "0", "9"),
        ("linear", 0, float("inf")), ("linear", (0, 9, 0), (1, 1, 1)),
    ],
)  # fmt: skip
def test_a_senseless_stretch_is_explained(tmp_path, setting):
    path = small_city.write_raster(tmp_path / "a.tif", _deep())
    found = problems(path, stretch=setting)
    assert len(found) == 1 and "config.imagery.stretch is" in found[0]
    assert '("linear", LOW, HIGH)' in found[0]


def test_a_stretch_is_a_tuple():
    with pytest.raises(InputError, match="imagery.stretch='linear'; allowed: a tuple"):
        read(ImagerySettings, dict(stretch="linear"), "imagery")


def test_nan_as_nodata_is_explained():
    with pytest.raises(
        InputError, match="config.imagery.nodata=nan; allowed: a finite"
    ):
        read(ImagerySettings, dict(nodata=float("nan")), "imagery")


def test_ends_map_to_black_and_white():
    stretch = Stretch((10.0,) * 3, (20.0,) * 3)
    pixels = np.array([0, 10, 15, 20, 99, np.nan], np.float32)
    out = stretch(np.tile(pixels, (3, 1, 1)))
    assert out[0, 0].tolist() == [0, 0, 128, 255, 255, 0]


def test_one_colour_is_blank_and_texture_is_not():
    rng = np.random.default_rng(0)
    white = np.full((32, 32, 3), 255, np.uint8)
    assert blank_share(white) == 1
    assert blank_share(white - rng.integers(0, 3, white.shape, np.uint8)) > 0.9
    half = white.copy()
    half[:, 16:] = rng.integers(0, 256, (32, 16, 3), np.uint8)
    assert 0.5 <= blank_share(half) < 0.51
    water = np.clip(rng.normal((20, 50, 60), 4, white.shape), 0, 255).astype(np.uint8)
    assert blank_share(water) < 0.2
    assert blank_share(rng.integers(0, 256, white.shape, np.uint8)) < 0.01
    # Red and green alone differ: a colour is one only in all three bands.
    two = np.zeros((2, 2, 3), np.uint8)
    two[0, :, 0] = two[1, :, 1] = 200
    assert blank_share(two) == 0.5


def test_blank_is_a_share_of_what_is_there():
    tile = np.zeros((4, 4, 3), np.uint8)
    tile[0] = np.arange(12).reshape(4, 3) * 20
    valid = np.zeros((4, 4), bool)
    assert blank_share(tile, valid) == 1
    valid[0] = True
    assert blank_share(tile, valid) == 0.25
