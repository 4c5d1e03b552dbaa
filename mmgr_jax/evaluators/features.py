"""What the encoders say of every region, and what is known of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from mmgr_jax.data import pipeline
from mmgr_jax.data.source import RecordSource

KINDS = ("image", "poi", "both", "image_projection", "poi_projection")
"""`image`: pooled backbone features [f]; `poi`: the pooled POI set [q]; `both`: the two
side by side [f + q]; `image_projection` and `poi_projection`: what the contrastive loss
compares [p], thrown away after training by default."""

_ENCODED = ("image", "poi", "image_projection", "poi_projection")


@dataclasses.dataclass(frozen=True)
class Regions:
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


def read_regions(source: RecordSource) -> Regions:
    """Everything but tiles and POIs."""
    records = [record for rows in source.parts() for record in source.read(rows)]
    return Regions(
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
    encode: Callable[[pipeline.Batch], Mapping[str, np.ndarray]],
    source: RecordSource,
    *,
    batch_size: int,
    num_threads: int,
    edges: bool = False,
) -> dict[str, np.ndarray]:
    """Features of every region, in record order.

    Args:
        encode: Batch -> `image` [b f], `poi` [b q] and their projections [b p].
        source: The records.
        batch_size: Regions at a time.
        num_threads: Threads that read.
        edges: Whether `encode` reads the POI graph.

    Returns:
        float32 [r .] for each of `KINDS`.
    """
    parts: dict[str, list[np.ndarray]] = {kind: [] for kind in _ENCODED}
    for batch in pipeline.epoch_batches(
        source, batch_size=batch_size, num_threads=num_threads, edges=edges
    ):
        encoded = encode(batch)
        for kind, rows in parts.items():
            rows.append(encoded[kind][batch["example_mask"]])
    found = {kind: np.concatenate(rows) for kind, rows in parts.items()}
    both = np.concatenate([found["image"], found["poi"]], axis=1)
    return {kind: both if kind == "both" else found[kind] for kind in KINDS}
