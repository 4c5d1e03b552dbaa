"""Tiles of polygons, decoded by the package's own reader and by nobody's of ours."""

import mapbox_vector_tile
import numpy as np
import pytest
import shapely

from mmgr_jax.geo import vector_tiles
from mmgr_jax.geo.vector_tiles import EXTENT, TileLayer


def _decoded(polygons, **columns):
    layer = TileLayer("regions", np.arange(len(polygons)), polygons, columns)
    tile = vector_tiles.encode([layer])
    read = mapbox_vector_tile.decode(tile, default_options={"y_coord_down": True})
    return read.get("regions", {"features": []})["features"]


def _shapes(features):
    return [shapely.geometry.shape(one["geometry"]) for one in features]


def _star(rng, x, y, radius, corners):
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = radius * rng.uniform(0.6, 1, corners)
    return shapely.Polygon(
        np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], axis=1)
    )


def test_shapes_come_back_to_a_unit_with_holes_and_parts():
    rng = np.random.default_rng(0)
    stars = [_star(rng, *rng.uniform(0.2, 0.8, 2), 0.15, 24) for _ in range(30)]
    stars[3] = stars[3].difference(stars[3].centroid.buffer(0.05))
    stars[4] = shapely.MultiPolygon([stars[4], shapely.box(0.01, 0.01, 0.05, 0.05)])
    stars[5] = stars[5].reverse()
    features = _decoded(np.array(stars, object))
    assert [one["id"] for one in features] == list(range(30))
    for shape, given in zip(_shapes(features), stars, strict=True):
        assert shape.is_valid and shape.geom_type == given.geom_type
        drawn = shapely.transform(given, lambda xy: xy * EXTENT)
        assert shapely.hausdorff_distance(shape, drawn) < 1
        assert len(shapely.get_rings(shape)) == len(shapely.get_rings(given))


def test_the_packages_encoder_makes_the_same_features():
    rng = np.random.default_rng(1)
    stars = np.array([_star(rng, 0.5, 0.5, 0.3, 12) for _ in range(5)], object)
    ours = _decoded(stars, value=np.arange(5) / 2)
    given = [
        {"geometry": shapely.transform(star, lambda xy: xy * EXTENT),
         "properties": {"value": number / 2}, "id": number}
        for number, star in enumerate(stars)
    ]  # fmt: skip
    options = {"y_coord_down": True, "extents": EXTENT}
    tile = mapbox_vector_tile.encode(
        [{"name": "regions", "features": given}], default_options=options
    )
    read = mapbox_vector_tile.decode(tile, default_options={"y_coord_down": True})
    theirs = read["regions"]["features"]
    for own, other in zip(ours, theirs, strict=True):
        assert (own["id"], own["properties"]) == (other["id"], other["properties"])
    for own, other in zip(_shapes(ours), _shapes(theirs), strict=True):
        assert shapely.equals(own, other)


def test_what_lies_beyond_is_cut_and_what_is_too_small_stays():
    boxes = shapely.box(
        *np.array([[-3, -3, 0.5, 0.5], [0.2, 0.2, 0.20001, 0.20001],
                   [4, 4, 5, 5], [-9, -9, 9, 9]]).T
    )  # fmt: skip
    features = _decoded(boxes)
    assert [one["id"] for one in features] == [0, 1, 3]
    cut, speck, whole = _shapes(features)
    edge = vector_tiles.BUFFER
    assert cut.bounds == (-edge, -edge, EXTENT / 2, EXTENT / 2)
    assert speck.area == 1
    assert whole.bounds == (-edge, -edge, EXTENT + edge, EXTENT + edge)


def test_a_hole_without_an_area_goes_and_an_empty_tile_is_nothing():
    hole = shapely.box(0.3, 0.3, 0.30001, 0.9).exterior.coords
    ring = shapely.box(0.1, 0.1, 0.95, 0.95).exterior.coords
    (feature,) = _decoded(np.array([shapely.Polygon(ring, [hole])], object))
    assert len(_shapes([feature])[0].interiors) == 0
    assert (
        _decoded(np.array([shapely.Polygon(), shapely.box(7, 7, 8, 8)], object)) == []
    )
    assert vector_tiles.encode([]) == b""


@pytest.mark.parametrize(
    "values",
    [
        np.array(["a", '<img src=x onerror="1">', None], object),
        np.array([True, False, True]),
        np.array([-3, 2**40, 7]),
        np.array([1.5, np.nan, np.inf]),
        np.array([0.25, np.nan, -2], np.float32),
    ],
)
def test_attributes_come_back(values):
    features = _decoded(
        shapely.box(*np.full((2, 3), 0.1), *np.full((2, 3), 0.4)), v=values
    )
    for one, value in zip(features, values.tolist(), strict=True):
        known = value is not None and not (
            isinstance(value, float) and not np.isfinite(value)
        )
        assert one["properties"] == ({"v": value} if known else {})
        assert not known or type(one["properties"]["v"]) is type(value)
