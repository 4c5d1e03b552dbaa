"""Writes the raw files in the form a user would have them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from jaxtyping import Float
from rasterio.transform import from_origin
from rasterio.windows import Window

from data_prep.toy_city.area import Area
from data_prep.toy_city.layout import Blocks
from data_prep.toy_city.overlay import LABEL_PIXEL_M, Overlay
from data_prep.toy_city.paint import Window as Painted
from data_prep.toy_city.places import Places
from data_prep.toy_city.zoning import ZONES, Uses
from mmgr_jax.disk import folders

IMAGERY_FILE, POIS_FILE, ZONES_FILE = "imagery.tif", "pois.parquet", "zones.gpkg"
LABEL_FILES = {"population": "population.tif", "gdp": "gdp.tif"}
TRUTH_DIR, TRUTH_FILE = "truth", "truth.json"
LABEL_NODATA = -9999.0
LABEL_UNITS = {"population": "persons", "gdp": "million CNY"}
# Streets come in sheets of this size, so that none of their polygons is endless.
STREET_SHEET_M = 512.0
WGS84 = "EPSG:4326"

KIND = "generated city"

# What is replaced beside these files: what GDAL and SQLite leave there, and the note of
# data_prep.build about the settings.
NOTE_FILE = "generated.json"
SIDECARS = (".aux.xml", ".ovr", ".msk", "-journal", "-wal", "-shm")


def new_folder(path: Path) -> contextlib.AbstractContextManager[Path]:
    """A folder to fill that appears at `path` when it is complete.

    An earlier city at `path` is replaced only then; other files in its folder stay.

    Raises:
        InputError: If `path` holds anything but a generated city, or another process is
            generating one there.
    """
    return folders.replacing(path, KIND, key="config.toy_city.out_dir", known=_entries)


def _entries(folder: Path) -> Collection[str]:
    """Names of all that a generated city has, where the folder is or was to be one."""
    files = (IMAGERY_FILE, POIS_FILE, ZONES_FILE, *LABEL_FILES.values())
    own = {file + sidecar for file in files for sidecar in ("", *SIDECARS)}
    own |= {NOTE_FILE, TRUTH_DIR, folders.MARK}
    # Earlier versions left no mark, and folders named so when they were killed.
    left = (
        ".partial-" in folder.name and {path.name for path in folder.iterdir()} <= own
    )
    proofs = (folder / TRUTH_DIR / TRUTH_FILE, folder / folders.MARK)
    return own if left or any(path.exists() for path in proofs) else ()


@runtime_checkable
class MosaicPainter(Protocol):
    """Paints the mosaic of an area."""

    @property
    def area(self) -> Area:
        """The mosaic's rectangle."""
        ...

    def windows(self) -> Iterator[Painted]:
        """Windows from the north-west, row by row."""
        ...


def write_imagery(path: Path, painter: MosaicPainter, overlay: Overlay) -> None:
    """Paints the mosaic into a tiled GeoTIFF and adds its blocks to the overlay."""
    area = painter.area
    profile: dict[str, Any] = dict(
        driver="GTiff",
        width=area.shape_px[1],
        height=area.shape_px[0],
        count=3,
        dtype="uint8",
        crs=area.crs,
        transform=from_origin(area.west_m, area.north_m, area.gsd_m, area.gsd_m),
        nodata=0,
        photometric="RGB",
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=2,
        zlevel=4,
    )
    with rasterio.open(path, "w", **profile) as file:
        for (row, column), picture, block in painter.windows():
            overlay.add((row, column), block)
            window = Window(column, row, picture.shape[1], picture.shape[0])
            file.write(np.moveaxis(picture, -1, 0), window=window)


def write_labels(
    folder: Path, overlay: Overlay, rasters: dict[str, Float[np.ndarray, "h w"]]
) -> None:
    """Population and GDP per pixel."""
    area, grid = overlay.area, overlay.grid
    for name, file_name in LABEL_FILES.items():
        values = np.where(overlay.covered, rasters[name], LABEL_NODATA)
        transform = from_origin(
            area.west_m + grid.west_m,
            area.north_m + grid.north_m,
            LABEL_PIXEL_M,
            LABEL_PIXEL_M,
        )
        with rasterio.open(
            folder / file_name,
            "w",
            driver="GTiff",
            width=grid.shape[1],
            height=grid.shape[0],
            count=1,
            dtype="float32",
            crs=area.crs,
            transform=transform,
            nodata=LABEL_NODATA,
            compress="deflate",
        ) as file:
            file.write(values.astype(np.float32), 1)
            file.set_band_description(1, name)
            file.set_band_unit(1, LABEL_UNITS[name])


def write_places(
    path: Path, area: Area, places: Places, names: tuple[list[str], list[str]]
) -> None:
    """Places as GeoParquet in longitude and latitude, by names of two levels."""
    points = shapely.points(places.points + area.corner_m)
    categories, parents = names
    table = gpd.GeoDataFrame(
        {
            "poi_id": places.poi_id,
            "name": places.name,
            "category": categories,
            "parent": parents,
        },
        geometry=points,
        crs=area.crs,
    )
    table.to_crs(WGS84).to_parquet(path, index=False)


def write_zones(path: Path, area: Area, blocks: Blocks, uses: Uses) -> None:
    """Functional zones as polygons that fill the mosaic without overlap."""
    streets = _streets(area, blocks.polygon)
    polygons = np.concatenate([blocks.polygon, streets])
    names = [ZONES[k] for k in uses.zone] + ["transportation"] * len(streets)
    corner_m = area.corner_m
    moved = shapely.transform(polygons, lambda points: points + corner_m)
    table = gpd.GeoDataFrame({"zone": names}, geometry=moved, crs=area.crs)
    table.to_file(path, layer="zones", driver="GPKG")


def _streets(area: Area, blocks: np.ndarray) -> np.ndarray:
    """All that lies between the blocks, in sheets."""
    width_m, height_m = area.size_m
    west_m, south_m = (
        grid.ravel()
        for grid in np.meshgrid(
            np.arange(0, width_m, STREET_SHEET_M),
            np.arange(0, height_m, STREET_SHEET_M),
        )
    )
    sheets = shapely.box(
        west_m,
        south_m,
        np.minimum(west_m + STREET_SHEET_M, width_m),
        np.minimum(south_m + STREET_SHEET_M, height_m),
    )
    tree = shapely.STRtree(blocks)
    rest = [
        shapely.difference(sheet, shapely.union_all(blocks[tree.query(sheet)]))
        for sheet in sheets
    ]
    parts = shapely.get_parts(np.array(rest))
    return parts[(shapely.get_type_id(parts) == 3) & ~shapely.is_empty(parts)]


def write_truth(folder: Path, table: gpd.GeoDataFrame, facts: dict[str, Any]) -> None:
    """The region table and the facts about the whole city."""
    truth = folder / TRUTH_DIR
    truth.mkdir()
    table.to_parquet(truth / "truth.parquet", index=False)
    text = json.dumps(facts, indent=1, sort_keys=True)
    (truth / TRUTH_FILE).write_text(text + "\n", encoding="utf-8")
