"""Finds nearest vectors by cosine: exactly if there are few, else with an index.

Up to `EXACT` vectors are all compared. With more, an inverted file (Faiss) compares
those in the cells around the query. Long vectors are compared along principal axes, and
the best ones again with all their numbers. The share of the true neighbours that are
found is measured on some of the queries: `Nearest.recall`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mmgr_jax.evaluation.heads import subsets

EXACT = 8192
"""Vectors up to which all are compared: the time of that grows with the square."""

LONGEST = 128
"""Longer vectors are first compared along this number of principal axes."""

AGAIN = 4
"""Then this many times the wanted number of neighbours are compared again."""

CELLS_A_ROOT = 4
"""Cells of the inverted file, in roots of the number of vectors."""

LOOKED_AT = 48
"""Number of cells in which a query is compared."""

LEARN_FROM = 64
"""Vectors for each cell that its place is learnt from; ten rounds."""

CHECKED = 256
"""Number of queries whose neighbours are also found exactly, to measure recall."""


class Nearest:
    """Finds the nearest of some vectors.

    Attributes:
        recall: Share of the true neighbours that an index found, for the queries that
            were checked: the smallest of all searches. 1 if all vectors are compared.
    """

    def __init__(self, among: Float[np.ndarray, "n f"]) -> None:
        """Prepares the search.

        Args:
            among: Vectors of unit length.
        """
        self.recall = 1.0
        self._among, self._index = among, None
        if len(among) > EXACT:
            self._among = among.astype(np.float32)
            self._index = _index(self._among)

    def find(
        self, queries: Float[np.ndarray, "m f"], most: int
    ) -> Int[np.ndarray, "m _"]:
        """Finds the rows most similar to each query, the most similar first.

        If all vectors are compared, the first of equally similar ones is taken.
        """
        if self._index is None:
            return _exact(queries, self._among, most)
        queries = queries.astype(np.float32)
        rows = self._index.search(queries, most)[1]
        checked = np.linspace(0, len(queries) - 1, min(CHECKED, len(queries)))
        checked = np.unique(checked.astype(int))
        true = _exact(queries[checked], self._among, most)
        hits = [
            np.isin(theirs, ours).mean()
            for theirs, ours in zip(true, rows[checked], strict=True)
        ]
        self.recall = min(self.recall, float(np.mean(hits)) if hits else 1.0)
        short = np.flatnonzero((rows < 0).any(axis=1))  # its cells held too few
        rows[short] = _exact(queries[short], self._among, most)
        return rows


def _index(among: Float[np.ndarray, "n f"]) -> Any:
    """An inverted file of the vectors."""
    import faiss  # of cities alone: it takes a third of a second

    faiss.omp_set_num_threads(1)  # cells and methods are what is shared out
    cells = int(CELLS_A_ROOT * np.sqrt(len(among)))
    length = among.shape[1]
    recipe = f"IVF{cells},Flat"
    if length > LONGEST:
        recipe = f"PCA{LONGEST},{recipe},RFlat"
    index = faiss.index_factory(length, recipe, faiss.METRIC_INNER_PRODUCT)
    file = faiss.extract_index_ivf(index)
    file.cp.max_points_per_centroid = LEARN_FROM
    file.cp.min_points_per_centroid = 1  # fewer than it likes: no word about it
    file.nprobe = LOOKED_AT
    if isinstance(index, faiss.IndexRefine):
        index.k_factor = AGAIN
    index.train(among)
    index.add(among)
    return index


def _exact(
    queries: Float[np.ndarray, "m f"], among: Float[np.ndarray, "n f"], most: int
) -> Int[np.ndarray, "m _"]:
    """By comparing all.

    Similarity in the upper half of an integer and the row, counted down, in the lower
    make keys that sort by both.
    """
    count = len(among)
    backwards = np.arange(count - 1, -1, -1)
    nearest = np.empty((len(queries), most), np.int64)
    for part in _slices(len(queries), count):
        similarity = (queries[part] @ among.T).astype(np.float32)
        bits = (similarity + np.float32(0)).view(np.int32)  # -0 becomes 0
        ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # of negative numbers too
        keys = (ordered.astype(np.int64) << 32) | backwards
        if most < count:
            keys = np.partition(keys, count - most, axis=1)[:, count - most :]
        keys = np.sort(keys, axis=1)[:, ::-1]
        nearest[part] = count - 1 - (keys & 0xFFFFFFFF)
    return nearest


def _slices(rows: int, columns: int) -> Iterator[slice]:
    step = max(subsets.SLICE_BYTES // (24 * columns), 1)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
