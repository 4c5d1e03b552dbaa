import numpy as np
import pytest
import small_city
from rasterio.transform import from_origin

from data_prep import grid
from data_prep.imagery import Imagery
from mmgr_jax.errors import InputError

SETTINGS = dict(
    tile_size_px=small_city.TILE_PX, gsd_m=small_city.GSD_M, min_coverage=0.95
)


def _imagery(*paths):
    names = [str(path) for path in paths]
    return Imagery(names, (1, 2, 3), crs=small_city.CRS, gsd_m=small_city.GSD_M)


@pytest.fixture
def imagery(tmp_path):
    path = tmp_path / "city.tif"
    small_city.write_raster(path, small_city.pixels(), nodata=0)
    with _imagery(path) as imagery:
        yield imagery


def test_regions_run_row_by_row_from_the_north_west(imagery):
    regions = grid.metric_grid(imagery, **SETTINGS)
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


def test_cells_with_too_little_imagery_are_counted(imagery):
    regions = grid.metric_grid(imagery, **SETTINGS)
    assert regions.dropped == {"without imagery": 0, "partly covered": 3}
    half = grid.metric_grid(imagery, **(SETTINGS | dict(min_coverage=0.5)))
    assert len(half) == 12
    assert half.coverage.tolist() == [1.0, 1.0, 1.0, 0.5] * 3


def test_max_regions_keeps_the_first(imagery):
    regions = grid.metric_grid(imagery, **SETTINGS, max_regions=4)
    assert regions.ids == ["r0000c0000", "r0000c0001", "r0000c0002", "r0001c0000"]


def test_cells_at_the_edge_reach_beyond_the_imagery(tmp_path):
    image = np.full((3, 20, 16), 7, np.uint8)  # one tile and a quarter high
    path = small_city.write_raster(tmp_path / "a.tif", image)
    with _imagery(path) as imagery:
        regions = grid.metric_grid(imagery, **(SETTINGS | dict(min_coverage=0.2)))
    assert regions.ids == ["r0000c0000", "r0001c0000"]
    assert regions.coverage.tolist() == [1.0, 0.25]


def test_cells_between_scattered_files_are_not_looked_at(tmp_path):
    image = np.full((3, 16, 16), 7, np.uint8)
    far_east = small_city.WEST_M + 1000 * small_city.TILE_M
    moved = from_origin(far_east, small_city.NORTH_M, 2, 2)
    first = small_city.write_raster(tmp_path / "a.tif", image)
    second = small_city.write_raster(tmp_path / "b.tif", image, transform=moved)
    with _imagery(first, second) as imagery:
        regions = grid.metric_grid(imagery, **SETTINGS)
    assert regions.ids == ["r0000c0000", "r0000c1000"]
    assert regions.dropped["without imagery"] == 0


def test_no_region_left_is_explained(imagery):
    settings = SETTINGS | dict(tile_size_px=64)
    with pytest.raises(InputError, match=r"none of the 1 cells.*best: 66%.*Lower min"):
        grid.metric_grid(imagery, **settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tile_size_px", 4),
        ("gsd_m", 0.0),
        ("min_coverage", 0.0),
        ("min_coverage", 1.5),
        ("poi_buffer_m", -1.0),
        ("max_regions", 0),
    ],
)
def test_impossible_settings_are_named(name, value):
    (problem,) = grid.problems(**(SETTINGS | {name: value}))
    assert problem.startswith(f"config.regions.{name} is {value}; allowed: ")


def test_usual_settings_are_fine():
    assert grid.problems(**SETTINGS, max_regions=None, poi_buffer_m=150.0) == []
