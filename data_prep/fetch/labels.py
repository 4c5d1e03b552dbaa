"""Rasters of labels: the part over an area, number by number as its source has it.

Nothing is resampled: a count that is averaged or copied twice is another count.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from data_prep.fetch.area import FetchArea
from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.fetch.remote_file import RemoteRaster
from data_prep.files import crs as crs_lib
from data_prep.files import formats
from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError

_MARGIN_PX = 1  # so that pixels which the edge cuts are whole
_STRIP_PX = 512


def write_part(client: Client, address: str, area: FetchArea, path: Path) -> str:
    """Writes the part of a raster over an area; nodata, type and grid stay.

    Args:
        client: Who brings it.
        address: Of a GeoTIFF.
        area: Where.
        path: The GeoTIFF to make.

    Returns:
        Its CRS as text.

    Raises:
        InputError: If it cannot be read whole, has no CRS or shows another place.
    """
    raster = RemoteRaster(client, address)
    with formats.settings(), raster.reading(), raster.dataset() as source:
        formats.refuse_large_blocks(Path(raster.name), source)
        if source.crs is None or crs_lib.unusable(source.crs.to_wkt()):
            raise InputError(
                f"{public(address)}: names no CRS that says where it lies, so no part "
                "of it can be chosen."
            )
        window = _window(source, area, address)
        profile: dict[str, Any] = dict(
            driver="GTiff",
            width=window.width,
            height=window.height,
            count=source.count,
            dtype=source.dtypes[0],
            crs=source.crs,
            transform=source.window_transform(window),
            nodata=source.nodata,
            compress="deflate",
            tiled=True,
        )
        with refusals.explained(path.parent), files.replacing(path) as temporary:
            with rasterio.open(temporary, "w", **profile) as target:
                for row in range(0, window.height, _STRIP_PX):
                    height = min(_STRIP_PX, window.height - row)
                    strip = Window(0, row, window.width, height)
                    place = Window(
                        window.col_off, window.row_off + row, window.width, height
                    )
                    target.write(_read(raster, source, place), window=strip)
                target.scales, target.offsets = source.scales, source.offsets
                target.descriptions, target.units = source.descriptions, source.units
        code = source.crs.to_authority()
    return ":".join(code) if code else crs_lib.parse(source.crs.to_wkt()).name


def size(client: Client, address: str, area: FetchArea) -> str:
    """What `write_part` would bring, in words."""
    raster = RemoteRaster(client, address)
    with formats.settings(), raster.reading(), raster.dataset() as source:
        window = _window(source, area, address)
        share = window.width * window.height / (source.width * source.height)
        return (
            f"{window.width:,} x {window.height:,} pixels, about "
            f"{raster.file.size * share / 1e6:.1f} MB of {raster.file.size / 1e6:,.0f}"
        )


def _read(
    raster: RemoteRaster, source: rasterio.DatasetReader, window: Window
) -> np.ndarray:
    """All bands of a window, or an error: never what a broken line left."""
    with raster.reading():
        return source.read(window=window)


def _window(source: rasterio.DatasetReader, area: FetchArea, address: str) -> Window:
    """The pixels over an area.

    Raises:
        InputError: If there are none.
    """
    outline = area.in_crs(source.crs.to_wkt())
    west, south, east, north = outline.bounds
    corners = [~source.transform * (x, y) for x in (west, east) for y in (south, north)]
    columns, rows = zip(*corners, strict=True)
    left = max(math.floor(min(columns)) - _MARGIN_PX, 0)
    top = max(math.floor(min(rows)) - _MARGIN_PX, 0)
    right = min(math.ceil(max(columns)) + _MARGIN_PX, source.width)
    bottom = min(math.ceil(max(rows)) + _MARGIN_PX, source.height)
    if left >= right or top >= bottom or not np.isfinite(outline.bounds).all():
        raise InputError(
            f"{public(address)}: does not show {area.name}. Take the file of its "
            "country, or another source."
        )
    return Window(left, top, right - left, bottom - top)
