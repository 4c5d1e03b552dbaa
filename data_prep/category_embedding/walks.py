"""Which categories meet: weighted random walks over the network of a city's POIs.

Reference: Huang et al. (2022), doi 10.1080/13658816.2022.2040510: Delaunay network,
distance weight, region factor, biased walks. MMGR keeps the distance weight alone, and
so do the defaults here.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, Int64

from data_prep.category_embedding.settings import WalkSettings
from data_prep.category_embedding.stage import stage
from data_prep.pois import graph
from data_prep.pois.table import PoiTable
from data_prep.running import progress
from mmgr_jax.errors import InputError

# Walks taken at a time: some tens of MB, and a progress line now and then.
_WALKS_AT_ONCE = 1 << 17


@dataclasses.dataclass(frozen=True)
class Network:
    """Neighbours of each POI; those of POI i stand at start[i]:start[i + 1].

    Attributes:
        start: Where each POI's neighbours start [n + 1].
        neighbour: The neighbours, in order within a POI [m].
        weight: Weight of the edge to each neighbour, 0 or more, not all 0 [m].
    """

    start: Int64[np.ndarray, " starts"]
    neighbour: Int32[np.ndarray, " m"]
    weight: Float[np.ndarray, " m"]

    def __len__(self) -> int:
        """Number of POIs n."""
        return len(self.start) - 1


def count_pairs(
    table: PoiTable, settings: WalkSettings, *, seed: int
) -> Int64[np.ndarray, "k k"]:
    """How often each category (column) is met on walks from each one (row).

    The category of a walk's first POI is the target, that of each later one a context.
    A model of one vector a category sees nothing of the walks but these counts.

    Args:
        table: Two POIs or more.
        settings: How they are walked.
        seed: Seed of the walks.

    Returns:
        Counts [k k]; they sum to n * per_poi * (length - 1).

    Raises:
        InputError: If there are fewer than two POIs.
    """
    if len(table) < 2:
        raise InputError(
            f"config.pois: {len(table)} usable POI(s), but a walk needs 2 or more. "
            "Give a fuller table, or set config.category_vectors.method to 'random'."
        )
    with stage("network"):
        net = city_network(table, settings.region_size_m, settings.region_factor)
    with stage("walks"):
        return _counts(net, table, settings, seed)


def city_network(
    table: PoiTable, region_size_m: float | None, region_factor: float
) -> Network:
    """The network over the POIs of a city; see `count_pairs`."""
    region = None
    if region_size_m is not None:
        region = square_regions(table.x_m, table.y_m, region_size_m)
    return network(table.x_m, table.y_m, region, region_factor)


def network(
    x_m: Float[np.ndarray, " n"],
    y_m: Float[np.ndarray, " n"],
    region: Int[np.ndarray, " n"] | None,
    region_factor: float,
) -> Network:
    """The Delaunay network over POIs.

    Args:
        x_m: East coordinate of each POI in metres [n], n >= 2.
        y_m: North coordinate [n].
        region: Region of each POI [n]; None: no region factor.
        region_factor: What the weight of an edge between two regions is multiplied
            by; above 0. An edge inside a region keeps its weight.

    Returns:
        The network with weights log((1 + D^1.5) / (1 + d^1.5)): d the length of an
        edge, D the diagonal of the bounding box of the POIs, both in metres.
    """
    place_m = np.stack([x_m, y_m], axis=1)
    diagonal_m = float(np.hypot(*np.ptp(place_m, axis=0)))
    # Small numbers keep the triangulation exact.
    edges, weight = graph.delaunay(place_m - place_m.mean(axis=0), diagonal_m)
    weight = weight.astype(np.float64)
    if region is not None:
        across = region[edges[:, 0]] != region[edges[:, 1]]
        weight *= np.where(across, region_factor, 1.0)
    return adjacency(edges, weight, len(place_m))


def square_regions(
    x_m: Float[np.ndarray, " n"], y_m: Float[np.ndarray, " n"], size_m: float
) -> Int[np.ndarray, " n"]:
    """The square of side `size_m` each POI lies in, as a number [n]."""
    cells = np.stack([np.floor(x_m / size_m), np.floor(y_m / size_m)], axis=1)
    return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)


def adjacency(
    edges: Int32[np.ndarray, "e 2"], weight: Float[np.ndarray, " e"], n: int
) -> Network:
    """Undirected edges as the neighbours of each of n POIs.

    Where all edges of a POI weigh nothing, as when all POIs share one place, they
    weigh the same.

    Args:
        edges: Pairs of POIs, each once [e 2].
        weight: Weight of each edge [e].
        n: Number of POIs.
    """
    source = np.concatenate([edges[:, 0], edges[:, 1]])
    neighbour = np.concatenate([edges[:, 1], edges[:, 0]])
    # Rounding can leave an edge as long as the diagonal just below zero.
    weight = np.maximum(np.concatenate([weight, weight]), 0)
    order = np.lexsort((neighbour, source))
    source, neighbour, weight = source[order], neighbour[order], weight[order]
    total = np.bincount(source, weight, n)
    weight = np.where(total[source] == 0, 1.0, weight)
    start = np.searchsorted(source, np.arange(n + 1))
    return Network(start.astype(np.int64), neighbour.astype(np.int32), weight)


def walk(
    net: Network,
    first: Int32[np.ndarray, " w"],
    length: int,
    rng: np.random.Generator,
    return_bias: float,
    outward_bias: float,
) -> Int32[np.ndarray, "w length"]:
    """Random walks; the next POI is drawn with probability proportional to its weight.

    From the second step on, the weight of an edge is multiplied by `return_bias` where
    it leads back to the POI before, by `outward_bias` where it leads to a POI that is
    no neighbour of that one, and by 1 otherwise (node2vec).

    Args:
        net: The network; every POI has a neighbour.
        first: First POI of each walk [w].
        length: POIs on a walk, 2 or more.
        rng: Source of randomness.
        return_bias: Above 0.
        outward_bias: Above 0.

    Returns:
        The POIs of each walk [w length].
    """
    path = np.empty((len(first), length), np.int32)
    upto = np.concatenate([[0.0], np.cumsum(net.weight)])
    path[:, 0] = first
    path[:, 1] = _step(net, upto, first, rng)
    biased = (return_bias, outward_bias) != (1, 1)
    edge_keys = _keys(net) if biased else None
    for step in range(2, length):
        before, here = path[:, step - 2], path[:, step - 1]
        if edge_keys is None:
            path[:, step] = _step(net, upto, here, rng)
            continue
        biases = (return_bias, outward_bias)
        path[:, step] = _biased_step(net, upto, edge_keys, before, here, rng, biases)
    return path


def _counts(
    net: Network,
    table: PoiTable,
    settings: WalkSettings,
    seed: int,
) -> Int64[np.ndarray, "k k"]:
    k = len(table.categories)
    biases = (settings.return_bias, settings.outward_bias)
    first = np.tile(np.arange(len(net), dtype=np.int32), settings.per_poi)
    lots = range(0, len(first), _WALKS_AT_ONCE)
    counts = np.zeros(k * k, np.int64)
    for number, lot in enumerate(progress.track(lots, "lots of walks", len(lots))):
        rng = np.random.default_rng([seed, 1 + number])
        some = first[lot : lot + _WALKS_AT_ONCE]
        path = walk(net, some, settings.length, rng, *biases)
        met = table.category[path].astype(np.int64)
        pair = met[:, :1] * k + met[:, 1:]
        counts += np.bincount(pair.reshape(-1), minlength=k * k)
    return counts.reshape(k, k)


def _step(
    net: Network,
    upto: Float[np.ndarray, " sums"],
    here: Int32[np.ndarray, " w"],
    rng: np.random.Generator,
) -> Int32[np.ndarray, " w"]:
    """A neighbour of each POI, by weight; `upto` holds the running sum of weights."""
    low, high = net.start[here], net.start[here + 1]
    drawn = upto[low] + rng.random(len(here)) * (upto[high] - upto[low])
    edge = np.searchsorted(upto, drawn, side="right") - 1
    # Rounding may carry a draw to the first edge of the next POI.
    return net.neighbour[np.clip(edge, low, high - 1)]


def _biased_step(
    net: Network,
    upto: Float[np.ndarray, " sums"],
    edge_keys: Int64[np.ndarray, " m"],
    before: Int32[np.ndarray, " w"],
    here: Int32[np.ndarray, " w"],
    rng: np.random.Generator,
    biases: tuple[float, float],
) -> Int32[np.ndarray, " w"]:
    """Draws without bias, and keeps with a chance that makes the bias right."""
    return_bias, outward_bias = biases
    highest = max(return_bias, outward_bias, 1.0)
    there = np.empty_like(here)
    todo = np.arange(len(here))
    while len(todo):
        drawn = _step(net, upto, here[todo], rng)
        keys = before[todo].astype(np.int64) * len(net) + drawn
        bias = np.where(_contains(edge_keys, keys), 1.0, outward_bias)
        bias[drawn == before[todo]] = return_bias
        kept = rng.random(len(todo)) * highest < bias
        there[todo[kept]] = drawn[kept]
        todo = todo[~kept]
    return there


def _keys(net: Network) -> Int64[np.ndarray, " m"]:
    """One number for each edge, sorted as the edges are."""
    source = np.repeat(np.arange(len(net), dtype=np.int64), np.diff(net.start))
    return source * len(net) + net.neighbour


def _contains(
    keys: Int64[np.ndarray, " m"], wanted: Int64[np.ndarray, " w"]
) -> Bool[np.ndarray, " w"]:
    position = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return keys[position] == wanted
