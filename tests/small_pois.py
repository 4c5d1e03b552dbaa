"""Small POI sets with their graphs."""

import jax
import jax.numpy as jnp
import numpy as np

from data_prep.pois.graph import delaunay
from mmgr_jax.typing import PoiSets

K = 20
LENGTHS = (4, 1, 9, 0, 2, 6, 0, 8)  # rows 3 and 6 are empty
DIAGONAL_M = 7000.0  # of the POIs of a city


def sets(slots=10, edge_slots=30, moved=None, shuffle=False):
    """Ragged sets with their Delaunay edges; padding holds ids outside the table.

    Args:
        slots: POI slots.
        edge_slots: Edge slots.
        moved: Row whose POIs are all others, at other places.
        shuffle: Put the POIs of each set in another order.
    """
    draws = [np.random.default_rng(row + 100 * (row == moved)) for row in range(8)]
    regions = [_region(n, rng) for n, rng in zip(LENGTHS, draws, strict=True)]
    if shuffle:
        regions = [_reversed(*region) for region in regions]
    fields = PoiSets(
        category=np.full((8, slots), -1, np.int32),
        offset_m=np.zeros((8, slots, 2), np.float32),
        mask=np.arange(slots) < np.array(LENGTHS)[:, None],
        edges=np.zeros((8, edge_slots, 2), np.int32),
        edge_weight=np.zeros((8, edge_slots), np.float32),
    )
    for row, (category, offset_m, edges, edge_weight) in enumerate(regions):
        fields.category[row, : len(category)] = category
        fields.offset_m[row, : len(category)] = offset_m
        fields.edges[row, : len(edges)] = edges
        fields.edge_weight[row, : len(edges)] = edge_weight
    return jax.tree.map(jnp.array, fields)


def _region(n, rng):
    offset_m = rng.uniform(-112, 112, (n, 2)).astype(np.float32)
    return rng.integers(0, K, n), offset_m, *delaunay(offset_m, DIAGONAL_M)


def _reversed(category, offset_m, edges, edge_weight):
    """The same region with its POIs in reverse order and its edges the other way."""
    return category[::-1], offset_m[::-1], len(category) - 1 - edges, edge_weight
