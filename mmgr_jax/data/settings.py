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
        batch_size: Number of regions in a batch, over all devices together.
        max_pois: Largest number of POIs that are shown of a region. If it has more, a
            random choice is drawn in each epoch. None: as many as the region with the
            most POIs has.
        num_threads: Threads that read and decode.
        short_batch: What to do with the last regions of an epoch if they do not fill a
            batch. "drop": they are not shown in this epoch (as in the released
            program). "fill": the batch is filled with regions that were already shown,
            which the losses ignore, so every region counts once.
        cache_mib: Decoded tiles stay in memory if all of them fit into this many MiB;
            otherwise none does.
        device_resident: Whether all tiles stay in the memory of every device. "auto":
            if they take at most a quarter of it. On a CPU "auto" means "off", because
            `cache_mib` does the same there.
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
            such as "gs://bucket/*/records"; empty: only `config.records.dir`.
        weights: A weight for each entry of `records`; all cities that the entry names
            have this weight. Empty: 1 each.
        evenness: How much small cities are favoured. The share of a city is
            proportional to weight x size ** (1 - evenness), where size is its number of
            regions. 0: every region is shown equally often. 1: every city is.
        categories: "same": all cities must have the same list of POI categories.
            "by_name": the model has the categories of all cities; a name is the same
            category in all of them.
        batches: "mixed": a batch has regions of all cities, by their shares. "city":
            all regions of a batch are of one city.
        unknown_categories: What to do if records have POI categories that the encoder
            has not learnt (categories are matched by name). "refuse": stop. "drop":
            leave out these POIs, and log their number.
    """

    records: tuple[str, ...] = ()
    weights: tuple[Annotated[float, at.Gt(0)], ...] = ()
    evenness: Annotated[float, at.Ge(0), at.Le(1)] = 0.0
    categories: Literal["same", "by_name"] = "same"
    batches: Literal["mixed", "city"] = "mixed"
    unknown_categories: Literal["refuse", "drop"] = "refuse"
