"""The raw files of a city of a wanted number of regions, small on disk.

Its mosaic is sparse GeoTIFFs: every other quarter of 4 x 4 regions is written, as JPEG,
and the rest of a file takes no room. So half of the cells hold no imagery, as in a city
with an outline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from ml_collections import ConfigDict
from rasterio.transform import from_origin
from rasterio.windows import Window
from scipy import ndimage

from benchmarks.data_prep import labels
from configs import common

TILE_PX = 64
POIS_PER_REGION = 3

_CRS = "EPSG:26911"
_WEST_M, _NORTH_M = 600_000.0, 4_000_000.0
_GSD_M = 1.0
_QUARTER = 4  # regions along a side of what is written or left out together
_FILE_QUARTERS = 8  # quarters along a side of a file
_QUARTER_PX = _QUARTER * TILE_PX
_NUM_TEXTURES = 16
_NUM_CATEGORIES = 60


def write(folder: Path, num_regions: int) -> ConfigDict:
    """Writes mosaic, POIs and labels of a city.

    Args:
        folder: An empty folder; 100,000 regions take some 200 MB.
        num_regions: Regions with imagery; rounded up to whole quarters of 16.

    Returns:
        The config of its build.
    """
    side = _side(num_regions)
    side_m = side * _QUARTER_PX * _GSD_M
    wanted = -(-num_regions // _QUARTER**2)
    _mosaic(folder / "imagery", side, wanted)
    _pois(folder / "pois.parquet", 2 * num_regions * POIS_PER_REGION, side_m)
    corner_m = (_WEST_M, _NORTH_M)
    config = common.base("sparse_city", crs=_CRS)
    config.imagery.paths = (str(folder / "imagery" / "*.tif"),)
    config.pois.path = str(folder / "pois.parquet")
    config.pois.crs = _CRS
    config.pois.parent_column = "parent"
    config.pois.x_column, config.pois.y_column = "x_m", "y_m"
    people = labels.raster(folder, side_m, 1.5 * TILE_PX * _GSD_M, corner_m)
    config.labels.people = common.count_label(
        str(people), unit="persons", year=2026, source="generated"
    )
    zones = labels.zones(folder, side_m, num_regions // 2, corner_m)
    config.labels.zones = common.share_label(
        str(zones), column="zone", year=2026, source="generated"
    )
    config.labels.zones.classes = labels.CLASSES
    config.regions.tile_size_px = TILE_PX
    config.regions.gsd_m = _GSD_M
    config.blocks.size_m = "auto"
    config.records.dir = str(folder / "records")
    config.records.num_shards = max(8, num_regions // 4096)
    config.category_vectors.method = "random"
    return config


def _side(num_regions: int) -> int:
    """Quarters along a side, so that every other holds the regions; even."""
    side = int(np.ceil((2 * num_regions) ** 0.5 / _QUARTER))
    return side + side % 2


def _mosaic(folder: Path, side: int, wanted: int) -> None:
    """Writes files of 8 x 8 quarters; of all, the first `wanted` dark fields."""
    folder.mkdir()
    textures = _textures()
    written = 0
    for top in range(0, side, _FILE_QUARTERS):
        for left in range(0, side, _FILE_QUARTERS):
            rows = range(top, min(top + _FILE_QUARTERS, side))
            columns = range(left, min(left + _FILE_QUARTERS, side))
            fields = [(r, c) for r in rows for c in columns if (r + c) % 2 == 0]
            fields = fields[: wanted - written]
            if fields:
                name = f"part_{top:04d}_{left:04d}.tif"
                _file(folder / name, rows, columns, fields, textures)
                written += len(fields)
    assert written == wanted, (written, wanted)


def _file(
    path: Path,
    rows: range,
    columns: range,
    fields: list[tuple[int, int]],
    textures: list[np.ndarray],
) -> None:
    step_m = _QUARTER_PX * _GSD_M
    corner_m = (_WEST_M + columns.start * step_m, _NORTH_M - rows.start * step_m)
    profile: dict[str, Any] = dict(
        driver="GTiff",
        crs=_CRS,
        transform=from_origin(*corner_m, _GSD_M, _GSD_M),
        count=3,
        width=len(columns) * _QUARTER_PX,
        height=len(rows) * _QUARTER_PX,
        dtype="uint8",
        nodata=0,
        tiled=True,
        blockxsize=_QUARTER_PX,
        blockysize=_QUARTER_PX,
        compress="jpeg",
        photometric="ycbcr",
        jpeg_quality=60,
        interleave="pixel",
        sparse_ok=True,
    )
    with rasterio.open(path, "w", **profile) as target:
        for row, column in fields:
            texture = textures[(7 * row + 3 * column) % _NUM_TEXTURES]
            left, top = column - columns.start, row - rows.start
            place = (left * _QUARTER_PX, top * _QUARTER_PX, _QUARTER_PX, _QUARTER_PX)
            target.write(texture, window=Window(*place))


def _textures() -> list[np.ndarray]:
    """Pictures [3 h w] of quarters and roofs, far from black."""
    rng = np.random.default_rng(0)
    textures = []
    for _ in range(_NUM_TEXTURES):
        pixels = np.zeros((3, _QUARTER_PX, _QUARTER_PX), np.float32)
        for scale, contrast in ((64, 25), (8, 15)):
            size = (3, _QUARTER_PX // scale, _QUARTER_PX // scale)
            coarse = rng.normal(0, contrast, size).astype(np.float32)
            pixels += np.asarray(ndimage.zoom(coarse, (1, scale, scale), order=1))
        textures.append((pixels + 128).clip(40, 255).astype(np.uint8))
    return textures


def _pois(path: Path, count: int, side_m: float) -> None:
    """Writes POIs, a third of them scattered and the others in clusters."""
    rng = np.random.default_rng(0)
    low, high = (_WEST_M, _NORTH_M - side_m), (_WEST_M + side_m, _NORTH_M)
    centre_m = rng.uniform(low, high, (max(count // 200, 1), 2))
    place_m = centre_m[rng.integers(0, len(centre_m), count)]
    place_m += rng.normal(0, 100.0, (count, 2))
    scattered = rng.random(count) < 1 / 3
    place_m[scattered] = rng.uniform(low, high, (int(scattered.sum()), 2))
    kind = rng.integers(0, _NUM_CATEGORIES, count)
    table = pd.DataFrame(
        dict(
            poi_id=np.arange(count),
            x_m=place_m[:, 0],
            y_m=place_m[:, 1],
            category=[f"kind {number}" for number in kind],
            parent=[f"group {number // 6}" for number in kind],
        )
    )
    table.to_parquet(path)
