"""The order of training: the rows of each global batch, in the form that Grain needs.

Global batch t has the same regions in the same order for any number of processes.
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
"""Index of a region, whether it counts, and the state of its generator if it draws."""


def of_city(
    num_regions: int,
    num_batches: int,
    batch_size: int,
    own: slice,
    *,
    seed: int,
    draws: bool,
) -> grain.MapDataset:
    """BatchRows of one city's batches, over and over, each epoch in a new permutation.

    Args:
        num_regions: Regions of the city.
        num_batches: Batches of an epoch.
        batch_size: BatchRows of a global batch.
        own: Those of this process.
        seed: Decides the order.
        draws: Whether POIs are drawn from the fullest regions.

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
    """The same of several cities; see `of_city` and `CorpusRows`."""
    return CorpusRows(source, data, own, seed=seed, draws=draws).repeat(None)


class _ProcessRows(grain.MapDataset):
    """One process's rows of each global batch: pairs of a region and whether it counts.

    An epoch that ends within a batch goes on with its own first regions, which no
    longer count.
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

    Each city shows its regions in a permutation of its own, a new one each time it has
    shown all, that hangs on the seed and its name: cities that come or go change
    nothing in it, nor in the POIs that are drawn of a region. A region that a batch
    shows twice, which may be where one permutation of a city ends and the next begins,
    counts once.
    """

    _MUTATES_ELEMENT_SPEC = False

    def __init__(
        self, source: Corpus, data: DataSettings, own: slice, *, seed: int, draws: bool
    ) -> None:
        """Takes what `of_city` does."""
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
        """Batches of an epoch."""
        return self._turns.steps_per_epoch

    def __getitem__(self, step: int) -> list[Row]:
        """This process's rows of a batch, which may be of any epoch."""
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
        """The region, by its number in the city, that a draw of the city shows."""
        region = self._orders[city][draw]
        assert region is not None
        return region

    def _again(self, rows: BatchRows) -> Bool[np.ndarray, " b"]:
        """BatchRows whose region an earlier row shows."""
        again = np.zeros(len(rows.city), bool)
        epoch = rows.draw // self._sizes[rows.city]
        for city in _between(rows, epoch):
            own = np.flatnonzero((rows.city == city) & rows.counts)
            regions = [self._region(city, int(draw)) for draw in rows.draw[own]]
            again[own] = True
            again[own[np.unique(regions, return_index=True)[1]]] = False
        return again


def _between(rows: BatchRows, epoch: Int[np.ndarray, " b"]) -> list[int]:
    """Cities that end one permutation in a batch and begin the next.

    Args:
        rows: Of the batch.
        epoch: Which permutation of its city each shows.
    """
    city, first = np.unique(rows.city[rows.counts], return_index=True)
    begun = np.zeros(rows.city.max() + 1, np.int64)
    begun[city] = epoch[rows.counts][first]
    others = rows.counts & (epoch != begun[rows.city])
    return np.unique(rows.city[others]).tolist()
