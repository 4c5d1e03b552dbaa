"""Statistics of the imagery around each point of a part of a city."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy import ndimage

from data_prep.imagery.mosaic import Imagery

GSD_M = 4.0
"""Side of a pixel: fine enough for a shift of a few metres, coarse enough for speed."""

_SCALES_M = (10.0, 25.0, 60.0)  # sides of the squares that are averaged over
_MOST_M = 6_000.0  # side of the piece of a city that is looked at
_CELL_M = 1_000.0  # by which the piece with the most POIs is found

Points = Float[np.ndarray, "m 2"]
"""East and north in metres of the city's CRS."""


@dataclasses.dataclass(frozen=True)
class Ground:
    """Statistics of the imagery, pixel by pixel.

    Attributes:
        statistics: d numbers per pixel, of the pixel and of squares around it [h w d].
        valid: Which pixels hold imagery [h w].
        west_m: Western edge.
        north_m: Northern edge.
        gsd_m: Side of a pixel.
    """

    statistics: Float32[np.ndarray, "h w d"]
    valid: Bool[np.ndarray, "h w"]
    west_m: float
    north_m: float
    gsd_m: float

    def at(
        self, points: Points
    ) -> tuple[Float32[np.ndarray, "m d"], Bool[np.ndarray, " m"]]:
        """Returns the statistics at points, and which points lie on imagery."""
        column = np.floor((points[:, 0] - self.west_m) / self.gsd_m).astype(np.int64)
        row = np.floor((self.north_m - points[:, 1]) / self.gsd_m).astype(np.int64)
        high, wide = self.valid.shape
        on_imagery = (row >= 0) & (row < high) & (column >= 0) & (column < wide)
        row, column = row.clip(0, high - 1), column.clip(0, wide - 1)
        on_imagery &= self.valid[row, column]
        return self.statistics[row, column], on_imagery


def read(imagery: Imagery, points: Points, gsd_m: float) -> Ground:
    """Reads the part of a city with the most POIs, at most `_MOST_M` along a side.

    Args:
        imagery: The imagery, opened with pixels of `gsd_m`.
        points: The POIs.
        gsd_m: Side of a pixel.
    """
    west, south, east, north = imagery.bounds_m
    side_m = min(max(east - west, north - south), _MOST_M)
    left, up = _busiest(points, imagery.bounds_m, side_m)
    column, row = round((left - west) / gsd_m), round((north - up) / gsd_m)
    west, north = west + column * gsd_m, north - row * gsd_m
    size_px = int(side_m / gsd_m)
    bounds_m = (west, north - size_px * gsd_m, west + size_px * gsd_m, north)
    tile, valid = imagery.read_tile(bounds_m, size_px)
    return Ground(_statistics(tile, valid, gsd_m), valid, west, north, gsd_m)


def _busiest(
    points: Points, bounds_m: tuple[float, float, float, float], side_m: float
) -> tuple[float, float]:
    """North-west corner of the square with the most points; west, north."""
    west, south, east, north = bounds_m
    free_m = np.array([east - west - side_m, north - south - side_m]).clip(0)
    starts = [np.arange(0.0, free + 1, _CELL_M) for free in free_m]
    best, corner = -1, (west, north)
    for x in west + starts[0]:
        inside = (points[:, 0] >= x) & (points[:, 0] < x + side_m)
        for y in north - starts[1]:
            count = np.sum(inside & (points[:, 1] <= y) & (points[:, 1] > y - side_m))
            if count > best:
                best, corner = int(count), (float(x), float(y))
    return corner


def _statistics(
    tile: UInt8[np.ndarray, "h w 3"], valid: Bool[np.ndarray, "h w"], gsd_m: float
) -> Float32[np.ndarray, "h w d"]:
    """Colours, greenness, edges and roughness, of pixels and of squares around them."""
    colour = tile.astype(np.float32) / 255
    if valid.any():
        colour[~valid] = colour[valid].mean(axis=0)  # so that edges of files are none
    grey = colour.mean(axis=2)
    greenness = 2 * colour[..., 1] - colour[..., 0] - colour[..., 2]
    edges = np.hypot(*np.gradient(grey))
    maps = [*np.moveaxis(colour, 2, 0), greenness, edges]
    made = list(maps)
    for scale_m in _SCALES_M:
        size = max(round(scale_m / gsd_m), 1) | 1  # odd, so that it has a middle
        mean = [ndimage.uniform_filter(one, size) for one in maps]
        around = ndimage.uniform_filter(grey, size)
        variance = ndimage.uniform_filter(grey * grey, size) - around * around
        made += [*mean, np.sqrt(variance.clip(0))]
    return np.stack(made, axis=2)
