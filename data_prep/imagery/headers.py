"""Reads what an image file says about itself, and whether it can be used."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags

from data_prep.files import crs as crs_lib
from data_prep.files import formats
from data_prep.imagery import declared as declared_lib
from data_prep.imagery import paths as paths_lib
from data_prep.imagery.declared import Declared
from data_prep.imagery.settings import ImagerySettings
from mmgr_jax.errors import InputError

_RGB = ("red", "green", "blue")
_FIRST = (1, 2, 3)
# What a description calls a band; a red edge is no red.
_NAMED = re.compile(
    r"(?<![a-z])(?:(?P<red>red(?![\s_-]?edge))|(?P<green>green)|(?P<blue>blue)|"
    r"(?P<nir>nir|near[\s_-]?infrared)|(?P<other>coastal|red[\s_-]?edge|swir|pan))"
    r"(?![a-z])",
    re.IGNORECASE,
)
_UNUSUAL = (
    ColorInterp.hue, ColorInterp.saturation, ColorInterp.lightness, ColorInterp.cyan,
    ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black, ColorInterp.Y,
    ColorInterp.Cb, ColorInterp.Cr,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """What a file says about itself, with the corrections of the config.

    Attributes:
        path: The file.
        driver: GDAL's name of its format.
        width_px: Width in pixels.
        height_px: Height in pixels.
        transform: From column and row to coordinates.
        crs: Its CRS as WKT, None where it names none.
        dtypes: Type of each band's pixels.
        colors: What each band is said to show.
        descriptions: What each band is called, "" where it has no name.
        masks: How each band marks missing pixels.
        overviews: Factors of its overviews, from fine to coarse.
        nodata: What missing pixels of each band hold, None where nothing is said.
        packing: Scale and offset of each band's numbers.
        white_is_zero: The number of black where white is 0 and black the largest
            number, as in scanned film; None where black is 0.
        pages: Names of further images in the file.
        declared: What the config says in place of the file.
    """

    path: Path
    driver: str
    width_px: int
    height_px: int
    transform: Affine
    crs: str | None
    dtypes: tuple[str, ...]
    colors: tuple[ColorInterp, ...]
    masks: tuple[frozenset[MaskFlags], ...]
    overviews: tuple[int, ...]
    nodata: tuple[float | None, ...] = ()
    descriptions: tuple[str, ...] = ()
    packing: tuple[tuple[float, float], ...] = ()
    white_is_zero: int | None = None
    pages: tuple[str, ...] = ()
    declared: Declared = Declared()

    @property
    def is_upright(self) -> bool:
        """Whether rows run east and columns run south."""
        grid = self.transform
        return grid.b == grid.d == 0 and grid.a > 0 > grid.e

    def has_mask(self, bands: Sequence[int]) -> bool:
        """Whether the file marks missing pixels of some bands in any way."""
        return any(self.masks[band - 1] != {MaskFlags.all_valid} for band in bands)

    def is_float(self, bands: Sequence[int]) -> bool:
        """Whether some bands hold fractions, and so may hold NaN."""
        return any(self.dtypes[band - 1].startswith("float") for band in bands)

    def color_of(self, band: int) -> str | None:
        """Returns red, green, blue or another, by a band's name or its colour."""
        called = self.descriptions[band - 1] if self.descriptions else ""
        if match := _NAMED.search(called):
            return match.lastgroup
        color = self.colors[band - 1]
        is_told = color.name in _RGB or color.value >= ColorInterp.pan.value
        return color.name if is_told else None


def read(
    path: Path,
    folders: Sequence[Path] = (),
    declared: Declared = Declared(),  # noqa: B008
) -> ImageHeader:
    """Reads a file's header, but no pixels.

    Args:
        path: The file.
        folders: Where the members of a mosaic may lie, in addition to its own folder.
        declared: What the config says in place of the file.

    Raises:
        InputError: If it is no image, is damaged, has a format that is not read, or
            reads files that it must not read.
    """
    with (
        formats.settings(),
        formats.reading(path),
        formats.open_raster(path, folders, "config.imagery.folders") as source,
    ):
        formats.refuse_large_blocks(path, source)
        header = described(path, source)
    return declared_lib.apply(header, declared)


def described(path: Path, source: rasterio.DatasetReader) -> ImageHeader:
    """Returns the header of an open file; `path` names it in messages."""
    return ImageHeader(
        path=path,
        driver=source.driver,
        width_px=source.width,
        height_px=source.height,
        transform=source.transform,
        crs=source.crs.to_wkt() if source.crs else None,
        dtypes=source.dtypes,
        colors=source.colorinterp,
        masks=tuple(map(frozenset, source.mask_flag_enums)),
        overviews=tuple(source.overviews(1)) if source.count else (),
        nodata=tuple(source.nodatavals),
        descriptions=tuple(text or "" for text in source.descriptions),
        packing=tuple(zip(source.scales, source.offsets, strict=True)),
        white_is_zero=_white_is_zero(source),
        pages=tuple(source.subdatasets) if source.count else (),
    )


def read_all(settings: ImagerySettings) -> list[ImageHeader]:
    """Reads the headers of all files of a config, in the order of their paths."""
    folders = paths_lib.folders(settings.paths, settings.folders)
    declared = Declared(settings.ignore, settings.grid)
    paths = paths_lib.expand(settings.paths)
    return [read(path, folders, declared) for path in paths]


def open_file(header: ImageHeader, **options: Any) -> rasterio.DatasetReader:
    """Opens a file whose header was read, with the corrections of the config."""
    if header.declared.changes:
        return rasterio.open(declared_lib.as_vrt(header), **options)
    return rasterio.open(header.path, driver=header.driver, **options)


def problem(header: ImageHeader, bands: Sequence[int]) -> str | None:
    """Why a file cannot be read as red, green and blue; None when it can."""
    path, count = header.path, len(header.dtypes)
    missing = [band for band in bands if not 1 <= band <= count]
    if missing:
        grey = " For a grey image say bands=(1, 1, 1)." if count == 1 else ""
        return (
            f"{path}: has {count} band(s), config.imagery.bands asks for {missing}; "
            f"allowed: 1 to {count}.{grey}"
        )
    if header.pages:
        return (
            f"{path}: holds {len(header.pages)} images, of which only the first would "
            "be read. Extract the one that is meant: `gdal_translate "
            f"{header.pages[0]} OUT`."
        )
    for band in bands:
        if band_problem := _band_problem(header, band):
            return band_problem
    return _order_problem(header, bands) or _place_problem(header)


def alpha_remedy(header: ImageHeader, band: int) -> str:
    """Says how to declare that a band marked as alpha shows something else."""
    names = [color.name for color in header.colors]
    names[band - 1] = "undefined"
    return (
        "If it is near infrared, say so in the config, by config.imagery.ignore="
        "('alpha',), or in the file: "
        f"`rio edit-info --colorinterp {','.join(names)} {header.path}`."
    )


def _band_problem(header: ImageHeader, band: int) -> str | None:
    path, color = header.path, header.colors[band - 1]
    if color == ColorInterp.palette:
        return (
            f"{path}: band {band} holds numbers of a palette, not colours. Expand "
            "them with `gdal_translate -expand rgb IN OUT`."
        )
    if color == ColorInterp.alpha:
        return (
            f"{path}: band {band}, which config.imagery.bands names as a colour, "
            f"is marked as alpha. {alpha_remedy(header, band)}"
        )
    if color in _UNUSUAL:
        return (
            f"{path}: band {band} is {color.name}; red, green and blue are needed. "
            "Convert it to RGB with an image program that knows its colour space."
        )
    if header.dtypes[band - 1].startswith("complex"):
        return f"{path}: band {band} holds complex numbers; colours are needed."
    return None


def _order_problem(header: ImageHeader, bands: Sequence[int]) -> str | None:
    """Colours that the file says lie in other bands than the config takes them from.

    False colours are a choice; red and blue exchanged are not, nor are the first three
    bands, which are what a config has that does not choose, where the file says what
    each of them is.
    """
    if "colors" in header.declared.ignore or len(bands) != len(_RGB):
        return None
    colors = [header.color_of(band) for band in bands]
    place = {header.color_of(band): band for band in range(len(header.colors), 0, -1)}
    has_all = all(color in place for color in _RGB)
    pairs = zip(colors, _RGB, strict=True)
    differs = any(color not in (None, wanted) for color, wanted in pairs)
    is_exchange = set(colors) == set(_RGB)
    if not (differs and has_all and (is_exchange or tuple(bands) == _FIRST)):
        return None
    pairs = zip(bands, colors, strict=True)
    listed = ", ".join(f"{band} {color or 'unnamed'}" for band, color in pairs)
    proposal = tuple(place[color] for color in _RGB)
    return (
        f"{header.path}: config.imagery.bands is {tuple(bands)} for red, green and "
        f"blue, but the file says its bands are {listed}. Set config.imagery.bands="
        f"{proposal}; or, where the file is wrong or other colours are meant, "
        "config.imagery.ignore=('colors',)."
    )


def _place_problem(header: ImageHeader) -> str | None:
    path = header.path
    if header.crs is None:
        return f"{path}: has no CRS, so nothing says where it lies. {_remedy(header)}"
    if header.transform == Affine.identity():
        return (
            f"{path}: has a CRS but no position (control points alone do not count). "
            "Rectify it with `gdalwarp IN OUT`."
        )
    if unusable := crs_lib.unusable(header.crs):
        return f"{path}: {unusable} {_remedy(header)}"
    return None


def _white_is_zero(source: rasterio.DatasetReader) -> int | None:
    """The largest number of a file whose white is 0; of a mosaic its first member's."""
    if source.driver == "VRT":
        members = [Path(name) for name in source.files[1:] if Path(name).is_file()]
        if not members or not source.count:
            return None
        with formats.open_raster(members[0]) as member:
            return _white_is_zero(member)
    if source.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") != "YES":
        return None
    # GDAL takes averages of others by a palette of 256 greys.
    if source.dtypes[0] != "uint8":
        raise InputError(
            f"{source.name}: stores white as 0, in numbers of type "
            f"{source.dtypes[0]}; allowed: uint8. Invert it with `gdal_translate "
            "-scale 0 HIGHEST HIGHEST 0 IN OUT`."
        )
    own = source.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
    return 2 ** int(own or 8) - 1


def _remedy(header: ImageHeader) -> str:
    if header.driver == "GTiff":
        return f"Write it into the file: `rio edit-info --crs EPSG:... {header.path}`."
    tiff = header.path.with_suffix(".tif")
    hint = ""
    if declared_lib.tile_of(header.path) is not None:
        hint = (
            " Tiles z/x/y of a web map: config.imagery.grid='xyz' says where they lie."
        )
    return (
        f"{header.driver} keeps none; make a GeoTIFF of it: `rio convert {header.path} "
        f"{tiff} && rio edit-info --crs EPSG:... {tiff}`.{hint}"
    )
