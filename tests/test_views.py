"""The contact sheet: real views of real tiles, and what it refuses."""

import jax
import numpy as np
import pytest
from PIL import Image

from mmgr_jax.augment.views import plain_view
from mmgr_jax.data.source import open_source
from mmgr_jax.errors import InputError
from mmgr_jax.views import sheet as views


def test_the_sheet_shows_tiles_and_their_views(small_config, tmp_path, monkeypatch):
    shown = {}
    draw = views.contact_sheet
    monkeypatch.setattr(
        views, "contact_sheet", lambda *a, **k: shown.update(k, a=a) or draw(*a, **k)
    )
    out = views.draw_views(small_config, tmp_path / "new" / "views.png", rows=4)
    width, height = Image.open(out).size
    assert width > height > 600
    tiles, pairs = shown["a"]
    assert tiles.shape == (4, 32, 32, 3) and pairs.shape == (3, 2, 4, 32, 32, 3)
    source = open_source(small_config)
    stored = {source[i]["region_id"]: source[i]["image"] for i in range(len(source))}
    for name, tile in zip(shown["names"], tiles, strict=True):
        np.testing.assert_array_equal(tile, stored[name])
    assert len({pair.tobytes() for pair in pairs.reshape(-1, 32, 32, 3)}) == 24


def test_displayed_undoes_the_normalisation():
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    plain = np.asarray(plain_view(jax.numpy.asarray(tiles), size_px=16))
    np.testing.assert_array_equal(views.displayed(plain[None])[0], tiles)


@pytest.mark.parametrize(
    ("out", "rows", "message"),
    [
        ("views.jpeg", 4, "give a file name that ends in .png"),
        ("views.png", 41, "--rows=41: take 1 to 40"),
    ],
)
def test_what_cannot_be_drawn_is_refused(out, rows, message, small_config, tmp_path):
    with pytest.raises(InputError, match=message):
        views.draw_views(small_config, tmp_path / out, rows)
