import numpy as np
import pytest
import shapely
from small_regions import squares

from data_prep.pois import assign
from data_prep.pois import table as pois
from data_prep.regions.regions import Regions


def _table(x_m, y_m):
    zeros = np.zeros(len(x_m), np.int32)
    return pois.PoiTable(x_m, y_m, zeros, ("cafe",), ("food",), {})


@pytest.mark.parametrize("buffer_m", [0.0, 30.0, 100.0, 250.0])
def test_assignment_matches_comparison_with_every_region(buffer_m):
    rng = np.random.default_rng(0)
    # Half the points lie on multiples of 10 m, so many sit on an edge.
    x_m = 900 + np.concatenate(
        [rng.uniform(0, 900, 300), rng.integers(0, 90, 300) * 10.0]
    )
    y_m = 1300 + np.concatenate(
        [rng.uniform(0, 800, 300), rng.integers(0, 80, 300) * 10.0]
    )
    cells = sorted({(int(r), int(c)) for r, c in rng.integers(0, 6, (20, 2))})
    row, column = np.array(cells).T
    regions = squares(row, column, buffer_m=buffer_m)
    found = assign.assign(_table(x_m, y_m), regions)
    anywhere = np.zeros(600, bool)
    for region, (west, south, east, north) in enumerate(regions.bounds_m):
        inside = (x_m >= west) & (x_m < east) & (y_m > south) & (y_m <= north)
        if buffer_m:
            square = shapely.box(west, south, east, north)
            inside = shapely.distance(square, shapely.points(x_m, y_m)) <= buffer_m
        assert found.of(region).tolist() == np.flatnonzero(inside).tolist()
        anywhere |= inside
    assert found.outside == (~anywhere).sum()
    assert found.counts.sum() == len(found.poi)


def test_without_a_buffer_a_poi_has_at_most_one_region():
    regions = squares(*np.indices((4, 4)).reshape(2, -1))
    corners = np.arange(1000.0, 1401.0, 50.0)
    x_m, y_m = np.meshgrid(corners, corners + 600)
    found = assign.assign(_table(x_m.ravel(), y_m.ravel()), regions)
    assert len(np.unique(found.poi)) == len(found.poi) == 64  # 17 lie on the far edges
    assert found.outside == 17


def test_the_diagonal_spans_the_chosen_pois():
    table = _table(np.array([0.0, 30.0, 1e6]), np.array([0.0, 40.0, 1e6]))
    assert assign.diagonal_m(table, np.array([0, 1])) == 50.0
    assert assign.diagonal_m(table, np.zeros(0, int)) == 0.0


def _outlined(outline, buffer_m=0.0):
    outline = np.array(outline)
    return Regions(
        ids=[f"{k}" for k in range(len(outline))],
        bounds_m=shapely.bounds(outline),
        coverage=np.ones(len(outline)),
        tile_size_px=10,
        tile_size_m=100.0,
        outline=outline,
        poi_buffer_m=buffer_m,
    )


def _stars(rng):
    """Overlapping outlines with dents, one of two parts and one with a hole."""
    stars = []
    for x_m, y_m in rng.uniform(0, 900, (12, 2)):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radius = rng.uniform(40, 160, 9)
        corners = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]
        stars.append(shapely.make_valid(shapely.Polygon(corners + [x_m, y_m])))
    stars.append(shapely.union(shapely.box(0, 0, 50, 50), shapely.box(800, 0, 850, 50)))
    stars.append(shapely.box(300, 300, 600, 600) - shapely.box(400, 400, 500, 500))
    return stars


@pytest.mark.parametrize("buffer_m", [0.0, 25.0])
def test_outlines_own_what_they_cover_or_is_near(buffer_m, monkeypatch):
    monkeypatch.setattr(assign, "_REGIONS", 5)  # parts that do not fit evenly
    rng = np.random.default_rng(3)
    # Half the points lie on multiples of 50 m, so many sit on an edge of a box.
    x_m, y_m = np.concatenate(
        [rng.uniform(-50, 950, (400, 2)), rng.integers(0, 19, (400, 2)) * 50.0]
    ).T
    regions = _outlined(_stars(rng), buffer_m)
    found = assign.assign(_table(x_m, y_m), regions)
    anywhere = np.zeros(800, bool)
    for region, outline in enumerate(regions.geometry):
        expected = [
            poi
            for poi in range(800)
            if outline.distance(shapely.Point(x_m[poi], y_m[poi])) <= buffer_m
        ]
        assert found.of(region).tolist() == expected
        anywhere[expected] = True
    assert found.outside == (~anywhere).sum()


def test_a_poi_on_a_line_between_polygons_belongs_to_both():
    left, right = shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10)
    found = assign.assign(
        _table(np.array([10.0, 3.0]), np.array([5.0, 5.0])), _outlined([left, right])
    )
    assert found.of(0).tolist() == [0, 1] and found.of(1).tolist() == [0]
    assert found.outside == 0
