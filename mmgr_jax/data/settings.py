"""The sections `data` and `corpus` of a config."""

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


@dataclasses.dataclass(frozen=True)
class CorpusSettings(Section):
    """The cities that one model is trained on; see docs/many_cities.md.

    Attributes:
        records: Folders of records, patterns such as "data/*/records", or addresses
            such as "gs://bucket/*/records"; empty: `config.records.dir` alone.
        weights: One for each entry of `records`, of every city that it names; empty:
            1 each.
        evenness: How far a city's size is left out of account: its share of what is
            shown goes with weight x size ** (1 - evenness). 0: every region is shown
            as often; 1: every city is.
        categories: "same": the cities must have one list of POI categories.
            "by_name": the model has every name that any city has; one name is one
            category in all of them.
        batches: "mixed": a batch has regions of all cities, by their shares. "city":
            each batch is of one city.
        unknown_categories: When an encoder reads other records than it was trained on,
            categories are found by name. "refuse" stops where the records name some
            that it has not learnt; "drop" leaves those POIs out and tells how many.
    """

    records: tuple[str, ...] = ()
    weights: tuple[Annotated[float, at.Gt(0)], ...] = ()
    evenness: Annotated[float, at.Ge(0), at.Le(1)] = 0.0
    categories: Literal["same", "by_name"] = "same"
    batches: Literal["mixed", "city"] = "mixed"
    unknown_categories: Literal["refuse", "drop"] = "refuse"
