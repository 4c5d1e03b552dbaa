"""A small world on a server of this machine: a static STAC catalogue with real COGs.

Two scenes of 2021 and 2022 overlap, a third lies in the next UTM zone; the newer one
has clouds and a hole that its mask marks.
"""

import datetime as dt
import json

import numpy as np
import pystac
import rasterio
from rasterio.enums import Resampling
from rasterio.shutil import copy
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

CRS, OTHER_CRS = "EPSG:32631", "EPSG:32632"
WEST, NORTH = 690_000.0, 5_410_000.0
SCENES = ("old", "new", "other")


def image(seed, size=(640, 512)):
    """Ground with structure: smooth fields and noise, uint8 [3 h w]."""
    width, height = size
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (9 + seed + b)) * np.cos(y / (7 + b)) for b in range(3)]
    noise = rng.normal(0, 12, (3, height, width))
    return np.clip(110 + 60 * np.stack(waves) + noise, 1, 255).astype(np.uint8)


def write_cog(path, pixels, crs, west, north, gsd_m, *, mask=None):
    """A real COG, tiled and with overviews."""
    count, height, width = pixels.shape
    plain = path.with_suffix(".plain.tif")
    profile = dict(driver="GTiff", width=width, height=height, count=count)
    transform = from_origin(west, north, gsd_m, gsd_m)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(
            plain, "w", dtype=pixels.dtype, crs=crs, transform=transform, **profile
        ) as file:
            file.write(pixels)
            if mask is not None:
                file.write_mask(mask)
        with rasterio.open(plain, "r+") as file:
            file.build_overviews([2, 4], Resampling.average)
        copy(plain, path, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=128)
    plain.unlink()


def box_deg(path):
    with rasterio.open(path) as file:
        return transform_bounds(file.crs, "EPSG:4326", *file.bounds, densify_pts=21)


def item(path, day, cloud, address, *, crs, box=None):
    """The STAC item of a file."""
    west, south, east, north = box or box_deg(path)
    corners = [
        [west, south],
        [east, south],
        [east, north],
        [west, north],
        [west, south],
    ]
    made = pystac.Item(
        id=path.stem,
        geometry={"type": "Polygon", "coordinates": [corners]},
        bbox=[west, south, east, north],
        datetime=dt.datetime.fromisoformat(f"{day}T10:00:00+00:00"),
        properties={"eo:cloud_cover": cloud, "proj:code": crs},
    )
    kind = pystac.MediaType.COG
    made.add_asset("visual", pystac.Asset(address, media_type=kind))
    made.add_asset("thumbnail", pystac.Asset("thumb.png", media_type="image/png"))
    return made


def write(root):
    """The catalogue: catalog.json, and the folder of its collection beneath it."""
    (root / "files").mkdir(parents=True)
    files = {name: root / f"files/{name}.tif" for name in SCENES}
    write_cog(files["old"], image(1), CRS, WEST, NORTH, 1.0)
    hole = np.ones((512, 640), bool)
    hole[100:180, 200:300] = False
    write_cog(files["new"], image(2), CRS, WEST + 320, NORTH - 100, 1.0, mask=hole)
    west, _, _, north = rasterio.warp.transform_bounds(
        CRS, OTHER_CRS, WEST + 400, NORTH - 900, WEST + 900, NORTH - 300
    )
    fine = image(3, (1600, 1400))
    write_cog(files["other"], fine, OTHER_CRS, round(west), round(north), 0.4)
    days = {"old": ("2021-06-01", 1.0), "new": ("2022-06-01", 30.0)}
    days["other"] = ("2020-06-01", 5.0)
    catalogue = pystac.Catalog("world", "a small world")
    interval = [[dt.datetime(2020, 1, 1), None]]
    extent = pystac.Extent(
        pystac.SpatialExtent([[-180.0, -90.0, 180.0, 90.0]]),
        pystac.TemporalExtent(interval),
    )
    collection = pystac.Collection(
        "ortho",
        "orthophotos",
        extent,
        license="CC-BY-4.0",
        providers=[pystac.Provider("City of Nowhere")],
    )
    catalogue.add_child(collection)
    for name, (day, cloud) in days.items():
        crs = OTHER_CRS if name == "other" else CRS
        address = f"../../files/{name}.tif"
        collection.add_item(item(files[name], day, cloud, address, crs=crs))
    catalogue.normalize_hrefs(str(root))
    for name in SCENES:
        member = collection.get_item(name)
        member.assets["visual"].href = f"../../files/{name}.tif"
    catalogue.save(pystac.CatalogType.SELF_CONTAINED, dest_href=str(root))
    return files


def change_item(root, name, change):
    """Rewrites an item on the server."""
    (path,) = root.glob(f"ortho/{name}/{name}.json")
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))
