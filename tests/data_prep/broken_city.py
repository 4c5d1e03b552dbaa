"""The small city with finished records, and ways to break it."""

import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import small_city
from rasterio.transform import from_origin

from configs import common
from mmgr_jax.data.contents import STAMPS_FILE

NORTH_WEST_M = small_city.place_m(0, 0)
INFINITE = shapely.Polygon([(0, 0), (np.inf, 0), (0, np.inf)])


class City:
    """A copy of the small city; what it lacks or holds too much is a test's doing."""

    def __init__(self, finished: Path, folder: Path) -> None:
        """Copies raw files and records of a finished city."""
        shutil.copytree(finished, folder, dirs_exist_ok=True)
        self.folder, self.raw = folder, folder / "raw"
        self.config = small_city.describe(str(self.raw))
        self.pois, self.labels = self.config.pois, self.config.labels
        self.regions = self.config.regions

    def set(self, key, value):
        """Sets a dotted key of the config."""
        *sections, last = key.split(".")
        node = self.config
        for section in sections:
            node = node[section]
        node[last] = value

    def contents(self):
        """Every file but the raw ones, byte by byte."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
            and self.raw not in path.parents
            and path.name != STAMPS_FILE  # times of files
        }

    def imagery(self, array=None, name="imagery.tif", **profile):
        """Writes an image file in the place of the good one, or beside it."""
        array = small_city.pixels() if array is None else array
        return small_city.write_raster(self.raw / name, array, **profile)

    def csv(self, text=None, **columns):
        """Puts a CSV in the place of the POIs: a text, or the POIs with changes."""
        table = small_city.poi_table()
        table = table.assign(lon=table.geometry.x, lat=table.geometry.y)
        table = pd.DataFrame(table.drop(columns="geometry")).assign(**columns)
        text = table.to_csv(index=False) if text is None else text
        path = self.raw / "pois.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.pois.update(path=str(path), x_column="lon", y_column="lat")

    def people(self, value, **profile):
        """Replaces the raster of people by one of a single number, or an array."""
        array = np.broadcast_to(np.float32(value), (3, 4))
        place = dict(transform=from_origin(*NORTH_WEST_M, 32, 32))
        small_city.write_raster(self.raw / "people.tif", array, **(place | profile))

    def zones(self, outlines=None, crs=small_city.CRS, **columns):
        """Replaces the polygons of zones."""
        outlines = small_city.zone_table().geometry if outlines is None else outlines
        columns = columns or dict(zone=["forest"] * len(outlines))
        table = gpd.GeoDataFrame(columns, geometry=list(outlines), crs=crs)
        self.labels.zones.path = str(self.raw / "zones.parquet")
        table.to_parquet(self.labels.zones.path)

    def count_zones(self, numbers):
        """Makes a count of the zones."""
        self.zones(zone=numbers)
        self.labels.zones.update(kind="count", unit="persons", classes=())

    def by_region(self, rows, **settings):
        """Adds a count that a table gives by region ids."""
        path = self.raw / "table.csv"
        path.write_bytes(rows if isinstance(rows, bytes) else rows.encode())
        described = dict(unit="persons", year=2026, source="made by hand")
        self.labels.table = common.count_label(str(path), **described)
        self.labels.table.update(dict(id_column="id", column="n") | settings)

    def outlines(self, outlines, crs=small_city.CRS, **columns):
        """Makes regions of polygons."""
        path = self.raw / "regions.parquet"
        table = gpd.GeoDataFrame(columns, geometry=list(outlines), crs=crs)
        table.to_parquet(path)
        self.regions.kind = "polygons"
        self.regions.polygons.path = str(path)


def box(right, down, size=1.0):
    """A square given in regions from the north-west corner."""
    west, north = small_city.place_m(right, down)
    east, south = small_city.place_m(right + size, down + size)
    return shapely.box(west, south, east, north)


def cut_short(path, share=0.5):
    """Leaves the first part of a file."""
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(len(content) * share)])
