"""The pixel grid for fetched images, and its windows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import shapely
from affine import Affine
from rasterio.features import geometry_mask
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from data_prep.fetch.area import FetchArea
from data_prep.files import crs as crs_lib
from mmgr_jax.errors import InputError

WINDOW_PX = 2048
"""Side of a window, which is one file: some 12 MB of colours."""

_MOST_PIXELS = 4_000_000_000


@dataclasses.dataclass(frozen=True)
class PixelGrid:
    """Square pixels over an area; corner coordinates are multiples of the pixel's side.

    Attributes:
        crs: Metric.
        gsd_m: Side of a pixel.
        west_m: Of its corner.
        north_m: Of its corner.
        width_px: Columns.
        height_px: Rows.
        outline: The area in the grid's CRS; nothing outside it is fetched.
    """

    crs: str
    gsd_m: float
    west_m: float
    north_m: float
    width_px: int
    height_px: int
    outline: BaseGeometry

    @property
    def corner_m(self) -> tuple[float, float]:
        """West and north."""
        return self.west_m, self.north_m

    def windows(self) -> Iterator[tuple[str, Window]]:
        """Yields name and window of each window that the area touches, row by row."""
        for row in range(0, self.height_px, WINDOW_PX):
            for column in range(0, self.width_px, WINDOW_PX):
                width = min(WINDOW_PX, self.width_px - column)
                height = min(WINDOW_PX, self.height_px - row)
                window = Window(column, row, width, height)
                if self.outline.intersects(self.box_m(window)):
                    yield f"r{row // WINDOW_PX:03d}c{column // WINDOW_PX:03d}", window

    def box_m(self, window: Window) -> BaseGeometry:
        """The box that a window covers."""
        west = self.west_m + window.col_off * self.gsd_m
        north = self.north_m - window.row_off * self.gsd_m
        east, south = (
            west + window.width * self.gsd_m,
            north - window.height * self.gsd_m,
        )
        return shapely.box(west, south, east, north)

    def transform(self, window: Window) -> Affine:
        """The transform from column and row of a window to coordinates."""
        west = self.west_m + window.col_off * self.gsd_m
        north = self.north_m - window.row_off * self.gsd_m
        return Affine(self.gsd_m, 0.0, west, 0.0, -self.gsd_m, north)

    def inside(self, window: Window) -> np.ndarray:
        """Which pixels of a window have their centre in the area [h w]."""
        return geometry_mask(
            [self.outline],
            (window.height, window.width),
            self.transform(window),
            invert=True,
        )


def over(area: FetchArea, crs: str | None, gsd_m: float) -> PixelGrid:
    """Makes the grid of an area.

    Args:
        area: The area.
        crs: Metric CRS; None: the UTM zone of the area.
        gsd_m: Side of the pixels.

    Raises:
        InputError: If the CRS does not suit the place, or there would be too many
            pixels.
    """
    crs = crs or area.utm()
    west, south, east, north = area.bounds_deg
    if problem := crs_lib.problem(crs, ((west + east) / 2, (south + north) / 2)):
        raise InputError(problem.replace("config.city.crs", "--crs"))
    if not 0.01 <= gsd_m <= 10_000:
        raise InputError(f"--gsd_m={gsd_m:g}: allowed: 0.01 to 10000 metres.")
    outline = area.in_crs(crs)
    bounds = outline.bounds
    if not np.isfinite(bounds).all():
        raise InputError(
            f"{area.name}: lies where {crs} has no coordinates; name another CRS by "
            "--crs."
        )
    left, bottom = (math.floor(side / gsd_m) for side in bounds[:2])
    right, top = (math.ceil(side / gsd_m) for side in bounds[2:])
    width, height = right - left, top - bottom
    if width * height > _MOST_PIXELS:
        raise InputError(
            f"{area.name}: {width:,} x {height:,} pixels of {gsd_m:g} m are more than "
            f"{_MOST_PIXELS / 1e9:g} billion; take a smaller area or a larger --gsd_m."
        )
    return PixelGrid(crs, gsd_m, left * gsd_m, top * gsd_m, width, height, outline)
