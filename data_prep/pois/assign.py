"""Which POIs belong to which region."""

from __future__ import annotations

import dataclasses

import numpy as np
import shapely
from jaxtyping import Int

from data_prep.pois.table import PoiTable
from data_prep.regions.regions import Regions

# Regions looked at in one call of the tree, to bound memory.
_REGIONS = 50_000

_Pairs = tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which POIs belong to which region.

    Attributes:
        poi: POI indices [m], region by region, in file order within a region.
        start: Where each region's POIs start in `poi` [r + 1].
        outside: Number of POIs in no region.
    """

    poi: Int[np.ndarray, " m"]
    start: Int[np.ndarray, " starts"]
    outside: int

    def of(self, region: int) -> Int[np.ndarray, " n"]:
        """Returns the indices of the POIs of one region [n]."""
        return self.poi[self.start[region] : self.start[region + 1]]

    @property
    def counts(self) -> Int[np.ndarray, " r"]:
        """Number of POIs of each region [r]."""
        return np.diff(self.start)


def assign(pois: PoiTable, regions: Regions) -> Assignment:
    """Finds each region's POIs.

    A square region includes its west and its north edge, so a POI belongs to at most
    one cell of a grid. A region with an outline of its own includes its whole edge: a
    POI on the line between two polygons belongs to both.

    With `regions.poi_buffer_m`, a POI belongs to every region of any kind within that
    distance; at a corner of a square this adds a quarter of a circle.

    Args:
        pois: POIs in metres of the regions' CRS.
        regions: The regions; where they overlap, a POI belongs to each.

    Returns:
        The POIs of each region.
    """
    # A tree of the points: the polygons then come as the side that GEOS prepares.
    tree = shapely.STRtree(np.asarray(shapely.points(pois.x_m, pois.y_m)))
    find = _in_squares if regions.outline is None else _in_outlines
    pairs = [
        find(tree, pois, regions, slice(first, min(first + _REGIONS, len(regions))))
        for first in range(0, len(regions), _REGIONS)
    ]
    poi = np.concatenate([pair[0] for pair in pairs])
    region = np.concatenate([pair[1] for pair in pairs])
    order = np.lexsort((poi, region))
    return Assignment(
        poi=poi[order],
        start=np.searchsorted(region[order], np.arange(len(regions) + 1)),
        outside=len(pois) - int(np.count_nonzero(np.bincount(poi))),
    )


def diagonal_m(pois: PoiTable, poi: Int[np.ndarray, " m"]) -> float:
    """Returns the diagonal of the bounding box of some POIs in metres; 0 for none."""
    if not len(poi):
        return 0.0
    return float(np.hypot(np.ptp(pois.x_m[poi]), np.ptp(pois.y_m[poi])))


def _in_squares(
    tree: shapely.STRtree, pois: PoiTable, regions: Regions, part: slice
) -> _Pairs:
    """POIs in or near the squares of some regions, and the region of each."""
    west, south, east, north = regions.bounds_m[part].T
    buffer_m = regions.poi_buffer_m
    around = (west - buffer_m, south - buffer_m, east + buffer_m, north + buffer_m)
    square, poi = tree.query(shapely.box(*around))
    x_m, y_m = pois.x_m[poi], pois.y_m[poi]
    west, south, east, north = (side[square] for side in (west, south, east, north))
    if buffer_m:  # GEOS would take twice as long for the distance
        beside_m = np.maximum(np.maximum(west - x_m, x_m - east), 0)
        above_m = np.maximum(np.maximum(south - y_m, y_m - north), 0)
        owned = beside_m**2 + above_m**2 <= buffer_m**2
    else:
        owned = (x_m >= west) & (x_m < east) & (y_m > south) & (y_m <= north)
    return poi[owned], square[owned] + part.start


def _in_outlines(
    tree: shapely.STRtree, _: PoiTable, regions: Regions, part: slice
) -> _Pairs:
    """POIs in or near the outlines of some regions, and the region of each."""
    outline, buffer_m = regions.geometry[part], regions.poi_buffer_m
    if buffer_m:
        region, poi = tree.query(outline, predicate="dwithin", distance=buffer_m)
    else:
        region, poi = tree.query(outline, predicate="intersects")
    return poi, region + part.start
