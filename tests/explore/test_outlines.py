"""Polygons taken apart: rings, holes and triangles put together again."""

import numpy as np
import pyproj
import pytest
import shapely

from mmgr_jax.explore import outlines

CRS = "EPSG:32651"
SLACK_M = 0.01  # of corners on 1e-7 degrees
X, Y = 3e5, 3.4e6

SHAPES = {
    "square": shapely.box(X, Y, X + 64, Y + 64),
    "hole": shapely.Polygon(
        [(X, Y), (X + 90, Y), (X + 90, Y + 90), (X, Y + 90)],
        [[(X + 20, Y + 20), (X + 40, Y + 20), (X + 30, Y + 50)]],
    ),
    "two parts": shapely.MultiPolygon(
        [shapely.box(X, Y, X + 9, Y + 9), shapely.box(X + 20, Y, X + 30, Y + 40)]
    ),
    "concave": shapely.Polygon(
        [(X, Y), (X + 50, Y), (X + 50, Y + 50), (X + 25, Y + 10), (X, Y + 50)]
    ),
}


def _taken_apart(names):
    return outlines.of([SHAPES[name].wkb for name in names], CRS)


def _in_metres(own):
    degrees = own.points / outlines.UNITS_PER_DEG
    to_m = pyproj.Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    return np.stack(to_m.transform(*degrees.T), axis=1)


def _assert_same(polygon, expected):
    apart = polygon.symmetric_difference(expected)
    assert apart.area < SLACK_M * expected.length


def test_rings_and_holes_are_put_together_again():
    names = list(SHAPES)
    own = _taken_apart(names)
    places = _in_metres(own)
    for region, name in enumerate(names):
        parts = []
        for ring in np.flatnonzero(own.region == region):
            corners = places[own.rings[ring] : own.rings[ring + 1]]
            parts.append((bool(own.hole[ring]), shapely.Polygon(corners)))
        whole = shapely.union_all([part for hole, part in parts if not hole])
        for hole, part in parts:
            whole = whole.difference(part) if hole else whole
        _assert_same(whole, SHAPES[name])
        assert own.area_m2[region] == pytest.approx(SHAPES[name].area)


def test_triangles_fill_each_region_and_nothing_else():
    names = list(SHAPES)
    own = _taken_apart(names)
    places = _in_metres(own)
    of_point = np.repeat(own.region, np.diff(own.rings))
    triangles = shapely.polygons(places[own.triangles])
    region = of_point[own.triangles]
    assert (region == region[:, :1]).all()
    for number, name in enumerate(names):
        filled = shapely.union_all(triangles[region[:, 0] == number])
        _assert_same(filled, SHAPES[name])
        sum_m2 = shapely.area(triangles[region[:, 0] == number]).sum()
        assert sum_m2 == pytest.approx(filled.area, abs=1e-3)  # none lies on another


def test_degrees_keep_a_hundredth_of_a_metre():
    places = np.array([[X, Y], [X + 0.013, Y]])
    degrees = outlines.in_degrees(places, CRS)
    assert degrees[0, 0] != degrees[1, 0]
    lon, lat = pyproj.Transformer.from_crs(CRS, 4326, always_xy=True).transform(X, Y)
    np.testing.assert_allclose(degrees[0] / 1e7, [lon, lat], atol=6e-8)
