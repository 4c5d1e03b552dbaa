"""Pairs of regions of two records that lie at the same place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyproj
import shapely
from jaxtyping import Int

from mmgr_jax.errors import InputError

SHARED = 0.5
"""Smallest part of their union that two regions at the same place have in common."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of regions at the same place, in the order of the later records.

    Attributes:
        earlier: Rows of the regions in the earlier records [n].
        later: Rows of the regions in the later records [n], ascending.
        by_name: Number of pairs with the same name in both records.
        alone: Number of earlier and number of later regions without a partner.
    """

    earlier: Int[np.ndarray, " n"]
    later: Int[np.ndarray, " n"]
    by_name: int
    alone: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Place:
    """Names and outlines of regions.

    Attributes:
        region_ids: Names of the regions.
        geometry_wkb: Outlines of the regions in `crs`.
        crs: CRS in metres.
        what: Name of the records in errors, such as a records folder.
    """

    region_ids: Sequence[str]
    geometry_wkb: Sequence[bytes]
    crs: str
    what: str


def match(earlier: Place, later: Place) -> Pairs:
    """Pairs each later region with the earlier region at the same place.

    Two regions are the same place if their intersection is at least the part `SHARED`
    of their union. If several fit, one with the same name is taken first, then the one
    that shares most. No region has two partners.

    Args:
        earlier: Regions of the earlier year.
        later: Regions of the later year.

    Raises:
        InputError: If there is no such pair.
    """
    first = _in_crs(earlier, later.crs)
    second = _outlines(later.geometry_wkb)
    new, old = shapely.STRtree(first).query(second, predicate="intersects")
    shared = shapely.area(shapely.intersection(first[old], second[new]))
    both = shapely.area(first[old]) + shapely.area(second[new]) - shared
    share = shared / np.maximum(both, np.finfo(float).tiny)
    names = [np.asarray(place.region_ids, object) for place in (earlier, later)]
    same = np.equal(names[0][old], names[1][new]).astype(bool)
    kept = share >= SHARED
    old, new, share, same = old[kept], new[kept], share[kept], same[kept]
    order = np.lexsort((-share, ~same))  # the best ones first
    order = order[_first_of(new[order])]
    order = order[_first_of(old[order])]
    order = order[np.argsort(new[order])]
    if not len(order):
        raise InputError(
            f"{earlier.what}: none of its {len(first)} regions lies where one of the "
            f"{len(second)} of {later.what} does: {_box(first)} and {_box(second)} in "
            f"{later.crs}. Build the records of both years on one grid."
        )
    alone = len(first) - len(order), len(second) - len(order)
    return Pairs(old[order], new[order], int(same[order].sum()), alone)


def _first_of(values: np.ndarray) -> Int[np.ndarray, " k"]:
    """Index of the first occurrence of each value, in order."""
    return np.sort(np.unique(values, return_index=True)[1])


def _outlines(geometry_wkb: Sequence[bytes]) -> np.ndarray:
    return np.asarray(shapely.from_wkb(np.asarray(geometry_wkb, object)))


def _in_crs(place: Place, crs: str) -> np.ndarray:
    outlines = _outlines(place.geometry_wkb)
    if place.crs == crs:
        return outlines
    to_crs = pyproj.Transformer.from_crs(place.crs, crs, always_xy=True)

    def moved(points: np.ndarray) -> np.ndarray:
        return np.stack(to_crs.transform(points[:, 0], points[:, 1]), axis=1)

    return np.asarray(shapely.transform(outlines, moved))


def _box(outlines: np.ndarray) -> str:
    return ", ".join(f"{edge:.0f}" for edge in shapely.total_bounds(outlines))
