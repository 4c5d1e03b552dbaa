"""Corrections in the config for image files: where they lie, which band is no alpha.

So thousands of files need not be edited for one thing that they say wrongly or not at
all. GDAL gets the correction from a VRT text in memory that refers to the file.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags

if TYPE_CHECKING:
    from data_prep.imagery.headers import ImageHeader

# The square of Web Mercator: half its side in metres, pi times the radius of WGS84.
_HALF_SIDE_M = 20_037_508.342789244
_MAX_ZOOM = 30
_GDAL_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16",
    "uint32": "UInt32", "int32": "Int32", "float32": "Float32", "float64": "Float64",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Declared:
    """What the config says in place of the files.

    Attributes:
        ignore: What the files say wrongly; see `ImagerySettings`.
        grid: Where files without a place lie; see `ImagerySettings`.
        changes: Whether a given file is read differently from what it says.
    """

    ignore: tuple[str, ...] = ()
    grid: str | None = None
    changes: bool = False


def apply(header: ImageHeader, declared: Declared) -> ImageHeader:
    """Returns a header with the corrections of the config."""
    new: dict[str, Any] = {}
    if "alpha" in declared.ignore and ColorInterp.alpha in header.colors:
        alpha = frozenset({MaskFlags.per_dataset, MaskFlags.alpha})
        new["colors"] = tuple(
            ColorInterp.undefined if color == ColorInterp.alpha else color
            for color in header.colors
        )
        new["masks"] = tuple(
            frozenset({MaskFlags.all_valid}) if mask == alpha else mask
            for mask in header.masks
        )
        new["overviews"] = ()  # a text in memory keeps none
    tile = tile_of(header.path) if declared.grid and header.crs is None else None
    if tile is not None:
        new |= {"crs": _web_mercator(), "overviews": ()}
        new["transform"] = _transform(header, tile, declared.grid == "tms")
    return dataclasses.replace(
        header, declared=dataclasses.replace(declared, changes=bool(new)), **new
    )


def tile_of(path: Path) -> tuple[int, int, int] | None:
    """Reads zoom, column and row of a tile z/x/y from its path; None: another file."""
    parts = (*path.parts[-3:-1], path.stem)
    if len(parts) < 3 or not all(part.isdecimal() for part in parts):
        return None
    zoom, column, row = map(int, parts)
    if zoom > _MAX_ZOOM or max(column, row) >= 2**zoom:
        return None
    return zoom, column, row


def as_vrt(header: ImageHeader) -> str:
    """Returns the VRT text of a file with the corrections of the config."""
    name = escape(str(header.path.absolute()))
    lines = [
        f'<VRTDataset rasterXSize="{header.width_px}" rasterYSize="{header.height_px}">'
    ]
    if header.crs is not None:
        grid = ", ".join(map(repr, header.transform.to_gdal()))
        lines += [f"<SRS>{escape(header.crs)}</SRS>"]
        lines += [f"<GeoTransform>{grid}</GeoTransform>"]
    for index, kind in enumerate(header.dtypes):
        color = header.colors[index].name.capitalize()
        lines += [
            f'<VRTRasterBand dataType="{_GDAL_TYPES[kind]}" band="{index + 1}">',
            f"<ColorInterp>{color}</ColorInterp>",
            _nodata(header, index),
            _source(name, str(index + 1)),
            "</VRTRasterBand>",
        ]
    if any(mask == {MaskFlags.per_dataset} for mask in header.masks):
        lines += ['<MaskBand><VRTRasterBand dataType="Byte">', _source(name, "mask,1")]
        lines += ["</VRTRasterBand></MaskBand>"]
    return "\n".join([*lines, "</VRTDataset>"])


def _source(name: str, band: str) -> str:
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="0">{name}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand></SimpleSource>"
    )


def _nodata(header: ImageHeader, index: int) -> str:
    value = header.nodata[index] if header.nodata else None
    return "" if value is None else f"<NoDataValue>{value!r}</NoDataValue>"


def _web_mercator() -> str:
    return CRS.from_epsg(3857).to_wkt()


def _transform(
    header: ImageHeader, tile: tuple[int, int, int], from_south: bool
) -> Affine:
    zoom, column, row = tile
    row = 2**zoom - 1 - row if from_south else row
    side_m = 2 * _HALF_SIDE_M / 2**zoom
    corner = Affine.translation(
        column * side_m - _HALF_SIDE_M, _HALF_SIDE_M - row * side_m
    )
    return corner @ Affine.scale(side_m / header.width_px, -side_m / header.height_px)
