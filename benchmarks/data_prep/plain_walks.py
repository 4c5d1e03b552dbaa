"""The peer: the same walks as a plain loop in Python."""

from __future__ import annotations

import bisect
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence

from data_prep.category_embedding.walks import Network


class PlainWalks:
    """Weighted random walks, one step after the other.

    Neighbours and running sums of weights are laid out as lists beforehand, so that a
    step is one draw and one bisection, or, with biases, one pass over the neighbours.
    """

    def __init__(
        self, net: Network, category: Sequence[int], biases: tuple[float, float]
    ) -> None:
        """Lays the network out as lists.

        Args:
            net: The network.
            category: Category of each POI.
            biases: 1/p and 1/q of node2vec, see `walks.walk`.
        """
        bounds = list(itertools.pairwise(net.start.tolist()))
        neighbours, weights = net.neighbour.tolist(), net.weight.tolist()
        self._neighbours = [neighbours[low:high] for low, high in bounds]
        self._weights = [weights[low:high] for low, high in bounds]
        self._sums = [list(itertools.accumulate(own)) for own in self._weights]
        self._sets = [set(own) for own in self._neighbours]
        self._category = category
        self._biases = biases

    def count_pairs(
        self, first: Sequence[int], *, per_poi: int, length: int, seed: int
    ) -> tuple[Counter[tuple[int, int]], float]:
        """Walks from some POIs.

        Returns:
            How often each pair (category of the first POI, category met later on)
            occurs, and the seconds a walk took.
        """
        rng, counts, category = random.Random(seed), Counter(), self._category
        start = time.perf_counter()
        for poi in first:
            for _ in range(per_poi):
                before, here = -1, poi
                for _ in range(length - 1):
                    before, here = here, self._step(before, here, rng)
                    counts[category[poi], category[here]] += 1
        seconds = time.perf_counter() - start
        return counts, seconds / (len(first) * per_poi)

    def _step(self, before: int, here: int, rng: random.Random) -> int:
        neighbours, sums = self._neighbours[here], self._sums[here]
        if before >= 0 and self._biases != (1, 1):
            sums = list(itertools.accumulate(self._biased(before, here)))
        edge = bisect.bisect_right(sums, rng.random() * sums[-1])
        return neighbours[min(edge, len(neighbours) - 1)]

    def _biased(self, before: int, here: int) -> list[float]:
        """Weights of the edges from a POI to which a walk came from another."""
        return_bias, outward_bias = self._biases
        around = self._sets[before]
        return [
            weight
            * (
                return_bias
                if there == before
                else 1.0
                if there in around
                else outward_bias
            )
            for there, weight in zip(
                self._neighbours[here], self._weights[here], strict=True
            )
        ]
