"""Regions made by hand, and regions cut from hand-made imagery."""

import numpy as np
import small_city

from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.settings import ImagerySettings
from data_prep.regions import cutting, grid
from data_prep.regions.regions import Regions
from data_prep.regions.settings import RegionSettings
from mmgr_jax.settings import read

NORTH_WEST_M = (1000.0, 2000.0)


def squares(row, column, *, size_m=100.0, corner_m=NORTH_WEST_M, buffer_m=0.0):
    """Cells of a grid by row and column, without the imagery to cut them from."""
    row, column = np.asarray(row), np.asarray(column)
    return Regions(
        ids=[f"r{r:04d}c{c:04d}" for r, c in zip(row, column, strict=True)],
        bounds_m=grid.squares_m(row, column, corner_m, size_m),
        coverage=np.ones(len(row)),
        tile_size_px=10,
        tile_size_m=size_m,
        poi_buffer_m=buffer_m,
        disjoint=True,
    )


def settings(**changes):
    """The section `regions` of the hand-made city."""
    section = dict(tile_size_px=small_city.TILE_PX, gsd_m=small_city.GSD_M)
    return read(RegionSettings, section | changes, "regions")


def open_imagery(*paths, gsd_m=small_city.GSD_M):
    """Files as imagery on the grid of the hand-made city."""
    files = ImagerySettings(tuple(map(str, paths)))
    return Imagery(files, crs=small_city.CRS, gsd_m=gsd_m)


def cut(imagery, **changes):
    """The regions of some imagery."""
    return cutting.cut(imagery, small_city.CRS, settings(**changes))


def noise(height_px, width_px):
    """An image that is not blank, [3 h w]."""
    rng = np.random.default_rng(1)
    return rng.integers(1, 256, (3, height_px, width_px), np.uint8)
