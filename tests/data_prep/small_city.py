"""A hand-made city of 4 x 3 regions, small enough to check every number by hand.

EPSG:32651, north-west corner at (500000, 3450000), regions of 16 px = 32 m. Column 3
of the imagery has no data in its eastern half, so 9 regions are fully covered.
"""

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from ml_collections import ConfigDict
from rasterio.transform import from_origin

from configs import common
from mmgr_jax.data import contents as contents_lib
from mmgr_jax.data import schema

CRS = "EPSG:32651"
WEST_M, NORTH_M = 500_000.0, 3_450_000.0
GSD_M, TILE_PX = 2.0, 16
TILE_M = GSD_M * TILE_PX
ROWS, COLUMNS = 3, 4
CLASSES = ("forest", "residential", "water")


def pixels() -> np.ndarray:
    """The imagery, uint8 [3 h w], zero where there is no data."""
    rng = np.random.default_rng(0)
    image = rng.integers(1, 256, (3, ROWS * TILE_PX, COLUMNS * TILE_PX), np.uint8)
    image[:, :, -TILE_PX // 2 :] = 0
    return image


def poi_rows() -> list[tuple]:
    """Rows (x in regions from the west, y in regions from the north, category)."""
    return [
        (0.25, 0.25, "cafe", "food"),
        (0.75, 0.25, "school", "education"),
        (0.50, 0.75, "cafe", "food"),
        (1.50, 0.50, "park", "leisure"),
        (1.50, 1.50, "park", "leisure"),
        (1.50, 1.75, "park", "leisure"),
        (1.00, 2.00, "school", "education"),  # on a corner: owned by row 2, column 1
        (2.10, 2.10, "cafe", "food"),
        (9.00, 9.00, "cafe", "food"),  # outside
    ]


def place_m(right: float, down: float) -> tuple[float, float]:
    """Metres of a position given in regions from the north-west corner."""
    return WEST_M + right * TILE_M, NORTH_M - down * TILE_M


def write_raster(path: Path, array: np.ndarray, **profile) -> Path:
    """Writes [h w] or [bands h w] as GeoTIFF on the city's grid by default."""
    array = array if array.ndim == 3 else array[None]
    settings = dict(
        driver="GTiff",
        crs=CRS,
        transform=from_origin(WEST_M, NORTH_M, GSD_M, GSD_M),
        count=array.shape[0],
        height=array.shape[1],
        width=array.shape[2],
        dtype=array.dtype.name,
    )
    with rasterio.open(path, "w", **(settings | profile)) as target:
        target.write(array)
    return path


def poi_table(crs: str = "EPSG:4326") -> gpd.GeoDataFrame:
    """The POIs with columns poi_id, name, category, parent."""
    rows = poi_rows()
    points = [shapely.Point(*place_m(right, down)) for right, down, _, _ in rows]
    columns = dict(
        poi_id=np.arange(len(rows)),
        name=[f"poi {index}" for index in range(len(rows))],
        category=[row[2] for row in rows],
        parent=[row[3] for row in rows],
    )
    return gpd.GeoDataFrame(columns, geometry=points, crs=CRS).to_crs(crs)


def zone_table() -> gpd.GeoDataFrame:
    """Zones: the western half forest, the next region residential, no water."""
    west, north = place_m(0, 0)
    middle, south = place_m(1.5, ROWS)
    east, _ = place_m(2.5, 0)
    shapes = [
        shapely.box(west, south, middle, north),
        shapely.box(middle, south, east, north),
    ]
    return gpd.GeoDataFrame(
        dict(zone=["forest", "residential"]), geometry=shapes, crs=CRS
    )


def write(folder: Path) -> ConfigDict:
    """Writes the raw files and returns a config that names them."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    write_raster(raw / "imagery.tif", pixels(), nodata=0)
    poi_table().to_parquet(raw / "pois.parquet")
    people = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    coarse = from_origin(WEST_M, NORTH_M, TILE_M, TILE_M)
    write_raster(raw / "people.tif", people, transform=coarse, nodata=-9999)
    zone_table().to_file(raw / "zones.gpkg")
    return describe(str(raw))


def describe(raw_dir: str) -> ConfigDict:
    """The config of the city whose raw files lie in a folder."""
    raw = Path(raw_dir)
    config = common.base("small_city", crs=CRS)
    config.imagery.paths = (str(raw / "imagery.tif"),)
    config.pois.path = str(raw / "pois.parquet")
    config.pois.crs = "EPSG:4326"
    config.pois.parent_column = "parent"
    described = dict(year=2026, source="made by hand")
    config.labels.people = common.count_label(
        str(raw / "people.tif"), unit="persons", **described
    )
    config.labels.zones = common.share_label(
        str(raw / "zones.gpkg"), column="zone", **described
    )
    config.labels.zones.classes = CLASSES
    config.regions.tile_size_px = TILE_PX
    config.regions.gsd_m = GSD_M
    config.blocks.size_m = 2 * TILE_M
    config.blocks.num_folds = 3  # of four blocks
    config.records.dir = str(raw.parent / "records")
    config.records.num_shards = 3
    config.category_vectors.method = "random"
    return config


def contents(records: Path | str) -> tuple[dict[str, bytes], bytes]:
    """All files but the manifest, byte by byte; the manifest without the folder."""
    files = {path.name: path.read_bytes() for path in Path(records).iterdir()}
    manifest = files.pop(schema.MANIFEST_FILE)
    files.pop(contents_lib.STAMPS_FILE, None)  # times of files
    return files, manifest.replace(str(records).encode(), b"")
