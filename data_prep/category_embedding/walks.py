"""Which categories meet: weighted random walks over the network of a city's POIs.

Reference: Huang et al. (2022), doi 10.1080/13658816.2022.2040510: Delaunay network,
distance weight, region factor, biased walks. MMGR keeps the distance weight alone, and
so do the defaults here.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, Int64

from data_prep import graph, pois, progress
from data_prep.pois import PoiTable
from mmgr_jax.errors import InputError

# Walks taken at a time: some 30 MB of positions, and a progress line now and then.
_WALKS_AT_ONCE = 1 << 17


@dataclasses.dataclass(frozen=True)
class Network:
    """Neighbours of each POI; those of POI i stand at start[i]:start[i + 1].

    Attributes:
        start: Where each POI's neighbours start [n + 1].
        neighbour: The neighbours, in order within a POI [m].
        weight: Weight of the edge to each neighbour, above 0 [m].
    """

    start: Int64[np.ndarray, " starts"]
    neighbour: Int32[np.ndarray, " m"]
    weight: Float[np.ndarray, " m"]

    def __len__(self) -> int:
        """Number of POIs n."""
        return len(self.start) - 1


def network(
    table: PoiTable,
    *,
    region_size_m: float | None = None,
    region_factor: float = 0.4,
) -> Network:
    """The Delaunay network over all POIs of a city.

    Args:
        table: Two or more POIs.
        region_size_m: Side of the square regions of the region factor, which are cut
            from the origin of the city's CRS; None: no region factor.
        region_factor: What the weight of an edge between two regions is multiplied
            by; above 0. An edge inside a region keeps its weight.

    Returns:
        The network with weights log((1 + D^1.5) / (1 + d^1.5)): d the length of an
        edge, D the diagonal of the bounding box of the POIs, both in metres.
    """
    place_m = np.stack([table.x_m, table.y_m], axis=1)
    # Small numbers keep the triangulation exact.
    offset_m = place_m - place_m.mean(axis=0)
    diagonal_m = pois.diagonal_m(table, np.arange(len(table)))
    edges, weight = graph.delaunay(offset_m, diagonal_m)
    weight = weight.astype(np.float64)
    if region_size_m is not None:
        region = np.floor(place_m / region_size_m)
        across = (region[edges[:, 0]] != region[edges[:, 1]]).any(axis=1)
        weight *= np.where(across, region_factor, 1.0)
    return adjacency(edges, weight, len(table))


def adjacency(
    edges: Int32[np.ndarray, "e 2"], weight: Float[np.ndarray, " e"], n: int
) -> Network:
    """Undirected edges as the neighbours of each of n POIs.

    Where all edges of a POI weigh nothing, as they do when all POIs share one place,
    they weigh the same.

    Args:
        edges: Pairs of POIs, each once [e 2].
        weight: Weight of each edge, 0 or more [e].
        n: Number of POIs.
    """
    source = np.concatenate([edges[:, 0], edges[:, 1]])
    neighbour = np.concatenate([edges[:, 1], edges[:, 0]])
    weight = np.maximum(np.concatenate([weight, weight]), 0)
    order = np.lexsort((neighbour, source))
    source, neighbour, weight = source[order], neighbour[order], weight[order]
    total = np.bincount(source, weight, n)
    weight = np.where(total[source] == 0, 1.0, weight)
    start = np.searchsorted(source, np.arange(n + 1))
    return Network(start.astype(np.int64), neighbour.astype(np.int32), weight)


def count_pairs(
    net: Network,
    category: Int32[np.ndarray, " n"],
    num_categories: int,
    *,
    seed: int,
    per_poi: int = 5,
    length: int = 10,
    return_bias: float = 1.0,
    outward_bias: float = 1.0,
) -> Int64[np.ndarray, "k k"]:
    """How often each category (column) is met on walks from each other one (row).

    The first POI of a walk gives the target, each later one a context. A model of one
    vector a category sees nothing of the walks but these counts.

    Args:
        net: The network.
        category: Category of each POI [n].
        num_categories: k.
        seed: Seed of the walks.
        per_poi: Walks from each POI.
        length: POIs on a walk, its first one included.
        return_bias: 1/p of node2vec; the paper's biased walks have 2. See `walk`.
        outward_bias: 1/q of node2vec; the paper's biased walks have 2.

    Returns:
        Counts [k k]; they sum to n * per_poi * (length - 1).
    """
    first = np.tile(np.arange(len(net), dtype=np.int32), per_poi)
    chunks = range(0, len(first), _WALKS_AT_ONCE)
    counts = np.zeros(num_categories**2, np.int64)
    biases = (return_bias, outward_bias)
    for chunk in progress.track(chunks, "lots of walks", len(chunks)):
        rng = np.random.default_rng([seed, chunk])
        met = category[walk(net, first[chunk : chunk + _WALKS_AT_ONCE], length, rng, *biases)]
        pair = met[:, :1].astype(np.int64) * num_categories + met[:, 1:]
        counts += np.bincount(pair.reshape(-1), minlength=len(counts))
    return counts.reshape(num_categories, num_categories)


def walk(
    net: Network,
    first: Int32[np.ndarray, " w"],
    length: int,
    rng: np.random.Generator,
    return_bias: float = 1.0,
    outward_bias: float = 1.0,
) -> Int32[np.ndarray, "w length"]:
    """Random walks; the next POI is drawn with probability proportional to its weight.

    From the second step on, the weight of an edge is multiplied by `return_bias` where
    it leads back to the POI before, by `outward_bias` where it leads to a POI that is
    no neighbour of that one, and by 1 otherwise (node2vec).

    Args:
        net: The network; every POI has a neighbour.
        first: First POI of each walk [w].
        length: POIs on a walk.
        rng: Source of randomness.
        return_bias: Above 0.
        outward_bias: Above 0.

    Returns:
        The POIs of each walk [w length].
    """
    path = np.empty((len(first), length), np.int32)
    path[:, 0] = first
    upto = np.concatenate([[0.0], np.cumsum(net.weight)])
    if length > 1:
        path[:, 1] = _step(net, upto, first, rng)
    if return_bias == outward_bias == 1:
        for step in range(2, length):
            path[:, step] = _step(net, upto, path[:, step - 1], rng)
        return path
    source = np.repeat(np.arange(len(net)), np.diff(net.start))
    edge_keys = source * len(net) + net.neighbour  # sorted, as the neighbours are
    highest = max(return_bias, outward_bias, 1.0)
    for step in range(2, length):
        todo = np.arange(len(first))
        while len(todo):  # draw without bias, keep with a chance that makes it right
            before, here = path[todo, step - 2], path[todo, step - 1]
            there = _step(net, upto, here, rng)
            near = _contains(edge_keys, before.astype(np.int64) * len(net) + there)
            bias = np.where(near, 1.0, outward_bias)
            bias[there == before] = return_bias
            kept = rng.random(len(todo)) * highest < bias
            path[todo[kept], step] = there[kept]
            todo = todo[~kept]
    return path


def _step(
    net: Network,
    upto: Float[np.ndarray, " sums"],
    here: Int32[np.ndarray, " w"],
    rng: np.random.Generator,
) -> Int32[np.ndarray, " w"]:
    """A neighbour of each POI, by weight; `upto` holds the sums of all weights."""
    low, high = net.start[here], net.start[here + 1]
    drawn = upto[low] + rng.random(len(here)) * (upto[high] - upto[low])
    edge = np.searchsorted(upto, drawn, side="right") - 1
    # Rounding may carry a draw to the first edge of the next POI.
    return net.neighbour[np.clip(edge, low, high - 1)]


def _contains(
    keys: Int64[np.ndarray, " m"], wanted: Int64[np.ndarray, " w"]
) -> Bool[np.ndarray, " w"]:
    position = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return keys[position] == wanted
