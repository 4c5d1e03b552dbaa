"""Reads windows of one or many files as one image."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Bool, UInt8
from rasterio.transform import from_origin
from rasterio.windows import Window

from data_prep.files import formats
from data_prep.imagery import headers as headers_lib
from data_prep.imagery import paths as paths_lib
from data_prep.imagery import placement, reader
from data_prep.imagery import stretch as stretch_lib
from data_prep.imagery.headers import ImageHeader
from data_prep.imagery.placement import Bounds
from data_prep.imagery.reader import Reader
from data_prep.imagery.settings import ImagerySettings
from mmgr_jax.errors import InputError

_Into: TypeAlias = tuple[slice, slice]
_Result = TypeVar("_Result")


class Imagery:
    """Windowed reads of one or several files on a common grid.

    Memory does not grow with the rasters. Where files overlap, the first or the last
    file in sorted order with a valid pixel is used. A file that already lies on the
    grid is copied pixel by pixel. Any other file, in any CRS or rotation, is warped
    during the read: averaged where its pixels are finer than the grid's, bilinear
    otherwise. From a file with overviews, the coarsest overview with two or more pixels
    along each pixel of the grid is read. A file whose white is 0 is read as the
    picture, not as its negative.

    Use it in one thread at a time. A copy for another process (by pickling or forking)
    opens files of its own and does not read headers again.

    Attributes:
        files: The files, sorted by path, each with its place on the grid.
        paths: Their paths.
        footprints_m: West, south, east, north of each file in metres [m 4].
        shared_m: The ground that pairs of files share [k], as shapely geometries.
        bounds_m: Extent of all files; its north-west corner anchors the pixel grid.
        stretch: How pixels become 8-bit; None where they already are.

    Example:
        settings = ImagerySettings(paths=("city.tif",))
        with Imagery(settings, crs="EPSG:32651", gsd_m=1.0) as imagery:
            tile, valid = imagery.read_tile(bounds_m, 224)
    """

    def __init__(self, settings: ImagerySettings, *, crs: str, gsd_m: float) -> None:
        """Finds the files and how each lies on the grid.

        Reads no pixels but a sample for percentiles, where `stretch` asks for them.

        Args:
            settings: Which files there are, and how they are read.
            crs: Metric CRS of the study area.
            gsd_m: Side of a pixel of the grid in metres.

        Raises:
            InputError: If there is no file, or one that cannot be used.
        """
        bands, nodata = settings.bands, settings.nodata
        self._bands = bands
        self._nodata = nodata
        self._crs = crs
        self._gsd_m = gsd_m
        self._reverse = settings.overlap == "last"
        self.paths = paths_lib.expand(settings.paths)
        if not self.paths:
            raise InputError(f"config.imagery.paths {settings.paths}: no such file.")
        headers = headers_lib.read_all(settings)
        _refuse(headers, settings)
        self.files, (west, north) = placement.place(headers, crs, gsd_m)
        self.footprints_m = np.array([file.bounds_m for file in self.files], float)
        self.shared_m = placement.shared(headers, crs, gsd_m)
        south = float(self.footprints_m[:, 1].min())
        east = float(self.footprints_m[:, 2].max())
        self.bounds_m: Bounds = (west, south, east, north)
        self._readers = reader.Readers(self._open)
        self.stretch = stretch_lib.resolve(settings.stretch, headers, bands, nodata)
        if self.stretch:
            logging.info("imagery becomes 8-bit: %s", self.report["stretch"])

    def __enter__(self) -> Imagery:
        return self

    def __exit__(self, *_: object) -> None:
        self._readers.close()

    @property
    def report(self) -> dict[str, Any]:
        """Counts files by how they are read, and adds the stretch, for the manifest."""
        how = Counter(
            "copied" if file.resampling is None else file.resampling.name
            for file in self.files
        )
        report: dict[str, Any] = {"files": len(self.files), "resampling": dict(how)}
        report["from overviews"] = sum(file.overview is not None for file in self.files)
        report["overlapping pairs"] = len(self.shared_m)
        report["shown where files overlap"] = self.rule
        if self.stretch:
            report["stretch"] = dataclasses.asdict(self.stretch)
        return report

    @property
    def rule(self) -> str:
        """Which file is used where several files overlap."""
        return f"the {'last' if self._reverse else 'first'} file by path"

    def read_tile(
        self, bounds_m: Bounds, tile_size_px: int, file: int | None = None
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
        """Reads one tile of the grid.

        Args:
            bounds_m: West, south, east, north; a whole number of pixels from the
                north-west corner of `bounds_m` of the imagery.
            tile_size_px: Side of the tile in pixels.
            file: Index of the one file to read; None: all, by `rule`.

        Returns:
            The tile uint8 [h w 3], zero where there is no imagery, and a mask [h w]
            of the pixels that hold imagery.

        Raises:
            InputError: If a file cannot be read.
        """
        tile = np.zeros((tile_size_px, tile_size_px, 3), np.uint8)
        filled = np.zeros((tile_size_px, tile_size_px), bool)
        for index, window, into in self._parts(bounds_m, tile_size_px, file):
            if filled[into].all():
                continue
            pixels, new = self._read(index, window)
            new &= ~filled[into]
            # One copy of a whole part takes a tenth of what picking its pixels takes.
            everything = new.all()
            part, colors = tile[into], np.moveaxis(pixels, 0, -1)
            part[... if everything else new] = colors[... if everything else new]
            filled[into] |= new
        return tile, filled

    def coverage(
        self, bounds_m: Bounds, tile_size_px: int, file: int | None = None
    ) -> float:
        """Returns the share of a tile's pixels that hold imagery; see `read_tile`.

        Colours are read only where nothing else in the file shows what is missing.
        """
        filled = np.zeros((tile_size_px, tile_size_px), bool)
        for index, window, into in self._parts(bounds_m, tile_size_px, file):
            if self._is_solid(index, window):
                filled[into] = True
            elif not filled[into].all():
                filled[into] |= self._guarded(index, window, Reader.valid)
        return float(filled.mean())

    def _parts(
        self, bounds_m: Bounds, tile_size_px: int, only: int | None
    ) -> Iterator[tuple[int, Window, _Into]]:
        """Each file's window on a tile, and where it goes in the tile."""
        for index in self._touching(bounds_m):
            if only not in (None, index):
                continue
            file = self.files[index]
            column = round((bounds_m[0] - self.bounds_m[0]) / self._gsd_m)
            row = round((self.bounds_m[3] - bounds_m[3]) / self._gsd_m)
            column, row = column - file.column_px, row - file.row_px
            left, top = max(column, 0), max(row, 0)
            width_px = min(column + tile_size_px, file.width_px) - left
            height_px = min(row + tile_size_px, file.height_px) - top
            if width_px > 0 and height_px > 0:
                rows = slice(top - row, top - row + height_px)
                columns = slice(left - column, left - column + width_px)
                yield index, Window(left, top, width_px, height_px), (rows, columns)

    def _touching(self, bounds_m: Bounds) -> Sequence[int]:
        west, south, east, north = bounds_m
        boxes = self.footprints_m
        touches = (boxes[:, 0] < east) & (boxes[:, 2] > west)
        touches &= (boxes[:, 1] < north) & (boxes[:, 3] > south)
        indices = np.flatnonzero(touches).tolist()
        return indices[::-1] if self._reverse else indices

    def _read(
        self, index: int, window: Window
    ) -> tuple[UInt8[np.ndarray, "3 h w"], Bool[np.ndarray, "h w"]]:
        if self._is_solid(index, window):
            valid = np.ones((window.height, window.width), bool)
            pixels = self._guarded(index, window, Reader.read_solid)
        else:
            pixels, valid = self._guarded(index, window, Reader.read)
        return (self.stretch(pixels) if self.stretch else pixels), valid

    def _is_solid(self, index: int, window: Window) -> bool:
        """Whether all of a window is there, known without reading it."""
        file, header = self.files[index], self.files[index].header
        if file.full_px is None or self._nodata is not None:
            return False
        if header.has_mask(self._bands) or header.is_float(self._bands):
            return False
        left, top, right, bottom = file.full_px
        (first_row, last_row), (first_column, last_column) = window.toranges()
        across = left <= first_column and last_column <= right
        return across and top <= first_row and last_row <= bottom

    def _guarded(
        self, index: int, window: Window, work: Callable[[Reader, Window], _Result]
    ) -> _Result:
        """Reads from a file; what fails is told with the file and the place."""
        left, top = window.col_off, window.row_off
        where = f"columns {left} to {left + window.width}, "
        where += f"rows {top} to {top + window.height}"
        with formats.settings(), formats.reading(self.files[index].path, where):
            return work(self._readers[index], window)

    def _open(self, index: int) -> Reader:
        file = self.files[index]
        west = self.bounds_m[0] + file.column_px * self._gsd_m
        north = self.bounds_m[3] - file.row_px * self._gsd_m
        return reader.open_on_grid(
            file,
            self._bands,
            self._nodata,
            crs=self._crs,
            transform=from_origin(west, north, self._gsd_m, self._gsd_m),
        )


def _refuse(headers: Sequence[ImageHeader], settings: ImagerySettings) -> None:
    """Raises `InputError` for the first thing that keeps files from serving."""
    bands, stretch = settings.bands, settings.stretch
    problems = [
        text for header in headers if (text := headers_lib.problem(header, bands))
    ]
    problems = problems or stretch_lib.problems(stretch)
    unfit = None
    if not problems:
        unfit = stretch_lib.unfit(stretch, headers, bands, settings.nodata)
    if problems or unfit:
        raise InputError(unfit or problems[0])
