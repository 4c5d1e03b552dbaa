"""Reads Web Mercator tiles of XYZ, TMS and WMTS services with one template.

Most services do not allow fetching the tiles of a whole city: the user must name one
that does. Each level halves the side of a pixel; the coarsest level that is as fine as
the grid is used.
"""

from __future__ import annotations

import io
import logging
import math
import re

import numpy as np
import shapely
from affine import Affine
from PIL import Image, UnidentifiedImageError
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from data_prep.fetch.answers import Unavailable
from data_prep.fetch.grid import PixelGrid
from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.fetch.scenes import Scene
from mmgr_jax.errors import InputError

_CRS = "EPSG:3857"
_HALF_M = math.pi * 6_378_137.0  # from the middle to the edge of the square world
_SIDES_PX = (256, 512, 1024)
_FORMATS = ("PNG", "JPEG", "WEBP")
_FIELDS = {
    "{z}": "z", "{x}": "x", "{y}": "y", "{-y}": "-y",
    "{TileMatrix}": "z", "{TileCol}": "x", "{TileRow}": "y",
}  # fmt: skip
_MARGIN_PX = 2

log = logging.getLogger(__name__)


def scene_of(template: str, max_zoom: int) -> Scene:
    """Makes a scene that covers everywhere from a tile service.

    Args:
        template: Address with {z}, {x} and {y}; {-y} counts rows from the south, as
            TMS does; {TileMatrix}, {TileCol} and {TileRow} are WMTS's names.
        max_zoom: Deepest level to ask for.

    Raises:
        InputError: If the template does not say where a tile lies.
    """
    fields = re.findall(r"\{[^{}]*\}", template)
    unknown = [field for field in fields if field not in _FIELDS]
    if unknown:
        raise InputError(
            f"--tiles={public(template)}: has {unknown[0]}; allowed are "
            f"{', '.join(_FIELDS)}. Replace any other field by its value, such as one "
            "of several host names, or the matrix set of EPSG:3857."
        )
    given = {_FIELDS[field].strip("-") for field in fields}
    if given != {"x", "y", "z"}:
        raise InputError(
            f"--tiles={public(template)}: wanted: an address with {{z}}, {{x}} and "
            "{y}, such as https://example.org/ortho/{z}/{x}/{y}.jpg."
        )
    if not 0 <= max_zoom <= 24:
        raise InputError(f"--max_zoom={max_zoom}: allowed: 0 to 24.")
    return Scene(name="tiles", addresses=(template,), max_zoom=max_zoom)


class OpenTiles:
    """Tiles of a service; gives windows of a grid, like an `OpenScene`."""

    dtype = "uint8"

    def __init__(
        self, client: Client, scene: Scene, bands: tuple[int, ...], grid: PixelGrid
    ) -> None:
        """Looks at a few tiles, for their size and what they weigh.

        Args:
            client: Who brings them.
            scene: From `scene_of`.
            bands: Three of red, green and blue, counted from 1.
            grid: Where they go.

        Raises:
            InputError: If the service shows nothing there, or no pictures.
        """
        if max(bands) > 3:
            raise InputError(
                f"--bands={bands}: tiles have only red, green and blue. "
                "Leave --bands out."
            )
        assert scene.max_zoom is not None
        self.scene, self._client, self._grid = scene, client, grid
        self._bands = [band - 1 for band in bands]
        self._template = scene.addresses[0]
        west, south, east, north = grid.outline.bounds
        places = [(0.5, 0.5), (0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
        places_m = [
            (west + x * (east - west), south + y * (north - south)) for x, y in places
        ]
        self._side_px = 256
        self._zoom = self._fitting(scene.max_zoom)
        tried = [self._tile(*self._at(*place), self._zoom) for place in places_m]
        seen = [data for data in tried if data is not None]
        if not seen:
            raise InputError(
                f"{public(self._template)}: has no tile of level {self._zoom} in the "
                "middle of the area. If it has no level so fine, give "
                f"--max_zoom={self._zoom - 1} or less; else take another source."
            )
        side = self._pixels(seen[0]).shape[1]
        if side not in _SIDES_PX:
            raise InputError(
                f"{public(self._template)}: its tiles have {side} pixels a side; "
                f"allowed: {', '.join(map(str, _SIDES_PX))}."
            )
        self._side_px = side
        self._zoom = self._fitting(scene.max_zoom)
        self._bytes_a_tile = float(np.mean([len(data) for data in seen]))
        log.info(
            "tiles: level %d, %.3g m a pixel in the middle of the area",
            self._zoom,
            self.gsd_m,
        )

    @property
    def gsd_m(self) -> float:
        """Side of its pixels on the ground."""
        return self._pixel_m(self._zoom) * self._shrinking()

    @property
    def bytes_per_m2(self) -> float:
        """Bytes that are read per square metre shown."""
        return self._bytes_a_tile / (self._side_px * self.gsd_m) ** 2

    @property
    def box_m(self) -> BaseGeometry:
        """The box that it may cover on the grid: everywhere."""
        return shapely.box(*self._grid.outline.bounds)

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Returns pixels [bands h w] of a window of the grid, and which exist [h w].

        Raises:
            InputError: If a tile cannot be fetched, or is no picture.
        """
        box = self._grid.box_m(window)
        pixel_m = self._pixel_m(self._zoom)
        west, south, east, north = transform_bounds(
            self._grid.crs, _CRS, *box.bounds, densify_pts=21
        )
        margin_m = _MARGIN_PX * pixel_m
        first = self._column_row(west - margin_m, north + margin_m)
        last = self._column_row(east + margin_m, south - margin_m)
        side = self._side_px
        shape_px = ((last[1] - first[1] + 1) * side, (last[0] - first[0] + 1) * side)
        source = np.zeros((4, *shape_px), np.uint8)
        for row in range(first[1], last[1] + 1):
            for column in range(first[0], last[0] + 1):
                data = self._tile(column, row, self._zoom)
                if data is not None:
                    top, left = (row - first[1]) * side, (column - first[0]) * side
                    pixels = self._pixels(data)
                    if pixels.shape != (4, side, side):
                        raise InputError(
                            f"{public(self._address(column, row, self._zoom))}: is "
                            f"not of {side} x {side} pixels, but the others are. Take "
                            "another source."
                        )
                    source[:, top : top + side, left : left + side] = pixels
        corner_m = (
            first[0] * side * pixel_m - _HALF_M,
            _HALF_M - first[1] * side * pixel_m,
        )
        target = np.zeros((4, window.height, window.width), np.uint8)
        reproject(
            source,
            target,
            src_transform=Affine(pixel_m, 0, corner_m[0], 0, -pixel_m, corner_m[1]),
            src_crs=_CRS,
            dst_transform=self._grid.transform(window),
            dst_crs=self._grid.crs,
            src_alpha=4,
            dst_alpha=4,
            resampling=(
                Resampling.average
                if self.gsd_m < self._grid.gsd_m
                else Resampling.bilinear
            ),
        )
        return target[self._bands], target[3] > 0

    def close(self) -> None:
        """Does nothing: no file stays open between two tiles."""

    def _tile(self, column: int, row: int, zoom: int) -> bytes | None:
        """A tile as it is sent; None where the service has none."""
        if not (0 <= column < 2**zoom and 0 <= row < 2**zoom):
            return None
        try:
            return self._client.document(self._address(column, row, zoom), fresh=False)
        except Unavailable as failure:
            if failure.kind != "missing" or self._client.offline:
                raise
            return None

    def _address(self, column: int, row: int, zoom: int) -> str:
        values = {"x": column, "y": row, "-y": 2**zoom - 1 - row, "z": zoom}
        address = self._template
        for field, name in _FIELDS.items():
            address = address.replace(field, str(values[name]))
        return address

    def _pixels(self, data: bytes) -> np.ndarray:
        """A tile as red, green, blue and opacity, uint8 [4 h w].

        Raises:
            InputError: If it is no picture.
        """
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                size = image.size  # known before a pixel is unpacked
                pixels = np.zeros(0)
                if max(size) <= max(_SIDES_PX):
                    pixels = np.asarray(image.convert("RGBA"))
        except (UnidentifiedImageError, OSError, ValueError) as error:
            raise InputError(
                f"{public(self._template)}: sends something that is not "
                f"{', '.join(_FORMATS)} ({data[:40]!r}). Look at one tile in a "
                "browser: a service that needs a key often answers with a text."
            ) from error
        if not pixels.size:
            raise InputError(
                f"{public(self._template)}: sends pictures of {size[0]} x {size[1]} "
                "pixels, which are no tiles. Take another source."
            )
        return np.moveaxis(pixels, -1, 0)

    def _fitting(self, max_zoom: int) -> int:
        """The coarsest level that is as fine as the grid."""
        whole_m = 2 * _HALF_M / self._side_px * self._shrinking()
        zoom = math.ceil(math.log2(whole_m / self._grid.gsd_m) - 1e-9)
        return min(max(zoom, 0), max_zoom)

    def _pixel_m(self, zoom: int) -> float:
        return 2 * _HALF_M / self._side_px / 2**zoom

    def _shrinking(self) -> float:
        """Metres on the ground for a metre of the map, in the middle of the area."""
        x, y = self._grid.outline.centroid.coords[0]
        south, north = transform_bounds(self._grid.crs, "EPSG:4326", x, y, x, y)[1::2]
        return math.cos(math.radians((south + north) / 2))

    def _at(self, x_m: float, y_m: float) -> tuple[int, int]:
        """Column and row of the tile at a place of the grid."""
        west, south, _, _ = transform_bounds(
            self._grid.crs, _CRS, x_m, y_m, x_m, y_m, densify_pts=2
        )
        return self._column_row(west, south)

    def _column_row(self, x: float, y: float) -> tuple[int, int]:
        side_m = self._side_px * self._pixel_m(self._zoom)
        return math.floor((x + _HALF_M) / side_m), math.floor((_HALF_M - y) / side_m)
