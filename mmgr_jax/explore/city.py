"""Gathers what the page shows of a city from its records, features and heads."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from ml_collections import ConfigDict

from mmgr_jax import run_settings, settings
from mmgr_jax.data import contents, facts, schema
from mmgr_jax.data.schema import Label
from mmgr_jax.data.source import RecordSource, open_source
from mmgr_jax.disk import locks
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import mapped_city, predictors, two_years
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.settings import EmbedSettings
from mmgr_jax.explore import occlusion, parts, poi_weights, readings, words
from mmgr_jax.store import checkpoint

MOST_REGIONS = 150_000
"""Of a page: with more it would be larger than browsers open at ease."""

MOST_SERVED = 1_000_000
"""Of a page that a server stands behind."""

_ROWS = 8192
_PROJECTIONS = ("image_projection", "poi_projection")
_COMPARED = ("image_encoder", "image_head", "poi_encoder", "poi_head")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PoiCounts:
    """Number of POIs of each region and category, stored sparsely.

    Attributes:
        start: The pairs of region i are those from start[i] below start[i + 1]
            [r + 1].
        category: Index of a category [m], ascending within a region.
        count: Number of POIs of this category [m].
    """

    start: Int[np.ndarray, " r1"]
    category: Int[np.ndarray, " m"]
    count: Int[np.ndarray, " m"]

    @property
    def total(self) -> Int[np.ndarray, " r"]:
        """Number of POIs of each region."""
        sums = np.concatenate([[0], np.cumsum(self.count)])
        return sums[self.start[1:]] - sums[self.start[:-1]]


@dataclasses.dataclass(frozen=True)
class ExploredTask:
    """A label, and the predictions of heads.

    Attributes:
        label: Meaning of the label.
        truth: Values [r] or shares [r k], NaN where unknown; None if the records have
            none.
        prediction: Predictions, out of fold if heads were trained with the region; None
            without heads.
        parts: Parts whose sum is the prediction; None if the head is not linear, or the
            city is large.
    """

    label: Label
    truth: Float[np.ndarray, "r ..."] | None
    prediction: predictors.Prediction | None
    parts: parts.PredictionParts | None = None


@dataclasses.dataclass(frozen=True)
class ExploredCity:
    """A city with all that the page shows of it.

    Attributes:
        source: Records of the city.
        region_ids: Stable names of the r regions.
        geometry_wkb: Outlines in the CRS of the records.
        block_id: Spatial block of each region [r].
        centre_m: Centres in metres of the same CRS [r 2].
        kind: Kind of the features: `config.embed.features`.
        made_by: A hash of all that decides the features. Cities with the same hash can
            be compared.
        features: Features of all regions.
        pois: POIs of all regions.
        projections: Image vectors and POI vectors [r p] that the contrastive loss
            compares; None if the encoder has no trained projections.
        poi_weights: Weights of the POI encoder for page/poi_encoder.js; None if the
            encoder reads the places of POIs, or knows other categories.
        tasks: Label name -> truth and prediction.
        since: Change since an earlier year; None if no earlier year was named.
        occlusion: Losses of predictions of some regions without parts of these regions;
            None if not requested.
        words: Words that can name a mix; None without category vectors from texts.
    """

    source: RecordSource
    region_ids: list[str]
    geometry_wkb: list[bytes]
    block_id: Int[np.ndarray, " r"]
    centre_m: Float[np.ndarray, "r 2"]
    kind: str
    made_by: str
    features: Features
    pois: PoiCounts
    projections: tuple[np.ndarray, np.ndarray] | None
    poi_weights: Mapping[str, Any] | None
    tasks: Mapping[str, ExploredTask]
    since: two_years.TwoYears | None = None
    occlusion: occlusion.Occlusion | None = None
    words: words.Words | None = None

    @property
    def manifest(self) -> schema.Manifest:
        """The manifest of the records."""
        return self.source.manifest

    def tile(self, region: int) -> UInt8[np.ndarray, "h w 3"]:
        """The tile of a region."""
        return self.source.read([region], image=True)[0]["image"]

    def tiles(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """The tile of each region, in order."""
        return tiles_of(self.source)


def tiles_of(source: RecordSource) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The tile of each region of some records, in order."""
    for rows in source.parts():
        for record in source.read(rows, image=True):
            yield record["image"]


def gather(
    config: ConfigDict,
    before: str | None = None,
    unchanged: str | None = None,
    occluded: str | None = None,
    *,
    served: bool = False,
) -> ExploredCity:
    """Gathers everything the page shows; computes missing features and heads.

    Args:
        config: Configuration of the city.
        before: Records of an earlier year, for the same encoder; None: no change is
            shown.
        unchanged: A CSV of regions believed to be unchanged; None: not known.
        occluded: Regions that are read again without parts of them; see
            `readings.chosen`. None: none are.
        served: Whether a server will answer the page, which then holds more regions.

    Raises:
        InputError: If records or checkpoint are missing or do not fit, the places of
            regions are not known, or there are too many regions for one page; or as
            `two_years.compare` says.
    """
    if unchanged is not None and before is None:
        raise InputError(
            "--unchanged names regions that did not change since an earlier year; "
            "--before=RECORDS_FOLDER names that year."
        )
    embed = settings.read(EmbedSettings, config.embed, "embed")
    run = run_settings.read(config)
    with (  # a training or a build beside this takes neither away
        locks.kept(Path(config.records.dir) / schema.MANIFEST_FILE),
        checkpoint.held(run.to_load) as bundle,
    ):
        source = open_source(config)
        refuse_many(source.place, len(source), served=served)
        mapped = mapped_city.gather(config, embed, source, bundle, Path(run.workdir))
        regions = None
        if occluded is not None:
            regions = readings.chosen(occluded, mapped.city.regions.region_ids)
        explored = _explored(mapped, embed.features, regions)
        if before is None:
            return explored
        earlier = RecordSource(before)
        since = two_years.compare(config, mapped, earlier, unchanged)
        return dataclasses.replace(explored, since=since)


def refuse_many(place: str, count: int, *, served: bool) -> None:
    """Raises InputError if a city has more regions than its page can hold."""
    most = MOST_SERVED if served else MOST_REGIONS
    if count <= most:
        return
    further = f"Use --serve, which holds {MOST_SERVED:,}, or build"
    raise InputError(
        f"{place}: {count:,} regions; allowed on a page: {most:,} at most. "
        f"{'Build' if served or count > MOST_SERVED else further} records of a part of "
        "the city."
    )


def origins_of(manifest: schema.Manifest) -> list[dict[str, str]]:
    """Source, licence and year of imagery, POIs and each label; "" if not stated."""
    known = facts.of_manifest(manifest)
    parts = {"imagery": known["imagery"], "POIs": known["pois"], **known["labels"]}
    return [
        {
            "what": what,
            **{
                name: str(origin.get(name) or "")
                for name in ("source", "licence", "year")
            },
        }
        for what, origin in parts.items()
    ]


def _explored(
    mapped: mapped_city.MappedCity, kind: str, occluded: np.ndarray | None
) -> ExploredCity:
    city, regions = mapped.city, mapped.city.regions
    assert city.centre_m is not None  # `mapped_city.gather` refuses such
    projections, weights, encoder = None, None, mapped.encoder
    trained = not encoder.parts or set(_COMPARED) <= set(encoder.parts)
    if trained and set(_PROJECTIONS) <= set(mapped.encoded):
        image, poi = (mapped.encoded[name].values for name in _PROJECTIONS)
        projections = image, poi
        if encoder.numbers(city.source.manifest.categories) is None:
            weights = poi_weights.poi_weights(encoder.model, encoder.variables)
    labels = city.source.manifest.labels
    known = dict(labels)
    for name, head in mapped.heads.predictors.items():  # of another city's labels
        known.setdefault(name, head.label)
    tasks = {
        name: ExploredTask(
            label,
            regions.labels.get(name),
            _predicted(mapped, name, label),
            _parts(mapped, name, label),
        )
        for name, label in known.items()
    }
    lost = None
    if occluded is not None:
        lost = occlusion.of_city(mapped, occluded)
    pois = _count_pois(city.source)
    held = pois.total[pois.total > 0]
    typical = int(np.ceil(np.median(held))) if len(held) else 0
    return ExploredCity(
        source=city.source,
        region_ids=regions.region_ids,
        geometry_wkb=regions.geometry_wkb,
        block_id=regions.block_id,
        centre_m=city.centre_m,
        kind=kind,
        made_by=contents.of_value([kind, mapped.made_by])[:16],
        features=mapped.features,
        pois=pois,
        projections=projections,
        poi_weights=weights,
        tasks=tasks,
        occlusion=lost,
        words=words.of_city(city.source, typical),
    )


def _parts(
    mapped: mapped_city.MappedCity, task: str, label: Label
) -> parts.PredictionParts | None:
    """Parts of a label's predictions; None if there are none, or too many."""
    head = mapped.heads.predictors.get(task)
    if head is None or head.label.kind != label.kind:
        return None
    read = mapped.read_by_heads[mapped.heads.kinds[task]]
    if parts.num_bytes(read, len(mapped.heads.predictors)) > parts.MOST_BYTES:
        return None
    categories = len(mapped.city.source.manifest.categories)
    return parts.of_task(head, read, mapped.heads.fold, categories)


def _predicted(
    mapped: mapped_city.MappedCity, task: str, label: Label
) -> predictors.Prediction | None:
    """The prediction of all regions; None if no head has this task and kind."""
    head = mapped.heads.predictors.get(task)
    if head is None or head.label.kind != label.kind:
        return None
    features, seen = mapped.read_by_heads[mapped.heads.kinds[task]], mapped.heads.fold
    parts = []
    for first in range(0, len(features), _ROWS):
        rows = np.arange(first, min(first + _ROWS, len(features)))
        fold = None if seen is None else seen[rows]
        parts.append(head.predict(features.rows(rows), fold))
    names = [field.name for field in dataclasses.fields(predictors.Prediction)]
    return predictors.Prediction(
        **{name: np.concatenate([getattr(part, name) for part in parts])
           for name in names}
    )  # fmt: skip


def _count_pois(source: RecordSource) -> PoiCounts:
    start, category, count = [0], [], []
    for rows in source.parts():
        for record in source.read(rows):
            own, number = np.unique(record["poi/category"], return_counts=True)
            category.append(own)
            count.append(number)
            start.append(start[-1] + len(own))
    return PoiCounts(
        np.array(start),
        np.concatenate([np.zeros(0, np.int64), *category]).astype(np.int64),
        np.concatenate([np.zeros(0, np.int64), *count]).astype(np.int64),
    )
