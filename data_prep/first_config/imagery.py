"""Reads what image files say about themselves: place, bands, type, resolution."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from rasterio.enums import ColorInterp

from data_prep.files import crs as crs_lib
from data_prep.files import faults, fetched
from data_prep.first_config.answers import Answer, Answers, recorded, year_in
from data_prep.imagery import check, headers, placement, stretch
from data_prep.imagery.headers import ImageHeader
from data_prep.imagery.settings import ImagerySettings
from mmgr_jax.errors import InputError

_COLORS = ("red", "green", "blue")
_STRETCH = ("percentile", 2, 98)
# Exactly black or white pixels beyond this share are fill that nobody marked.
_FILL_SHARE = 0.02
# Files that cover less of the box around them are scattered.
_SCATTERED = 0.5


@dataclasses.dataclass(frozen=True)
class ImageryFacts:
    """What the image files say.

    Attributes:
        answers: Answers for `c.imagery` and for `CRS`.
        settings: The same answers as settings.
        crs: Metric CRS of the city.
        extent_deg: West, south, east, north of the files in degrees.
        gsd_m: Pixel side of the finest file in metres.
        area_m2: Ground that the files show; ground shown by two files counts twice.
        summary: Everything in one line.
    """

    answers: Answers
    settings: ImagerySettings
    crs: str
    extent_deg: faults.Bounds
    gsd_m: float
    area_m2: float
    summary: str


def ask(pattern: str) -> ImageryFacts:
    """Reads the facts from the files of a path or pattern.

    Raises:
        InputError: If there are no files, or they cannot be read or placed.
    """
    plain = ImagerySettings(paths=(pattern,))
    found_files = headers.read_all(plain)
    if not found_files:
        raise InputError(
            f"--imagery={pattern!r}: no such file. Wanted: GeoTIFF files with a CRS, "
            "or a pattern of them in quotes, such as --imagery='raw/*.tif'."
        )
    placeless = [header for header in found_files if header.crs is None]
    if placeless:
        raise InputError(
            f"{placeless[0].path}: has no CRS, so nothing says where it lies. Write "
            f"it into the file: `rio edit-info --crs EPSG:... {placeless[0].path}`."
        )
    extent_deg = check.extent_deg(plain)
    crs = _city_crs(found_files, extent_deg)
    bands = _bands(found_files)
    deep = sorted({kind for own in found_files for kind in own.dtypes} - {"uint8"})
    depth = Answer(_STRETCH if deep else None)
    if deep:
        depth = Answer(_STRETCH, f"pixels are {', '.join(deep)}")
    settings = dataclasses.replace(plain, bands=bands.value, stretch=depth.value)
    alpha = _alpha(settings)
    settings = dataclasses.replace(settings, ignore=alpha.value)
    nodata = _nodata(found_files, settings.bands)
    settings = dataclasses.replace(settings, nodata=nodata.value)
    answers: Answers = {
        "CRS": crs,
        "c.imagery.paths": _paths(pattern, settings, len(found_files)),
        "c.imagery.bands": bands,
        "c.imagery.stretch": depth,
        "c.imagery.nodata": nodata,
        "c.imagery.ignore": alpha,
    }
    if year := year_in(str(header.path) for header in found_files):
        answers["c.imagery.year"] = Answer(year, "by the files' names")
    answers |= recorded("c.imagery", fetched.beside(pattern))
    files, _ = placement.place(found_files, crs.value, 1.0)
    gsd_m = min(file.gsd_m for file in files)
    covered = sum(
        (file.bounds_m[2] - file.bounds_m[0]) * (file.bounds_m[3] - file.bounds_m[1])
        for file in files
    )
    answers["c.regions.kind"] = _kind(np.array([file.bounds_m for file in files]))
    west, south, east, north = extent_deg
    kinds = sorted({kind for header in found_files for kind in header.dtypes})
    summary = (
        f"imagery: {len(found_files)} file(s), {covered / 1e6:,.2f} km2, "
        f"{west:.4f} to {east:.4f} E, {south:.4f} to {north:.4f} N, "
        f"{len(found_files[0].dtypes)} band(s) of {', '.join(kinds)}, "
        f"{gsd_m:.3g} m a pixel; city CRS {crs.value}"
    )
    return ImageryFacts(
        answers, settings, crs.value, extent_deg, gsd_m, covered, summary
    )


def _paths(pattern: str, settings: ImagerySettings, count: int) -> Answer:
    """The paths, with what is wrong with the files."""
    wrong = check.problems(settings)
    why = f"{count} file(s)"
    return Answer((pattern,), why, " ".join(wrong) if wrong else None)


def _city_crs(found_files: Sequence[ImageHeader], extent_deg: faults.Bounds) -> Answer:
    """The files' own CRS where it is metric and made for the place, else UTM."""
    west, south, east, north = extent_deg
    middle_deg = ((west + east) / 2, (south + north) / 2)
    first = crs_lib.parse(found_files[0].crs or "")
    one = all(crs_lib.same(header.crs or "", first) for header in found_files)
    code = first.to_epsg() if one else None
    own = f"EPSG:{code}"
    if code and crs_lib.problem(own, middle_deg) is None:
        return Answer(own, f"{first.name}, that of the imagery")
    utm = crs_lib.utm(middle_deg)
    return Answer(utm, f"{crs_lib.parse(utm).name}, by the imagery's place")


def _bands(found_files: Sequence[ImageHeader]) -> Answer:
    """Red, green and blue by what files call their bands."""
    header = min(found_files, key=lambda own: len(own.dtypes))
    colors = [header.color_of(band) for band in range(1, len(header.dtypes) + 1)]
    if all(color in colors for color in _COLORS):
        places = tuple(colors.index(color) + 1 for color in _COLORS)
        return Answer(places, "red, green, blue as the files name them")
    shown = [color for color in header.colors if color != ColorInterp.alpha]
    if len(shown) == 1:
        return Answer((1, 1, 1), "a grey image")
    if len(shown) == 2:
        return Answer(
            (1, 1, 1), ask="two bands without names: which ones shall be used?"
        )
    if len(shown) == 3:
        return Answer((1, 2, 3), "three bands, taken for red, green and blue")
    return Answer(
        (1, 2, 3),
        ask=f"{len(shown)} bands without names: which are red, green and blue? "
        "(Satellites often begin with blue: (3, 2, 1).)",
    )


def _alpha(settings: ImagerySettings) -> Answer:
    """Whether a band that is marked as alpha is near infrared."""
    problems = check.problems(settings)
    if not any("is marked as alpha, but" in problem for problem in problems):
        return Answer(())
    return Answer(("alpha",), "the band marked as alpha is a picture, not a mask")


def _nodata(found_files: Sequence[ImageHeader], bands: Sequence[int]) -> Answer:
    """What fill may hold in files that mark none."""
    if any(header.has_mask(bands) for header in found_files):
        return Answer(None, "the files mark what is missing")
    pixels = stretch.sample(found_files, bands, None)
    if not pixels.size:
        return Answer(None)
    is_byte = set(found_files[0].dtypes) == {"uint8"}
    for value in (0.0, 255.0) if is_byte else (0.0,):
        share = float((pixels == value).all(axis=0).mean())
        if share > _FILL_SHARE:
            return Answer(
                value,
                ask=f"{share:.0%} of a sample of pixels are {value:g} in all bands, "
                "and the files mark none as missing. Does this value mark "
                "missing data? If not: None.",
            )
    return Answer(None, "no missing data seen in a sample")


def _kind(bounds_m: np.ndarray) -> Answer:
    """Whether files are scattered, so that each may be meant as a region."""
    sides = bounds_m[:, 2:] - bounds_m[:, :2]
    box = bounds_m[:, 2:].max(axis=0) - bounds_m[:, :2].min(axis=0)
    if len(bounds_m) < 3 or sides.prod(axis=1).sum() > _SCATTERED * box.prod():
        return Answer("grid")
    side = ", ".join(f"{length:.0f}" for length in np.median(sides, axis=0))
    return Answer(
        "grid",
        ask=f"{len(bounds_m)} files of {side} m lie scattered. If each is one region: "
        "'chips', with tile_size_px and gsd_m of a file.",
    )
