"""What `config.records` says: where records go, and how tiles are stored."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import annotated_types as at

from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class RecordSettings(Section):
    """Where the records of a city are, and how their tiles are stored.

    Attributes:
        dir: Folder of the records; None: `data/NAME/records`. An address such as
            "gs://bucket/NAME/records" is read, never written.
        num_shards: Number of files (shards) into which the regions are divided, at most
            one for each region.
        image_format: Image format of the tiles; docs/input.md says which to choose.
        image_quality: Quality of "jpeg" and "webp", 1 to 100; None: 95 for JPEG,
            lossless WebP.
    """

    dir: str | None = None
    num_shards: Annotated[int, at.Ge(1)] = 8
    image_format: Literal["png", "webp", "jpeg", "raw"] = "png"
    image_quality: int | None = None
