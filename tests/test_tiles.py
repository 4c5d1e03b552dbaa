"""Tiles as bytes, beside Pillow: what is kept, what is lost, what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from mmgr_jax.data import tiles


def _tile(seed=0, size_px=64):
    """Smooth ground with noise, such as a photograph has."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(40, 200, size_px)[:, None, None] * np.array([1.0, 0.9, 0.7])
    noise = rng.normal(0, 6, (size_px, size_px, 3))
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)


def _by_pillow(tile, **options):
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, **options)
    return buffer.getvalue()


def _read_by_pillow(stored):
    return np.asarray(Image.open(io.BytesIO(stored)))


@pytest.mark.parametrize("image_format", ["raw", "png", "webp"])
def test_nothing_is_lost(image_format):
    tile = _tile()
    stored = tiles.encode(tile, image_format)
    assert stored == tiles.encode(tile.copy(), image_format)
    np.testing.assert_array_equal(tiles.decode(stored, image_format, 64), tile)
    if image_format != "raw":
        np.testing.assert_array_equal(_read_by_pillow(stored), tile)


@pytest.mark.parametrize("level", [1, 3, 9])
def test_png_files_of_others_are_read(level):
    tile = _tile(1)
    stored = _by_pillow(tile, format="PNG", compress_level=level)
    np.testing.assert_array_equal(tiles.decode(stored, "png", 64), tile)


def test_jpeg_loses_little_and_quality_decides_how_much():
    tile = _tile(2)
    lost = {}
    for quality in (None, 95, 50):
        stored = tiles.encode(tile, "jpeg", quality)
        decoded = tiles.decode(stored, "jpeg", 64).astype(int)
        assert np.abs(decoded - _read_by_pillow(stored)).max() <= 1  # rounding
        lost[quality] = np.abs(decoded - tile).mean()
    assert lost[None] == lost[95] < 4 < lost[50]
    webp = tiles.decode(tiles.encode(tile, "webp", 80), "webp", 64)
    assert 0 < np.abs(webp.astype(int) - tile).mean() < 6


@pytest.mark.parametrize("image_format", tiles.FORMATS)
def test_a_tile_goes_where_it_is_told(image_format):
    stored = tiles.encode(_tile(), image_format)
    batch = np.zeros((3, 64, 64, 3), np.uint8)
    tiles.decode(stored, image_format, 64, batch[1])
    np.testing.assert_array_equal(batch[1], tiles.decode(stored, image_format, 64))
    assert not batch[0].any() and not batch[2].any()


@pytest.mark.parametrize("image_format", tiles.FORMATS)
def test_bytes_of_no_or_another_tile_are_refused(image_format):
    stored = tiles.encode(_tile(), image_format)
    other = tiles.encode(_tile(size_px=32), image_format)
    for wrong in (b"", stored[:20], stored[: len(stored) // 2], other):
        with pytest.raises(Exception):  # noqa: B017 -- each codec has its own
            tiles.decode(wrong, image_format, 64)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("gif", None), "image_format is 'gif'; allowed: png, webp, jpeg, raw"),
        (("png", 90), "'png' keeps every pixel; allowed: None, or a format of jpeg"),
        (("jpeg", 0), "image_quality is 0; allowed: 1 to 100"),
        (("webp", 101), "image_quality is 101; allowed: 1 to 100"),
    ],
)
def test_unfit_settings_are_told(settings, message):
    assert message in tiles.TileWriter(*settings).problem


def test_fit_settings_have_no_problem():
    for name in tiles.FORMATS:
        assert tiles.TileWriter(name).problem is None
    assert tiles.TileWriter("jpeg", 80).problem is None
