"""The section `data` of a config."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from mmgr_jax.settings import Section

if TYPE_CHECKING:
    import annotated_types as at


@dataclasses.dataclass(frozen=True)
class DataSettings(Section):
    """How records become batches.

    Attributes:
        batch_size: Regions a step, over all devices.
        max_pois: POI slots a region; a region with more shows a random choice of this
            many, drawn anew each epoch. None takes the fullest region.
        num_threads: Threads that read and decode.
        short_batch: What becomes of the regions of an epoch that fill no whole batch.
            "drop": they wait for another epoch's draw, as released. "fill": their
            batch is filled with regions the epoch has shown before, which
            `example_mask` keeps out of the losses; so every region counts once.
        cache_mib: Decoded tiles stay in memory when all of them fit in this many MiB;
            otherwise none does.
        device_resident: Whether all tiles lie in the memory of every device. "auto":
            where they take at most a quarter of it; on a CPU, whose memory is the
            host's, that is "off": `cache_mib` does the same there.
    """

    batch_size: Annotated[int, at.Ge(1)] = 128
    max_pois: Annotated[int, at.Ge(1)] | None = None
    num_threads: Annotated[int, at.Ge(1)] = 8
    short_batch: Literal["fill", "drop"] = "fill"
    cache_mib: Annotated[int, at.Ge(0)] = 1024
    device_resident: Literal["auto", "on", "off"] = "auto"
