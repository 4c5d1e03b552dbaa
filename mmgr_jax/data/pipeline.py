"""From records to batches, all inside Grain, so that the iterator's state is exact."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import grain
import numpy as np

from mmgr_jax.data import schema
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError

Batch = dict[str, np.ndarray]
"""`image` uint8 [b h w 3] · `poi_category` int32 [b n] · `poi_offset_m` float32
[b n 2] · `poi_mask` bool [b n] · `example_mask` bool [b] · `region_index` int64 [b]"""

POI_SLOT_MULTIPLE = 8
"""POI slots are rounded up to this, so that few array shapes are ever compiled."""


def training_batches(
    source: RecordSource,
    *,
    batch_size: int,
    max_pois: int | None,
    num_threads: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator[Batch]:
    """An endless, shuffled, checkpointable iterator over this process's rows.

    Every epoch is a new permutation; the regions of a last, short batch are left for
    another epoch's draw, as in the released code. Global batch t holds the same regions
    in the same order whatever the number of processes, and each process reads a
    contiguous part of it.

    Args:
        source: The records.
        batch_size: Regions a step over all processes.
        max_pois: POI slots a region; a region with more shows a random choice of this
            many, drawn anew each epoch. None takes the fullest region.
        num_threads: Threads that read and decode.
        seed: Decides order and choice.
        process_index: This process.
        process_count: Number of processes.

    Returns:
        Iterator over batches of `batch_size / process_count` regions.

    Raises:
        InputError: If the batch is larger than the data set or indivisible.
    """
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
    dataset = _ProcessRows(dataset, batch_size, process_index, process_count)
    dataset = dataset.repeat(None)
    dataset = dataset.random_map(
        lambda index, rng: _example(source, index, num_slots, rng)
    )
    return iter(
        dataset.to_iter_dataset(
            grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * rows)
        ).batch(rows, drop_remainder=True)
    )


def epoch_batches(
    source: RecordSource, *, batch_size: int, num_threads: int
) -> Iterator[Batch]:
    """Every region once, in order, with all its POIs; the last batch is padded.

    Rows added to fill the last batch repeat its last region, with `example_mask` False.
    """
    num_slots = poi_slots(source, None)
    indices = np.arange(-(-len(source) // batch_size) * batch_size)
    dataset = grain.MapDataset.source(np.minimum(indices, len(source) - 1))
    dataset = dataset.map(lambda index: _example(source, int(index), num_slots, None))
    batches = dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * batch_size)
    ).batch(batch_size)
    for start, batch in zip(range(0, len(indices), batch_size), batches, strict=True):
        batch["example_mask"] = np.arange(start, start + batch_size) < len(source)
        yield batch


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
    """The rows of each global batch that belong to one process; whole batches only."""

    _MUTATES_ELEMENT_SPEC = False

    def __init__(
        self, parent: grain.MapDataset, batch_size: int, index: int, count: int
    ) -> None:
        super().__init__(parent)
        self._batch_size = batch_size
        self._rows = batch_size // count
        self._first = index * self._rows

    def __len__(self) -> int:
        return len(self._parent) // self._batch_size * self._rows

    def __getitem__(self, index: int) -> int:
        epoch, index = divmod(index, len(self))
        batch, row = divmod(index, self._rows)
        in_epoch = batch * self._batch_size + self._first + row
        return self._parent[epoch * len(self._parent) + in_epoch]


def _example(
    source: RecordSource, index: int, num_slots: int, rng: np.random.Generator | None
) -> Batch:
    """One region as the row of a batch."""
    record = source[index]
    return {
        "image": record["image"],
        **pad_pois(record, num_slots, rng),
        "example_mask": np.bool_(True),
        "region_index": np.int64(index),
    }


def pad_pois(
    record: schema.Record, num_slots: int, rng: np.random.Generator | None
) -> Batch:
    """A region's POI set in `num_slots` slots, empty slots masked.

    Args:
        record: A region.
        num_slots: Slots n.
        rng: Draws `num_slots` POIs from a fuller region; None refuses one.

    Returns:
        `poi_category` int32 [n], `poi_offset_m` float32 [n 2], `poi_mask` bool [n].
    """
    count = len(record["poi/category"])
    if count > num_slots:
        assert rng is not None, "epoch_batches has a slot for every POI"
        chosen = np.sort(rng.choice(count, num_slots, replace=False))
    else:
        chosen = np.arange(count)
    fill = functools.partial(_fill, num_slots=num_slots)
    return {
        "poi_category": fill(record["poi/category"][chosen]),
        "poi_offset_m": fill(record["poi/offset_m"][chosen]),
        "poi_mask": np.arange(num_slots) < len(chosen),
    }


def _fill(values: np.ndarray, *, num_slots: int) -> np.ndarray:
    filled = np.zeros((num_slots, *values.shape[1:]), values.dtype)
    filled[: len(values)] = values
    return filled
