"""What `config.records` says: where records go, and how tiles are stored."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import annotated_types as at

from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class RecordSettings(Section):
    """The records of a city.

    Attributes:
        dir: Their folder, or an address such as "gs://bucket/NAME/records", from which
            they are only read; None: `data/NAME/records`.
        num_shards: Number of shards, at most one for each region.
        image_format: Encoding of the tiles; docs/input.md says which to choose.
        image_quality: Of "jpeg" and "webp", 1 to 100. None: 95 for JPEG; lossless for
            WebP.
    """

    dir: str | None = None
    num_shards: Annotated[int, at.Ge(1)] = 8
    image_format: Literal["png", "webp", "jpeg", "raw"] = "png"
    image_quality: int | None = None
