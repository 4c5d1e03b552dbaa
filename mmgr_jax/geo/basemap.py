"""Joins the tiles of a city into one picture in web Mercator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import pyproj
from affine import Affine
from jaxtyping import Float, UInt8
from PIL import Image
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject

MERCATOR = "EPSG:3857"
"""The projection of web maps, in which the picture is a rectangle."""


@dataclasses.dataclass(frozen=True)
class Basemap:
    """A picture of a city in web Mercator.

    Attributes:
        pixels: Red, green, blue, and 255 where there is imagery, else 0 [h w 4].
        bounds_deg: West, south, east and north in degrees of WGS 84.
        gsd_m: Width of a pixel on the ground in metres, in the middle of the picture.
    """

    pixels: UInt8[np.ndarray, "h w 4"]
    bounds_deg: tuple[float, float, float, float]
    gsd_m: float


def stitch(
    tiles: Iterable[tuple[Float[np.ndarray, " 4"], UInt8[np.ndarray, "a a 3"]]],
    *,
    extent_m: tuple[float, float, float, float],
    gsd_m: float,
    crs: str,
    most_px: int,
) -> Basemap:
    """Joins tiles and projects the whole picture to web Mercator.

    Args:
        tiles: West, south, east and north of each tile in metres of `crs`, and its
            pixels. Where tiles overlap, the last one is shown.
        extent_m: West, south, east and north of all of them.
        gsd_m: Width of a tile's pixel in metres; the picture is not finer than this.
        crs: A projected CRS in metres, such as "EPSG:32651".
        most_px: Largest number of pixels along the longer side of the picture.
    """
    west, south, east, north = extent_m
    # A pixel is spared on each side: turned into another projection it may be needed.
    side_m = max(gsd_m, max(east - west, north - south) / max(most_px - 2, 1))
    width, height = (
        math.ceil((east - west) / side_m),
        math.ceil((north - south) / side_m),
    )
    plane = np.zeros((height, width, 4), np.uint8)
    for bounds_m, tile in tiles:
        left, right = (round((x - west) / side_m) for x in bounds_m[[0, 2]])
        up, down = (round((north - y) / side_m) for y in bounds_m[[3, 1]])
        size = max(right - left, 1), max(down - up, 1)
        small = np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.BOX))
        target = plane[max(up, 0) : up + size[1], max(left, 0) : left + size[0]]
        inner = small[max(-up, 0) :, max(-left, 0) :]
        target[..., :3] = inner[: target.shape[0], : target.shape[1]]
        target[..., 3] = 255
    return _in_mercator(plane, (west, north), side_m, crs, most_px)


def _in_mercator(
    plane: UInt8[np.ndarray, "h w 4"],
    corner_m: tuple[float, float],
    side_m: float,
    crs: str,
    most_px: int,
) -> Basemap:
    """Projects the picture to web Mercator; its longer side is at most `most_px`."""
    height, width = plane.shape[:2]
    own = Affine(side_m, 0, corner_m[0], 0, -side_m, corner_m[1])
    bounds = corner_m[0], corner_m[1] - height * side_m, corner_m[0] + width * side_m
    given = dict(left=bounds[0], bottom=bounds[1], right=bounds[2], top=corner_m[1])
    transform, columns, rows = calculate_default_transform(
        crs, MERCATOR, width, height, **given
    )
    assert columns is not None and rows is not None
    if max(columns, rows) > most_px:
        factor = max(columns, rows) / most_px
        columns = max(math.floor(columns / factor), 1)
        rows = max(math.floor(rows / factor), 1)
        transform = transform @ Affine.scale(factor)
    pixels = np.zeros((4, rows, columns), np.uint8)
    reproject(
        np.ascontiguousarray(plane.transpose(2, 0, 1)),
        pixels,
        src_transform=own,
        src_crs=crs,
        dst_transform=transform,
        dst_crs=MERCATOR,
        resampling=Resampling.bilinear,
    )
    pixels[3] = np.where(pixels[3] >= 128, 255, 0)
    to_deg = pyproj.Transformer.from_crs(MERCATOR, "EPSG:4326", always_xy=True)
    left, top = transform @ (0, 0)
    right, bottom = transform @ (columns, rows)
    west, north = to_deg.transform(left, top)
    east, south = to_deg.transform(right, bottom)
    # A metre of web Mercator is shorter on the ground, the farther from the equator.
    shrink = math.cos(math.radians((south + north) / 2))
    picture = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    return Basemap(picture, (west, south, east, north), abs(transform.a) * shrink)
