"""The order of training: the rows of each global batch, for Grain.

Global batch t holds the same regions in the same order for any number of processes.
"""

from __future__ import annotations

from typing import Any

import grain
import numpy as np
from jaxtyping import Bool, Int

from mmgr_jax.data import corpus
from mmgr_jax.data.corpus import Corpus
from mmgr_jax.data.settings import DataSettings
from mmgr_jax.data.turns import BatchRows

Row = tuple[Any, ...]
"""Index of a region, whether it counts in the loss, and the state of the generator that
draws its POIs, if any are drawn."""


def of_city(
    num_regions: int,
    num_batches: int,
    batch_size: int,
    own: slice,
    *,
    seed: int,
    draws: bool,
) -> grain.MapDataset:
    """Returns the endless rows of one city, in a new permutation for each epoch.

    Args:
        num_regions: Number of regions of the city.
        num_batches: Number of batches in an epoch.
        batch_size: Number of rows in a global batch.
        own: Rows of a global batch that belong to this process.
        seed: Seed of the order.
        draws: Whether POIs are drawn at random from regions with too many.

    Returns:
        A list of `Row` for each batch.
    """
    dataset = grain.MapDataset.range(num_regions).seed(seed).shuffle()
    dataset = _ProcessRows(dataset, num_batches, batch_size, own).repeat(None)
    if draws:
        dataset = dataset.random_map(
            lambda row, rng: (*row, rng.bit_generator.state["state"])
        )
    return dataset.batch(own.stop - own.start, batch_fn=list)


def of_corpus(
    source: Corpus, data: DataSettings, own: slice, *, seed: int, draws: bool
) -> grain.MapDataset:
    """Returns the rows of several cities; see `of_city` and `CorpusRows`."""
    return CorpusRows(source, data, own, seed=seed, draws=draws).repeat(None)


class _ProcessRows(grain.MapDataset):
    """One process's rows of each global batch: pairs of a region and whether it counts.

    If an epoch ends within a batch, its own first regions fill the batch; they do not
    count again.
    """

    _MUTATES_ELEMENT_SPEC = False

    def __init__(
        self, parent: grain.MapDataset, num_batches: int, batch_size: int, own: slice
    ) -> None:
        super().__init__(parent)
        self._num_batches = num_batches
        self._batch_size = batch_size
        self._rows = own.stop - own.start
        self._first = own.start

    def __len__(self) -> int:
        return self._num_batches * self._rows

    def __getitem__(self, index: int) -> tuple[int, bool]:
        epoch, index = divmod(index, len(self))
        batch, row = divmod(index, self._rows)
        shown_before, place = divmod(
            batch * self._batch_size + self._first + row, len(self._parent)
        )
        region = self._parent[epoch * len(self._parent) + place]
        assert region is not None
        return region, not shown_before


class CorpusRows(grain.MapDataset):
    """One process's rows of each global batch of several cities, a list of `Row` each.

    Each city shows its regions in its own permutation, and in a new one each time all
    were shown. The permutation and the drawn POIs depend only on the seed and the
    city's name, so other cities may be added or removed. A batch may show a region
    twice where one permutation of a city ends and the next begins; then the region
    counts once.
    """

    _MUTATES_ELEMENT_SPEC = False

    def __init__(
        self, source: Corpus, data: DataSettings, own: slice, *, seed: int, draws: bool
    ) -> None:
        """Takes the records, and otherwise the arguments of `of_city`."""
        super().__init__()
        self._turns = source.turns(data)
        self._sizes, self._starts = self._turns.sizes, source.starts.tolist()
        seeds = [corpus.seed_of(seed, name) for name in source.names]
        self._orders = [
            grain.MapDataset.range(int(size)).shuffle(seed=order)
            for size, (order, _) in zip(self._sizes, seeds, strict=True)
        ]
        self._keys = [key for _, key in seeds]
        self._draws, self._own = draws, range(own.start, own.stop)

    def __len__(self) -> int:
        """Returns the number of batches in an epoch."""
        return self._turns.steps_per_epoch

    def __getitem__(self, step: int) -> list[Row]:
        """Returns this process's rows of a batch; `step` may lie in any epoch."""
        rows = self._turns.rows(step)
        counts = rows.counts & ~self._again(rows)
        return [
            self._row(int(rows.city[row]), int(rows.draw[row]), bool(counts[row]))
            for row in self._own
        ]

    def _row(self, city: int, draw: int, counts: bool) -> Row:
        region = self._starts[city] + self._region(city, draw)
        if not self._draws:
            return region, counts
        key = np.array([self._keys[city], draw], np.uint64)
        return region, counts, {"counter": np.zeros(4, np.uint64), "key": key}

    def _region(self, city: int, draw: int) -> int:
        """Number, within the city, of the region that a draw of the city shows."""
        region = self._orders[city][draw]
        assert region is not None
        return region

    def _again(self, rows: BatchRows) -> Bool[np.ndarray, " b"]:
        """Marks rows whose region an earlier row of the batch shows."""
        again = np.zeros(len(rows.city), bool)
        epoch = rows.draw // self._sizes[rows.city]
        for city in _between(rows, epoch):
            own = np.flatnonzero((rows.city == city) & rows.counts)
            regions = [self._region(city, int(draw)) for draw in rows.draw[own]]
            again[own] = True
            again[own[np.unique(regions, return_index=True)[1]]] = False
        return again


def _between(rows: BatchRows, epoch: Int[np.ndarray, " b"]) -> list[int]:
    """Cities for which one permutation ends in this batch and the next begins.

    Args:
        rows: Rows of the batch.
        epoch: Number of the permutation of its city that each row shows.
    """
    city, first = np.unique(rows.city[rows.counts], return_index=True)
    begun = np.zeros(rows.city.max() + 1, np.int64)
    begun[city] = epoch[rows.counts][first]
    others = rows.counts & (epoch != begun[rows.city])
    return np.unique(rows.city[others]).tolist()
