"""What an image file says of itself, and whether it can serve."""

from __future__ import annotations

import dataclasses
import functools
import glob
import os
from collections.abc import Sequence
from pathlib import Path

import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError

from mmgr_jax.errors import InputError

# Decoded blocks that GDAL keeps, in MiB, in place of 5 % of the machine: a row of tiles
# of a striped file 100,000 px wide fits, and memory does not depend on the raster.
_CACHE_MIB = 256


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        path: The file.
        driver: GDAL's name of its format.
        width_px: Width in pixels.
        height_px: Height in pixels.
        transform: From column and row to coordinates.
        crs: Its CRS as WKT, None where it names none.
        dtypes: Type of each band's pixels.
        colors: What each band is said to show.
        masks: How each band marks missing pixels.
        overviews: Factors of its overviews, from fine to coarse.
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


def read(path: Path) -> Header:
    """Reads a file's header, no pixels.

    Raises:
        InputError: If it is no image, or damaged.
    """
    try:
        with settings(), rasterio.open(path) as source:
            return Header(
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
            )
    except RasterioError as error:
        raise unreadable(path, error) from error


def problem(header: Header, bands: Sequence[int]) -> str | None:
    """Why a file cannot be read as red, green and blue, or None when it can."""
    path, count = header.path, len(header.dtypes)
    missing = [band for band in bands if not 1 <= band <= count]
    if missing:
        grey = " For a grey image say bands=(1, 1, 1)." if count == 1 else ""
        return (
            f"{path}: has {count} band(s), config.imagery.bands asks for {missing}; "
            f"allowed: 1 to {count}.{grey}"
        )
    for band in bands:
        if header.colors[band - 1] == ColorInterp.palette:
            return (
                f"{path}: band {band} holds numbers of a palette, not colours. Expand "
                "them with `gdal_translate -expand rgb IN OUT`."
            )
        if header.colors[band - 1] == ColorInterp.alpha:
            return (
                f"{path}: band {band}, which config.imagery.bands names as a colour, "
                f"is marked as alpha. {alpha_remedy(header, band)}"
            )
        if header.dtypes[band - 1].startswith("complex"):
            return f"{path}: band {band} holds complex numbers; colours are needed."
    if header.crs is None:
        return f"{path}: has no CRS, so nothing says where it lies. {_remedy(header)}"
    if header.transform == Affine.identity():
        return (
            f"{path}: has a CRS but no position (control points alone do not count). "
            "Rectify it with `gdalwarp IN OUT`."
        )
    return None


def alpha_remedy(header: Header, band: int) -> str:
    """How to say that a band which is marked as alpha shows something else."""
    names = [color.name for color in header.colors]
    names[band - 1] = "undefined"
    return (
        "If it is near infrared, say so: "
        f"`rio edit-info --colorinterp {','.join(names)} {header.path}`."
    )


def expand(paths: Sequence[str]) -> list[Path]:
    """The files behind paths and glob patterns, sorted, each once."""
    found: set[Path] = set()
    for pattern in map(str, paths):
        # A file whose name holds brackets is no pattern.
        names = [pattern] if Path(pattern).exists() else glob.glob(pattern)
        found.update(map(Path, names))
    return sorted(found)


def unreadable(path: Path, error: Exception, where: str = "") -> InputError:
    """The error for a raster that opens or reads badly.

    Args:
        path: The file.
        error: What was raised.
        where: The part that was read, such as "columns 0 to 224, rows 0 to 224".
    """
    if path.is_dir():
        return InputError(
            f"{path}: is a folder, not an image. Name the files in it, such as "
            f"{str(path / '*.tif')!r}."
        )
    cause = str(error.__cause__ or error)
    at = f" at {where}" if where else ""
    return InputError(
        f"{path}: cannot be read{at} ({cause}). The file may be truncated or damaged: "
        "check it with `gdalinfo -checksum FILE` and fetch it again."
    )


def settings() -> rasterio.Env:
    """GDAL's settings for a read, to be entered around it."""
    return rasterio.Env(**_settings())


@functools.cache
def _settings() -> dict[str, str | int]:
    # Files beside a file are looked for one by one: listing a folder of thousands of
    # tiles for each of them takes longer than to open it.
    chosen: dict[str, str | int] = {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}
    if "GDAL_CACHEMAX" not in os.environ:
        chosen["GDAL_CACHEMAX"] = _CACHE_MIB
    return chosen


def _remedy(header: Header) -> str:
    if header.driver == "GTiff":
        return f"Write it into the file: `rio edit-info --crs EPSG:... {header.path}`."
    tiff = header.path.with_suffix(".tif")
    return (
        f"{header.driver} keeps none; make a GeoTIFF of it: `rio convert {header.path} "
        f"{tiff} && rio edit-info --crs EPSG:... {tiff}`."
    )
