"""Opening, reading and writing the images that tests of imagery share."""

import numpy as np
import rasterio
import small_city

from data_prep.imagery import check
from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.settings import ImagerySettings

CRS, WEST, NORTH, GSD = (
    small_city.CRS, small_city.WEST_M, small_city.NORTH_M, small_city.GSD_M,
)  # fmt: skip
BANDS = (1, 2, 3)


def open_files(*paths, bands=BANDS, gsd_m=GSD, **settings):
    """The imagery of files on the small city's grid."""
    files = ImagerySettings(tuple(map(str, paths)), bands, **settings)
    return Imagery(files, crs=CRS, gsd_m=gsd_m)


def problems(path, bands=BANDS, **settings):
    """What is wrong with a file, or the files of a pattern."""
    return check.problems(ImagerySettings((str(path),), bands, **settings))


def tile_at(imagery, column, row, size_px, gsd_m=GSD):
    """The tile whose corner is so many pixels from the imagery's, and its mask."""
    west, north = imagery.bounds_m[0], imagery.bounds_m[3]
    left, top = west + column * gsd_m, north - row * gsd_m
    return imagery.read_tile(
        (left, top - size_px * gsd_m, left + size_px * gsd_m, top), size_px
    )


def as_image(array):
    """Bands [3 h w] as an image [h w 3]."""
    return np.moveaxis(array, 0, -1)


def write_vrt(path, size, gsd_m, parts):
    """A mosaic of files (name, column, row, width, height), in GDAL's own words."""
    width, height = size
    with rasterio.open(path.parent / parts[0][0]) as first:
        wkt = first.crs.to_wkt()
    lines = [
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">',
        f"<SRS>{wkt.replace('&', '&amp;').replace('<', '&lt;')}</SRS>",
        f"<GeoTransform>{WEST}, {gsd_m}, 0, {NORTH}, 0, -{gsd_m}</GeoTransform>",
    ]
    for band in BANDS:
        lines.append(f'<VRTRasterBand dataType="Byte" band="{band}">')
        for name, column, row, wide, high in parts:
            lines.append(
                f'<SimpleSource><SourceFilename relativeToVRT="1">{name}'
                f"</SourceFilename><SourceBand>{band}</SourceBand>"
                f'<SourceProperties RasterXSize="{wide}" RasterYSize="{high}" '
                f'DataType="Byte"/><SrcRect xOff="0" yOff="0" xSize="{wide}" '
                f'ySize="{high}"/><DstRect xOff="{column}" yOff="{row}" '
                f'xSize="{wide}" ySize="{high}"/></SimpleSource>'
            )
        lines.append("</VRTRasterBand>")
    path.write_text("\n".join([*lines, "</VRTDataset>"]))
