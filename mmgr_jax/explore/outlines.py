"""Converts outlines of regions to rings and triangles in degrees for the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyproj
import shapely
from jaxtyping import Bool, Float, Int, Int32

UNITS_PER_DEG = 10_000_000
"""A hundredth of a metre, and 180 degrees still fit into int32."""


@dataclasses.dataclass(frozen=True)
class Outlines:
    """The polygons of all regions.

    Attributes:
        points: Longitude and latitude of corners, in `UNITS_PER_DEG` [m 2].
        rings: First point of each ring, and the number of points [q + 1].
        region: Region of each ring [q], ascending.
        hole: Whether a ring is a hole of the shell before it [q].
        triangles: Points of the triangles that fill the polygons [t 3]; none if they
            were not requested.
        area_m2: Areas in the CRS of the records [r].
        bounds_m: West, south, east and north of each region in the same CRS [r 4].
    """

    points: Int32[np.ndarray, "m 2"]
    rings: Int[np.ndarray, " q1"]
    region: Int[np.ndarray, " q"]
    hole: Bool[np.ndarray, " q"]
    triangles: Int[np.ndarray, "t 3"]
    area_m2: Float[np.ndarray, " r"]
    bounds_m: Float[np.ndarray, "r 4"]


def of(geometry_wkb: Sequence[bytes], crs: str, *, filled: bool = True) -> Outlines:
    """Splits polygons into rings and triangles.

    Args:
        geometry_wkb: Polygons or multipolygons in `crs`.
        crs: CRS in metres.
        filled: Whether triangles are made.
    """
    polygons = shapely.from_wkb(np.asarray(geometry_wkb, object))
    parts, part_region = shapely.get_parts(polygons, return_index=True)
    shells, holes = (
        shapely.get_exterior_ring(parts),
        shapely.get_num_interior_rings(parts),
    )
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    assert len(rings) == len(shells) + holes.sum()
    first_of_part = np.r_[True, ring_part[1:] != ring_part[:-1]] if len(rings) else []
    coordinates, of_ring = shapely.get_coordinates(rings, return_index=True)
    # The last point repeats the first one.
    last = (
        np.r_[of_ring[1:] != of_ring[:-1], True] if len(of_ring) else np.zeros(0, bool)
    )
    corners, of_ring = coordinates[~last], of_ring[~last]
    counts = np.bincount(of_ring, minlength=len(rings))
    region = part_region[ring_part]
    return Outlines(
        points=in_degrees(corners, crs),
        rings=np.concatenate([[0], np.cumsum(counts)]),
        region=region,
        hole=~np.asarray(first_of_part, bool),
        triangles=_triangles(parts, part_region, corners, region[of_ring])
        if filled
        else np.zeros((0, 3), int),
        area_m2=shapely.area(polygons),
        bounds_m=shapely.bounds(polygons),
    )


def in_degrees(
    places_m: Float[np.ndarray, "m 2"], crs: str
) -> Int32[np.ndarray, "m 2"]:
    """Converts places to longitude and latitude of WGS 84 in `UNITS_PER_DEG`."""
    to_deg = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon_deg, lat_deg = to_deg.transform(places_m[:, 0], places_m[:, 1])
    degrees = np.stack([lon_deg, lat_deg], axis=1)
    return np.round(degrees * UNITS_PER_DEG).astype(np.int32)


def _triangles(
    parts: np.ndarray,
    part_region: np.ndarray,
    corners: Float[np.ndarray, "m 2"],
    corner_region: Int[np.ndarray, " m"],
) -> Int[np.ndarray, "t 3"]:
    """Triangles that fill polygons, given as numbers of corners."""
    filled = shapely.constrained_delaunay_triangles(parts)
    triangles, of_part = shapely.get_parts(filled, return_index=True)
    points = shapely.get_coordinates(triangles).reshape(-1, 4, 2)[:, :3].reshape(-1, 2)
    region = np.repeat(part_region[of_part], 3)
    # The corners of triangles are corners of their region's rings, number for number.
    both = np.concatenate(
        [np.column_stack([corner_region, corners]), np.column_stack([region, points])]
    )
    _, first, which = np.unique(both, axis=0, return_index=True, return_inverse=True)
    numbers = first[which.ravel()[len(corners) :]]
    assert (numbers < len(corners)).all()
    return numbers.reshape(-1, 3)
