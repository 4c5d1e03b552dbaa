"""Reduces pixels of more than 8 bits to 8, in the same way in every tile of a city."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from rasterio.windows import Window

from data_prep.files import formats
from data_prep.imagery import reader
from data_prep.imagery.headers import ImageHeader
from mmgr_jax.errors import InputError

METHODS = ("linear", "percentile")
Setting: TypeAlias = Sequence[Any] | None
"""`config.imagery.stretch`, see `ImagerySettings`."""

_KEY = "config.imagery.stretch"
_ALLOWED = (
    'None for 8-bit files, ("linear", LOW, HIGH) with one number or one for each '
    'band, or ("percentile", 2, 98)'
)
# What percentiles are taken from: windows spread over the files, at full resolution.
# Overviews would be cheaper, but they are averages, and a stretch must not change on
# the day that someone builds them.
_SAMPLE_WINDOWS = 256
_SAMPLE_SIDE_PX = 64


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Maps low to 0 and high to 255, and clips values outside.

    Attributes:
        low: Of red, green and blue.
        high: Of red, green and blue.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __call__(
        self, pixels: Shaped[np.ndarray, "3 h w"]
    ) -> UInt8[np.ndarray, "3 h w"]:
        """Pixels in 8 bits; NaN, which is missing, becomes 0."""
        low = np.array(self.low, np.float32)[:, None, None]
        scale = 255 / (np.array(self.high, np.float32)[:, None, None] - low)
        scaled = (pixels.astype(np.float32) - low) * scale + np.float32(0.5)
        return np.nan_to_num(scaled.clip(0, 255), copy=False).astype(np.uint8)


def problems(setting: Setting) -> list[str]:
    """Lists what is wrong with the setting itself."""
    if setting is None:
        return []
    wrong = [f"{_KEY} is {setting!r}; allowed: {_ALLOWED}."]
    if len(setting) != 3 or setting[0] not in METHODS:
        return wrong
    method, low, high = setting
    if method == "percentile":
        fine = all(isinstance(value, (int, float)) for value in (low, high))
        fine = fine and 0 <= low < high <= 100
        return [] if fine else wrong
    lows, highs = _per_band(low), _per_band(high)
    if not (lows and highs):
        return wrong
    fine = all(below < above for below, above in zip(lows, highs, strict=True))
    return [] if fine else [f"{wrong[0][:-1]}, LOW below HIGH."]


def resolve(
    setting: Setting,
    headers: Sequence[ImageHeader],
    bands: Sequence[int],
    nodata: float | None,
) -> Stretch | None:
    """Returns the numbers of a setting; for percentiles, reads a sample of the files.

    Args:
        setting: A setting without `problems`.
        headers: The files.
        bands: Red, green and blue, counted from 1.
        nodata: What missing pixels hold in files that mark none.

    Raises:
        InputError: If a sample shows nothing, or a band of it holds only one number.
    """
    if setting is None:
        return None
    method, low, high = setting
    if method == "linear":
        return Stretch(_per_band(low), _per_band(high))
    pixels = sample(headers, bands, nodata)
    lows = highs = np.zeros(1)
    if pixels.size:
        lows, highs = np.percentile(pixels, np.array([low, high]), axis=1)
    if (lows >= highs).any():
        seen, remedy = "no pixel", "Check the files and config.imagery.nodata"
        if pixels.size:
            seen = f"nothing between {lows} and {highs}"
            remedy = 'Give numbers: ("linear", LOW, HIGH)'
        raise InputError(
            f"{_KEY} is {tuple(setting)!r}, but a sample of {len(headers)} file(s), "
            f"the first {headers[0].path}, holds {seen}. {remedy}."
        )
    return Stretch(tuple(lows.tolist()), tuple(highs.tolist()))


def sample(
    headers: Sequence[ImageHeader], bands: Sequence[int], nodata: float | None
) -> Float[np.ndarray, "3 n"]:
    """Reads pixels of windows spread evenly over the files, the same at every call.

    From many files it takes an even choice in their order; from each file it takes
    windows on a lattice.

    Args:
        headers: The files.
        bands: Red, green and blue, counted from 1.
        nodata: What missing pixels hold in files that mark none.

    Returns:
        The pixels [3 n] that are not missing, as stored; n may be 0.
    """
    count = min(len(headers), _SAMPLE_WINDOWS)
    chosen = np.linspace(0, len(headers) - 1, count).round().astype(int)
    side = max(1, math.isqrt(_SAMPLE_WINDOWS // count))
    windows = [np.zeros((len(bands), 0))]
    for index in chosen.tolist():
        windows += _sample_file(headers[index], bands, nodata, side)
    return np.concatenate(windows, axis=1)


def unfit(
    setting: Setting,
    headers: Sequence[ImageHeader],
    bands: Sequence[int],
    nodata: float | None,
) -> str | None:
    """Why the setting cannot be used for the files; None when it can.

    Args:
        setting: A setting without `problems`.
        headers: The files.
        bands: Red, green and blue, counted from 1.
        nodata: What missing pixels hold in files that mark none.
    """
    if problem := _packed_in_ways(headers, bands):
        return problem
    by_type: dict[str, list[ImageHeader]] = {}
    for header in headers:
        for kind in {header.dtypes[band - 1] for band in bands}:
            by_type.setdefault(kind, []).append(header)
    if setting is None:
        by_type.pop("uint8", None)
        undecided = [
            _undecided(group, kind, bands, nodata) for kind, group in by_type.items()
        ]
        return undecided[0] if undecided else None
    if len(by_type) < 2:
        return None
    examples = ", ".join(
        f"{kind} in {group[0].path}" for kind, group in by_type.items()
    )
    return (
        f"{_KEY} is {tuple(setting)!r}, one stretch for files of several types of "
        f"pixels: {examples}. Bring them to one type, or leave some out."
    )


def _sample_file(
    header: ImageHeader, bands: Sequence[int], nodata: float | None, side: int
) -> Iterator[Float[np.ndarray, "3 n"]]:
    with formats.settings(), formats.reading(header.path):
        source = reader.open_as_is(header, bands, nodata)
        try:
            for window in _lattice(header, side):
                pixels, valid = source.read(window)
                yield pixels[:, valid].astype(float)
        finally:
            source.close()


def _packed_in_ways(headers: Sequence[ImageHeader], bands: Sequence[int]) -> str | None:
    """Files whose numbers mean other brightness, which no one stretch can bring out."""
    by_packing: dict[tuple, ImageHeader] = {}
    for header in headers:
        packing = tuple(header.packing[band - 1] for band in bands if header.packing)
        by_packing.setdefault(packing, header)
    if len(by_packing) < 2:
        return None
    examples = ", ".join(
        f"{[tuple(pair) for pair in packing]} in {header.path}"
        for packing, header in list(by_packing.items())[:3]
    )
    return (
        "config.imagery.paths: the files pack brightness in several ways, by (scale, "
        f"offset) of each band: {examples}. Unpack them to one kind of number with "
        "`gdal_translate -unscale -ot Float32 IN OUT`, or leave some out."
    )


def _undecided(
    headers: Sequence[ImageHeader],
    kind: str,
    bands: Sequence[int],
    nodata: float | None,
) -> str:
    """The message for files that no stretch was stated for, with one to state."""
    more = f" (and of {len(headers) - 1} more)" if len(headers) > 1 else ""
    pixels = sample(headers, bands, nodata)
    sentence = f"{headers[0].path}: pixels are {kind}, 8-bit (uint8) is needed{more}."
    if not pixels.size:
        return f"{sentence} Set {_KEY}; allowed: {_ALLOWED}."
    digits = 4 if kind.startswith("float") else None
    ends = np.percentile(pixels, (2, 98), axis=1).tolist()
    low, high = (tuple(round(value, digits) for value in values) for values in ends)
    return (
        f"{sentence} A sample holds {pixels.min():g} to {pixels.max():g}. Say how they "
        f'become 8-bit: {_KEY}=("linear", {low}, {high}), which are percentiles 2 and '
        '98 of each band, or ("percentile", 2, 98).'
    )


def _lattice(header: ImageHeader, side: int) -> Iterator[Window]:
    """Windows in the middle of side x side equal parts of a file."""
    width = min(_SAMPLE_SIDE_PX, header.width_px)
    height = min(_SAMPLE_SIDE_PX, header.height_px)
    for row in range(side):
        for column in range(side):
            x = round((column + 0.5) * header.width_px / side - width / 2)
            y = round((row + 0.5) * header.height_px / side - height / 2)
            x, y = min(max(x, 0), header.width_px - width), max(y, 0)
            yield Window(x, min(y, header.height_px - height), width, height)


def _per_band(value: Any) -> tuple[float, ...]:
    """Three finite numbers of one or three; () of anything else."""
    values = value if isinstance(value, (tuple, list)) else (value,) * 3
    is_number = [isinstance(item, (int, float)) for item in values]
    if len(values) != 3 or not all(is_number) or not np.isfinite(values).all():
        return ()
    return tuple(float(item) for item in values)
