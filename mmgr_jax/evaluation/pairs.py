"""Which regions of two records lie at the same place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyproj
import shapely
from jaxtyping import Int

from mmgr_jax.errors import InputError

SHARED = 0.5
"""Of the area that either of two regions covers, to be the same place."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Regions that both have, in the order of the later ones.

    Attributes:
        earlier: Their rows in the earlier records [n].
        later: In the later ones [n], ascending.
        by_name: How many have the same name in both.
        alone: How many of the earlier and of the later have no partner.
    """

    earlier: Int[np.ndarray, " n"]
    later: Int[np.ndarray, " n"]
    by_name: int
    alone: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where regions lie.

    Attributes:
        region_ids: Their names.
        geometry_wkb: Their outlines in `crs`.
        crs: CRS in metres.
        what: What they are called in errors, such as a records folder.
    """

    region_ids: Sequence[str]
    geometry_wkb: Sequence[bytes]
    crs: str
    what: str


def match(earlier: Place, later: Place) -> Pairs:
    """Pairs each later region with the earlier one that lies where it lies.

    Two are the same place where they share `SHARED` of what they cover together. Of
    several the one with the same name is taken, then the one that shares most; nobody
    has two partners.

    Args:
        earlier: Regions of one year.
        later: Of the other one.

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
    """Places of the first of each value, in their order."""
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
