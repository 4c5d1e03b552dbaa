"""Is the imagery fit to be cut into RGB tiles?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from data_prep import crs as crs_lib
from data_prep import imagery, sources
from data_prep.checks import common


def problems(paths: Sequence[str], bands: Sequence[int]) -> list[str]:
    """Everything that keeps files from being read as RGB tiles; see `Imagery`."""
    found = []
    if not paths:
        found.append(
            "config.imagery.paths is empty. Wanted: 8-bit GeoTIFF files with a CRS, or "
            "patterns such as ('raw/imagery/*.tif',)."
        )
    if len(bands) != 3:
        found.append(
            f"config.imagery.bands {tuple(bands)}: three band numbers are needed, red, "
            "green and blue, counted from 1."
        )
    for pattern in paths:
        if not sources.present(pattern):
            found.append(
                f"config.imagery.paths {pattern!r}: no such file. Wanted: an 8-bit "
                f"GeoTIFF with a CRS and bands {tuple(bands)} for red, green, blue."
            )
    for path in imagery.expand(paths):
        found += _image_problems(path, bands)
    return found


def _image_problems(path: Path, bands: Sequence[int]) -> list[str]:
    try:
        with rasterio.open(path) as source:
            missing = [band for band in bands if not 1 <= band <= source.count]
            if missing:
                return [
                    f"{path}: has {source.count} band(s), config.imagery.bands asks "
                    f"for {missing}."
                ]
            if source.crs is None:
                return [common.no_crs(path)]
            kinds = {source.dtypes[band - 1] for band in bands}
            if kinds != {"uint8"}:
                return [
                    f"{path}: pixels are {', '.join(sorted(kinds))}, 8-bit (uint8) is "
                    "needed. Scale them with `gdal_translate -ot Byte -scale LOW HIGH "
                    "1 255 IN OUT`, LOW and HIGH the same for every file."
                ]
            common.probe(source, list(bands))
    except RasterioError as error:
        return [str(imagery.unreadable(path, error))]
    return []


def extent_deg(paths: Sequence[str]) -> common.Bounds:
    """West, south, east, north of all files in degrees."""
    boxes = np.array(
        [imagery.bounds_in(path, crs_lib.WGS84) for path in imagery.expand(paths)]
    )
    west, south = boxes[:, :2].min(axis=0)
    east, north = boxes[:, 2:].max(axis=0)
    return float(west), float(south), float(east), float(north)
