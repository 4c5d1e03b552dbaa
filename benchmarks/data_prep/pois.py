"""POIs to regions and graphs: assignment and Delaunay of 300,000 POIs, measured."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.data_prep import squares
from data_prep.pois import graph
from data_prep.pois.assign import assign
from data_prep.pois.table import PoiTable

NUM_POIS = 300_000
SIDE = 100  # regions along a side: a city of 25 by 25 km
LIMIT_S = 60.0

_CORNER_M = (600_000.0, 4_000_000.0)
_REGION_M = 250.0
_BUFFERS_M = (0.0, 150.0)
_NUM_CLUSTERS, _CLUSTER_M, _SCATTERED_SHARE = 600, 300.0, 0.3


def rows(num_pois: int = NUM_POIS, side: int = SIDE) -> list[dict[str, Any]]:
    """Seconds of finding each region's POIs and of the graphs within them.

    Args:
        num_pois: POIs of the city, most of them in clusters.
        side: Regions along each side of the city.

    Returns:
        A row a step: `step`, `buffer_m`, `pois`, `regions`, `edges` (0 for the
        assignment), `seconds` and `limit_s`. The last row is one graph over all POIs,
        as the walks of category vectors take it.
    """
    table = _pois(num_pois, side)
    measured = []
    for buffer_m in _BUFFERS_M:
        regions = squares.regions(side, _CORNER_M, _REGION_M, poi_buffer_m=buffer_m)
        start = time.perf_counter()
        found = assign(table, regions)
        middle = time.perf_counter()
        place_m = np.stack([table.x_m, table.y_m], axis=1)
        edges = sum(
            len(graph.delaunay(place_m[found.of(region)], 1e4)[0])
            for region in range(len(regions))
        )
        end = time.perf_counter()
        shared = dict(buffer_m=buffer_m, pois=num_pois, regions=len(regions))
        measured += [
            _row("assignment", shared, 0, middle - start),
            _row("graph of each region", shared, edges, end - middle),
        ]
    start = time.perf_counter()
    edges = len(graph.delaunay(place_m, 1e4)[0])
    shared = dict(buffer_m=0.0, pois=num_pois, regions=1)
    seconds = time.perf_counter() - start
    return [*measured, _row("graph of the city", shared, edges, seconds)]


def _row(
    step: str, shared: dict[str, Any], edges: int, seconds: float
) -> dict[str, Any]:
    return {
        "step": step,
        **shared,
        "edges": edges,
        "seconds": seconds,
        "limit_s": LIMIT_S,
    }


def _pois(num_pois: int, side: int) -> PoiTable:
    rng = np.random.default_rng(0)
    west_m, north_m = _CORNER_M
    size_m = side * _REGION_M
    low, high = (west_m, north_m - size_m), (west_m + size_m, north_m)
    centre_m = rng.uniform(low, high, (_NUM_CLUSTERS, 2))
    place_m = centre_m[rng.integers(0, _NUM_CLUSTERS, num_pois)]
    place_m += rng.normal(0, _CLUSTER_M, (num_pois, 2))
    scattered = rng.random(num_pois) < _SCATTERED_SHARE
    place_m[scattered] = rng.uniform(low, high, (int(scattered.sum()), 2))
    category = np.zeros(num_pois, np.int32)
    x_m, y_m = place_m.T.copy()
    return PoiTable(x_m, y_m, category, ("place",), ("place",), {})
