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
[b n 2] · `poi_mask` bool [b n] · `example_mask` bool [b] · `region_index` int64 [b]
without `image` where the device has all of them; with `city_index` int32 [b] where
they are of several cities;
and, on demand, `poi_edges` int32 [b e 2] · `poi_edge_weight` float32 [b e]"""

POI_SLOT_MULTIPLE = 8
"""POI slots are rounded up to this, so that few array shapes are ever compiled; those
of a batch of `epoch_batches` to this times a power of two."""

EDGES_PER_SLOT = 3
"""A Delaunay graph of n points has fewer than 3 n edges."""

_PART = 16
"""Regions that one thread reads at once."""

_AHEAD = 2
"""Batches that are made before they are asked for, and at the same time."""


class TrainingBatches(Iterator[Batch]):
    """An endless iterator whose state fits any number of processes."""

    def __init__(self, batches: grain.DatasetIterator, batch_size: int) -> None:
        """Takes this process's iterator, and the rows of a batch over all of them."""
        self._batches = batches
        self._batch_size = batch_size

    def __next__(self) -> Batch:
        """The next batch."""
        return next(self._batches)

    def get_state(self) -> dict[str, int]:
        """Rows that all processes together have given."""
        return {"rows": self._batches.get_state()["next_index"] * self._batch_size}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes on from a state, which another number of processes may have left."""
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
    """An endless, shuffled, checkpointable iterator over this process's rows.

    Every epoch is a new permutation. Global batch t holds the same regions in the same
    order whatever the number of processes, and each process reads a contiguous part of
    it.

    Args:
        source: The records.
        settings: The section `data`.
        seed: Decides the order of regions and the choice of POIs.
        edges: Whether batches hold the POI graph.
        images: Whether batches hold the tiles; if not, no tile is decoded.
        process_index: Number of this process.
        process_count: Number of processes.

    Returns:
        Iterator over batches of `batch_size / process_count` regions.

    Raises:
        InputError: If the batch is larger than the data set or indivisible.
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
    """Batches in which an epoch shows the regions of some records.

    Raises:
        InputError: If one batch would take more than there are.
    """
    if isinstance(source, Corpus):
        return source.turns(settings).steps_per_epoch
    return steps_per_epoch(len(source), settings)


def steps_per_epoch(num_regions: int, settings: DataSettings) -> int:
    """Batches in which an epoch shows its regions.

    Raises:
        InputError: If one batch would take more than there are.
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
    """Every region once, in order, with all its POIs; the last batch is padded.

    Rows added to fill the last batch repeat its last region, with `example_mask` False.
    A batch has as many POI slots as its own fullest region takes, in a few sizes: one
    market hall makes no other batch longer.

    Args:
        source: The records.
        batch_size: Regions of a batch.
        num_threads: Threads that read.
        edges: Whether batches hold the POI graph.
        regions: Indices of those wanted, in their order; None for all.
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
    """POI slots of a batch: `max_pois`, or the fullest region's, rounded up."""
    return rounded_slots(max_pois or source.manifest.max_pois)


def rounded_slots(most: int) -> int:
    """Number of POI slots for `most` POIs: a multiple of `POI_SLOT_MULTIPLE`, not 0."""
    return -(-max(most, 1) // POI_SLOT_MULTIPLE) * POI_SLOT_MULTIPLE


def fitting_slots(source: RegionSource, most: int) -> int:
    """POI slots of a batch whose fullest region has so many: one of a few sizes."""
    slots = POI_SLOT_MULTIPLE
    while slots < most:
        slots *= 2
    return min(slots, poi_slots(source, None))


class _Reader:
    """Rows of a batch -> the batch: read, decoded and padded by threads, in place."""

    def __init__(
        self,
        source: RegionSource,
        num_slots: int | None,
        num_threads: int,
        *,
        edges: bool,
        images: bool = True,
    ) -> None:
        """Takes the POI slots of every batch; None for those that each one needs."""
        self._source = source
        self._num_slots = num_slots
        self._edges = edges
        self._images = images
        self._threads = ThreadPoolExecutor(num_threads, "read")

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """The batch of these rows."""
        parts = [slice(k, k + _PART) for k in range(0, len(rows), _PART)]
        side = self._source.manifest.tile_size_px
        tiles = np.empty((len(rows), side, side, 3), np.uint8) if self._images else None

        def read(part: slice) -> list[record_format.Record]:
            into = None if tiles is None else tiles[part]
            return self._source.read([row[0] for row in rows[part]], into=into)

        # An error of a thread is raised where its result is taken.
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
        """A batch without its tiles."""
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
    """The generator that Grain gave a row, as it was."""
    return np.random.Generator(np.random.Philox(**state))


def pad_pois(
    record: record_format.Record,
    num_slots: int,
    draw: Callable[[], np.random.Generator] | None,
    *,
    edges: bool = False,
) -> Batch:
    """A region's POI set in `num_slots` slots, empty slots masked.

    Args:
        record: A region.
        num_slots: Slots n.
        draw: Gives what draws `num_slots` POIs from a fuller region; None refuses
            one.
        edges: Give the edges between the chosen POIs, e = 3 n.

    Returns:
        `poi_category` int32 [n], `poi_offset_m` float32 [n 2], `poi_mask` bool [n];
        with `edges` also `poi_edges` int32 [e 2], slots of both ends, and
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
    """The edges between chosen POIs, renumbered to their slots."""
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
