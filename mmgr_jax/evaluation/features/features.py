"""What the encoders say of every region, and what is known of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int

from mmgr_jax.data import pipeline
from mmgr_jax.data.source import RecordSource
from mmgr_jax.evaluation.features.groups import Features, beside

KINDS = ("image", "poi", "image_projection", "poi_projection")
"""What encoders give: `image`, features of tiles; `poi`, of POI sets;
`image_projection` and `poi_projection`, what the contrastive loss compares, thrown away
after training by default."""

Encoded = Mapping[str, Mapping[str, np.ndarray]]
"""Kind -> group of features -> float32 [b n]."""


@dataclasses.dataclass(frozen=True)
class RegionTable:
    """The regions of a city in record order.

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
    source: RecordSource, regions: Int[np.ndarray, " r"] | None = None
) -> RegionTable:
    """Everything but tiles and POIs, of some regions, by their index, or of all."""
    parts = source.parts() if regions is None else [regions.tolist()]
    records = [record for rows in parts for record in source.read(rows)]
    return RegionTable(
        region_ids=[record["region_id"] for record in records],
        geometry_wkb=[record["geometry"] for record in records],
        block_id=np.array([record["block_id"] for record in records], np.int32),
        num_pois=np.array(
            [len(record["poi/category"]) for record in records], np.int32
        ),
        labels={
            name: np.stack([record[f"label/{name}"] for record in records])
            for name in source.manifest.labels
        },
    )


def extract(
    encode: Callable[[pipeline.Batch], Encoded],
    source: RecordSource,
    *,
    batch_size: int,
    num_threads: int,
    edges: bool = False,
    regions: Int[np.ndarray, " r"] | None = None,
) -> dict[str, Features]:
    """Features of regions, in record order, of each of `KINDS`.

    Args:
        encode: Batch -> features; see `Encoded`.
        source: The records.
        batch_size: Regions at a time.
        num_threads: Threads that read.
        edges: Whether `encode` reads the POI graph.
        regions: Indices of those wanted, in their order; None for all.
    """
    parts: dict[str, dict[str, list[np.ndarray]]] = {kind: {} for kind in KINDS}
    for batch in pipeline.epoch_batches(
        source,
        batch_size=batch_size,
        num_threads=num_threads,
        edges=edges,
        regions=regions,
    ):
        present = batch["example_mask"]
        for kind, groups in encode(batch).items():
            for name, rows in groups.items():
                parts[kind].setdefault(name, []).append(rows[present])
    return {
        kind: beside(
            [Features.of(name, np.concatenate(rows)) for name, rows in groups.items()]
        )
        for kind, groups in parts.items()
    }
