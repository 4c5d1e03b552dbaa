"""Cuts the population of the Global Human Settlement Layer to an area.

The layer is one grid of 100 m in the Mollweide projection, published in tiles of 10,000
x 10,000 pixels, each a ZIP with a GeoTIFF: rows R1, R2, ... from the north and columns
C1, C2, ... from the west. An archive cannot be read in parts. So each tile is fetched
whole into the cache, and the pixels over the area are written next to the other raw
files.

Reference: Schiavina et al. (2023), GHS-POP R2023A, doi:10.2905/2FF68A52-5B5B-4A22-8F40-
C41DA8332CFE; GHSL Data Package 2023.
"""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from data_prep.fetch.answers import Unavailable
from data_prep.fetch.area import FetchArea
from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.files import crs as crs_lib
from data_prep.files import formats, table_formats
from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError

EPOCHS = tuple(str(year) for year in range(1975, 2031, 5))
CRS = "ESRI:54009"
WEST_M, NORTH_M = -18_041_000.0, 9_000_000.0
PIXEL_M = 100.0
TILE_PX = 10_000

_MARGIN_PX = 1  # so that pixels which the edge cuts are whole


def tiles_over(area: FetchArea) -> dict[str, Window]:
    """Returns the tiles over an area, and where each lies on the grid of the world.

    Raises:
        InputError: If the area lies outside the grid.
    """
    window = _window(area)
    rows = range(window.row_off // TILE_PX, -(-_end(window)[0] // TILE_PX))
    columns = range(window.col_off // TILE_PX, -(-_end(window)[1] // TILE_PX))
    return {
        f"R{row + 1}_C{column + 1}": Window(
            column * TILE_PX, row * TILE_PX, TILE_PX, TILE_PX
        )
        for row in rows
        for column in columns
    }


def size(client: Client, url: str, area: FetchArea) -> str:
    """Says in words what `write_part` would fetch.

    Args:
        client: Who asks.
        url: Of a tile, with "{tile}" for its name.
        area: Where.

    Raises:
        InputError: If the server does not answer.
    """
    bytes_of = {}
    for name in tiles_over(area):
        with _there(url, name):
            bytes_of[name] = client.look(url.format(tile=name))[0].size or 0
    total = sum(bytes_of.values()) / 1e6
    return f"{len(bytes_of)} tile(s) ({', '.join(bytes_of) or 'none'}), {total:.0f} MB"


def write_part(client: Client, url: str, area: FetchArea, path: Path) -> str:
    """Writes the pixels over an area as one GeoTIFF, without resampling.

    Args:
        client: The client that fetches the tiles.
        url: Of a tile, with "{tile}" for its name.
        area: Where.
        path: The GeoTIFF to make.

    Returns:
        CRS of the GeoTIFF.

    Raises:
        InputError: If a tile cannot be fetched, is damaged or lies elsewhere, or no
            tile covers the area.
    """
    window = _window(area)
    pixels: np.ndarray | None = None
    nodata: float | None = None
    for name, place in tiles_over(area).items():
        address = url.format(tile=name)
        with _there(url, name):
            archive = client.file(address)
            try:
                with _unpacked(archive, address) as tile:
                    part, nodata = _read(tile, address, place, window)
            except InputError:
                client.cache.entry(address).forget()  # so that a repeat fetches it
                raise
            if pixels is None:
                pixels = np.full((window.height, window.width), nodata, part.dtype)
            inside = _overlap(place, window)
            row = inside.row_off - window.row_off
            column = inside.col_off - window.col_off
            pixels[row : row + inside.height, column : column + inside.width] = part
    if pixels is None:
        raise InputError(
            f"{public(url)}: has no tile over {area.name}: the area lies in the sea, "
            "or outside the layer. Take another area or source."
        )
    _write(path, pixels, nodata, window)
    return CRS


def _write(
    path: Path, pixels: np.ndarray, nodata: float | None, window: Window
) -> None:
    """Writes pixels [h w] of a window of the world's grid."""
    west = WEST_M + window.col_off * PIXEL_M
    north = NORTH_M - window.row_off * PIXEL_M
    profile: dict[str, Any] = dict(
        driver="GTiff",
        width=window.width,
        height=window.height,
        count=1,
        dtype=pixels.dtype.name,
        crs=CRS,
        transform=from_origin(west, north, PIXEL_M, PIXEL_M),
        nodata=nodata,
        compress="deflate",
        tiled=True,
    )
    with refusals.explained(path.parent), files.replacing(path) as temporary:
        with rasterio.open(temporary, "w", **profile) as target:
            target.write(pixels, 1)


def _window(area: FetchArea) -> Window:
    """The pixels over an area, on the grid of the world.

    Raises:
        InputError: If there are none.
    """
    west, south, east, north = area.in_crs(CRS).bounds
    if not np.isfinite([west, south, east, north]).all():
        raise InputError(
            f"{area.name}: lies outside the grid of GHSL ({CRS}). Take another source."
        )
    left = math.floor((west - WEST_M) / PIXEL_M) - _MARGIN_PX
    right = math.ceil((east - WEST_M) / PIXEL_M) + _MARGIN_PX
    top = math.floor((NORTH_M - north) / PIXEL_M) - _MARGIN_PX
    bottom = math.ceil((NORTH_M - south) / PIXEL_M) + _MARGIN_PX
    left, top = max(left, 0), max(top, 0)
    return Window(left, top, right - left, bottom - top)


def _end(window: Window) -> tuple[int, int]:
    return window.row_off + window.height, window.col_off + window.width


def _overlap(one: Window, other: Window) -> Window:
    top, left = max(one.row_off, other.row_off), max(one.col_off, other.col_off)
    bottom, right = map(min, zip(_end(one), _end(other), strict=True))
    return Window(left, top, right - left, bottom - top)


@contextlib.contextmanager
def _there(url: str, name: str) -> Iterator[None]:
    """Passes over a tile that there is none of: the sea has none."""
    try:
        yield
    except Unavailable as failure:
        if failure.kind != "missing" or "--offline" in str(failure):
            raise
        logging.info("%s: has no tile %s (sea)", public(url).rpartition("/")[2], name)


@contextlib.contextmanager
def _unpacked(archive: Path, address: str) -> Iterator[Path]:
    """The one GeoTIFF of an archive.

    Raises:
        InputError: If the archive is damaged, holds another number of them, or unpacks
            without end.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(archive) as packed:
                tiles = [
                    one for one in packed.infolist() if one.filename.endswith(".tif")
                ]
                if len(tiles) != 1:
                    raise InputError(
                        f"{public(address)}: holds {len(tiles)} GeoTIFFs, but a tile "
                        "is a single one. Take another source."
                    )
                if tiles[0].file_size > table_formats.MAX_UNPACKED_BYTES:
                    raise InputError(
                        f"{public(address)}: unpacks to {tiles[0].file_size:,} bytes, "
                        "more than a tile has. Take another source."
                    )
                path = Path(packed.extract(tiles[0], folder))
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
            raise InputError(
                f"{public(address)}: is not a complete archive ({error}). Give the "
                "command again; it is fetched anew."
            ) from error
        yield path


def _read(
    path: Path, address: str, place: Window, window: Window
) -> tuple[np.ndarray, float | None]:
    """Pixels of a tile [h w] in a window of the world's grid, and its nodata.

    Raises:
        InputError: If it is damaged, or lies elsewhere than its name says.
    """
    west = WEST_M + place.col_off * PIXEL_M
    north = NORTH_M - place.row_off * PIXEL_M
    inside = _overlap(place, window)
    try:
        with formats.settings(), rasterio.open(path, driver="GTiff") as tile:
            is_grid = tile.crs is not None and crs_lib.same(tile.crs.to_wkt(), CRS)
            transform = from_origin(west, north, PIXEL_M, PIXEL_M)
            if not is_grid or not tile.transform.almost_equals(transform):
                raise InputError(
                    f"{public(address)}: does not lie where its name says ({CRS}, "
                    f"{west:.0f}, {north:.0f}). Take another source."
                )
            return tile.read(
                1,
                window=Window(
                    inside.col_off - place.col_off,
                    inside.row_off - place.row_off,
                    inside.width,
                    inside.height,
                ),
            ), tile.nodata
    except formats.DAMAGED as error:
        raise InputError(
            f"{public(address)}: its GeoTIFF cannot be read ({error}). Give the "
            "command again; it is fetched anew."
        ) from error
