"""Large images, many files and several processes."""

import multiprocessing
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio
import small_city
from rasterio.transform import from_origin
from small_imagery import (
    CRS,
    NORTH,
    WEST,
    open_files,
    tile_at,
    write_vrt,
)


def test_a_copy_in_another_process_reads_the_same(tmp_path):
    path = small_city.write_raster(tmp_path / "a.tif", small_city.pixels())
    with open_files(path) as imagery:
        here, _ = tile_at(imagery, 4, 4, 16)
        copy = pickle.loads(pickle.dumps(imagery))
        assert len(imagery._readers) == 1 and len(copy._readers) == 0
        np.testing.assert_array_equal(tile_at(copy, 4, 4, 16)[0], here)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            there, _ = pool.apply(tile_at, (imagery, 4, 4, 16))
        np.testing.assert_array_equal(there, here)
        np.testing.assert_array_equal(tile_at(imagery, 4, 4, 16)[0], here)
        copy.__exit__()


def test_many_files_open_quickly(tmp_path):
    small_city.write_raster(tmp_path / "0.tif", np.ones((3, 8, 8), np.uint8))
    content = (tmp_path / "0.tif").read_bytes()
    for index in range(1, 400):
        (tmp_path / f"{index}.tif").write_bytes(content)
    start = time.process_time()  # others may use the machine, too
    with open_files(tmp_path / "*.tif") as imagery:
        seconds = time.process_time() - start
        assert len(imagery.files) == 400 and {file.gsd_m for file in imagery.files} == {
            2
        }
    assert seconds < 4  # 0.2 s when nothing else runs


_HUGE = """
import sys
from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.settings import ImagerySettings

path, gsd_m = sys.argv[1], float(sys.argv[2])
with Imagery(ImagerySettings((path,)), crs="EPSG:32651", gsd_m=gsd_m) as imagery:
    west, south, east, north = imagery.bounds_m
    size_m = 224 * gsd_m
    for index in range(20):
        left = west + (east - west - size_m) * (index * 7 % 20) / 20 // gsd_m * gsd_m
        top = north - (north - south - size_m) * index / 20 // gsd_m * gsd_m
        tile, valid = imagery.read_tile((left, top - size_m, left + size_m, top), 224)
        assert valid.all()
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(int(line.split()[1]) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("kind", "gsd_m"), [("sparse", 1.0), ("vrt", 1.0), ("vrt", 2.5)]
)
def test_memory_is_flat_at_a_hundred_thousand_pixels_a_side(tmp_path, kind, gsd_m):
    side = 100_000
    grid = from_origin(WEST, NORTH, 1, 1)
    if kind == "sparse":
        path = tmp_path / "huge.tif"
        profile = dict(
            driver="GTiff", crs=CRS, transform=grid, count=3, height=side, width=side,
            dtype="uint8", tiled=True, sparse_ok=True, bigtiff="yes",
        )  # fmt: skip
        with rasterio.open(path, "w", **profile):
            pass
    else:
        tile = np.random.default_rng(0).integers(0, 256, (3, 2000, 2000), np.uint8)
        small_city.write_raster(tmp_path / "part.tif", tile, transform=grid)
        corners = np.arange(0, side, 2000).tolist()
        parts = [("part.tif", x, y, 2000, 2000) for y in corners for x in corners]
        path = tmp_path / "huge.vrt"
        write_vrt(path, (side, side), 1, parts)
    told = subprocess.run(
        [sys.executable, "-c", _HUGE, str(path), str(gsd_m)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) < 1024  # MiB; the file would take 28,610
