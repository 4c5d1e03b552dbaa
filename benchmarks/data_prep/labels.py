"""Labels of ten thousand regions, measured on files made for it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from rasterio.transform import from_origin

from benchmarks.data_prep import squares
from data_prep.labels import extraction
from data_prep.labels.settings import LabelSettings

NUM_REGIONS = 10_000
LIMIT_S = 20.0

_CRS = "EPSG:26911"
_CORNER_M = (600_000.0, 4_000_000.0)
_REGION_M = 250.0
_PIXEL_M = 92.7  # 3 arc seconds, the pixel of WorldPop
_NUM_ZONES = 20_000
CLASSES = ("forest", "water", "residential", "commercial", "industrial")


def rows(folder: Path, num_regions: int = NUM_REGIONS) -> list[dict[str, Any]]:
    """Seconds of one label of each form, the checks of totals included.

    Args:
        folder: Where the sources are written; some 20 MB.
        num_regions: Regions of a square grid; rounded to a whole square.

    Returns:
        A row a label: `label`, `source`, `regions`, `seconds` and `limit_s`.
    """
    regions = squares.regions(round(num_regions**0.5), _CORNER_M, _REGION_M)
    side_m = _REGION_M * len(regions) ** 0.5
    people = str(raster(folder, side_m, _PIXEL_M, _CORNER_M))
    blocks = str(zones(folder, side_m, _NUM_ZONES, _CORNER_M))
    count = LabelSettings("count", blocks, "persons", column="people")
    share = LabelSettings("share", blocks, "1", column="zone", classes=CLASSES)
    sources = [
        ("count", "raster", LabelSettings("count", people, "persons")),
        ("density", "raster", LabelSettings("density", people, "persons/km2")),
        ("count", "polygons", count),
        ("share", "polygons", share),
    ]
    measured = []
    for kind, form, source in sources:
        start = time.perf_counter()
        extraction.extract(f"{kind}_of_{form}", source, regions, _CRS)
        measured.append(
            {
                "label": kind,
                "source": form,
                "regions": len(regions),
                "seconds": time.perf_counter() - start,
                "limit_s": LIMIT_S,
            }
        )
    return measured


def raster(
    folder: Path, side_m: float, pixel_m: float, corner_m: tuple[float, float]
) -> Path:
    """Writes people a pixel over a square and ten pixels around it.

    Args:
        folder: Where the file goes.
        side_m: Side of the square.
        pixel_m: Side of a pixel.
        corner_m: West and north of the square.
    """
    path = folder / "people.tif"
    side = int(side_m / pixel_m) + 20
    people = np.random.default_rng(0).lognormal(3, 1, (side, side)).astype(np.float32)
    west, north = corner_m[0] - 5 * pixel_m, corner_m[1] + 5 * pixel_m
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        crs=_CRS,
        transform=from_origin(west, north, pixel_m, pixel_m),
        count=1,
        height=side,
        width=side,
        dtype="float32",
        compress="deflate",
    ) as target:
        target.write(people, 1)
    return path


def zones(
    folder: Path, side_m: float, count: int, corner_m: tuple[float, float]
) -> Path:
    """Writes polygons that partition a square, as blocks of a city do.

    Args:
        folder: Where the file goes.
        side_m: Side of the square.
        count: How many.
        corner_m: West and north of the square.
    """
    path = folder / "zones.parquet"
    west, north = corner_m
    rng = np.random.default_rng(0)
    seeds = rng.uniform((west, north - side_m), (west + side_m, north), (count, 2))
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(seeds)))
    square = shapely.box(west - 50, north - side_m, west + side_m, north + 50)
    table = dict(
        people=rng.integers(0, 400, len(cells)), zone=rng.choice(CLASSES, len(cells))
    )
    frame = gpd.GeoDataFrame(
        table, geometry=shapely.intersection(cells, square), crs=_CRS
    )
    frame.to_crs("EPSG:4326").to_parquet(path)
    return path
