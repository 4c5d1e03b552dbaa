"""Makes batches from records inside Grain, so that the iterator's state is exact."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grain
import numpy as np
from jaxtyping import Int

from mmgr_jax.data import order, record_format
from mmgr_jax.data.corpus import Corpus
from mmgr_jax.data.order import Row
from mmgr_jax.data.settings import DataSettings
from mmgr_jax.data.source import RegionSource
from mmgr_jax.errors import InputError

Batch = dict[str, np.ndarray]
"""`image` uint8 [b h w 3] · `poi_category` int32 [b n] · `poi_offset_m` float32
[b n 2] · `poi_mask` bool [b n] · `example_mask` bool [b] · `region_index` int64 [b].
There is no `image` if the device holds all tiles, and `city_index` int32 [b] only for
several cities. On demand: `poi_edges` int32 [b e 2] · `poi_edge_weight` float32 [b e]
"""

POI_SLOT_MULTIPLE = 8
"""POI slots are rounded up to a multiple of this, in `epoch_batches` to this times a
power of two, so that only few array shapes are compiled."""

EDGES_PER_SLOT = 3
"""Edges for each slot: a Delaunay graph of n points has fewer than 3 n edges."""

_PART = 16
"""Number of regions that one thread reads at once."""

_AHEAD = 2
"""Number of batches that are made in advance, and at the same time."""


class TrainingBatches(Iterator[Batch]):
    """An endless iterator whose state fits any number of processes."""

    def __init__(self, batches: grain.DatasetIterator, batch_size: int) -> None:
        """Takes this process's iterator, and the batch size over all processes."""
        self._batches = batches
        self._batch_size = batch_size

    def __next__(self) -> Batch:
        """Returns the next batch."""
        return next(self._batches)

    def get_state(self) -> dict[str, int]:
        """Returns the number of rows that all processes together have given."""
        return {"rows": self._batches.get_state()["next_index"] * self._batch_size}

    def set_state(self, state: dict[str, int]) -> None:
        """Continues from a state, also of a run with another number of processes."""
        self._batches.set_state({"next_index": state["rows"] // self._batch_size})


def training_batches(
    source: RegionSource,
    settings: DataSettings,
    *,
    seed: int,
    edges: bool = False,
    images: bool = True,
    process_index: int = 0,
    process_count: int = 1,
) -> TrainingBatches:
    """Returns an endless iterator over this process's rows, shuffled and resumable.

    Every epoch is a new permutation. Global batch t holds the same regions in the same
    order for any number of processes, and each process reads a contiguous part of it.

    Args:
        source: The records.
        settings: The section `data`.
        seed: Seed for the order of regions and the choice of POIs.
        edges: Whether batches also have the POI graph.
        images: Whether batches have the tiles; otherwise no tile is decoded.
        process_index: Number of this process, from 0.
        process_count: Number of processes.

    Returns:
        Iterator over batches of `batch_size / process_count` regions.

    Raises:
        InputError: If a batch is larger than the data set, or cannot be divided evenly
            among the processes.
    """
    batch_size = settings.batch_size
    batches_an_epoch = epoch_steps(source, settings)
    if batch_size % process_count:
        raise InputError(
            f"config.data.batch_size={batch_size} cannot be divided evenly over "
            f"{process_count} processes. Take a multiple of {process_count}."
        )
    num_slots = poi_slots(source, settings.max_pois)
    rows = batch_size // process_count
    draws = source.manifest.max_pois > num_slots
    own = slice(process_index * rows, (process_index + 1) * rows)
    if isinstance(source, Corpus):
        lists = order.of_corpus(source, settings, own, seed=seed, draws=draws)
    else:
        lists = order.of_city(
            len(source), batches_an_epoch, batch_size, own, seed=seed, draws=draws
        )
    reader = _Reader(
        source, num_slots, settings.num_threads, edges=edges, images=images
    )
    batches = lists.map(reader)
    return TrainingBatches(iter(_ahead(batches)), batch_size)


def epoch_steps(source: RegionSource, settings: DataSettings) -> int:
    """Returns the number of batches in an epoch over some records.

    Raises:
        InputError: If a batch is larger than the number of regions.
    """
    if isinstance(source, Corpus):
        return source.turns(settings).steps_per_epoch
    return steps_per_epoch(len(source), settings)


def steps_per_epoch(num_regions: int, settings: DataSettings) -> int:
    """Returns the number of batches in an epoch over `num_regions` regions.

    Raises:
        InputError: If a batch is larger than the number of regions.
    """
    batch_size = settings.batch_size
    if batch_size > num_regions:
        raise InputError(
            f"config.data.batch_size={batch_size} exceeds the {num_regions} regions of "
            f"the records. Take at most {num_regions}."
        )
    whole, rest = divmod(num_regions, batch_size)
    return whole + (1 if rest and settings.short_batch == "fill" else 0)


def epoch_batches(
    source: RegionSource,
    *,
    batch_size: int,
    num_threads: int,
    edges: bool = False,
    regions: Int[np.ndarray, " r"] | None = None,
) -> Iterator[Batch]:
    """Yields every region once, in order, with all its POIs; the last batch is padded.

    Padding repeats the last region of the last batch, with `example_mask` False. The
    number of POI slots of a batch depends only on its own region with the most POIs.
    It takes only a few values.

    Args:
        source: The records.
        batch_size: Number of regions in a batch.
        num_threads: Number of threads that read.
        edges: Whether batches have the POI graph.
        regions: Indices of the regions to give, in this order; None for all.
    """
    chosen = np.arange(len(source)) if regions is None else regions
    last = len(chosen) - 1
    dataset = grain.MapDataset.range(-(-len(chosen) // batch_size) * batch_size)
    dataset = dataset.map(lambda row: (int(chosen[min(row, last)]), row <= last))
    reader = _Reader(source, None, num_threads, edges=edges)
    yield from _ahead(dataset.batch(batch_size, batch_fn=list).map(reader))


def _ahead(batches: grain.MapDataset) -> grain.IterDataset:
    return batches.to_iter_dataset(
        grain.ReadOptions(num_threads=_AHEAD, prefetch_buffer_size=_AHEAD)
    )


def poi_slots(source: RegionSource, max_pois: int | None) -> int:
    """Returns the POI slots of a batch: `max_pois` or the largest set, rounded up."""
    return rounded_slots(max_pois or source.manifest.max_pois)


def rounded_slots(most: int) -> int:
    """Returns the number of slots for `most` POIs, at least `POI_SLOT_MULTIPLE`."""
    return -(-max(most, 1) // POI_SLOT_MULTIPLE) * POI_SLOT_MULTIPLE


def fitting_slots(source: RegionSource, most: int) -> int:
    """Returns the slots of a batch with at most `most` POIs in a region: few values."""
    slots = POI_SLOT_MULTIPLE
    while slots < most:
        slots *= 2
    return min(slots, poi_slots(source, None))


class _Reader:
    """Turns rows into a batch: threads read, decode and pad regions in place."""

    def __init__(
        self,
        source: RegionSource,
        num_slots: int | None,
        num_threads: int,
        *,
        edges: bool,
        images: bool = True,
    ) -> None:
        """Takes the POI slots of every batch; None: as many as each batch needs."""
        self._source = source
        self._num_slots = num_slots
        self._edges = edges
        self._images = images
        self._threads = ThreadPoolExecutor(num_threads, "read")

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """Returns the batch of these rows."""
        parts = [slice(k, k + _PART) for k in range(0, len(rows), _PART)]
        side = self._source.manifest.tile_size_px
        tiles = np.empty((len(rows), side, side, 3), np.uint8) if self._images else None

        def read(part: slice) -> list[record_format.Record]:
            into = None if tiles is None else tiles[part]
            return self._source.read([row[0] for row in rows[part]], into=into)

        # An error in a thread is raised where its result is taken.
        records = [one for some in self._threads.map(read, parts) for one in some]
        most = max(len(record["poi/category"]) for record in records)
        slots = self._num_slots or fitting_slots(self._source, most)
        batch = self._empty(len(rows), slots)
        if tiles is not None:
            batch["image"] = tiles
        if isinstance(self._source, Corpus) and len(self._source.cities) > 1:
            region = np.array([row[0] for row in rows])
            batch["city_index"] = self._source.city_index(region).astype(np.int32)
        fill = functools.partial(self._fill, batch, rows, records, slots)
        for _ in self._threads.map(fill, parts):
            pass
        return batch

    def _empty(self, size: int, slots: int) -> Batch:
        """An empty batch without tiles."""
        batch = {
            "poi_category": np.zeros((size, slots), np.int32),
            "poi_offset_m": np.zeros((size, slots, 2), np.float32),
            "poi_mask": np.zeros((size, slots), bool),
            "example_mask": np.zeros(size, bool),
            "region_index": np.zeros(size, np.int64),
        }
        if self._edges:
            length = EDGES_PER_SLOT * slots
            batch["poi_edges"] = np.zeros((size, length, 2), np.int32)
            batch["poi_edge_weight"] = np.zeros((size, length), np.float32)
        return batch

    def _fill(
        self,
        batch: Batch,
        rows: Sequence[Row],
        records: Sequence[record_format.Record],
        slots: int,
        part: slice,
    ) -> None:
        """Fills some rows of a batch."""
        places = itertools.count(part.start)
        for place, row, record in zip(places, rows[part], records[part], strict=False):
            index, counts, *state = row
            batch["region_index"][place] = index
            batch["example_mask"][place] = counts
            draw = functools.partial(_generator, state[0]) if state else None
            pois = pad_pois(record, slots, draw, edges=self._edges)
            for name, values in pois.items():
                batch[name][place] = values


def _generator(state: dict[str, np.ndarray]) -> np.random.Generator:
    """Restores the random generator that Grain gave to a row."""
    return np.random.Generator(np.random.Philox(**state))


def pad_pois(
    record: record_format.Record,
    num_slots: int,
    draw: Callable[[], np.random.Generator] | None,
    *,
    edges: bool = False,
) -> Batch:
    """Puts a region's POI set into `num_slots` slots, and masks the empty slots.

    Args:
        record: A region.
        num_slots: Number n of slots.
        draw: Returns the generator that draws `num_slots` POIs if the region has more;
            None: no region may have more.
        edges: Whether to return the edges between the chosen POIs, e = 3 n.

    Returns:
        `poi_category` int32 [n], `poi_offset_m` float32 [n 2], `poi_mask` bool [n].
        With `edges` also `poi_edges` int32 [e 2], the slots of both ends, and
        `poi_edge_weight` float32 [e], 0 for padding.

    Raises:
        InputError: If there are more edges than a Delaunay graph can have.
    """
    count = len(record["poi/category"])
    if count > num_slots:
        assert draw is not None, "epoch_batches has a slot for every POI"
        chosen = np.sort(draw().choice(count, num_slots, replace=False))
    else:
        chosen = np.arange(count)
    fill = functools.partial(_fill, length=num_slots)
    padded = {
        "poi_category": fill(record["poi/category"][chosen]),
        "poi_offset_m": fill(record["poi/offset_m"][chosen]),
        "poi_mask": np.arange(num_slots) < len(chosen),
    }
    return padded | (_pad_edges(record, chosen, num_slots) if edges else {})


def _pad_edges(
    record: record_format.Record, chosen: np.ndarray, num_slots: int
) -> dict[str, np.ndarray]:
    """The edges between chosen POIs, with the numbers of their slots."""
    slot = np.full(len(record["poi/category"]), -1, np.int32)
    slot[chosen] = np.arange(len(chosen))
    ends = slot[record["poi/edges"]]
    inside = np.all(ends >= 0, axis=1)
    length = EDGES_PER_SLOT * num_slots
    if np.sum(inside) > length:
        raise InputError(
            f"region {record['region_id']!r}: {np.sum(inside)} edges between "
            f"{len(chosen)} POIs; a Delaunay graph has at most {EDGES_PER_SLOT} a POI. "
            "Build the records again, or choose a POI encoder without edges by "
            "--config.model.poi_encoder.name=set2set."
        )
    return {
        "poi_edges": _fill(ends[inside], length=length),
        "poi_edge_weight": _fill(record["poi/edge_weight"][inside], length=length),
    }


def _fill(values: np.ndarray, *, length: int) -> np.ndarray:
    filled = np.zeros((length, *values.shape[1:]), values.dtype)
    filled[: len(values)] = values
    return filled
