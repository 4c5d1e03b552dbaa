"""Small whole rasters of every kind that the program reads, to be damaged."""

import warnings

import numpy as np
import rasterio
import small_city
from affine import Affine
from rasterio.enums import Resampling
from small_imagery import write_vrt

SIZE = (64, 48)  # of the imagery of the small city in pixels
GRID = Affine(small_city.GSD_M, 0, small_city.WEST_M, 0, -2.0, small_city.NORTH_M)


def pixels(bands=3):
    """Noise on the grid of the small city [bands h w]."""
    image = small_city.pixels()
    return np.concatenate([image, image])[:bands]


def geotiff(folder):
    """Tiled, compressed, with alpha, overviews and statistics beside it."""
    path = folder / "image.tif"
    small_city.write_raster(
        path, np.concatenate([pixels(3), np.full((1, 48, 64), 255, np.uint8)]),
        tiled=True, blockxsize=16, blockysize=16, compress="LZW", photometric="RGB",
        alpha="YES",
    )  # fmt: skip
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as target:
        target.build_overviews([2], Resampling.average)
    _statistics(path)


def geotiff_striped(folder):
    """Several bands of 16 bits with a nodata value, tags and names."""
    path = folder / "image.tif"
    deep = pixels(4).astype(np.uint16) * 200
    small_city.write_raster(path, deep, nodata=0, compress="DEFLATE", interleave="band")
    with rasterio.open(path, "r+") as target:
        target.descriptions = ("blue", "green", "red", "nir")
        target.update_tags(1, note="a < b")


def world_file(folder, driver="GTiff", name="image.tif", world=".tfw"):
    """An image whose place and CRS lie beside it."""
    path = folder / name
    profile = dict(driver=driver, transform=None, crs=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small_city.write_raster(path, pixels(), **profile)
    (folder / f"{name}.aux.xml").unlink(missing_ok=True)
    corner = GRID @ (0.5, 0.5)
    numbers = (GRID.a, GRID.d, GRID.b, GRID.e, *corner)
    path.with_suffix(world).write_text("\n".join(f"{number:.6f}" for number in numbers))
    _statistics(path, wkt())


def png(folder):
    """With a .pgw."""
    world_file(folder, "PNG", "image.png", ".pgw")


def jpeg(folder):
    """With a .jgw."""
    world_file(folder, "JPEG", "image.jpg", ".jgw")


def jpeg_2000(folder):
    """JPEG 2000."""
    small_city.write_raster(folder / "image.jp2", pixels(), driver="JP2OpenJPEG")


def erdas(folder):
    """Erdas Imagine."""
    small_city.write_raster(folder / "image.img", pixels(), driver="HFA")


def ascii_grid(folder):
    """Of one band, with a .prj."""
    rows = "\n".join(" ".join(map(str, row)) for row in pixels(1)[0].tolist())
    head = f"ncols 64\nnrows 48\nxllcorner {small_city.WEST_M}\n"
    head += f"yllcorner {small_city.NORTH_M - 96}\ncellsize 2\nNODATA_value 0\n"
    (folder / "image.asc").write_text(head + rows + "\n")
    (folder / "image.prj").write_text(wkt())


def mosaic(folder):
    """A mosaic of a mosaic and a file."""
    small_city.write_raster(folder / "a.tif", pixels()[:, :, :32])
    moved = GRID @ Affine.translation(32, 0)
    small_city.write_raster(folder / "b.tif", pixels()[:, :, 32:], transform=moved)
    write_vrt(folder / "inner.vrt", (32, 48), 2, [("a.tif", 0, 0, 32, 48)])
    parts = [("inner.vrt", 0, 0, 32, 48), ("b.tif", 32, 0, 32, 48)]
    write_vrt(folder / "image.vrt", SIZE, 2, parts)


def chips(folder):
    """Two files, a region each."""
    for name, column in (("a", 0), ("b", 16)):
        part = pixels()[:, :16, column : column + 16]
        moved = GRID @ Affine.translation(column, 0)
        small_city.write_raster(folder / f"{name}.tif", part, transform=moved)


def web_tiles(folder):
    """Two tiles z/x/y of a web map, which says where they lie by their paths."""
    for x in (54_900, 54_901):
        path = folder / f"16/{x}/26700.png"
        path.parent.mkdir(parents=True)
        world_file(path.parent, "PNG", path.name, ".pgw")
        for side in path.parent.glob("26700.p*w"):
            side.unlink()
        (path.parent / f"{path.name}.aux.xml").unlink()


def _statistics(path, crs=""):
    srs = f"<SRS>{crs.replace('&', '&amp;').replace('<', '&lt;')}</SRS>" if crs else ""
    path.with_name(f"{path.name}.aux.xml").write_text(
        f'<PAMDataset>{srs}<PAMRasterBand band="1"><Description>red</Description>'
        '<NoDataValue>7</NoDataValue><Metadata><MDI key="STATISTICS_MEAN">3</MDI>'
        "</Metadata></PAMRasterBand></PAMDataset>"
    )


def wkt():
    """The CRS of the small city, written out."""
    return rasterio.crs.CRS.from_string(small_city.CRS).to_wkt()


def label_raster(folder):
    """A count a cell, whole numbers with nodata."""
    people = np.arange(12, dtype=np.int32).reshape(3, 4) * 10
    coarse = GRID @ Affine.scale(small_city.TILE_PX)
    path = small_city.write_raster(
        folder / "label.tif", people, transform=coarse, nodata=-9999
    )
    with rasterio.open(path, "r+") as target:
        target.units = ("persons",)


def packed_raster(folder):
    """A density, packed by scale and offset, of another CRS, with a side file."""
    numbers = np.arange(24, dtype=np.uint16).reshape(4, 6)
    with rasterio.open(
        folder / "label.tif", "w", driver="GTiff", width=6, height=4, count=1,
        dtype="uint16", crs="EPSG:4326", tiled=True, blockxsize=16, blockysize=16,
        transform=Affine(0.0005, 0, 122.9995, 0, -0.0005, 31.1842),
    ) as target:  # fmt: skip
        target.write(numbers, 1)
        target.scales, target.offsets = (0.1,), (5.0,)
    _statistics(folder / "label.tif")
