"""Limits GDAL to some formats, known by a file's first bytes, and to local files.

GDAL knows two hundred formats, and some of them open other files: mosaics name their
members, and programs, web services and tables in XML can name anything. A file from
elsewhere must not choose what is read. So only the formats named here are opened, each
by its own driver, and files that they name must lie in the folders of the config.
"""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.enums import Interleaving
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from data_prep.files import mosaics
from mmgr_jax.errors import InputError

RASTERS = (
    "GeoTIFF (COG too), VRT mosaic, JPEG, PNG, JPEG 2000, Erdas Imagine (.img) or Esri "
    "ASCII grid"
)
# GDAL's driver -> how its files begin.
_BEGINS: Mapping[str, tuple[bytes, ...]] = {
    "GTiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JP2OpenJPEG": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "HFA": (b"EHFA_HEADER_TAG",),
    "AAIGrid": (b"ncols", b"nrows", b"xll", b"yll", b"cellsize", b"dx"),
}
_CONTAINERS = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n")
_VRT = b"<VRTDataset"
_HEAD_BYTES = 1024
ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"
_GRID_NUMBERS = 1 << 20
# One block is decoded as a whole, whatever part of it is wanted.
MAX_BLOCK_BYTES = 1 << 30

# Decoded blocks that GDAL keeps, in MiB, in place of 5 % of the machine: a row of tiles
# of a striped file 100,000 px wide fits, and memory does not depend on the raster.
_CACHE_MIB = 256

# What rasterio raises on a file: its own errors, and GDAL's where it lets them pass.
DAMAGED = (RasterioError, CRSError, CPLE_BaseError, UnicodeError)

# A port where nobody listens: every way of GDAL's to the network leads there.
_NOWHERE = "127.0.0.1:9"
os.environ.update(
    GDAL_HTTP_PROXY=_NOWHERE,
    GDAL_HTTPS_PROXY=_NOWHERE,
    CPL_VSIL_CURL_ALLOWED_FILENAME="none",
    GDAL_VRT_ENABLE_PYTHON="NO",
)


def open_raster(
    path: str | Path, folders: Sequence[Path] = (), key: str = "", **options: Any
) -> rasterio.DatasetReader:
    """Opens a raster of an allowed format, after `check_raster` and within `settings`.

    Raises:
        InputError: If it is of another format, is damaged, or reads files that it must
            not read.
    """
    path = Path(path)
    driver = check_raster(path, folders, key)
    with reading(path):
        return rasterio.open(path, driver=driver, **options)


@contextlib.contextmanager
def reading(path: Path, where: str = "") -> Iterator[None]:
    """Turns GDAL's errors inside the block into one sentence about the raster.

    Raises:
        InputError: See `unreadable`.
    """
    try:
        yield
    except DAMAGED as error:
        raise unreadable(path, error, where) from error


def check_raster(path: Path, folders: Sequence[Path] = (), key: str = "") -> str:
    """Returns GDAL's driver of a raster if it and all files read with it are allowed.

    Args:
        path: The raster.
        folders: Where the files that it names may lie, in addition to its own folder.
        key: The config key that names further folders.

    Raises:
        InputError: If it is of another format, or names a file that is missing, lies
            elsewhere or may not be opened itself.
    """
    allowed = [path.parent, *folders]
    missing: list[Path] = []
    driver = _checked(path, path, allowed, key, missing, ())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{path}: names {missing[0]}{more}, which is not there. Copy the files "
            "that it names to these places, or make the mosaic again from the files "
            "that exist, with `gdalbuildvrt`."
        )
    return driver


def is_mosaic(path: Path) -> bool:
    """Whether GDAL would read a file as a VRT."""
    return _VRT in head(path)


def refuse_large_blocks(path: Path, dataset: rasterio.DatasetReader) -> None:
    """Raises InputError if a single block of a raster would fill the memory."""
    sizes = zip(dataset.block_shapes, dataset.dtypes, strict=True)
    bytes_of = [
        high * wide * (8 if kind.startswith("complex") else np.dtype(kind).itemsize)
        for (high, wide), kind in sizes
    ]
    is_whole = dataset.interleaving == Interleaving.pixel
    largest = sum(bytes_of) if is_whole else max(bytes_of, default=0)
    if largest > MAX_BLOCK_BYTES:
        raise InputError(
            f"{path}: is stored in blocks of {largest / 2**30:.1f} GiB, each of which "
            f"must be read whole; allowed: {MAX_BLOCK_BYTES / 2**30:g} GiB. Store it "
            f"in tiles: `gdal_translate -co TILED=YES -co COMPRESS=DEFLATE {path} OUT`."
        )


def unreadable(path: Path, error: Exception | str, where: str = "") -> InputError:
    """Returns the error for a raster that cannot be opened or read.

    Args:
        path: The file.
        error: The exception, or its cause in words.
        where: The part that was read, such as "columns 0 to 224, rows 0 to 224".
    """
    if path.is_dir():
        return InputError(
            f"{path}: is a folder, not an image. Name the files in it, such as "
            f"{str(path / '*.tif')!r}."
        )
    cause = str(getattr(error, "__cause__", None) or error)
    at = f" at {where}" if where else ""
    return InputError(
        f"{path}: cannot be read{at} ({cause}). The file may be truncated or damaged: "
        "check it with `gdalinfo -checksum FILE` and fetch it again."
    )


def settings() -> rasterio.Env:
    """GDAL's settings for a read, as a context to enter around it."""
    return rasterio.Env(**_settings())


@functools.cache
def _settings() -> dict[str, Any]:
    # Files beside a file are looked for one by one: listing a folder of thousands of
    # tiles for each of them takes longer than to open it.
    chosen: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}
    if "GDAL_CACHEMAX" not in os.environ:
        chosen["GDAL_CACHEMAX"] = _CACHE_MIB
    return chosen


def _checked(
    path: Path,
    whole: Path,
    folders: Sequence[Path],
    key: str,
    missing: list[Path],
    within: tuple[Path, ...],
) -> str:
    """The driver of a raster that is, or is read with, the one that is named."""
    driver = _driver(path, whole)
    if driver == "AAIGrid":
        _refuse_short_grid(path)
    named = mosaics.beside(path)
    for end in (".ovr", ".msk"):
        side = path.with_name(path.name + end)
        named += [side] if side.is_file() else []
    if driver == "VRT":
        named += mosaics.members(path)
    inner = (*within, path.resolve()) if named else within
    for member in named:
        _refuse_elsewhere(whole, member, folders, key)
        if not member.is_file():
            missing.append(member)
        elif member.resolve() in inner:
            raise InputError(f"{whole}: names itself, through {path}. Make it again.")
        else:
            _checked(member, whole, folders, key, missing, inner)
    return driver


def _driver(path: Path, whole: Path) -> str:
    """The driver of a file by its first bytes."""
    if path.is_dir():
        raise unreadable(path, "is a folder")
    begin = head(path)
    if _VRT in begin:
        return "VRT"
    for driver, begins in _BEGINS.items():
        start = begin.lstrip().lower() if driver == "AAIGrid" else begin
        if start.startswith(begins):
            return driver
    if begin.startswith(_CONTAINERS):
        raise InputError(_container(path))
    if begin.startswith((ZIP, GZIP)):
        raise InputError(f"{path}: is packed. Unpack it and name what was in it.")
    member = "" if path == whole else f", which {whole} names,"
    other = f"; make one of another format: `gdal_translate {path} OUT.tif`"
    raise unreadable(path, f"it{member} is not recognized as {RASTERS}{other}")


def _refuse_short_grid(path: Path) -> None:
    """Refuses an ASCII grid whose numbers end too early.

    GDAL goes back over all rows for each that it does not find, twice as long for
    every further one: a file of 50 rows whose end is missing would take years. From
    the top it stops at the first.
    """
    stat = path.stat()
    _read_from_top(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(256)
def _read_from_top(path: Path, size: int, _: int) -> None:
    with settings(), reading(path), rasterio.open(path, driver="AAIGrid") as source:
        width, height = source.width, source.height
        if 2 * width * height - 1 > size:  # a number and what parts it from the next
            cause = f"it declares {width} x {height} numbers, more than {size:,} bytes"
            raise unreadable(path, f"{cause} can hold")
        step = max(_GRID_NUMBERS // width, 1)
        for row in range(0, height, step):
            rows = Window(0, row, width, min(step, height - row))
            source.read(1, window=rows)


def _container(path: Path) -> str:
    """How to take a variable out of a NetCDF or HDF5 file."""
    names, has_crs = [], False
    try:
        with settings(), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="netCDF") as source:
                parts = [name.rpartition(":")[2] for name in source.subdatasets]
                alone = source.tags(1).get("NETCDF_VARNAME") if source.count else None
                names = parts or ([alone] if alone else [])
                has_crs = source.crs is not None
    except DAMAGED:
        pass
    listed = ", ".join(names) if names else "see `gdalinfo FILE`"
    crs = "" if has_crs else " -a_srs EPSG:4326"
    return (
        f"{path}: is a container (NetCDF or HDF5) of variables: {listed}. Extract "
        f"one: `gdal_translate NETCDF:{path}:{names[0] if names else 'NAME'}{crs} "
        f"{path.with_suffix('.tif')}` (-a_srs says its CRS where it names none), and "
        "name the GeoTIFF and its band."
    )


def _refuse_elsewhere(
    whole: Path, member: Path, folders: Sequence[Path], key: str
) -> None:
    """Refuses a file outside the folders; a link in one of them is its owner's."""
    plain = Path(os.path.normpath(member.absolute()))
    if any(plain.is_relative_to(Path(os.path.normpath(f.absolute()))) for f in folders):
        if not plain.exists() or plain.resolve() == member.resolve():
            return
    real = member.resolve()
    if any(real.is_relative_to(folder.resolve()) for folder in folders):
        return
    more = f" If that is meant, name its folder in {key}." if key else ""
    listed = ", ".join(sorted({str(folder) for folder in folders}))
    raise InputError(
        f"{whole}: names {member}, which lies in none of the folders of the config "
        f"({listed}). Files elsewhere are not read, nor is anything from the "
        f"network.{more}"
    )


def head(path: Path) -> bytes:
    """Returns the first bytes of a file."""
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD_BYTES)
    except OSError as error:
        raise unreadable(path, error) from error
