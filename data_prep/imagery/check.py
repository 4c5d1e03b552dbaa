"""Checks whether the imagery can be cut into RGB tiles."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import array_bounds
from rasterio.windows import Window

from data_prep.files import crs as crs_lib
from data_prep.files import faults, formats
from data_prep.imagery import declared, headers, placement, stretch
from data_prep.imagery import paths as paths_lib
from data_prep.imagery.headers import ImageHeader
from data_prep.imagery.settings import ImagerySettings
from mmgr_jax.errors import InputError

# An alpha band is 0 or full but for soft edges; near infrared is mostly in between.
_MAX_BETWEEN = 0.1
_ALPHA_WINDOW_PX = 256
# No imagery of a city is finer; degrees a pixel are.
_MIN_PIXEL_M = 0.005


def problems(settings: ImagerySettings) -> list[str]:
    """Lists everything that prevents reading the files as RGB tiles."""
    bands = settings.bands
    problems = _setting_problems(settings) + _path_problems(settings)
    paths = paths_lib.expand(settings.paths)
    if problems and not paths:
        return problems
    fit, unfit = [], []
    allowed = paths_lib.folders(settings.paths, settings.folders)
    declaration = declared.Declared(settings.ignore, settings.grid)
    for path in paths:
        try:
            header = headers.read(path, allowed, declaration)
            problem = headers.problem(header, bands) or _place_problem(header)
            problem = problem or _content_problem(header, bands)
        except InputError as error:
            problem = str(error)
        if problem:
            unfit.append((path, problem))
        else:
            fit.append(header)
    problems += _each_once(unfit)
    if not problems and fit:
        problems += _nowhere_problems(fit)
    if not problems and fit:
        problems += _zoom_problems(fit) + _stretch_problems(fit, settings)
    return problems


def extent_deg(settings: ImagerySettings) -> faults.Bounds:
    """West, south, east, north of all files in degrees; east is above 180 across it."""
    boxes = placement.footprints(headers.read_all(settings), crs_lib.WGS84)
    west = crs_lib.near_deg(boxes[:, 0], boxes[0, 0])
    east = west + boxes[:, 2] - boxes[:, 0]
    south, north = boxes[:, 1].min(), boxes[:, 3].max()
    return float(west.min()), float(south), float(east.max()), float(north)


def _path_problems(settings: ImagerySettings) -> list[str]:
    """Patterns that find nothing; and a word on files that one leaves out by case."""
    problems = []
    for pattern in settings.paths:
        files = paths_lib.expand([pattern])
        if not files:
            problems.append(
                f"config.imagery.paths {pattern!r}: no such file. Wanted: an 8-bit "
                "GeoTIFF (a deeper one with config.imagery.stretch) with a CRS and "
                f"bands {settings.bands} for red, green, blue."
                + paths_lib.none_found(pattern)
            )
        if others := paths_lib.other_case(pattern, files):
            logging.warning(
                "config.imagery.paths %r leaves out %d file(s) whose ending differs "
                "in upper and lower case, such as %s; name a pattern for them, too, "
                "if they belong to the imagery",
                pattern,
                len(others),
                others[0],
            )
    return problems


def _each_once(unfit: Sequence[tuple[Path, str]]) -> list[str]:
    """What is wrong with files; the same of many is said once."""
    groups: dict[str, list[tuple[Path, str]]] = {}
    for path, problem in unfit:
        plain = problem.replace(str(path.with_suffix(".tif")), "").replace(
            str(path), ""
        )
        groups.setdefault(plain, []).append((path, problem))
    return [
        group[0][1]
        + (
            f" So it is with {len(group) - 1:,} more, up to {group[-1][0]}."
            if len(group) > 1
            else ""
        )
        for group in groups.values()
    ]


def _nowhere_problems(fit: Sequence[ImageHeader]) -> list[str]:
    """Files whose corners have no longitude and latitude."""
    try:
        placement.footprints(fit, crs_lib.WGS84)
    except InputError as error:
        return [str(error)]
    return []


def _zoom_problems(fit: Sequence[ImageHeader]) -> list[str]:
    """Tiles of a web map at several zooms: each would cover the others."""
    tiles = [declared.tile_of(header.path) for header in fit if header.declared.changes]
    zooms = sorted({tile[0] for tile in tiles if tile is not None})
    if fit[0].declared.grid is None or len(zooms) < 2:
        return []
    return [
        f"config.imagery.paths: finds tiles of the zooms {', '.join(map(str, zooms))}, "
        "which show the same ground. Name one, such as "
        f"{str(fit[-1].path.parents[2] / str(zooms[-1]) / '*' / '*')!r}."
    ]


def _setting_problems(settings: ImagerySettings) -> list[str]:
    """Problems seen without opening a file."""
    problems = stretch.problems(settings.stretch)
    if not settings.paths:
        problems.append(
            "config.imagery.paths is empty. Wanted: GeoTIFF files with a CRS, or "
            "patterns such as ('raw/imagery/*.tif',)."
        )
    if len(settings.bands) != 3:
        problems.append(
            f"config.imagery.bands {settings.bands}: three band numbers are needed, "
            "red, green and blue, counted from 1."
        )
    return problems


def _place_problem(header: ImageHeader) -> str | None:
    """Longitude and latitude that are said to be metres, at pixels of a hair."""
    assert header.crs is not None
    size = (header.height_px, header.width_px)
    bounds = array_bounds(*size, header.transform)
    is_tiny = abs(header.transform.determinant) < _MIN_PIXEL_M**2
    if not (is_tiny and crs_lib.in_degrees_by_mistake(bounds, header.crs)):
        return None
    return (
        f"{header.path}: its corner is at ({bounds[0]:g}, {bounds[3]:g}), a pixel is "
        f"{header.transform.a:g} wide. {crs_lib.wrong_place_advice(bounds, header.crs)}"
    )


def _content_problem(header: ImageHeader, bands: Sequence[int]) -> str | None:
    """What is wrong with the pixels of a file, as far as a look at a few can tell."""
    with (
        formats.settings(),
        formats.reading(header.path),
        headers.open_file(header) as source,
    ):
        faults.probe(source, list(bands))
        if ColorInterp.alpha in header.colors:
            return _alpha_problem(header, source)
    return None


def _alpha_problem(header: ImageHeader, source: rasterio.DatasetReader) -> str | None:
    """A fourth band is written as alpha unless told otherwise, whatever it shows."""
    band = header.colors.index(ColorInterp.alpha) + 1
    width = min(header.width_px, _ALPHA_WINDOW_PX)
    height = min(header.height_px, _ALPHA_WINDOW_PX)
    left, top = (header.width_px - width) // 2, (header.height_px - height) // 2
    alpha = source.read(band, window=Window(left, top, width, height))
    between = float(np.mean((alpha > 0) & (alpha < alpha.max())))
    if between <= _MAX_BETWEEN:
        return None
    return (
        f"{header.path}: band {band} is marked as alpha, but {between:.0%} of its "
        "values are neither the lowest nor the highest, so valid pixels would count "
        f"as missing. {headers.alpha_remedy(header, band)}"
    )


def _stretch_problems(
    read: Sequence[ImageHeader], settings: ImagerySettings
) -> list[str]:
    setting, bands, nodata = settings.stretch, settings.bands, settings.nodata
    try:
        problem = stretch.unfit(setting, read, bands, nodata)
    except InputError as error:
        problem = str(error)
    return [problem] if problem else []
