"""Places the square tile of a region, and reads its pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import rasterio.features
import shapely
from jaxtyping import Bool, Float, Int, UInt8
from rasterio.transform import from_bounds

from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.placement import Bounds
from data_prep.regions.regions import Regions
from data_prep.regions.settings import RegionSettings

# Pixels a side that are read at a time, to bound the memory of a reduced tile.
_READ_PX = 2048
# Pixels by which an outline may be wider than its tile, which lies on whole pixels.
_SLACK_PX = 0.5


def factors(
    extent_m: Float[np.ndarray, " m"], settings: RegionSettings
) -> Int[np.ndarray, " m"]:
    """Computes how many times the usual tile a tile must be to show an extent."""
    least = np.ceil((extent_m / settings.gsd_m - _SLACK_PX) / settings.tile_size_px)
    return np.maximum(least, 1).astype(np.int64)


def in_words(settings: RegionSettings) -> str:
    """The side of a tile, and what it comes from."""
    return (
        f"tile_size_px {settings.tile_size_px} * gsd_m {settings.gsd_m:g} = "
        f"{settings.tile_size_m:g} m"
    )


def extents_m(outline: np.ndarray) -> Float[np.ndarray, " m"]:
    """The longer side of each polygon's bounding box in metres."""
    west, south, east, north = shapely.bounds(outline).T
    return np.maximum(east - west, north - south)


def around(
    boxes_m: Float[np.ndarray, "m 4"],
    factor: Int[np.ndarray, " m"],
    settings: RegionSettings,
    corner_m: tuple[float, float],
) -> Float[np.ndarray, "m 4"]:
    """Tiles in the middle of boxes, moved by at most half a pixel onto the pixel grid.

    Args:
        boxes_m: West, south, east, north of each box.
        factor: Size of each tile in usual tiles.
        settings: The usual tile.
        corner_m: West and north of a corner of the pixel grid.

    Returns:
        West, south, east, north of each tile in metres.
    """
    west, south, east, north = boxes_m.T
    size_m = factor * settings.tile_size_m
    left = (west + east - size_m) / 2 - corner_m[0]
    up = (south + north + size_m) / 2 - corner_m[1]
    left = corner_m[0] + np.round(left / settings.gsd_m) * settings.gsd_m
    up = corner_m[1] + np.round(up / settings.gsd_m) * settings.gsd_m
    return np.stack([left, up - size_m, left + size_m, up], axis=1)


def read(imagery: Imagery, regions: Regions, region: int) -> UInt8[np.ndarray, "h w 3"]:
    """The tile of a region, zero where there is no imagery.

    A pixel of a tile n times the usual size is the average of n x n pixels. With
    `regions.mask_outside` the tile is also zero outside the region: missing imagery is
    black too, so a model sees only one form of missing pixels.

    Args:
        imagery: The open imagery.
        regions: All regions.
        region: Index of the wanted region.
    """
    bounds_m = regions.bounds_m[region]
    factor = round((bounds_m[2] - bounds_m[0]) / regions.tile_size_m)
    file = None if regions.file is None else int(regions.file[region])
    tile, _ = read_reduced(imagery, bounds_m, regions.tile_size_px, factor, file)
    if regions.mask_outside and regions.outline is not None:
        outside = ~inside(regions.outline[region], bounds_m, regions.tile_size_px)
        tile[outside] = 0
    return tile


def read_reduced(
    imagery: Imagery,
    bounds_m: Float[np.ndarray, " 4"],
    size_px: int,
    factor: int,
    file: int | None = None,
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """A tile of factor * size_px pixels a side, averaged to size_px.

    Args:
        imagery: The open imagery.
        bounds_m: West, south, east, north of the tile.
        size_px: Its side in pixels.
        factor: Pixels of the imagery along one of the tile.
        file: Index of the one file to read; None: all of them, as one image.

    Returns:
        The mean of the pixels that hold imagery, zero where there are none; and
        whether at least half of them do.
    """
    if factor == 1:
        return imagery.read_tile(_plain(bounds_m), size_px, file)
    tile = np.zeros((size_px, size_px, 3), np.uint8)
    filled = np.zeros((size_px, size_px), bool)
    for rows, columns, part_m in _parts(bounds_m, size_px, factor):
        side = rows.stop - rows.start
        pixels, valid = imagery.read_tile(part_m, side * factor, file)
        cells = (side, factor, side, factor)
        count = valid.reshape(cells).sum(axis=(1, 3))
        weighed = np.where(valid[..., None], pixels, 0).reshape(*cells, 3)
        total = weighed.sum(axis=(1, 3), dtype=np.int64)
        mean = total / np.maximum(count, 1)[..., None]
        tile[rows, columns] = np.round(mean).astype(np.uint8)
        filled[rows, columns] = 2 * count >= factor**2
    return tile, filled


def covered_share(
    imagery: Imagery,
    bounds_m: Float[np.ndarray, " 4"],
    size_px: int,
    factor: int,
    file: int | None = None,
) -> float:
    """Share of the pixels of a tile that hold imagery; see `read_reduced`.

    Colours are not read.
    """
    if factor == 1:
        return imagery.coverage(_plain(bounds_m), size_px, file)
    total = 0.0
    for rows, columns, part_m in _parts(bounds_m, size_px, factor):
        side = rows.stop - rows.start
        share = imagery.coverage(part_m, side * factor, file)
        total += share * (columns.stop - columns.start) * side
    return total / size_px**2


def inside(
    outline: shapely.Geometry, bounds_m: Float[np.ndarray, " 4"], size_px: int
) -> Bool[np.ndarray, "h w"]:
    """Pixels of a tile whose middle lies in a polygon; those it touches if none."""
    grid = from_bounds(*_plain(bounds_m), size_px, size_px)
    shape = (size_px, size_px)
    mask = rasterio.features.geometry_mask([outline], shape, grid, invert=True)
    if not mask.any():
        mask = rasterio.features.geometry_mask(
            [outline], shape, grid, all_touched=True, invert=True
        )
    return mask


def _parts(
    bounds_m: Float[np.ndarray, " 4"], size_px: int, factor: int
) -> Iterator[tuple[slice, slice, Bounds]]:
    """Square parts of a reduced tile: rows, columns and bounds of each.

    They go in equal sides, so that every part is square.
    """
    west, _, east, north = _plain(bounds_m)
    step_m = (east - west) / size_px
    limit = max(_READ_PX // factor, 1)
    side = max(n for n in range(1, limit + 1) if size_px % n == 0)
    for row in range(0, size_px, side):
        for column in range(0, size_px, side):
            left, top = west + column * step_m, north - row * step_m
            part_m = (left, top - side * step_m, left + side * step_m, top)
            yield slice(row, row + side), slice(column, column + side), part_m


def _plain(bounds_m: Float[np.ndarray, " 4"]) -> Bounds:
    west, south, east, north = bounds_m.tolist()
    return west, south, east, north
