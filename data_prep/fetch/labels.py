"""Fetches labels of an area: the part of a raster, or land use of OpenStreetMap.

A raster is never resampled: a count that is averaged or copied twice becomes a
different count.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from data_prep.fetch import ghsl, land_use, presets
from data_prep.fetch.area import FetchArea
from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.fetch.presets import Preset
from data_prep.fetch.remote_file import RemoteRaster
from data_prep.fetch.request import Request
from data_prep.files import crs as crs_lib
from data_prep.files import fetched, formats
from data_prep.files.fetched import Fetched
from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError

_OSM = "osm"
_MARGIN_PX = 1  # so that pixels which the edge cuts are whole
_STRIP_PX = 512


@dataclasses.dataclass(frozen=True)
class AskedLabel:
    """What `--labels` names.

    Attributes:
        name: Name of the label.
        address: Address of a raster, or of a tile with "{tile}" for its name; "osm":
            land use of the extract that `--pois` names.
        preset: The preset; None: an address that the command gives.
        year: Year of the data; None: that of the preset.
        band: Band of the raster, counted from 1; None: all bands.
    """

    name: str
    address: str
    preset: Preset | None
    year: int | None = None
    band: int | None = None

    @property
    def named(self) -> list[str]:
        """Addresses that the command itself names."""
        return [self.address] if self.preset is None and "://" in self.address else []


def source(text: str) -> AskedLabel:
    """Reads a label from "NAME=ADDRESS", "NAME=PRESET:PLACE" or "NAME=osm".

    Raises:
        InputError: If the text has none of these forms.
    """
    name, mark, place = text.partition("=")
    if not mark or not name or not place:
        raise InputError(
            f"--labels={text}: wanted: NAME=ADDRESS or NAME=PRESET:PLACE, such as "
            "population=worldpop:deu, or NAME=osm."
        )
    if name in ("imagery", "pois"):
        raise InputError(f"--labels={text}: a label needs another name.")
    if "://" in place or place == _OSM:
        return AskedLabel(name, place, None)
    known, _, inside = place.partition(":")
    preset = presets.preset(known, ("raster", "tiles"), "--labels")
    years = ghsl.EPOCHS if preset.kind == "tiles" else tuple(preset.bands)
    if years:
        if inside not in years:
            raise InputError(
                f"--labels={text}: give the year after a colon, such as {known}:2020; "
                f"there are {', '.join(years)}."
            )
        url, band = preset.url.format(place=inside), preset.bands.get(inside)
        return AskedLabel(name, url, preset, int(inside), band)
    if not inside.isalnum():
        raise InputError(
            f"--labels={text}: give the place after a colon, such as {known}:deu."
        )
    url = preset.url.format(place=inside.lower(), PLACE=inside.upper())
    return AskedLabel(name, url, preset)


def fetch(
    label: AskedLabel,
    request: Request,
    area: FetchArea,
    folder: Path,
    client_of: Callable[[Request, Preset | None, str], Client],
) -> Fetched | None:
    """Fetches a label; in a dry run, only says its size.

    Args:
        label: Which.
        request: The command.
        area: The area.
        folder: Folder of the raw files.
        client_of: Makes the client for a preset and a way to sign.

    Raises:
        InputError: If the source cannot be read, or does not cover the area.
    """
    path = folder / "labels" / files.safe_name(label.name)
    if label.address == _OSM:
        return land_use.fetch(label.name, request, area, path, client_of)
    client = client_of(request, label.preset, request.sign or "environment")
    is_tiles = label.preset is not None and label.preset.kind == "tiles"
    if request.dry_run:
        text = (ghsl.size if is_tiles else size)(client, label.address, area)
        logging.info("%s: %s", label.name, text)
        return None
    path = path.with_name(f"{path.name}.tif")
    if is_tiles:
        crs = ghsl.write_part(client, label.address, area, path)
    else:
        crs = write_part(client, label.address, area, path, label.band)
    usual = label.preset or Preset("raster", label.address, (), "", "")
    logging.info("%s: %s", label.name, path)
    return Fetched(
        files=fetched.described(folder, path),
        source=usual.source,
        licence=usual.licence,
        year=label.year or usual.year,
        unit=usual.unit,
        crs=crs,
        address=public(label.address),
        details={"reading": dict(usual.reading)} if usual.reading else {},
    )


def write_part(
    client: Client, address: str, area: FetchArea, path: Path, band: int | None = None
) -> str:
    """Writes the part of a raster over an area; keeps nodata, type and grid.

    Args:
        client: The client that fetches the raster.
        address: Address of a GeoTIFF.
        area: Where.
        path: The GeoTIFF to make.
        band: The band to write, counted from 1; None: all bands.

    Returns:
        Its CRS as text.

    Raises:
        InputError: If the raster cannot be read completely, has no CRS or no such band,
            or covers another place.
    """
    raster = RemoteRaster(client, address, whole=True)
    with formats.settings(), raster.reading(), raster.dataset() as source:
        formats.refuse_large_blocks(Path(raster.name), source)
        if source.crs is None or crs_lib.unusable(source.crs.to_wkt()):
            raise InputError(
                f"{public(address)}: names no CRS, so nobody knows where it lies. "
                "Take another source, or download it, write its CRS into it and name "
                "it in the config."
            )
        if band is not None and band > source.count:
            raise InputError(
                f"{public(address)}: has {source.count} band(s), but band {band} is "
                "needed. Its publisher changed it; take another source."
            )
        bands = list(source.indexes) if band is None else [band]
        window = _window(source, area, address)
        profile: dict[str, Any] = dict(
            driver="GTiff",
            width=window.width,
            height=window.height,
            count=len(bands),
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
                    target.write(_read(raster, source, place, bands), window=strip)
                for name in ("scales", "offsets", "descriptions", "units"):
                    of_bands = [getattr(source, name)[one - 1] for one in bands]
                    setattr(target, name, tuple(of_bands))
        code = source.crs.to_authority()
    return ":".join(code) if code else crs_lib.parse(source.crs.to_wkt()).name


def size(client: Client, address: str, area: FetchArea) -> str:
    """Says in words what `write_part` would fetch."""
    if not client.offline:
        about, has_ranges = client.look(address)
        if not has_ranges:
            return (
                f"{(about.size or 0) / 1e6:,.1f} MB, the whole file, as its server "
                "does not send parts of it"
            )
    raster = RemoteRaster(client, address)
    with formats.settings(), raster.reading(), raster.dataset() as source:
        window = _window(source, area, address)
        share = window.width * window.height / (source.width * source.height)
        return (
            f"{window.width:,} x {window.height:,} pixels, about "
            f"{raster.file.size * share / 1e6:.1f} MB of {raster.file.size / 1e6:,.0f}"
        )


def _read(
    raster: RemoteRaster,
    source: rasterio.DatasetReader,
    window: Window,
    bands: Sequence[int],
) -> np.ndarray:
    """Bands of a window, or an error: never what a broken line left."""
    with raster.reading():
        return source.read(list(bands), window=window)


def _window(source: rasterio.DatasetReader, area: FetchArea, address: str) -> Window:
    """The pixels over an area.

    Raises:
        InputError: If there are none.
    """
    outline = area.in_crs(source.crs.to_wkt())
    west, south, east, north = outline.bounds
    corners = [~source.transform @ (x, y) for x in (west, east) for y in (south, north)]
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
