"""Features of every region from encoders, and its labels, outline and block."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from mmgr_jax.data import pipeline
from mmgr_jax.data.source import RegionSource
from mmgr_jax.evaluation.features.groups import Features, beside

KINDS = ("image", "poi", "image_projection", "poi_projection")
"""Features from encoders: `image` of tiles, `poi` of POI sets. The contrastive loss
compares `image_projection` and `poi_projection`, which are not used after training by
default."""

_READ = 256
"""Records that are read at once where no tile is."""

Encoded = Mapping[str, Mapping[str, np.ndarray]]
"""Kind -> group of features -> float32 [b n]."""


@dataclasses.dataclass(frozen=True)
class RegionTable:
    """The regions of a city, in the order of the records.

    Attributes:
        region_ids: Stable names, r of them.
        geometry_wkb: Polygons in the study area's CRS.
        block_id: Spatial block of each region, int32 [r].
        num_pois: POIs of each region, int32 [r].
        labels: Label name -> float32 [r] or [r k], NaN where unknown.
    """

    region_ids: list[str]
    geometry_wkb: list[bytes]
    block_id: np.ndarray
    num_pois: np.ndarray
    labels: Mapping[str, np.ndarray]


def read_regions(
    source: RegionSource, regions: Int[np.ndarray, " r"] | None = None
) -> RegionTable:
    """Reads all data of regions except tiles and POIs, of all or of given indices."""
    chosen = np.arange(len(source)) if regions is None else regions
    region_ids, geometry_wkb = [], []
    block_id = np.zeros(len(chosen), np.int32)
    num_pois = np.zeros(len(chosen), np.int32)
    labels: dict[str, np.ndarray] = {}
    for first in range(0, len(chosen), _READ):  # records hold POIs too: not all at once
        records = source.read(chosen[first : first + _READ].tolist())
        rows = slice(first, first + len(records))
        region_ids += [record["region_id"] for record in records]
        geometry_wkb += [record["geometry"] for record in records]
        block_id[rows] = [record["block_id"] for record in records]
        num_pois[rows] = [len(record["poi/category"]) for record in records]
        for name in source.manifest.labels:
            values = np.stack([record[f"label/{name}"] for record in records])
            if name not in labels:
                shape = (len(chosen), *values.shape[1:])
                labels[name] = np.zeros(shape, values.dtype)
            labels[name][rows] = values
    return RegionTable(region_ids, geometry_wkb, block_id, num_pois, labels)


def in_batches(
    encode: Callable[[pipeline.Batch], Encoded],
    source: RegionSource,
    *,
    batch_size: int,
    num_threads: int,
    edges: bool = False,
    regions: Int[np.ndarray, " r"] | None = None,
) -> Iterator[tuple[Int[np.ndarray, " b"], Encoded]]:
    """Yields indices of regions and their features, batch by batch, in order.

    Args:
        encode: Batch -> features; see `Encoded`.
        source: The records.
        batch_size: Regions in a batch.
        num_threads: Threads that read records.
        edges: Whether `encode` reads the POI graph.
        regions: Indices of the regions to read, in this order; None for all.
    """
    for batch in pipeline.epoch_batches(
        source,
        batch_size=batch_size,
        num_threads=num_threads,
        edges=edges,
        regions=regions,
    ):
        present = batch["example_mask"]
        yield (
            batch["region_index"][present],
            {
                kind: {name: rows[present] for name, rows in groups.items()}
                for kind, groups in encode(batch).items()
            },
        )


def extract(
    encode: Callable[[pipeline.Batch], Encoded], source: RegionSource, **options: Any
) -> dict[str, Features]:
    """Computes features of each of `KINDS` in memory; for whole cities see `store`.

    Args:
        encode: Batch -> features; see `Encoded`.
        source: The records.
        **options: See `in_batches`.
    """
    parts: dict[str, dict[str, list[np.ndarray]]] = {kind: {} for kind in KINDS}
    for _, encoded in in_batches(encode, source, **options):
        for kind, groups in encoded.items():
            for name, rows in groups.items():
                parts[kind].setdefault(name, []).append(rows)
    return {
        kind: beside(
            [Features.of(name, np.concatenate(rows)) for name, rows in groups.items()]
        )
        for kind, groups in parts.items()
    }
