"""Makes the images of the bench, or reads and encodes tiles of one, in one thread."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.windows import Window
from scipy import ndimage

from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.placement import Bounds
from data_prep.imagery.settings import ImagerySettings
from mmgr_jax.data import tiles

TILE_PX = 224
_CRS = "EPSG:32651"
_WEST_M, _NORTH_M, _GSD_M = 300_000.0, 3_500_000.0, 1.0
_PART_PX, _MOSAIC_PX = 4000, 100_000
_TURN = 20  # tiles that we, then the peer, do at a time
_FORMAT = "png"


def main() -> None:
    """Entry point: `make FOLDER` or `read IMAGE NUM_TILES`."""
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        print(json.dumps(read(Path(sys.argv[2]), int(sys.argv[3]))))


def make(folder: Path) -> None:
    """Writes `generated.tif`, and `mosaic.vrt`, which repeats it."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((3, _PART_PX, _PART_PX), np.float32)
    for scale, contrast in ((64, 40), (8, 25), (1, 6)):  # quarters, roofs, grain
        size = (3, _PART_PX // scale + 1, _PART_PX // scale + 1)
        coarse = rng.normal(0, contrast, size).astype(np.float32)
        grown = ndimage.zoom(coarse, (1, scale, scale), order=1, mode="nearest")
        pixels += np.asarray(grown)[:, :_PART_PX, :_PART_PX]
    pixels = (pixels + 110).clip(1, 255).astype(np.uint8)
    profile: dict[str, Any] = dict(
        driver="GTiff",
        crs=_CRS,
        transform=from_origin(_WEST_M, _NORTH_M, _GSD_M, _GSD_M),
        count=3,
        width=_PART_PX,
        height=_PART_PX,
        dtype="uint8",
        tiled=True,
        blockxsize=512,
        blockysize=512,
        interleave="pixel",
        compress="deflate",
    )
    with rasterio.open(folder / "generated.tif", "w", **profile) as target:
        target.write(pixels)
    (folder / "mosaic.vrt").write_text(_mosaic("generated.tif"), encoding="utf-8")


def read(path: Path, num_tiles: int) -> dict[str, float]:
    """Reads and encodes tiles, by us and by the peer in turns.

    Args:
        path: The image, on the grid of the tiles.
        num_tiles: How many tiles, in neighbouring places row by row.

    Returns:
        `ours_per_s`, `peer_per_s`, `ratio` and `peak_mib` of this process.
    """
    spent_s = {"ours": 0.0, "peer": 0.0}
    with (
        Imagery(ImagerySettings((str(path),)), crs=_CRS, gsd_m=_GSD_M) as imagery,
        rasterio.open(path, sharing=False) as source,
    ):
        places = list(_places(source.width, source.height, num_tiles))
        work: dict[str, Callable[[int, int], bytes]] = {
            "ours": lambda column, row: _ours(imagery, column, row),
            "peer": lambda column, row: _peer(source, column, row),
        }
        assert _ours(imagery, *places[0]) == _peer(source, *places[0])
        for turn in range(0, len(places), _TURN):
            # The second finds blocks of the file in the memory of the system, so each
            # is second as often as the other.
            names = list(work) if turn // _TURN % 2 else list(work)[::-1]
            for name in names:
                start = time.perf_counter()
                for column, row in places[turn : turn + _TURN]:
                    work[name](column, row)
                spent_s[name] += time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "ours_per_s": len(places) / spent_s["ours"],
        "peer_per_s": len(places) / spent_s["peer"],
        "ratio": spent_s["peer"] / spent_s["ours"],
        "peak_mib": peak * unit / 2**20,
    }


def _places(width_px: int, height_px: int, count: int) -> Iterator[tuple[int, int]]:
    """Columns and rows of whole tiles from the north-west on, `count` at most."""
    columns, rows = width_px // TILE_PX, height_px // TILE_PX
    for index in range(min(count, columns * rows)):
        row, column = divmod(index, columns)
        yield column * TILE_PX, row * TILE_PX


def _ours(imagery: Imagery, column: int, row: int) -> bytes:
    west, north = _WEST_M + column * _GSD_M, _NORTH_M - row * _GSD_M
    side_m = TILE_PX * _GSD_M
    bounds_m: Bounds = (west, north - side_m, west + side_m, north)
    tile, _ = imagery.read_tile(bounds_m, TILE_PX)
    return tiles.encode(tile, _FORMAT)


def _peer(source: rasterio.DatasetReader, column: int, row: int) -> bytes:
    pixels = source.read([1, 2, 3], window=Window(column, row, TILE_PX, TILE_PX))
    return tiles.encode(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)), _FORMAT)


def _mosaic(part: str) -> str:
    """The text of a VRT that repeats a file over the whole of it."""
    side, size = _MOSAIC_PX, _PART_PX
    lines = [
        f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}">',
        f"<SRS>{CRS.from_user_input(_CRS).to_wkt()}</SRS>",
        f"<GeoTransform>{_WEST_M}, {_GSD_M}, 0, {_NORTH_M}, 0, -{_GSD_M}"
        "</GeoTransform>",
    ]
    for band in (1, 2, 3):
        lines.append(f'<VRTRasterBand dataType="Byte" band="{band}">')
        lines += [
            f'<SimpleSource><SourceFilename relativeToVRT="1">{part}</SourceFilename>'
            f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" '
            f'xSize="{size}" ySize="{size}"/><DstRect xOff="{x}" yOff="{y}" '
            f'xSize="{size}" ySize="{size}"/></SimpleSource>'
            for y in range(0, side, size)
            for x in range(0, side, size)
        ]
        lines.append("</VRTRasterBand>")
    return "\n".join([*lines, "</VRTDataset>"])


if __name__ == "__main__":
    main()
