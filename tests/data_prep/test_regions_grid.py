import time

import numpy as np
import pytest
import small_city
import small_regions
from rasterio.transform import from_origin
from small_regions import cut

from data_prep import build
from data_prep import settings as preparation
from data_prep.regions import candidates, cutting, grid
from mmgr_jax.errors import InputError


@pytest.fixture
def imagery(tmp_path):
    path = tmp_path / "city.tif"
    small_city.write_raster(path, small_city.pixels(), nodata=0)
    with small_regions.open_imagery(path) as imagery:
        yield imagery


def test_regions_run_row_by_row_from_the_north_west(imagery):
    regions = cut(imagery)
    assert regions.ids == [
        f"r{row:04d}c{column:04d}" for row in range(3) for column in range(3)
    ]
    west, north, size = small_city.WEST_M, small_city.NORTH_M, small_city.TILE_M
    # r0001c0002 is the sixth region: two tiles east and one south of the corner.
    expected = [west + 2 * size, north - 2 * size, west + 3 * size, north - size]
    assert regions.bounds_m[5].tolist() == expected
    centre = [west + 2.5 * size, north - 1.5 * size]
    assert regions.centre_m[5].tolist() == centre
    assert regions.geometry[5].bounds == tuple(expected)
    assert regions.polygon(5) == regions.geometry[5]
    assert regions.area_m2.tolist() == [size**2] * 9
    assert regions.gsd_m.tolist() == [small_city.GSD_M] * 9
    assert regions.overlap_groups().tolist() == list(range(9))


def test_cells_with_too_little_imagery_are_counted(imagery):
    regions = cut(imagery)
    assert regions.dropped == {"without imagery": 0, "partly covered": 3, "blank": 0}
    half = cut(imagery, min_coverage=0.5)
    assert len(half) == 12
    assert half.coverage.tolist() == [1.0, 1.0, 1.0, 0.5] * 3


def test_max_regions_keeps_the_first(imagery):
    regions = cut(imagery, max_regions=4)
    assert regions.ids == ["r0000c0000", "r0000c0001", "r0000c0002", "r0001c0000"]


def test_cells_at_the_edge_reach_beyond_the_imagery(tmp_path):
    image = small_regions.noise(20, 16)  # one tile and a quarter high
    path = small_city.write_raster(tmp_path / "a.tif", image)
    with small_regions.open_imagery(path) as imagery:
        regions = cut(imagery, min_coverage=0.2)
    assert regions.ids == ["r0000c0000", "r0001c0000"]
    assert regions.coverage.tolist() == [1.0, 0.25]


def test_cells_between_scattered_files_are_not_looked_at(tmp_path):
    image = small_regions.noise(16, 16)
    far_east = small_city.WEST_M + 1000 * small_city.TILE_M
    moved = from_origin(far_east, small_city.NORTH_M, 2, 2)
    first = small_city.write_raster(tmp_path / "a.tif", image)
    second = small_city.write_raster(tmp_path / "b.tif", image, transform=moved)
    with small_regions.open_imagery(first, second) as imagery:
        regions = cut(imagery)
    assert regions.ids == ["r0000c0000", "r0000c1000"]
    assert regions.dropped["without imagery"] == 0


def test_no_region_left_is_explained(imagery):
    with pytest.raises(InputError, match=r"none of the 1 cells.*best: 66%.*Lower min"):
        cut(imagery, tile_size_px=64)


def test_blank_tiles_are_left_out(tmp_path):
    image = small_regions.noise(16, 48)
    image[:, :, :16] = 255  # a tile of cloud
    image[:, :, 16:30] = 0  # 14 of 16 columns of unmarked fill
    path = small_city.write_raster(tmp_path / "a.tif", image)
    with small_regions.open_imagery(path) as imagery:
        assert cut(imagery).ids == ["r0000c0001", "r0000c0002"]
        assert cut(imagery).dropped["blank"] == 1
        assert cut(imagery, max_blank_share=0.8).ids == ["r0000c0002"]
        assert len(cut(imagery, max_blank_share=1.0)) == 3
        image[:] = 9
        with pytest.raises(InputError, match="3 hold imagery, but one colour fills"):
            small_city.write_raster(path, image)
            with small_regions.open_imagery(path) as grey:
                cut(grey)


def test_neighbours_share_their_edge_to_the_last_bit():
    row, column = np.indices((40, 40)).reshape(2, -1)
    # 153.6 has no exact binary form, so sums of it are rounded.
    regions = small_regions.squares(row, column, size_m=153.6, corner_m=(3e5, 3.5e6))
    bounds_m = regions.bounds_m.reshape(40, 40, 4)
    np.testing.assert_array_equal(bounds_m[:, :-1, 2], bounds_m[:, 1:, 0])
    np.testing.assert_array_equal(bounds_m[:-1, :, 1], bounds_m[1:, :, 3])


def test_cells_of_several_files_are_kept_once_and_sorted():
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, 50, size) for size in (0, 40, 1, 30)]
    expected = sorted(set(np.concatenate(lists).tolist()))
    assert grid._once(lists).tolist() == expected
    start = time.process_time()
    many = np.arange(4_000_000)
    assert len(grid._once([many, many[::2]])) == len(many)
    assert time.process_time() - start < 3  # 0.1 s; a hash table took 6.4 s


@pytest.mark.parametrize("limit", [None, 1, 5])
def test_processes_see_what_one_process_sees(tmp_path, monkeypatch, limit):
    """Coverage, blank cells and the end at a wanted number, part by part."""
    settings = small_city.write(tmp_path)
    settings.regions.max_regions = limit
    settings.regions.min_coverage = 0.4
    read = preparation.read(settings)
    monkeypatch.setattr(candidates, "_TOGETHER", 2)

    def cut(workers):
        with build.open_imagery(read) as imagery:
            return cutting.cut(imagery, small_city.CRS, read.regions, workers)

    alone = cut(1)
    monkeypatch.setattr(candidates, "_ALONE_S", 0.0)
    together = cut(2)
    assert together.ids == alone.ids and len(alone) == (limit or 12)
    assert together.dropped == alone.dropped
    np.testing.assert_array_equal(together.coverage, alone.coverage)
    np.testing.assert_array_equal(together.bounds_m, alone.bounds_m)
