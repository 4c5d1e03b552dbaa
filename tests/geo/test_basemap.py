"""Tiles laid side by side: each where its region lies, in web Mercator."""

import numpy as np
import pyproj
import pytest

from mmgr_jax.geo import basemap

CRS = "EPSG:32651"
SIDE_M = 64.0
WEST, NORTH = 3e5, 3.4e6


def _tiles(rows, columns, size_px=32):
    """Plain tiles, each of a colour of its own, but for one that is missing."""
    for row in range(rows):
        for column in range(columns):
            if (row, column) == (1, 1):
                continue
            west, north = WEST + column * SIDE_M, NORTH - row * SIDE_M
            box = np.array([west, north - SIDE_M, west + SIDE_M, north])
            colour = np.array([40 + 30 * row, 30 + 25 * column, 120], np.uint8)
            yield box, np.broadcast_to(colour, (size_px, size_px, 3)).copy()


def _stitched(most_px, rows=5, columns=7):
    extent = (WEST, NORTH - rows * SIDE_M, WEST + columns * SIDE_M, NORTH)
    return basemap.stitch(
        _tiles(rows, columns), extent_m=extent, gsd_m=2.0, crs=CRS, most_px=most_px
    )


def _pixel(made, x_m, y_m):
    """The pixel at a place, found by what the page knows: the bounds in degrees."""
    lon, lat = pyproj.Transformer.from_crs(CRS, 4326, always_xy=True).transform(
        x_m, y_m
    )
    to_mercator = pyproj.Transformer.from_crs(4326, 3857, always_xy=True)
    west, south, east, north = made.bounds_deg
    left, bottom = to_mercator.transform(west, south)
    right, top = to_mercator.transform(east, north)
    x, y = to_mercator.transform(lon, lat)
    height, width = made.pixels.shape[:2]
    column = int((x - left) / (right - left) * width)
    return made.pixels[int((top - y) / (top - bottom) * height), column]


@pytest.mark.parametrize("most_px", [4096, 100])
def test_each_tile_lies_where_its_region_does(most_px):
    made = _stitched(most_px)
    assert max(made.pixels.shape[:2]) <= most_px
    for box, tile in _tiles(5, 7):
        for share in (0.15, 0.5, 0.85):  # near its edges, too
            x = box[0] + share * SIDE_M
            y = box[1] + share * SIDE_M
            own = _pixel(made, x, y)
            np.testing.assert_allclose(own[:3].astype(int), tile[0, 0], atol=3)
            assert own[3] == 255


def test_where_no_tile_is_nothing_shows():
    made = _stitched(4096)
    assert _pixel(made, WEST + 1.5 * SIDE_M, NORTH - 1.5 * SIDE_M)[3] == 0


def test_metres_of_a_pixel_are_those_on_the_ground():
    assert _stitched(4096).gsd_m == pytest.approx(2.0, rel=0.02)
    # 448 m along at most 98 pixels
    assert 4.4 < _stitched(100).gsd_m < 5
