"""Reads one band of a raster as numbers with a place.

All code that reads a label's raster uses this module, so that a check and the label see
the same numbers. Outlines are transformed to the raster's own pixels. So the raster may
run from south to north, or be rotated or sheared; nothing is resampled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from exactextract.raster import RasterSource
from jaxtyping import Shaped
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from data_prep.files import crs as crs_lib
from data_prep.files import formats
from data_prep.labels.settings import LabelSettings
from mmgr_jax.errors import InputError

# A place on the edge of a pixel stays there: parts of a pixel below this are rounding.
_DIGITS = 9
_TURN_DEG = 360.0
_YEAR = re.compile(r"(?<!\d)(?:1[89]|20)\d\d(?!\d)")


class Band(RasterSource):
    """A band in its own pixels: columns count to the right, rows downwards from 0.

    Attributes:
        raster: The open file.
        number: The band, counted from 1.
        scale: Factor of the stored numbers.
        offset: Number that is added after that.
    """

    def __init__(self, raster: rasterio.DatasetReader, number: int) -> None:
        """Takes a band of an open file."""
        super().__init__()
        self.raster, self.number = raster, number
        self.scale = raster.scales[number - 1]
        self.offset = raster.offsets[number - 1]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of the raster, turned or not, in its own CRS."""
        width, height = self.raster.width, self.raster.height
        corners = [(0, 0), (width, 0), (width, height), (0, height)]
        x, y = np.array([self.raster.transform @ corner for corner in corners]).T
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    @property
    def in_words(self) -> str:
        """The band in words, with its name where it has one."""
        name = self.raster.descriptions[self.number - 1]
        return f"{self.number} ({name!r})" if name else str(self.number)

    @property
    def largest(self) -> float | None:
        """The largest number that whole numbers of the band's type can mean."""
        kind = np.dtype(self.raster.dtypes[self.number - 1])
        if kind.kind not in "iu":
            return None
        return float(np.iinfo(kind).max) * self.scale + self.offset

    def read(self, window: Window) -> np.ma.MaskedArray:
        """Reads scaled numbers of a window; masked where data is missing."""
        pixels = self.raster.read(self.number, window=window, masked=True)
        if (self.scale, self.offset) == (1, 0):
            return pixels
        return pixels.astype(np.float64) * self.scale + self.offset

    def outlines(
        self, outlines: Shaped[np.ndarray, " r"], crs: str
    ) -> Shaped[np.ndarray, " r"]:
        """Outlines [r] of a CRS in pixels: x is the column, y the row, negative.

        In degrees, an outline is shifted by whole turns to where the raster is, so that
        180 degrees is no edge.
        """
        own_crs = self.raster.crs.to_wkt()
        moved = gpd.GeoSeries(outlines, crs=crs).to_crs(own_crs).to_numpy()
        if crs_lib.parse(own_crs).is_geographic:
            moved = _on_one_side(moved, self.bounds)
        inverse = ~self.raster.transform

        def to_pixels(points: np.ndarray) -> np.ndarray:
            x, y = points.T
            column = inverse.a * x + inverse.b * y + inverse.c
            row = inverse.d * x + inverse.e * y + inverse.f
            return np.round(np.stack([column, -row], axis=1), _DIGITS)

        return shapely.transform(moved, to_pixels)

    # What exactextract asks of a raster.

    def res(self) -> tuple[float, float]:
        """Size of a pixel."""
        return 1.0, 1.0

    def extent(self) -> tuple[float, float, float, float]:
        """West, south, east, north in pixels."""
        return 0.0, -float(self.raster.height), float(self.raster.width), 0.0

    def srs_wkt(self) -> str:
        """The same name for outlines and pixels, so that they share one plane."""
        return self.raster.crs.to_wkt()

    def nodata_value(self) -> None:
        """Returns None: missing data is masked already."""

    def read_window(self, x0: int, y0: int, nx: int, ny: int) -> np.ndarray:
        """Numbers of a window by its first column and row, and its size."""
        pixels = self.read(Window(x0, y0, nx, ny))
        return pixels if np.ma.is_masked(pixels) else pixels.data


@contextmanager
def open_band(key: str, source: LabelSettings) -> Iterator[Band]:
    """Opens the band of a label's raster; read errors name the file.

    Raises:
        InputError: If the file cannot be read, or has no such band.
    """
    path = Path(source.path)
    folders = [Path(folder) for folder in source.folders]
    with (
        formats.settings(),
        formats.reading(path),
        formats.open_raster(path, folders, f"{key}.folders") as raster,
    ):
        formats.refuse_large_blocks(path, raster)
        yield Band(raster, _number(key, source, raster))


def _number(key: str, source: LabelSettings, raster: rasterio.DatasetReader) -> int:
    """The band that is meant: the one that is named, or the only one with numbers."""
    if raster.subdatasets and raster.count:
        raise InputError(
            f"{source.path}: holds {len(raster.subdatasets)} images, of which only "
            "the first would be read. Extract the one that is meant: `gdal_translate "
            f"{raster.subdatasets[0]} OUT`."
        )
    with_numbers = [
        band
        for band, color in zip(raster.indexes, raster.colorinterp, strict=True)
        if color != ColorInterp.alpha
    ]
    number = source.band
    if number is None and len(with_numbers) == 1:
        number = with_numbers[0]
    if number is None or number not in raster.indexes:
        listed = ", ".join(Band(raster, band).in_words for band in with_numbers[:30])
        raise InputError(
            f"{key}.band is {number}; {source.path} has {raster.count} band(s); "
            f"allowed: 1 to {raster.count}, with numbers {listed}. Name the one with "
            f"the {source.kind} in {source.unit}"
            + (f" of {source.year}." if source.year else ".")
        )
    if number not in with_numbers:
        raise InputError(
            f"{key}.band is {number}, which {source.path} marks as alpha: it says what "
            f"is missing. Name one of {', '.join(map(str, with_numbers))}."
        )
    _refuse_another_year(key, source, raster, number)
    return number


def _refuse_another_year(
    key: str, source: LabelSettings, raster: rasterio.DatasetReader, number: int
) -> None:
    """Refuses a band whose name says another year than the config."""
    years = [set(_YEAR.findall(text or "")) for text in raster.descriptions]
    wanted = str(source.year)
    if source.year is None or not years[number - 1] or wanted in years[number - 1]:
        return
    others = [band for band in raster.indexes if wanted in years[band - 1]]
    # A name may hold a number that looks like a year; whoever names the band knows.
    if source.band is not None and not others:
        return
    remedy = f"Name it by {key}.band if it is right"
    if others:
        remedy = f"Band {others[0]} is of {wanted}: set {key}.band={others[0]}"
    raise InputError(
        f"{key}: band {Band(raster, number).in_words} of {source.path} is named after "
        f"another year than {key}.year={wanted}. {remedy}, or correct {key}.year."
    )


def _on_one_side(
    outlines: Shaped[np.ndarray, " r"], bounds: tuple[float, float, float, float]
) -> Shaped[np.ndarray, " r"]:
    """Outlines in degrees, by whole turns, where a raster has them.

    One that reaches over an edge of the raster at 180 degrees becomes two parts.
    """
    west, _, east, _ = bounds
    about = shapely.get_coordinates(outlines)[:1, 0] if len(outlines) else 0.0

    def follow_on(points: np.ndarray) -> np.ndarray:
        return np.stack([crs_lib.near_deg(points[:, 0], about), points[:, 1]], axis=1)

    whole = shapely.transform(outlines, follow_on)
    box = shapely.bounds(whole)
    if ((box[:, 0] >= west) & (box[:, 2] <= east)).all():
        return whole
    raster = shapely.box(west, -90, east, 90)
    turned = [
        shapely.transform(whole, lambda points, k=turns: points + [k * _TURN_DEG, 0])
        for turns in (-1, 0, 1)
    ]
    inside = [shapely.area(shapely.intersection(part, raster)) for part in turned]
    best = np.argmax(inside, axis=0)
    chosen = np.choose(best, turned)
    is_split = (np.array(inside) > 0).sum(axis=0) > 1
    for index in np.flatnonzero(is_split):
        parts = [shapely.intersection(part[index], raster) for part in turned]
        chosen[index] = shapely.union_all(parts)
    return chosen
