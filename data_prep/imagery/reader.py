"""Keeps files open and reads windows of colours and of valid pixels."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import rasterio
from affine import Affine
from jaxtyping import Bool, Shaped
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from data_prep.imagery import headers as headers_lib
from data_prep.imagery.headers import ImageHeader
from data_prep.imagery.placement import ImageFile

# Files held open at a time; the usual limit of a process is 1024.
_MAX_OPEN = 64
# GDAL takes a band of these types for the mask of a file, and of no other type.
_ALPHA_TYPES = {"uint8", "uint16"}

_Dataset: TypeAlias = rasterio.DatasetReader | WarpedVRT
_Pixels: TypeAlias = Shaped[np.ndarray, "3 h w"]
_Valid: TypeAlias = Bool[np.ndarray, "h w"]


class Reader:
    """One open file; a pixel is missing where all its colours are, or any is NaN."""

    def __init__(
        self,
        dataset: _Dataset,
        bands: Sequence[int],
        nodata: float | None,
        white_is_zero: int | None = None,
    ) -> None:
        """Takes over an open file.

        Args:
            dataset: The file, closed by `close`.
            bands: Bands to read, counted from 1.
            nodata: What missing pixels hold, where the file does not mark them.
            white_is_zero: The number of black in a file whose white is 0.
        """
        self._dataset = dataset
        self._black = white_is_zero
        self._bands = list(bands)
        kinds = {dataset.dtypes[band - 1] for band in bands}
        self._is_float = any(kind.startswith("float") for kind in kinds)
        flags = {frozenset(dataset.mask_flag_enums[band - 1]) for band in bands}
        is_one_mask = all(MaskFlags.per_dataset in flag for flag in flags)
        self._mask_bands = self._bands[:1] if is_one_mask else self._bands
        self._missing: np.ndarray | None = None
        if nodata is not None:
            self._missing = np.full((3, 1, 1), nodata)
        elif flags == {frozenset([MaskFlags.nodata])}:
            values = [dataset.nodatavals[band - 1] for band in bands]
            self._missing = np.array(values, float)[:, None, None]
        self._needs_pixels = self._is_float or self._missing is not None

    @property
    def num_bands(self) -> int:
        """How many bands are read."""
        return len(self._bands)

    def read(self, window: Window) -> tuple[_Pixels, _Valid]:
        """Reads pixels of a window, and which of them are valid; black is 0."""
        pixels = self._dataset.read(self._bands, window=window)
        return self._positive(pixels), self._valid(window, pixels)

    def read_solid(self, window: Window) -> _Pixels:
        """Reads pixels of a window in which no pixel is missing.

        Where pixels are averages along the file's own rows and columns, they are
        computed as overviews are. This takes a tenth of the time of warping and gives
        the same numbers.
        """
        dataset = self._dataset
        if (
            not isinstance(dataset, WarpedVRT)
            or dataset.resampling != Resampling.average
        ):
            return self._positive(dataset.read(self._bands, window=window))
        source = dataset.src_dataset
        own = source.window(*dataset.window_bounds(window)).flatten()
        pixels = source.read(
            self._bands,
            window=Window(*(round(side, 6) for side in own)),
            out_shape=(len(self._bands), window.height, window.width),
            resampling=Resampling.average,
        )
        return self._positive(pixels)

    def valid(self, window: Window) -> _Valid:
        """Returns which pixels of a window are valid."""
        if self._needs_pixels:
            return self.read(window)[1]
        return self._valid(window, None)

    def close(self) -> None:
        """Closes the file."""
        self._dataset.close()
        if isinstance(self._dataset, WarpedVRT):
            self._dataset.src_dataset.close()

    def _positive(self, pixels: _Pixels) -> _Pixels:
        """The picture of a negative; of other files the pixels themselves."""
        return pixels if self._black is None else self._black - pixels

    def _valid(self, window: Window, pixels: np.ndarray | None) -> _Valid:
        if pixels is not None and self._missing is not None:
            missing = self._missing
            if self._is_float:
                missing = missing.astype(pixels.dtype)
            valid = (pixels != missing).any(axis=0)
        else:
            masks = self._dataset.read_masks(self._mask_bands, window=window)
            valid = masks.any(axis=0)
        if pixels is not None and self._is_float:
            valid &= np.isfinite(pixels).all(axis=0)
        return valid


class Readers:
    """Open files by number; closes the longest unused file when there are too many.

    A copy made by pickling or forking opens files of its own: two processes must not
    share the position in a file.
    """

    def __init__(self, open_file: Callable[[int], Reader]) -> None:
        """Starts with nothing open.

        Args:
            open_file: Opens the file of a number.
        """
        self._open_file = open_file
        self._readers: OrderedDict[int, Reader] = OrderedDict()
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self._readers)

    def __getitem__(self, index: int) -> Reader:
        if self._process != os.getpid():
            self._readers, self._process = OrderedDict(), os.getpid()
        if index not in self._readers:
            if len(self._readers) >= _MAX_OPEN:
                self._readers.popitem(last=False)[1].close()
            self._readers[index] = self._open_file(index)
        self._readers.move_to_end(index)
        return self._readers[index]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_readers": OrderedDict()}

    def close(self) -> None:
        """Closes everything that this process opened."""
        if self._process == os.getpid():
            for reader in self._readers.values():
                reader.close()
        self._readers.clear()


def open_as_is(
    header: ImageHeader, bands: Sequence[int], nodata: float | None
) -> Reader:
    """Opens a file on its own grid.

    Args:
        header: The file.
        bands: Bands to read.
        nodata: What missing pixels hold in files that mark none.
    """
    own = None if header.has_mask(bands) else nodata
    source = headers_lib.open_file(header)
    return Reader(source, bands, own, header.white_is_zero)


def open_on_grid(
    file: ImageFile,
    bands: Sequence[int],
    nodata: float | None,
    *,
    crs: str,
    transform: Affine,
) -> Reader:
    """Opens a file so that its pixels are those of the study area's grid.

    Args:
        file: The file and its place.
        bands: Bands to read.
        nodata: What missing pixels hold in files that mark none.
        crs: CRS of the grid.
        transform: Transform of the file's part of the grid.
    """
    header = file.header
    if file.resampling is None:
        return open_as_is(header, bands, nodata)
    # Without being told, GDAL takes any overview for the pixels of an average.
    level = "NONE" if file.overview is None else f"{file.overview}only"
    source = headers_lib.open_file(header, OVERVIEW_LEVEL=level)
    return warped(source, file, bands, nodata, crs=crs, transform=transform)


def warped(
    source: rasterio.DatasetReader,
    file: ImageFile,
    bands: Sequence[int],
    nodata: float | None,
    *,
    crs: str,
    transform: Affine,
) -> Reader:
    """Like `open_on_grid`, for a file that is open at its overview, not copied."""
    header = file.header
    warp = dict(
        crs=crs,
        transform=transform,
        width=file.width_px,
        height=file.height_px,
        resampling=file.resampling,
    )
    if not header.has_mask(bands):
        own = np.nan if nodata is None and header.is_float(bands) else nodata
        warp |= {} if own is None else dict(src_nodata=own)
    # The warper marks pixels outside the source as valid unless it has an alpha band
    # to write them to, or a number of its own for them.
    if set(header.dtypes) <= _ALPHA_TYPES:
        warp |= dict(add_alpha=ColorInterp.alpha not in header.colors)
    else:
        warp |= dict(dtype="float32", nodata=np.nan)
    return Reader(WarpedVRT(source, **warp), bands, None, header.white_is_zero)
