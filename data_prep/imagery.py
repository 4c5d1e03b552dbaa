"""GeoTIFFs as one image on the study area's pixel grid.

Every file is read through windows of that grid, so memory does not grow with the
raster. A file that already lies on the grid is copied pixel by pixel; any other is
resampled: averaged when its pixels are finer than the grid's, bilinear otherwise.
"""

from __future__ import annotations

import dataclasses
import glob
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import rasterio
from jaxtyping import Bool, UInt8
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from data_prep import crs as crs_lib
from mmgr_jax.errors import InputError

# Files held open at a time; the usual limit of a process is 1024.
_MAX_OPEN = 64
# A file is on the grid when no pixel of it lies further off, in pixels.
_GRID_TOLERANCE_PX = 0.01
# Coarser than this share of the grid's pixel, bilinear is the better resampling.
_AVERAGE_BELOW = 0.75

_Reader: TypeAlias = rasterio.DatasetReader | WarpedVRT
Bounds: TypeAlias = tuple[float, float, float, float]
"""West, south, east, north in metres of the study area's CRS."""


@dataclasses.dataclass(frozen=True)
class _File:
    """One GeoTIFF: where it lies and how to bring it onto the grid."""

    path: Path
    bounds_m: Bounds
    width_px: int
    height_px: int
    on_grid_already: bool
    all_valid: bool
    resampling: Resampling


class Imagery:
    """Windowed reads of one or several GeoTIFFs on a common grid.

    Where files overlap, the first in sorted order with a valid pixel wins.

    Attributes:
        paths: The files, sorted.
        footprints_m: West, south, east, north of each file in metres.
        bounds_m: Extent of all files; its north-west corner anchors the pixel grid.

    Example:
        with Imagery(("city.tif",), (1, 2, 3), crs="EPSG:32651", gsd_m=1.0) as imagery:
            tile, valid = imagery.read_tile(bounds_m, 224)
    """

    def __init__(
        self, paths: Sequence[str], bands: Sequence[int], *, crs: str, gsd_m: float
    ) -> None:
        """Finds the files and how each lies on the grid; reads no pixels.

        Args:
            paths: GeoTIFF files (or VRT mosaics) or glob patterns of them.
            bands: Three band numbers counted from 1: red, green, blue.
            crs: Metric CRS of the study area.
            gsd_m: Side of a pixel of the grid in metres.

        Raises:
            InputError: If there is no file.
        """
        self._bands = list(bands)
        self._crs = crs
        self._gsd_m = gsd_m
        self._readers: OrderedDict[int, _Reader] = OrderedDict()
        self.paths = expand(paths)
        if not self.paths:
            raise InputError(f"config.imagery.paths {tuple(paths)}: no such file.")
        boxes = [bounds_in(path, crs) for path in self.paths]
        self.footprints_m = np.array(boxes, float)
        west, south = self.footprints_m[:, :2].min(axis=0)
        east, north = self.footprints_m[:, 2:].max(axis=0)
        self.bounds_m: Bounds = (west, south, east, north)
        self._files = [
            _describe(path, box, (west, north), crs, gsd_m)
            for path, box in zip(self.paths, boxes, strict=True)
        ]

    def __enter__(self) -> Imagery:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers.values():
            _close(reader)
        self._readers.clear()

    def read_tile(
        self, bounds_m: Bounds, tile_size_px: int
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
        """Reads one tile of the grid.

        Args:
            bounds_m: West, south, east, north; a whole number of pixels from the
                north-west corner of `bounds_m` of the imagery.
            tile_size_px: Side of the tile in pixels.

        Returns:
            The tile uint8 [h w 3], zero where there is no imagery, and a mask [h w]
            of the pixels that hold imagery.

        Raises:
            InputError: If a file cannot be read.
        """
        tile = np.zeros((tile_size_px, tile_size_px, 3), np.uint8)
        filled = np.zeros((tile_size_px, tile_size_px), bool)
        for index in self._touching(bounds_m):
            window, into = self._window(index, bounds_m, tile_size_px)
            if into is None or filled[into].all():
                continue
            pixels = self._read(index, window)
            new = self._valid(index, window) & ~filled[into]
            tile[into][new] = np.moveaxis(pixels, 0, -1)[new]
            filled[into] |= new
        return tile, filled

    def coverage(self, bounds_m: Bounds, tile_size_px: int) -> float:
        """Share of a tile's pixels that hold imagery, without reading colours."""
        filled = np.zeros((tile_size_px, tile_size_px), bool)
        for index in self._touching(bounds_m):
            window, into = self._window(index, bounds_m, tile_size_px)
            if into is not None and not filled[into].all():
                filled[into] |= self._valid(index, window)
        return float(filled.mean())

    def _touching(self, bounds_m: Bounds) -> Sequence[int]:
        west, south, east, north = bounds_m
        boxes = self.footprints_m
        touches = (boxes[:, 0] < east) & (boxes[:, 2] > west)
        touches &= (boxes[:, 1] < north) & (boxes[:, 3] > south)
        return np.flatnonzero(touches).tolist()

    def _window(
        self, index: int, bounds_m: Bounds, tile_size_px: int
    ) -> tuple[Window, tuple[slice, slice] | None]:
        """The file's part of a tile, and where it goes in the tile."""
        file = self._files[index]
        column = round((bounds_m[0] - file.bounds_m[0]) / self._gsd_m)
        row = round((file.bounds_m[3] - bounds_m[3]) / self._gsd_m)
        first_column, first_row = max(column, 0), max(row, 0)
        last_column = min(column + tile_size_px, file.width_px)
        last_row = min(row + tile_size_px, file.height_px)
        width_px, height_px = last_column - first_column, last_row - first_row
        if width_px <= 0 or height_px <= 0:
            return Window(0, 0, 0, 0), None
        top, left = first_row - row, first_column - column
        into = (slice(top, top + height_px), slice(left, left + width_px))
        return Window(first_column, first_row, width_px, height_px), into

    def _read(self, index: int, window: Window) -> UInt8[np.ndarray, "3 h w"]:
        try:
            return self._reader(index).read(self._bands, window=window)
        except RasterioError as error:
            raise unreadable(self._files[index].path, error) from error

    def _valid(self, index: int, window: Window) -> Bool[np.ndarray, "h w"]:
        if self._files[index].all_valid:
            return np.ones((window.height, window.width), bool)
        try:
            masks = self._reader(index).read_masks(self._bands, window=window)
        except RasterioError as error:
            raise unreadable(self._files[index].path, error) from error
        return masks.any(axis=0)

    def _reader(self, index: int) -> _Reader:
        """The open file, already on the grid; the longest unused one is closed."""
        if index not in self._readers:
            if len(self._readers) >= _MAX_OPEN:
                _close(self._readers.popitem(last=False)[1])
            self._readers[index] = self._open(self._files[index])
        self._readers.move_to_end(index)
        return self._readers[index]

    def _open(self, file: _File) -> _Reader:
        source = rasterio.open(file.path)
        if file.on_grid_already:
            return source
        west, _, _, north = file.bounds_m
        # The warper marks pixels outside the source as valid unless it has an alpha
        # band to write them to.
        return WarpedVRT(
            source,
            crs=self._crs,
            transform=from_origin(west, north, self._gsd_m, self._gsd_m),
            width=file.width_px,
            height=file.height_px,
            resampling=file.resampling,
            add_alpha=ColorInterp.alpha not in source.colorinterp,
        )


def expand(paths: Sequence[str]) -> list[Path]:
    """The files behind paths and glob patterns, sorted, each once."""
    found: set[Path] = set()
    for pattern in map(str, paths):
        # A file whose name holds brackets is no pattern.
        names = [pattern] if Path(pattern).exists() else glob.glob(pattern)
        found.update(map(Path, names))
    return sorted(found)


def bounds_in(path: Path, crs: str) -> Bounds:
    """West, south, east, north of a file in any CRS, its own rotation undone."""
    with rasterio.open(path) as source:
        steps = np.linspace(0.0, 1.0, 22)
        edge = np.concatenate(
            [np.stack([steps, np.full_like(steps, side)]) for side in (0.0, 1.0)]
            + [np.stack([np.full_like(steps, side), steps]) for side in (0.0, 1.0)],
            axis=1,
        )
        column, row = edge[0] * source.width, edge[1] * source.height
        grid = source.transform
        x = grid.c + grid.a * column + grid.b * row
        y = grid.f + grid.d * column + grid.e * row
        x, y = crs_lib.transform(x, y, source.crs.to_wkt(), crs)
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _describe(
    path: Path, box_m: Bounds, origin_m: tuple[float, float], crs: str, gsd_m: float
) -> _File:
    """How a file lies on the grid that starts at `origin_m` (west, north)."""
    west, south, east, north = box_m
    with rasterio.open(path) as source:
        width_px, height_px = source.width, source.height
        transform = source.transform
        upright = transform.b == transform.d == 0 and transform.a > 0 > transform.e
        same_crs = crs_lib.same(source.crs.to_wkt(), crs)
        flags = {flag for band in source.mask_flag_enums[:3] for flag in band}
        no_mask = flags == {MaskFlags.all_valid}
    drift_px = abs(east - west - width_px * gsd_m) / gsd_m
    drift_px = max(drift_px, abs(north - south - height_px * gsd_m) / gsd_m)
    left_px = (west - origin_m[0]) / gsd_m
    top_px = (origin_m[1] - north) / gsd_m
    offset_px = max(abs(left_px - round(left_px)), abs(top_px - round(top_px)))
    if same_crs and upright and max(drift_px, offset_px) < _GRID_TOLERANCE_PX:
        return _File(
            path, box_m, width_px, height_px, True, no_mask, Resampling.nearest
        )
    source_gsd_m = min((east - west) / width_px, (north - south) / height_px)
    fine = source_gsd_m < _AVERAGE_BELOW * gsd_m
    first_column, first_row = int(np.floor(left_px)), int(np.floor(top_px))
    snapped_west = origin_m[0] + first_column * gsd_m
    snapped_north = origin_m[1] - first_row * gsd_m
    snapped_width = int(np.ceil((east - snapped_west) / gsd_m))
    snapped_height = int(np.ceil((snapped_north - south) / gsd_m))
    return _File(
        path,
        (snapped_west, south, east, snapped_north),
        snapped_width,
        snapped_height,
        False,
        False,
        Resampling.average if fine else Resampling.bilinear,
    )


def _close(reader: _Reader) -> None:
    reader.close()
    if isinstance(reader, WarpedVRT):
        reader.src_dataset.close()


def unreadable(path: Path, error: Exception) -> InputError:
    """The error for a raster that opens or reads badly."""
    cause = str(error.__cause__ or error)
    return InputError(
        f"{path}: cannot be read ({cause}). The file may be truncated or damaged: "
        "check it with `gdalinfo -checksum FILE` and fetch it again."
    )
