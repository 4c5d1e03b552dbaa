"""Limits which tables GDAL may open, by their first bytes, and what may unpack.

It works as `formats` does for rasters: a format that names other files, runs steps or
uses the network is not opened, and unpacked size is limited.
"""

from __future__ import annotations

import contextlib
import gzip
import mmap
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from data_prep.files import formats
from data_prep.files.formats import GZIP, ZIP
from mmgr_jax.disk import refusals
from mmgr_jax.errors import InputError

FORMATS = "GeoParquet, GeoPackage, GeoJSON, Shapefile, JSON lines or CSV"
VECTORS = "GeoPackage, GeoJSON, GeoJSON text sequence, Shapefile or FlatGeobuf"
DRIVERS = ("GPKG", "GeoJSON", "GeoJSONSeq", "ESRI Shapefile", "FlatGeobuf", "OSM")
"""GDAL's names of the formats of tables with geometries that are read."""

_TABLES = (b"SQLite format 3\0", b"fgb\x03", b"\0\0\x27\x0a")
# What may lie in a zipped Shapefile, and of what else one may lie there alone.
_IN_ARCHIVES = (".shp", ".geojson", ".json", ".gpkg", ".fgb")
# A list of steps that GDAL would follow, whatever files they name.
_PROGRAM = b'"gdal_streamed_alg"'
# A CRS that a GeoJSON looks up at a web address; where `crs` stands is not settled.
_CRS = re.compile(rb'"crs"\s*:\s*\{')
_LINK = re.compile(rb'"type"\s*:\s*"(?:link|url)"', re.IGNORECASE)
_CRS_BYTES = 1000
_TABLE_ALONE = (".dbf",)
# The first block of a .osm.pbf names its kind within so many bytes.
_OSM_BYTES = 64

_CAUSE_SHOWN = 300

MAX_UNPACKED_BYTES = 4 << 30
MAX_PACKED_FILES = 10_000


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turns a library's errors inside the block into one sentence about the table.

    Raises:
        InputError: If the file is damaged, or the system does not allow reading it.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # GDAL, Arrow, GEOS, pandas: each has kinds of its own
        refusals.refuse_unreadable(Path(path), error)
        cause = " ".join(str(error).split())[:_CAUSE_SHOWN] or type(error).__name__
        raise InputError(
            f"{path}: cannot be read ({cause}). Wanted: {FORMATS}. The file may be "
            "truncated or of another format than its name says."
        ) from error


def check_table(path: str | Path) -> None:
    """Refuses a table that GDAL must not open, after `check_packed`.

    Raises:
        InputError: If the file is of another format than `VECTORS`, runs a program or
            names a web address.
    """
    path = Path(path)
    check_packed(path)
    head = formats.head(path)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n\x1e")
    is_json = text.startswith((b"{", b"["))
    if _PROGRAM in head or text.startswith(b"<") or (is_json and _has_link(path)):
        raise InputError(
            f"{path}: cannot be read (it is a web page, XML, a list of processing "
            "steps or a list of web addresses; links in files are not followed). "
            f"Wanted: {VECTORS}; of another format make one: `ogr2ogr "
            f"{path.with_suffix('.gpkg').name} {path}`."
        )
    is_table = is_json or head.startswith((*_TABLES, ZIP))
    if not is_table and path.suffix.lower() not in _TABLE_ALONE:
        raise InputError(
            f"{path}: cannot be read (not recognized as {VECTORS}). The file may be "
            "truncated or damaged: fetch it again; make one of another format: "
            f"`ogr2ogr {path.with_suffix('.gpkg').name} {path}`."
        )


def check_osm(path: str | Path) -> None:
    """Refuses a file that is no OpenStreetMap extract, even if its name says so.

    Raises:
        InputError: If the file is of another format.
    """
    path = Path(path)
    head = formats.head(path)
    is_xml = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<?xml", b"<osm"))
    if b"OSMHeader" not in head[:_OSM_BYTES] and not (is_xml and b"<osm" in head):
        raise InputError(
            f"{path}: cannot be read (not recognized as an extract of OpenStreetMap, "
            ".osm.pbf or .osm). The file may be truncated or damaged: fetch it again."
        )


def check_packed(path: str | Path) -> None:
    """Refuses a .gz or .zip file that unpacks to too much data; accepts other files.

    Raises:
        InputError: If it unpacks to more than `MAX_UNPACKED_BYTES`, or holds no file
            that can be read.
    """
    path = Path(path)
    head = formats.head(path)
    if head.startswith(GZIP):
        _refuse_bomb(path, _gunzipped_bytes(path))
    elif head.startswith(ZIP):
        _check_zip(path)


def refuse_driver(path: str | Path, driver: str | None) -> None:
    """Raises InputError if GDAL opened a table as a format that is not allowed."""
    if driver is not None and driver not in DRIVERS:
        raise InputError(
            f"{path}: is of the format {driver}, which is not read. Wanted: {VECTORS}; "
            f"make one of it: `ogr2ogr {Path(path).with_suffix('.gpkg').name} {path}`."
        )


def _has_link(path: Path) -> bool:
    """Whether a GeoJSON names an address for its CRS."""
    with path.open("rb") as stream:
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(
                _LINK.search(content[match.end() : match.end() + _CRS_BYTES])
                for match in _CRS.finditer(content)
            )


def _check_zip(path: Path) -> None:
    """Refuses an archive that holds too much, or nothing that is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(
            f"{path}: is not a complete archive ({error}). Fetch it again."
        ) from error
    _refuse_bomb(path, sum(part.file_size for part in parts), len(parts))
    names = [part.filename.lower() for part in parts]
    names = [name for name in names if name and not name.endswith("/")]
    layers = [name for name in names if name.endswith(_IN_ARCHIVES)]
    if not any(name.endswith(".shp") for name in layers) and len(names) != 1:
        raise InputError(
            f"{path}: an archive must hold a Shapefile, or exactly one file that ends "
            f"in {', '.join(_IN_ARCHIVES)}. Unpack it and name the file that is "
            "meant, or save a spreadsheet as CSV."
        )


def _refuse_bomb(path: Path, unpacked_bytes: int, count: int = 1) -> None:
    if unpacked_bytes > MAX_UNPACKED_BYTES or count > MAX_PACKED_FILES:
        raise InputError(
            f"{path}: unpacks to more than {MAX_UNPACKED_BYTES / 2**30:g} GiB or "
            f"{MAX_PACKED_FILES:,} files. Unpack it yourself if you trust it, and name "
            "the file that is meant."
        )


def _gunzipped_bytes(path: Path) -> int:
    """Bytes that a file unpacks to, counted no further than is allowed."""
    total = 0
    try:
        with gzip.open(path) as stream:
            while total <= MAX_UNPACKED_BYTES and (block := stream.read(1 << 22)):
                total += len(block)
    except (OSError, EOFError, zlib.error):
        return total  # damaged: its reader says so
    return total
