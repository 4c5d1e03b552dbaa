"""Points, lines and quadrilaterals of the ground plan, many at a time."""

from __future__ import annotations

import numpy as np
import shapely
from jaxtyping import Float, Int

from data_prep.toy_city.area import Points

Corners = Float[np.ndarray, "m 4 2"]
Values = Float[np.ndarray, " m"]

# Tries to hit a polygon from its bounding box; who misses all stays in its middle.
TRIES = 12


def sides_m(corners: Corners) -> Float[np.ndarray, "m 2"]:
    """Lengths of the first and the second side of quadrilaterals."""
    return np.linalg.norm(np.diff(corners[:, :3], axis=1), axis=2)


def inside(corners: Corners, along: Values, across: Values) -> Points:
    """Points of quadrilaterals, from 0 to 1 along the first side and the second."""
    along, across = along[:, None], across[:, None]
    near = (1 - along) * corners[:, 0] + along * corners[:, 1]
    far = (1 - along) * corners[:, 3] + along * corners[:, 2]
    return (1 - across) * near + across * far


def patch(
    corners: Corners, along: tuple[Values, Values], across: tuple[Values, Values]
) -> Corners:
    """Parts of quadrilaterals between two positions each way."""
    ends = [(0, 0), (1, 0), (1, 1), (0, 1)]
    return np.stack([inside(corners, along[i], across[j]) for i, j in ends], axis=1)


def square(middle: Points, corners: Corners, side_m: float) -> Corners:
    """Squares around points, parallel to the first side of quadrilaterals."""
    along = corners[:, 1] - corners[:, 0]
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    reach = side_m * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    return (
        middle[:, None] + reach[:, :1] * along[:, None] + reach[:, 1:] * across[:, None]
    )


def lines(start: Points, end: Points, width_m: float) -> np.ndarray:
    """Straight lines of a width, as polygons [m]."""
    ends = np.stack([start, end], axis=1)
    axes = np.asarray(shapely.linestrings(ends))
    return shapely.buffer(axes, width_m / 2, cap_style="flat")


def discs(middle: Points, radius_m: Values) -> np.ndarray:
    """Octagons [m]."""
    turn = (np.arange(8) + 0.5) / 8 * 2 * np.pi
    unit = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    corners = middle[:, None] + radius_m[:, None, None] * unit
    return np.asarray(shapely.polygons(corners))


def points_inside(
    rng: np.random.Generator, polygons: np.ndarray, count: Int[np.ndarray, " m"]
) -> Float[np.ndarray, "p 2"]:
    """Uniform points within polygons, those of the first polygon first.

    Args:
        rng: Source of the points.
        polygons: Polygons [m].
        count: Points wanted in each [m].
    """
    shapely.prepare(polygons)
    bounds = shapely.bounds(polygons)
    owner = np.repeat(np.arange(len(polygons)), count)
    points = shapely.get_coordinates(shapely.point_on_surface(polygons))[owner]
    open_ = np.arange(len(owner))
    for _ in range(TRIES):
        box = bounds[owner[open_]]
        tried = box[:, :2] + rng.uniform(size=(len(open_), 2)) * (
            box[:, 2:] - box[:, :2]
        )
        hit = shapely.contains_xy(polygons[owner[open_]], *tried.T)
        points[open_[hit]] = tried[hit]
        open_ = open_[~hit]
    return points
