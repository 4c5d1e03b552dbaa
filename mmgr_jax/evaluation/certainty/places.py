"""Where regions lie and which are neighbours: centres and spatial weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from jaxtyping import Float
from scipy import sparse, spatial

from mmgr_jax.errors import InputError

Weights = sparse.csr_array
"""Row-standardised weights [r r]. The row of a region sums to 1 over its neighbours. It
is empty if the region has none. The diagonal is empty."""


def centres_m(geometry_wkb: Sequence[bytes]) -> Float[np.ndarray, "r 2"]:
    """Computes centroids of the regions: east, north in metres, in the records' CRS.

    Raises:
        InputError: If the records do not say where a region lies.
    """
    outlines = _outlines(geometry_wkb)
    return shapely.get_coordinates(shapely.centroid(outlines))


def nearest(centre_m: Float[np.ndarray, "r 2"], *, num_neighbours: int = 8) -> Weights:
    """Computes weights between each region and its nearest regions, by their centres.

    All neighbours of a region have the same weight. A neighbour of a region need not
    have that region as its own neighbour. Of equally distant regions any can be taken.

    Args:
        centre_m: Centres of the regions, in metres.
        num_neighbours: Number of neighbours of each region; all other regions if there
            are fewer.

    Raises:
        InputError: If there are fewer than two regions, or `num_neighbours` is below 1.
    """
    count = min(num_neighbours, len(centre_m) - 1)
    if count < 1:
        raise InputError(
            f"{num_neighbours} neighbours among {len(centre_m)} regions: at least one "
            "neighbour and two regions are needed."
        )
    tree = spatial.KDTree(centre_m)
    neighbours = np.asarray(tree.query(centre_m, k=count + 1)[1])
    rows = np.arange(len(centre_m))
    # Regions in one place may come before the region itself, or push it out.
    own = neighbours == rows[:, None]
    own[~own.any(axis=1), -1] = True
    others = neighbours[~own].reshape(len(rows), count)
    values = np.full(others.size, 1.0 / count)
    shape = (len(rows), len(rows))
    return Weights((values, (np.repeat(rows, count), others.ravel())), shape=shape)


def _outlines(geometry_wkb: Sequence[bytes]) -> np.ndarray:
    empty = [row for row, wkb in enumerate(geometry_wkb) if not wkb]
    outlines = shapely.from_wkb([wkb or None for wkb in geometry_wkb])
    missing = np.flatnonzero(shapely.is_missing(outlines) | shapely.is_empty(outlines))
    if len(empty) or len(missing) or not len(outlines):
        raise InputError(
            f"the place of {len(missing)} of {len(outlines)} regions is not known, so "
            "nothing that needs places can be computed. Build the records from "
            "imagery with a CRS, or leave spatial baselines and statistics out."
        )
    return outlines
