"""What the encoders say of every region, and what is known of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from mmgr_jax.data import pipeline
from mmgr_jax.data.source import RecordSource

KINDS = ("image", "poi", "both")
"""`image`: pooled backbone features [f]; `poi`: the pooled POI set [q]; `both`: the two
side by side [f + q]."""


@dataclasses.dataclass(frozen=True)
class Regions:
    """The regions of a city in record order.

    Attributes:
        region_ids: Stable names, r of them.
        geometry_wkb: Polygons in the study area's CRS.
        block_id: Spatial block of each region, int32 [r].
        labels: Label name -> float32 [r] or [r k], NaN where unknown.
    """

    region_ids: list[str]
    geometry_wkb: list[bytes]
    block_id: np.ndarray
    labels: Mapping[str, np.ndarray]


def read_regions(source: RecordSource) -> Regions:
    """Everything but tiles and POIs."""
    records = [source[index] for index in range(len(source))]
    return Regions(
        region_ids=[record["region_id"] for record in records],
        geometry_wkb=[record["geometry"] for record in records],
        block_id=np.array([record["block_id"] for record in records], np.int32),
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
        encode: Batch -> `image` [b f] and `poi` [b q].
        source: The records.
        batch_size: Regions at a time.
        num_threads: Threads that read.
        edges: Whether `encode` reads the POI graph.

    Returns:
        float32 [r .] for each of `KINDS`.
    """
    parts: dict[str, list[np.ndarray]] = {"image": [], "poi": []}
    for batch in pipeline.epoch_batches(
        source, batch_size=batch_size, num_threads=num_threads, edges=edges
    ):
        encoded = encode(batch)
        for kind, rows in parts.items():
            rows.append(encoded[kind][batch["example_mask"]])
    image, poi = (np.concatenate(parts[kind]) for kind in ("image", "poi"))
    return {"image": image, "poi": poi, "both": np.concatenate([image, poi], axis=1)}
