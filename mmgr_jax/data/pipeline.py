"""From records to batches, all inside Grain, so that the iterator's state is exact."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import grain
import numpy as np

from mmgr_jax.data import schema
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError, check_choice

Batch = dict[str, np.ndarray]
"""`image` uint8 [b h w 3] · `poi_category` int32 [b n] · `poi_offset_m` float32
[b n 2] · `poi_mask` bool [b n] · `example_mask` bool [b] · `region_index` int64 [b]
and, on demand, `poi_edges` int32 [b e 2] · `poi_edge_weight` float32 [b e]"""

POI_SLOT_MULTIPLE = 8
"""POI slots are rounded up to this, so that few array shapes are ever compiled."""

EDGES_PER_SLOT = 3
"""A Delaunay graph of n points has fewer than 3 n edges."""

SHORT_BATCHES = ("drop", "fill")


class TrainingBatches(Iterator[Batch]):
    """An endless iterator whose state fits any number of processes."""

    def __init__(self, rows: grain.DatasetIterator, process_count: int) -> None:
        """Takes this process's iterator, and how many there are of its kind."""
        self._rows = rows
        self._process_count = process_count

    def __next__(self) -> Batch:
        """The next batch."""
        return next(self._rows)

    def get_state(self) -> dict[str, int]:
        """Rows that all processes together have given."""
        return {"rows": self._rows.get_state()["next_index"] * self._process_count}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes on from a state, which another number of processes may have left."""
        self._rows.set_state({"next_index": state["rows"] // self._process_count})


def training_batches(
    source: RecordSource,
    *,
    batch_size: int,
    max_pois: int | None,
    num_threads: int,
    seed: int,
    short_batch: str = "drop",
    edges: bool = False,
    process_index: int = 0,
    process_count: int = 1,
) -> TrainingBatches:
    """An endless, shuffled, checkpointable iterator over this process's rows.

    Every epoch is a new permutation. Global batch t holds the same regions in the same
    order whatever the number of processes, and each process reads a contiguous part of
    it.

    Args:
        source: The records.
        batch_size: Regions a step over all processes.
        max_pois: POI slots a region; a region with more shows a random choice of this
            many, drawn anew each epoch. None takes the fullest region.
        num_threads: Threads that read and decode.
        seed: Decides order and choice.
        short_batch: What becomes of the regions of an epoch that fill no whole batch.
            "drop": they wait for another epoch's draw, as released. "fill": their
            batch is filled with regions the epoch has shown before, which
            `example_mask` keeps out of the losses; so every region counts once.
        edges: Give the POI graph too.
        process_index: This process.
        process_count: Number of processes.

    Returns:
        Iterator over batches of `batch_size / process_count` regions.

    Raises:
        InputError: If the batch is larger than the data set or indivisible.
    """
    check_choice("data.short_batch", short_batch, SHORT_BATCHES)
    if batch_size > len(source):
        raise InputError(
            f"config.data.batch_size={batch_size} exceeds the {len(source)} regions of "
            f"{source.records_dir}. Take at most {len(source)}."
        )
    if batch_size % process_count:
        raise InputError(
            f"config.data.batch_size={batch_size} does not divide over {process_count} "
            f"processes. Take a multiple of {process_count}."
        )
    num_slots = poi_slots(source, max_pois)
    rows = batch_size // process_count
    dataset = grain.MapDataset.range(len(source)).seed(seed).shuffle()
    dataset = _ProcessRows(
        dataset,
        steps_per_epoch(len(source), batch_size, short_batch),
        batch_size,
        process_index,
        process_count,
    )
    dataset = dataset.repeat(None)
    dataset = dataset.random_map(
        lambda row, rng: _example(source, *row, num_slots, edges, rng)
    )
    batches = dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * rows)
    ).batch(rows, drop_remainder=True)
    return TrainingBatches(iter(batches), process_count)


def steps_per_epoch(num_regions: int, batch_size: int, short_batch: str) -> int:
    """Batches in which an epoch shows its regions."""
    whole, rest = divmod(num_regions, batch_size)
    return whole + (1 if rest and short_batch == "fill" else 0)


def epoch_batches(
    source: RecordSource, *, batch_size: int, num_threads: int, edges: bool = False
) -> Iterator[Batch]:
    """Every region once, in order, with all its POIs; the last batch is padded.

    Rows added to fill the last batch repeat its last region, with `example_mask` False.
    """
    num_slots = poi_slots(source, None)
    last = len(source) - 1
    dataset = grain.MapDataset.range(-(-len(source) // batch_size) * batch_size)
    dataset = dataset.map(
        lambda row: _example(
            source, min(row, last), row <= last, num_slots, edges, None
        )
    )
    yield from dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * batch_size)
    ).batch(batch_size)


def poi_slots(source: RecordSource, max_pois: int | None) -> int:
    """Number of POI slots of a batch: `max_pois` or the fullest region's, rounded up.

    Raises:
        InputError: If `max_pois` is not positive.
    """
    if max_pois is not None and max_pois < 1:
        raise InputError(
            f"config.data.max_pois={max_pois} must be at least 1, or None for the "
            "number of POIs in the fullest region."
        )
    most = max_pois or max(source.manifest.max_pois, 1)
    return -(-most // POI_SLOT_MULTIPLE) * POI_SLOT_MULTIPLE


class _ProcessRows(grain.MapDataset):
    """One process's rows of each global batch: pairs of a region and whether it counts.

    An epoch that ends within a batch goes on with its own first regions, which no
    longer count.
    """

    _MUTATES_ELEMENT_SPEC = False

    def __init__(
        self,
        parent: grain.MapDataset,
        num_batches: int,
        batch_size: int,
        index: int,
        count: int,
    ) -> None:
        super().__init__(parent)
        self._num_batches = num_batches
        self._batch_size = batch_size
        self._rows = batch_size // count
        self._first = index * self._rows

    def __len__(self) -> int:
        return self._num_batches * self._rows

    def __getitem__(self, index: int) -> tuple[int, bool]:
        epoch, index = divmod(index, len(self))
        batch, row = divmod(index, self._rows)
        shown_before, place = divmod(
            batch * self._batch_size + self._first + row, len(self._parent)
        )
        region = self._parent[epoch * len(self._parent) + place]
        return region, not shown_before


def _example(
    source: RecordSource,
    index: int,
    counts: bool,
    num_slots: int,
    edges: bool,
    rng: np.random.Generator | None,
) -> Batch:
    """One region as the row of a batch."""
    record = source[index]
    return {
        "image": record["image"],
        **pad_pois(record, num_slots, rng, edges=edges),
        "example_mask": np.bool_(counts),
        "region_index": np.int64(index),
    }


def pad_pois(
    record: schema.Record,
    num_slots: int,
    rng: np.random.Generator | None,
    *,
    edges: bool = False,
) -> Batch:
    """A region's POI set in `num_slots` slots, empty slots masked.

    Args:
        record: A region.
        num_slots: Slots n.
        rng: Draws `num_slots` POIs from a fuller region; None refuses one.
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
        assert rng is not None, "epoch_batches has a slot for every POI"
        chosen = np.sort(rng.choice(count, num_slots, replace=False))
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
    record: schema.Record, chosen: np.ndarray, num_slots: int
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
