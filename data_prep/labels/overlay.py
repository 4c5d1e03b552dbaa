"""Intersects regions and polygons: the area of every common piece."""

from __future__ import annotations

import dataclasses

import numpy as np
import shapely
from jaxtyping import Float, Int

# Pairs of region and polygon intersected at a time, to bound memory.
_PAIRS = 100_000


@dataclasses.dataclass(frozen=True)
class Pieces:
    """The common pieces of regions and polygons.

    Attributes:
        region: Region of each piece [p].
        polygon: Polygon of each piece [p].
        area_m2: Its area [p], in the square of the CRS's unit.
        num_regions: Number of regions r.
    """

    region: Int[np.ndarray, " p"]
    polygon: Int[np.ndarray, " p"]
    area_m2: Float[np.ndarray, " p"]
    num_regions: int

    def sum_over_regions(
        self, weights: Float[np.ndarray, " p"]
    ) -> Float[np.ndarray, " r"]:
        """Returns the sum of the pieces' weights for each region."""
        sums = np.bincount(self.region, weights, minlength=self.num_regions)
        return sums.astype(float)


def overlay(outlines: np.ndarray, polygons: np.ndarray) -> Pieces:
    """Finds every pair of a region and a polygon that overlap.

    Args:
        outlines: Valid shapely polygons of the regions [r].
        polygons: Valid shapely polygons [m] in the same metric CRS.
    """
    polygon, region = shapely.STRtree(outlines).query(polygons, predicate="intersects")
    area_m2 = np.empty(len(polygon))
    region_m2 = shapely.area(outlines)
    shapely.prepare(polygons)
    for first in range(0, len(polygon), _PAIRS):
        pairs = slice(first, first + _PAIRS)
        ours, theirs = outlines[region[pairs]], polygons[polygon[pairs]]
        # A region inside a large polygon is one piece; cutting it would be slow.
        inside = shapely.covers(theirs, ours)
        shared = region_m2[region[pairs]]
        shared[~inside] = shapely.area(
            shapely.intersection(ours[~inside], theirs[~inside])
        )
        area_m2[pairs] = shared
    keep = area_m2 > 0
    return Pieces(region[keep], polygon[keep], area_m2[keep], len(outlines))
