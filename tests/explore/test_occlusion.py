"""Parts of a tile painted over: differences that can be added up by hand."""

import numpy as np
import pytest

from mmgr_jax.errors import InputError
from mmgr_jax.explore import occlusion


def tiles(count=3, side=13, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(count, side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize(("side", "cells"), [(12, 4), (13, 4), (5, 5), (7, 1)])
def test_each_pixel_is_painted_over_once(side, cells):
    tile = tiles(1, side)[0]
    tile[tile == 77] = 78
    parts = occlusion.without_cells(tile, cells)
    assert parts.shape == (cells**2, side, side, 3)
    colour = np.round(tile.mean(axis=(0, 1)))
    changed = (parts != tile).any(axis=3) | (tile == colour).all(axis=2)
    np.testing.assert_array_equal(changed.sum(axis=0) >= 1, True)
    for part in parts:
        painted = (part != tile).any(axis=2)
        assert (part[painted] == colour).all()


def test_of_a_linear_encoder_the_differences_are_known():
    rng = np.random.default_rng(1)
    some, side, cells = tiles(), 13, 3
    weights = rng.normal(size=(side * side * 3, 6))
    kernel = rng.normal(size=(6, 2))
    found = occlusion.of_tiles(
        lambda t: t.reshape(len(t), -1) @ weights, some, kernel, cells
    )
    assert found.shape == (3, cells, cells, 2)
    painted = some.astype(float) - np.round(some.mean(axis=(1, 2), keepdims=True))
    by_pixel = painted.reshape(3, -1)[:, :, None] * (weights @ kernel)
    total = by_pixel.sum(axis=1)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), total, rtol=1e-9)
    grid = by_pixel.reshape(3, side, side, 3, 2)
    np.testing.assert_allclose(found[:, 0, 0], grid[:, :4, :4].sum(axis=(1, 2, 3)))


@pytest.mark.parametrize("cells", [0, 14])
def test_cells_that_do_not_fit_are_refused(cells):
    with pytest.raises(InputError, match="give 1 to 13 cells a side"):
        occlusion.of_tiles(lambda t: t, tiles(1), np.zeros((1, 1)), cells)


def test_no_tiles_have_no_parts():
    found = occlusion.of_tiles(lambda t: t, tiles(0), np.zeros((4, 2)))
    assert found.shape == (0, 4, 4, 2)
