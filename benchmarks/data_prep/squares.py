"""Regions of measurements: squares side by side."""

from __future__ import annotations

import numpy as np

from data_prep.regions import grid
from data_prep.regions.regions import Regions

TILE_SIZE_PX = 224


def regions(
    side: int,
    corner_m: tuple[float, float],
    region_m: float,
    *,
    poi_buffer_m: float = 0.0,
) -> Regions:
    """Squares in rows and columns, as many of the one as of the other.

    Args:
        side: Rows.
        corner_m: West and north of all.
        region_m: Side of a region, and of its tile.
        poi_buffer_m: POIs this far outside a region still belong to it.
    """
    row, column = np.indices((side, side)).reshape(2, -1)
    return Regions(
        ids=[f"r{r:04d}c{c:04d}" for r, c in zip(row, column, strict=True)],
        bounds_m=grid.squares_m(row, column, corner_m, region_m),
        coverage=np.ones(len(row)),
        tile_size_px=TILE_SIZE_PX,
        tile_size_m=region_m,
        poi_buffer_m=poi_buffer_m,
        disjoint=True,
    )
