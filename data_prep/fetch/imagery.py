"""Writes images of an area window by window: scenes on one grid, the best on top.

    <out>/imagery/r000c000.tif    a window of the grid, whole
                 /windows.json    the scenes that are shown, and which windows are done

A window gets its final name when it is complete, and `windows.json` then lists it with
its hash. So a command that was stopped continues with the next window and the scenes it
had chosen.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from data_prep.fetch import asked
from data_prep.fetch.grid import PixelGrid
from data_prep.fetch.http import Client
from data_prep.fetch.scenes import OpenScene, Scene
from data_prep.fetch.tiles import OpenTiles
from data_prep.files import crs as crs_lib
from data_prep.running.progress import Meter
from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError

STATE_FILE = "windows.json"
_BLOCK_PX = 512
_MOST_OPEN = 16
_MASK_SHARE = 1 / 3
_TRIED_SCENES = 3


@dataclasses.dataclass(frozen=True)
class MosaicSize:
    """Size of a mosaic, estimated before it is fetched.

    Attributes:
        windows: Number of files.
        scenes: Number of scenes that are visible somewhere.
        bytes_to_read: Bytes read over the network.
        bytes_to_write: Bytes written to this disk, at most.
    """

    windows: int
    scenes: int
    bytes_to_read: int
    bytes_to_write: int


class Mosaic:
    """Scenes of an area on a grid."""

    def __init__(
        self,
        client: Client,
        scenes: Sequence[Scene],
        bands: Sequence[int],
        grid: PixelGrid,
    ) -> None:
        """Opens nothing yet.

        Args:
            client: The client that fetches the pixels.
            scenes: Those on top first.
            bands: Of scenes that are one file.
            grid: The grid that they are brought onto.
        """
        self.scenes, self.grid = list(scenes), grid
        self._client, self._bands = client, tuple(bands)
        self._open: OrderedDict[int, OpenScene | OpenTiles] = OrderedDict()
        self._boxes_m: dict[int, Any] = {}

    def estimate(self) -> MosaicSize:
        """Estimates sizes from the headers of some files and the places of all.

        Raises:
            InputError: If a file cannot be read.
        """
        windows = list(self.grid.windows())
        lacking = self.grid.outline
        shares = []
        for index, scene in enumerate(self.scenes):
            if scene.footprint is None:
                place = self._opened(index).box_m
            else:
                place = _in_crs(scene.footprint, self.grid.crs)
            shares.append(shapely.intersection(lacking, place).area)
            lacking = shapely.difference(lacking, place)
        shown = [index for index, area_m2 in enumerate(shares) if area_m2 > 0]
        tried = [self._opened(index) for index in shown[:_TRIED_SCENES]]
        per_m2 = (
            float(np.mean([scene.bytes_per_m2 for scene in tried])) if tried else 0.0
        )
        bands = len(self._bands)
        width = max((np.dtype(scene.dtype).itemsize for scene in tried), default=1)
        pixels = self.grid.outline.area / self.grid.gsd_m**2
        return MosaicSize(
            windows=len(windows),
            scenes=len(shown),
            bytes_to_read=round(per_m2 * sum(shares)),
            bytes_to_write=round(pixels * (bands * width + _MASK_SHARE)),
        )

    def write(self, folder: Path, question: dict[str, Any]) -> dict[str, Any]:
        """Writes the windows that are missing; returns the state at the end.

        Args:
            folder: Folder for the windows.
            question: What the command asked for, to tell this mosaic from another.

        Raises:
            InputError: If a window cannot be read completely; windows already written
                stay.
        """
        path = folder / STATE_FILE
        state = read_state(folder, question) or {
            "question": question,
            "scenes": [scene.public() for scene in self.scenes],
            "windows": {},
        }
        windows = list(self.grid.windows())
        meter = Meter("windows", len(windows))
        start, done = time.monotonic(), 0
        try:
            for name, window in windows:
                if not is_done(folder, name, state):
                    known = self._write(folder / f"{name}.tif", window)
                    state["windows"][name] = known
                    with refusals.explained(folder):
                        files.write_text(path, json.dumps(state, indent=1))
                    done += 1
                meter.add()
        finally:
            self.close()
        logging.info(
            "imagery: %d window(s), %d of them fetched now, in %.0f s",
            len(windows),
            done,
            time.monotonic() - start,
        )
        if not any(known["file"] for known in state["windows"].values()):
            raise InputError(
                f"{folder}: no pixel of the {len(self.scenes)} scene(s) lies within "
                "the area. Take another source or other --dates."
            )
        return state

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Returns a window's pixels [bands h w], which exist [h w], and their scenes.

        Raises:
            InputError: If a scene cannot be read, or has pixels of another type.
        """
        inside = self.grid.inside(window)
        filled = ~inside
        box = self.grid.box_m(window)
        pixels: np.ndarray | None = None
        shown: list[str] = []
        for index, scene in enumerate(self.scenes):
            if filled.all():
                break
            if not self._touches(index, box):
                continue
            part, there = self._opened(index).read(window)
            there &= ~filled
            if pixels is None:
                pixels = np.zeros(part.shape, self._opened(index).dtype)
            if self._opened(index).dtype != pixels.dtype.name:
                raise InputError(
                    f"{scene.name}: its pixels are {part.dtype}, but those of "
                    f"{', '.join(shown)} are {pixels.dtype}; all files of a mosaic "
                    f"need one type. Leave it out with --skip={scene.name}."
                )
            if there.any():
                pixels[:, there] = part[:, there]
                filled |= there
                shown.append(scene.name)
        if pixels is None:
            pixels = np.zeros((len(self._bands), *inside.shape), np.uint8)
        return pixels, filled & inside, shown

    def close(self) -> None:
        """Closes all files."""
        while self._open:
            self._open.popitem()[1].close()

    def _write(self, path: Path, window: Window) -> dict[str, Any]:
        pixels, valid, shown = self.read(window)
        if not valid.any():
            path.unlink(missing_ok=True)
            return {"file": False, "scenes": []}
        count, height, width = pixels.shape
        profile: dict[str, Any] = dict(
            driver="GTiff",
            width=width,
            height=height,
            count=count,
            dtype=pixels.dtype.name,
            crs=self.grid.crs,
            transform=self.grid.transform(window),
            tiled=True,
            blockxsize=_BLOCK_PX,
            blockysize=_BLOCK_PX,
            compress="deflate",
            interleave="pixel",
        )
        if pixels.dtype.kind == "f":  # the build knows NaN for what is missing
            pixels[:, ~valid] = np.nan
            profile["nodata"] = np.nan
        with refusals.explained(path.parent), files.replacing(path) as temporary:
            with (
                rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
                rasterio.open(temporary, "w", **profile) as target,
            ):
                target.write(pixels)
                if count == 3:
                    target.colorinterp = (
                        ColorInterp.red,
                        ColorInterp.green,
                        ColorInterp.blue,
                    )
                if not valid.all() and pixels.dtype.kind != "f":
                    target.write_mask(valid)
            digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
            size = temporary.stat().st_size
        return {"file": True, "bytes": size, "sha256": digest, "scenes": shown}

    def _touches(self, index: int, box: Any) -> bool:
        if index not in self._boxes_m:
            footprint = self.scenes[index].footprint
            self._boxes_m[index] = (
                self._opened(index).box_m
                if footprint is None
                else _in_crs(footprint, self.grid.crs).buffer(4 * self.grid.gsd_m)
            )
        return bool(self._boxes_m[index].intersects(box))

    def _opened(self, index: int) -> OpenScene | OpenTiles:
        if index not in self._open:
            if len(self._open) >= _MOST_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[index] = self._newly_opened(self.scenes[index])
        self._open.move_to_end(index)
        return self._open[index]

    def _newly_opened(self, scene: Scene) -> OpenScene | OpenTiles:
        if scene.max_zoom is not None:
            return OpenTiles(self._client, scene, self._bands, self.grid)
        return OpenScene(
            self._client,
            scene,
            self._bands,
            crs=self.grid.crs,
            gsd_m=self.grid.gsd_m,
            corner_m=self.grid.corner_m,
        )


def read_state(folder: Path, question: dict[str, Any]) -> dict[str, Any] | None:
    """Reads what an earlier command did there; None: there was none.

    Raises:
        InputError: If the earlier command asked for something else.
    """
    return asked.read_state(folder / STATE_FILE, question, "images")


def is_done(folder: Path, name: str, state: dict[str, Any]) -> bool:
    """Whether a window is complete and unchanged since it was written."""
    known = state["windows"].get(name)
    if known is None or not known["file"]:
        return known is not None
    try:
        data = (folder / f"{name}.tif").read_bytes()
    except OSError:
        return False
    return hashlib.sha256(data).hexdigest() == known["sha256"]


def scenes_of(state: dict[str, Any]) -> list[Scene]:
    """Returns the scenes that an earlier command chose."""
    return [
        Scene(**{**fields, "addresses": tuple(fields["addresses"])})
        for fields in state["scenes"]
    ]


def _in_crs(footprint: BaseGeometry, crs: str) -> BaseGeometry:
    """An outline in degrees on the grid, its edges followed as curves."""
    fine = shapely.segmentize(shapely.make_valid(footprint), 0.05)
    moved = gpd.GeoSeries([fine], crs=crs_lib.WGS84).to_crs(crs)
    return shapely.union_all(shapely.make_valid(moved.to_numpy()))
