"""Walks that a library draws, beside the expectation of all walks.

`python -m benchmarks.data_prep.drawn_walks TABLE`, in a process of its own: what the
benchmark of category vectors imports is charged to the command that it measures.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from benchmarks import turns
from benchmarks.data_prep import synthetic
from data_prep.category_embedding import walks
from data_prep.category_embedding.settings import WalkSettings
from data_prep.pois import table
from data_prep.pois.settings import PoiSettings
from mmgr_jax.settings import read

ROUNDS = 5
WALKS_A_POI = 5  # of the paper


def drawn_pairs(
    graph: Any,
    strength: Float[np.ndarray, " n"],
    category: Int[np.ndarray, " n"],
    k: int,
    length: int,
) -> Float[np.ndarray, "k k"]:
    """The same counts from walks that igraph draws, of one walk from each POI.

    igraph reads the whole graph anew for each walk that is begun. One long walk spares
    it that: each of its windows is a walk, and begins at a POI as often as the POI is
    strong, which a weight takes back. It meets as many POIs as five walks from each.

    Args:
        graph: igraph's, the network with `weight` of its edges.
        strength: Sum of the weights of each POI's edges.
        category: Of each POI.
        k: How many categories there are.
        length: POIs of a walk.

    Returns:
        For each category of a first POI, how often each is met.
    """
    steps = WALKS_A_POI * (length - 1) * len(strength)
    path = np.array(graph.random_walk(0, steps + length - 1, weights="weight"))
    met, weight = category[path], (1 / strength)[path[:steps]]
    weight *= len(strength) / weight.sum()
    counts = np.zeros(k * k)
    for later in range(1, length):
        pair = met[:steps] * k + met[later : later + steps]
        counts += np.bincount(pair, weight, k * k)
    return counts.reshape(k, k)


def measure(path: str) -> dict[str, Any]:
    """Processor seconds of both in turns, from the same network, and their difference.

    Args:
        path: Table of POIs, as `synthetic.write` makes it.
    """
    config = synthetic.get_config()
    config.pois.path = path
    settings = WalkSettings()
    pois = table.read(read(PoiSettings, config.pois, "pois"), city_crs=config.city.crs)
    net, k = walks.network(pois.x_m, pois.y_m, settings), len(pois.categories)
    upper = sparse.triu(net, 1).tocoo()
    igraph = importlib.import_module("igraph")
    graph = igraph.Graph(n=len(pois), edges=np.stack([upper.row, upper.col], axis=1))
    graph.es["weight"] = upper.data
    strength = np.asarray(net.sum(axis=1))

    def ours() -> np.ndarray:
        return walks.expected_pairs(net, pois.category, k, settings)

    def theirs() -> np.ndarray:
        return drawn_pairs(graph, strength, pois.category, k, settings.length)

    seconds: dict[str, list[float]] = {"ours": [], "igraph": []}
    expected = drawn = np.zeros(0)
    for _ in range(ROUNDS):
        expected, spent = _timed(ours)
        seconds["ours"].append(spent)
        drawn, spent = _timed(theirs)
        seconds["igraph"].append(spent)
    frequent = expected >= 1
    error = np.abs(drawn - expected)[frequent] / expected[frequent]
    return {
        "way": "walks, igraph's to ours",
        **turns.spread("ours_cpu_s", seconds["ours"]),
        **turns.spread("igraph_cpu_s", seconds["igraph"]),
        **turns.ratios("ratio", seconds["igraph"], seconds["ours"]),
        "median_error": float(np.median(error)),
        "whole_error": float(np.abs(drawn - expected).sum() / expected.sum()),
    }


def _timed(call: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    start = time.process_time()
    return call(), time.process_time() - start


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
