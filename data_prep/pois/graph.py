"""The Delaunay graph over the POIs of a region.

Reference: Huang et al. (2022), doi 10.1080/13658816.2022.2040510, section on the POI
network; MMGR keeps its distance weight and leaves out its region factor.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Int32
from scipy.spatial import Delaunay, QhullError

# Points count as collinear when they spread less than this share across their line.
_FLAT = 1e-9


def delaunay(
    offset_m: Float[np.ndarray, "n 2"], diagonal_m: float
) -> tuple[Int32[np.ndarray, "e 2"], Float[np.ndarray, " e"]]:
    """Edges of the Delaunay triangulation with their distance weights.

    Without points or with one there is no edge; two points have one edge, and points on
    a line form a chain. Among points at the same place, only the first takes part in
    the triangulation, and an edge of length 0 connects each other point to it. So n >=
    2 points make a connected graph.

    Args:
        offset_m: Position of each POI in metres [n 2].
        diagonal_m: Diagonal of the bounding box of the city's POIs in metres, D.

    Returns:
        Edges [e 2] as pairs i < j, sorted, each once; and their weights float32 [e],
        log((1 + D^1.5) / (1 + d^1.5)) with d the length of the edge.
    """
    points = np.asarray(offset_m, np.float64)
    places, first, place_of = _distinct(points)
    twins = np.stack([first[place_of], np.arange(len(points))], axis=1)
    pairs = np.concatenate(
        [first[_edges_of_distinct(places)], twins[twins[:, 0] != twins[:, 1]]]
    )
    edges = sorted_once(pairs, len(points))
    length_m = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    return edges, edge_weight(length_m, diagonal_m)


def edge_weight(
    length_m: Float[np.ndarray, " e"], diagonal_m: float
) -> Float[np.ndarray, " e"]:
    """Distance weight of edges, log((1 + D^1.5) / (1 + d^1.5)), float32 [e]."""
    weight = np.log1p(diagonal_m**1.5) - np.log1p(length_m**1.5)
    return weight.astype(np.float32)


def sorted_once(pairs: Int[np.ndarray, "m 2"], n: int) -> Int32[np.ndarray, "e 2"]:
    """Pairs of indices below n as i < j, in order, each once."""
    low, high = np.sort(pairs, axis=1).T
    edges = np.divmod(np.unique(low * n + high), max(n, 1))
    return np.stack(edges, axis=1).astype(np.int32)


def _distinct(
    points: Float[np.ndarray, "n 2"],
) -> tuple[Float[np.ndarray, "m 2"], Int[np.ndarray, " m"], Int[np.ndarray, " n"]]:
    """Distinct places, the first point at each, and the place of each point."""
    if not len(points):
        return points, np.zeros(0, np.int64), np.zeros(0, np.int64)
    # As complex numbers NumPy finds the distinct places ten times faster than as rows.
    _, first, place_of = np.unique(
        points[:, 0] + 1j * points[:, 1], return_index=True, return_inverse=True
    )
    return points[first], first, place_of.reshape(-1)


def _edges_of_distinct(places: Float[np.ndarray, "m 2"]) -> Int[np.ndarray, "e 2"]:
    if len(places) < 2:
        return np.zeros((0, 2), np.int64)
    centred = places - places.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    if len(places) < 3 or spread[1] <= _FLAT * spread[0]:
        return _chain(centred @ axes[0])
    try:
        triangulation = Delaunay(centred)
    except QhullError:  # flat to within rounding
        return _chain(centred @ axes[0])
    corners = triangulation.simplices.astype(np.int64)
    sides = corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    # Qhull leaves out points almost on top of another; tie them to that one.
    left_out = triangulation.coplanar.astype(np.int64)[:, [0, 2]]
    return np.concatenate([sides, left_out])


def _chain(position: Float[np.ndarray, " m"]) -> Int[np.ndarray, "e 2"]:
    order = np.argsort(position, kind="stable")
    return np.stack([order[:-1], order[1:]], axis=1)
