"""Counts which categories meet on random walks over the network of a city's POIs.

Reference: Huang et al. (2022), doi 10.1080/13658816.2022.2040510: Delaunay network,
distance weight, region factor, biased walks. MMGR keeps only the distance weight, and
so do the defaults here. No walk is drawn at random: how often categories are expected
to meet is a sum over the steps of a walk. Each step is a product with the sparse matrix
of its probabilities.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Int32
from scipy import sparse

from data_prep.category_embedding.settings import WalkSettings
from data_prep.category_embedding.stage import stage
from data_prep.pois import graph
from data_prep.pois.table import PoiTable
from data_prep.running import progress
from mmgr_jax.errors import InputError

_WALKS_A_POI = 5
"""What counts are given for, as in the paper."""

_LEAST = 1.0
"""Fewer meetings than this in all the city's walks are none."""

_NUMBERS_AT_ONCE = 1 << 22


def count_pairs(table: PoiTable, settings: WalkSettings) -> Float[np.ndarray, "k k"]:
    """Counts how often walks from each category (row) meet each category (column).

    The category of a walk's first POI is the target; that of each later POI is a
    context. A model with one vector per category needs only these counts of the walks.

    Args:
        table: The POIs, two or more.
        settings: How walks are made.

    Returns:
        Expected counts over five walks from each POI [k k]; 0 where they are below 1,
        so that categories that hardly ever meet count as never meeting.

    Raises:
        InputError: If there are fewer than two POIs.
    """
    if len(table) < 2:
        raise InputError(
            f"config.pois: {len(table)} usable POI(s), but a walk needs 2 or more. "
            "Give a fuller table, or set config.category_vectors.method to 'random'."
        )
    with stage("network"):
        net = network(table.x_m, table.y_m, settings)
    with stage("walks"):
        k = len(table.categories)
        counts = _WALKS_A_POI * expected_pairs(net, table.category, k, settings)
        return np.where(counts < _LEAST, 0.0, counts)


def network(
    x_m: Float[np.ndarray, " n"], y_m: Float[np.ndarray, " n"], settings: WalkSettings
) -> sparse.csr_array:
    """Makes the Delaunay network over POIs.

    Args:
        x_m: East coordinate of each POI in metres [n], n >= 2.
        y_m: North coordinate [n].
        settings: Size of the regions, and the factor of an edge between two regions.

    Returns:
        Weights [n n], symmetric: log((1 + D^1.5) / (1 + d^1.5)), d the length of an
        edge, D the diagonal of the bounding box of the POIs, both in metres.
    """
    place_m = np.stack([x_m, y_m], axis=1)
    diagonal_m = float(np.hypot(*np.ptp(place_m, axis=0)))
    # Small numbers keep the triangulation exact.
    edges, weight = graph.delaunay(place_m - place_m.mean(axis=0), diagonal_m)
    weight = weight.astype(np.float64)
    if settings.region_size_m is not None:
        region = square_regions(x_m, y_m, settings.region_size_m)
        across = region[edges[:, 0]] != region[edges[:, 1]]
        weight *= np.where(across, settings.region_factor, 1.0)
    return adjacency(edges, weight, len(place_m))


def square_regions(
    x_m: Float[np.ndarray, " n"], y_m: Float[np.ndarray, " n"], size_m: float
) -> Int[np.ndarray, " n"]:
    """Numbers the square of side `size_m` that each POI lies in [n]."""
    cells = np.stack([np.floor(x_m / size_m), np.floor(y_m / size_m)], axis=1)
    return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)


def adjacency(
    edges: Int32[np.ndarray, "e 2"], weight: Float[np.ndarray, " e"], n: int
) -> sparse.csr_array:
    """Makes the weights between n POIs [n n] from undirected edges, each given once.

    Where all edges of a POI have weight 0 (all POIs share one place, for example), they
    get equal weights.
    """
    # Rounding can leave an edge as long as the diagonal just below zero.
    weight = np.maximum(np.concatenate([weight, weight]), 0)
    source, neighbour = np.concatenate([edges, edges[:, ::-1]]).T
    weight[np.bincount(source, weight, n)[source] == 0] = 1.0
    return sparse.csr_array((weight, (source, neighbour)), (n, n))


def expected_pairs(
    net: sparse.csr_array,
    category: Int[np.ndarray, " n"],
    num_categories: int,
    settings: WalkSettings,
) -> Float[np.ndarray, "k k"]:
    """Computes how often walks, one from each POI, are expected to meet categories.

    Args:
        net: The network; every POI has a neighbour.
        category: Category of each POI.
        num_categories: How many there are, k.
        settings: Length and biases of a walk.

    Returns:
        For each category of a first POI, how often each category is met [k k]; the sum
        is n * (length - 1).
    """
    first, move, reached = chances(net, settings)
    first, move = first.T.tocsr(), move.T.tocsr()
    starts = _members(category, num_categories)
    ends = _members(category[reached], num_categories).T.tocsr()
    at_once = max(_NUMBERS_AT_ONCE // len(reached), 1)
    lots = range(0, num_categories, at_once)
    counts = np.zeros((num_categories, num_categories))
    for lot in progress.track(lots, "lots of categories", len(lots)):
        mass = (first @ starts[:, lot : lot + at_once]).toarray()
        counts[lot : lot + at_once] = (ends @ mass).T
        for _ in range(settings.length - 2):
            mass = move @ mass
            counts[lot : lot + at_once] += (ends @ mass).T
    return counts


def chances(
    net: sparse.csr_array, settings: WalkSettings
) -> tuple[sparse.csr_array, sparse.csr_array, Int[np.ndarray, " s"]]:
    """Computes the probabilities of a walk's first step and of each later one.

    The next POI is drawn with probability proportional to its weight. From the second
    step on, the weight of an edge is multiplied by `return_bias` where it leads back
    to the POI before, by `outward_bias` where it leads to a POI that is no neighbour
    of that one, and by 1 otherwise (node2vec).

    Returns:
        Probabilities of each state after the first step from each POI [n s], of each
        state after another state [s s], and the POI of each state [s]. Without bias, a
        state is a POI; with bias, it is the edge by which a POI is reached.
    """
    step, degree = _rows_to_one(net), np.diff(net.indptr)
    n, m = len(degree), net.nnz
    if settings.return_bias == settings.outward_bias == 1:
        return step, step, np.arange(n)
    before, here = np.repeat(np.arange(n), degree), net.indices
    first = sparse.csr_array((step.data, (before, np.arange(m))), (n, m))
    # Edge i is followed by each of the edges that leave its end.
    start = np.concatenate([[0], np.cumsum(degree[here])])
    edge = np.repeat(np.arange(m), degree[here])
    leaving = np.arange(start[-1]) - start[edge] + net.indptr[here[edge]]
    origin, there = before[edge], here[leaving]
    near = np.isin(origin * n + there, before * n + here.astype(np.int64))
    bias = np.where(near, 1.0, settings.outward_bias)
    bias[origin == there] = settings.return_bias
    move = sparse.csr_array((net.data[leaving] * bias, leaving, start), (m, m))
    return first, _rows_to_one(move), here


def _rows_to_one(weights: sparse.csr_array) -> sparse.csr_array:
    scale = np.repeat(1 / weights.sum(axis=1), np.diff(weights.indptr))
    data = weights.data * scale
    return sparse.csr_array((data, weights.indices, weights.indptr), weights.shape)


def _members(category: Int[np.ndarray, " s"], k: int) -> sparse.csr_array:
    """1 where a state is of a category [s k]."""
    s = len(category)
    return sparse.csr_array((np.ones(s), (np.arange(s), category)), (s, k))
