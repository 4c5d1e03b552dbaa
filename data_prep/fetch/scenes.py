"""Scenes: images of one day, whose files lie on a server."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.windows import Window
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.fetch.remote_file import RemoteRaster
from data_prep.files import crs as crs_lib
from data_prep.files import formats
from data_prep.imagery import headers as headers_lib
from data_prep.imagery import placement, reader
from data_prep.imagery.headers import ImageHeader
from data_prep.imagery.placement import ImageFile
from mmgr_jax.errors import InputError

Order = Literal["newest", "clearest"]

_LEAST_SHARED = 0.5
"""Of the smaller of two boxes, a file's and its catalogue's, that tell of one place."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """An image of one day, as its catalogue describes it.

    Attributes:
        name: Name of the scene, unique among scenes.
        addresses: Addresses of its files: one with all bands, or one for each band.
        time: When it was taken, as ISO text; "" where unknown.
        cloud: Share of clouds in percent; None where unknown.
        outline: Where it lies, as GeoJSON in degrees; None where unknown.
        crs: CRS in the catalogue; "" where the catalogue names none.
        licence: Licence in the catalogue.
        source: Who made it.
        is_signed: Whether its catalogue signed its addresses. They are stored here
            without signatures, and a later command asks for new ones.
        max_zoom: Deepest zoom level to ask a tile service for; None: the scene is
            files.
    """

    name: str
    addresses: tuple[str, ...]
    time: str = ""
    cloud: float | None = None
    outline: Mapping[str, Any] | None = None
    crs: str = ""
    licence: str = ""
    source: str = ""
    is_signed: bool = False
    max_zoom: int | None = None

    @property
    def footprint(self) -> BaseGeometry | None:
        """The outline in its catalogue, in degrees."""
        return None if self.outline is None else shape(dict(self.outline))

    def public(self) -> dict[str, Any]:
        """The scene as it may be stored, without secrets."""
        addresses = tuple(public(place) for place in self.addresses)
        is_signed = self.is_signed or addresses != self.addresses
        fields = dict(addresses=list(addresses), is_signed=is_signed)
        return dataclasses.asdict(self) | fields


def signed_anew(chosen: Sequence[Scene], listed: Sequence[Scene]) -> list[Scene]:
    """Returns chosen scenes with the addresses that their catalogue signs now.

    Args:
        chosen: Scenes that an earlier command chose.
        listed: Scenes in the catalogue today; chosen scenes that are no longer in it
            stay as they are.
    """
    today = {scene.name: scene.addresses for scene in listed}
    return [
        dataclasses.replace(scene, addresses=today.get(scene.name, scene.addresses))
        if scene.is_signed
        else scene
        for scene in chosen
    ]


def in_order(scenes: Sequence[Scene], order: Order) -> list[Scene]:
    """Sorts scenes: first those that are shown where several overlap."""
    newest = sorted(scenes, key=lambda scene: (scene.time, scene.name), reverse=True)
    if order == "newest":
        return newest
    return sorted(
        newest, key=lambda scene: 101.0 if scene.cloud is None else scene.cloud
    )


def of_addresses(addresses: Sequence[str]) -> list[Scene]:
    """Makes one scene per file, for files that are named one by one."""
    return [
        Scene(
            name=public(place).partition("?")[0].rpartition("/")[2], addresses=(place,)
        )
        for place in addresses
    ]


class OpenScene:
    """A scene whose files are open; gives windows of a grid."""

    def __init__(
        self,
        client: Client,
        scene: Scene,
        bands: Sequence[int],
        *,
        crs: str,
        gsd_m: float,
        corner_m: tuple[float, float],
    ) -> None:
        """Opens the files.

        Args:
            client: Who brings their bytes.
            scene: Which.
            bands: Bands of its one file; the first of each where there are several.
            crs: Of the grid.
            gsd_m: Side of the grid's pixels.
            corner_m: West and north of the grid.

        Raises:
            InputError: If a file cannot be read, or lies elsewhere than its catalogue
                says.
        """
        self.scene = scene
        self._grid = (crs, gsd_m, corner_m)
        chosen = tuple(bands) if len(scene.addresses) == 1 else (1,)
        self._parts: list[tuple[RemoteRaster, ImageFile, reader.Reader]] = []
        try:
            for address in scene.addresses:
                self._parts.append(self._opened(client, address, chosen))
        except BaseException:
            self.close()
            raise

    @property
    def dtype(self) -> str:
        """Type of its pixels as they are written."""
        kinds = {kind for _, file, _ in self._parts for kind in file.header.dtypes}
        return (
            kinds.pop()
            if len(kinds) == 1 and kinds <= {"uint8", "uint16"}
            else ("float32")
        )

    @property
    def gsd_m(self) -> float:
        """Side of its own pixels."""
        return min(file.gsd_m for _, file, _ in self._parts)

    @property
    def bytes_in_all(self) -> int:
        """Size of its files, overviews included."""
        return sum(raster.file.size for raster, _, _ in self._parts)

    @property
    def bytes_per_m2(self) -> float:
        """Bytes of a window that is read, by the area it shows."""
        total = 0.0
        for raster, file, _ in self._parts:
            factors = (1, *file.header.overviews)
            level = 0 if file.overview is None else file.overview + 1
            share = factors[level] ** -2 / sum(factor**-2 for factor in factors)
            west, south, east, north = file.bounds_m
            total += raster.file.size * share / ((east - west) * (north - south))
        return total

    @property
    def box_m(self) -> BaseGeometry:
        """The box that it covers on the grid."""
        return shapely.union_all(
            [shapely.box(*file.bounds_m) for _, file, _ in self._parts]
        )

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Returns pixels [bands h w] of a window of the grid, and which exist [h w].

        Raises:
            InputError: If the pixels cannot be read completely.
        """
        shape_px = (window.height, window.width)
        parts, valid = [], np.ones(shape_px, bool)
        for raster, file, source in self._parts:
            pixels, there = _read(raster, file, source, window)
            parts.append(pixels)
            valid &= there
        return np.concatenate(parts), valid

    def close(self) -> None:
        """Closes the files."""
        for _, _, source in self._parts:
            source.close()
        self._parts = []

    def _opened(
        self, client: Client, address: str, bands: Sequence[int]
    ) -> tuple[RemoteRaster, ImageFile, reader.Reader]:
        crs, gsd_m, corner_m = self._grid
        raster = RemoteRaster(client, address)
        with formats.settings(), raster.reading():
            with raster.dataset() as source:
                formats.refuse_large_blocks(Path(raster.name), source)
                header = headers_lib.described(Path(raster.name), source)
            if problem := headers_lib.problem(header, bands):
                raise InputError(problem)
            _refuse_elsewhere(self.scene, header)
            file = placement.place_on(header, crs, gsd_m, corner_m)
            transform = Affine(
                gsd_m, 0.0, corner_m[0] + file.column_px * gsd_m,
                0.0, -gsd_m, corner_m[1] - file.row_px * gsd_m,
            )  # fmt: skip
            if file.resampling is None:
                source = reader.Reader(
                    raster.dataset(), bands, None, header.white_is_zero
                )
            else:
                level = "NONE" if file.overview is None else f"{file.overview}only"
                dataset: rasterio.DatasetReader = raster.dataset(OVERVIEW_LEVEL=level)
                source = reader.warped(
                    dataset, file, bands, None, crs=crs, transform=transform
                )
        return raster, file, source


def _read(
    raster: RemoteRaster, file: ImageFile, source: reader.Reader, window: Window
) -> tuple[np.ndarray, np.ndarray]:
    """A window of the grid out of one file; nothing is there beyond its edges."""
    column, row = window.col_off - file.column_px, window.row_off - file.row_px
    left, top = max(column, 0), max(row, 0)
    width = min(column + window.width, file.width_px) - left
    height = min(row + window.height, file.height_px) - top
    valid = np.zeros((window.height, window.width), bool)
    if width <= 0 or height <= 0:
        return np.zeros((source.num_bands, *valid.shape), np.uint8), valid
    with formats.settings(), raster.reading():
        part, there = source.read(Window(left, top, width, height))
    pixels = np.zeros((len(part), *valid.shape), part.dtype)
    into = (
        slice(top - row, top - row + height),
        slice(left - column, left - column + width),
    )
    pixels[:, *into], valid[into] = part, there
    return pixels, valid


def _refuse_elsewhere(scene: Scene, header: ImageHeader) -> None:
    """Refuses a file that lies elsewhere than its catalogue says.

    Raises:
        InputError: With both places.
    """
    if scene.crs and not crs_lib.same(scene.crs, str(header.crs)):
        logging.warning(
            "%s: its catalogue says %s, the file itself %s; the file's is used",
            header.path,
            scene.crs,
            crs_lib.parse(str(header.crs)).name,
        )
    footprint = scene.footprint
    if footprint is None:
        return
    own = placement.footprints([header], crs_lib.WGS84)[0]
    box, declared = shapely.box(*own), shapely.box(*footprint.bounds)
    shared = shapely.area(shapely.intersection(box, declared))
    if shared < _LEAST_SHARED * min(box.area, declared.area):
        places = [
            ", ".join(f"{side:.3f}" for side in bounds)
            for bounds in (own, declared.bounds)
        ]
        raise InputError(
            f"{header.path}: lies by its own CRS at {places[0]} (W, S, E, N), by its "
            f"catalogue at {places[1]}: one of the two is wrong. Leave it out with "
            f"--skip={scene.name}, and tell its publisher."
        )
