"""Measures what predictions lose without a part of the tile, or some POIs.

A cell of the tile is painted over in the tile's mean colour, or the POIs of a category
are removed from the region's set. The encoder then reads the region again, and the head
that has not seen the region predicts again. No camera ever took such a painted tile. So
the difference shows what this model reads there, not what the place would be without
that part.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import mapped_city, predictors, readouts
from mmgr_jax.evaluation.features import baselines, features
from mmgr_jax.evaluation.settings import Kind
from mmgr_jax.explore import readings as readings_lib
from mmgr_jax.explore.readings import CELLS, MOST_CATEGORIES, Reading, Readings

_CHUNK = 1024  # readings whose features are in memory at a time
_BATCH = 64
_THREADS = 4

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class OccludedTask:
    """Losses of a label's prediction, in its unit; for classes in their share.

    Attributes:
        shown: The class whose share is compared, the one with the largest share [q]; 0
            for numbers.
        by_cell: The prediction minus that without the cell, row by row [q cells cells];
            None if the features do not come from the tile read here.
        by_category: The same without POIs of a category [m]; None if the features do
            not come from the POIs.
    """

    shown: Int[np.ndarray, " q"]
    by_cell: Float[np.ndarray, "q cells cells"] | None
    by_category: Float[np.ndarray, " m"] | None


@dataclasses.dataclass(frozen=True)
class Occlusion:
    """Losses of the predictions of some regions.

    Attributes:
        region: Indices of the regions, ascending [q].
        cells: Number of cells along a side of a tile.
        start: The categories of region i are those from start[i] below start[i + 1]
            [q + 1].
        category: Index of a category [m].
        tasks: Label name -> losses.
    """

    region: Int[np.ndarray, " q"]
    cells: int
    start: Int[np.ndarray, " q1"]
    category: Int[np.ndarray, " m"]
    tasks: Mapping[str, OccludedTask]


def of_city(
    mapped: mapped_city.MappedCity,
    regions: Int[np.ndarray, " q"],
    cells: int = CELLS,
) -> Occlusion:
    """Reads some regions again without single parts, and predicts again.

    It first logs an estimate of the time.

    Args:
        mapped: The city, with its encoder and heads.
        regions: Indices of regions, ascending.
        cells: Along a side of a tile.

    Raises:
        InputError: If there are more cells than pixels.
    """
    side = mapped.city.source.manifest.tile_size_px
    if not 1 <= cells <= side:
        raise InputError(
            f"occlusion in {cells} x {cells} cells of a tile of {side} x {side} px: "
            f"give 1 to {side} cells a side, such as {CELLS}."
        )
    # Features of a locked encoder are read from a table, not from pixels.
    reads_tiles = not mapped.encoder.model.learning.locked
    if not reads_tiles:
        log.warning(
            "occlusion: the image encoder is locked and its features are read from a "
            "table, so tiles are not painted over; POIs are left out all the same"
        )
    readings = readings_lib.of_regions(
        mapped.city.source, regions, cells if reads_tiles else 0
    )
    ends = np.cumsum([len(part) for part in readings])
    start = np.cumsum([0, *(len(p) - 1 - reads_tiles * cells**2 for p in readings)])
    category = [r.category for part in readings for r in part if r.category is not None]
    values = {task: [] for task in mapped.heads.predictors}
    read = _Reader(mapped, cells)
    if len(ends):
        read.estimate(readings[0], int(ends[-1]))
    for part in _chunks(readings):
        for task, own in read.values(part).items():
            values[task] += own
    tasks = {
        task: _losses(own, read.parts_of(task), cells if reads_tiles else 0)
        for task, own in values.items()
    }
    return Occlusion(regions, cells, start, np.array(category, int), tasks)


def _chunks(readings: Sequence[list[Reading]]) -> Iterator[list[list[Reading]]]:
    """Splits the regions into chunks."""
    part, size = [], 0
    for own in readings:
        part.append(own)
        size += len(own)
        if size >= _CHUNK:
            yield part
            part, size = [], 0
    if part:
        yield part


def _losses(
    values: Sequence[np.ndarray], parts: tuple[bool, bool], cells: int
) -> OccludedTask:
    """Losses from each region's predictions [1 + cells + categories ...]."""
    shown = [int(np.argmax(own[0])) if own.ndim > 1 else 0 for own in values]
    lost = []
    for own, number in zip(values, shown, strict=True):
        one = own[:, number] if own.ndim > 1 else own
        lost.append(one[0] - one[1:])
    image, poi = parts
    by_cell = [own[: cells**2].reshape(cells, cells) for own in lost]
    by_category = np.concatenate([np.zeros(0), *(own[cells**2 :] for own in lost)])
    return OccludedTask(
        np.array(shown, int),
        np.array(by_cell).reshape(-1, cells, cells) if image and cells else None,
        by_category if poi else None,
    )


class _Reader:
    """Predicts regions that are read in several ways."""

    def __init__(self, mapped: mapped_city.MappedCity, cells: int) -> None:
        """Takes the city."""
        self._mapped, self._cells = mapped, cells
        self._source = mapped.city.source
        self._encoder = mapped.encoder.of_city(self._source)
        devices = self._encoder.num_devices
        self._batch = -(-_BATCH // devices) * devices

    def parts_of(self, task: str) -> tuple[bool, bool]:
        """Whether a task's features come from the tile, and whether from the POIs."""
        parts = readouts.KINDS[self._mapped.heads.kinds[task]]
        return (
            any(part.startswith("image") for part in parts),
            any(part.startswith("poi") for part in parts),
        )

    def estimate(self, readings: Sequence[Reading], total: int) -> None:
        """Logs an estimate of the time for some readings, measured on one batch."""
        some = (list(readings) * self._batch)[: self._batch]
        self._encoded(some)  # compiles
        started = time.monotonic()
        self._encoded(some)
        wanted_s = (time.monotonic() - started) * total / self._batch
        log.info(
            "occlusion: %d readings of regions, whole, without each of %d cells and "
            "without up to %d categories: about %.0f s",
            total, self._cells**2, MOST_CATEGORIES, wanted_s,
        )  # fmt: skip

    def values(
        self, readings: Sequence[Sequence[Reading]]
    ) -> dict[str, list[np.ndarray]]:
        """Task -> predictions of each region's readings."""
        flat = [reading for own in readings for reading in own]
        region = np.array([reading.region for reading in flat])
        encoded = self._encoded(flat)
        ends = np.cumsum([len(own) for own in readings])[:-1]
        kinds, heads = self._mapped.heads.kinds, self._mapped.heads
        of_kind = {
            kind: self._features(kind, encoded, flat, region)
            for kind in set(kinds.values())
        }
        fold = np.full(len(region), predictors.UNSEEN)
        if heads.fold is not None:
            fold = heads.fold[region]
        values = {}
        for task, predictor in heads.predictors.items():
            own = predictor.values(of_kind[kinds[task]], fold)
            values[task] = np.split(own, ends)
        return values

    def _encoded(self, readings: Sequence[Reading]) -> readouts.Extracted:
        region = np.array([reading.region for reading in readings])

        def encode(batch: Mapping[str, np.ndarray]) -> features.Encoded:
            own = region[batch["region_index"]]  # a locked encoder's table has these
            return self._encoder.encode({**batch, "region_index": own})

        return features.extract(
            encode,
            Readings(self._source, readings, self._cells),
            batch_size=self._batch,
            num_threads=_THREADS,
            edges=self._encoder.reads_edges,
        )

    def _features(
        self,
        kind: Kind,
        encoded: readouts.Extracted,
        readings: Sequence[Reading],
        region: np.ndarray,
    ) -> Float[np.ndarray, "v f"]:
        """The features for heads: surroundings are unchanged, regions are as read.

        They are put together as in `readouts.Readout.features`.
        """
        rows = self._mapped.read_by_heads[kind].rows(region)
        parts = [part for part in readouts.KINDS[kind] if part in encoded]
        own = [encoded[part].values for part in parts]
        held = {name for part in parts for name, _ in encoded[part].groups}
        source = Readings(self._source, readings, self._cells)
        for part in readouts.KINDS[kind]:
            if part not in encoded:
                of_rows = baselines.BASELINES[part].of_rows
                assert of_rows is not None
                columns = of_rows(source, range(len(source)))
                if not held & {name for name, _ in columns.groups}:
                    own.append(columns.values)
        beside = np.concatenate(own, axis=1)
        rows[:, : beside.shape[1]] = beside
        return rows
