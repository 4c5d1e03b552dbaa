"""What heads are given: features of encoders, of baselines, and rules without any.

Each is a method with a name: "MMGR image" are the image features of the checkpoint,
"random both" image and POI features of the same network with random weights.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import checkpoint, inference
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError, check_choice
from mmgr_jax.evaluators import baselines, features, health, jobs, places, retrieval

MAIN = "MMGR"
RANDOM = "random"
IMPORTED = "imported"

ABOUT = {
    "image": "image features of {}",
    "poi": "POI features of {}",
    "both": "image and POI features of {}, side by side",
    "image_projection": "what the contrastive loss sees of a tile by {}",
    "poi_projection": "what the contrastive loss sees of a POI set by {}",
}

log = logging.getLogger(__name__)

Extracted = Mapping[str, np.ndarray]
"""Kind -> features of every region; see `features.KINDS`."""


@dataclasses.dataclass(frozen=True)
class City:
    """One city's records, and what is known of its regions.

    Attributes:
        source: The records.
        regions: Everything but tiles and POIs.
        centre_m: Centres of the regions [r 2]; None where nobody knows them.
    """

    source: RecordSource
    regions: features.Regions
    centre_m: np.ndarray | None

    @classmethod
    def of(cls, source: RecordSource) -> City:
        """Reads the regions."""
        regions = features.read_regions(source)
        known = bool(source.manifest.crs)
        centre_m = places.centres_m(regions.geometry_wkb) if known else None
        return cls(source, regions, centre_m)


@dataclasses.dataclass(frozen=True)
class FeatureSets:
    """All methods of one city.

    Attributes:
        methods: Name -> what predicts, those of the checkpoint first.
        about: Name -> what it is, in words.
        own: Methods of the checkpoint, in the order of `config.eval.features`.
        encoded: Encoder -> its features of every kind.
    """

    methods: Mapping[str, jobs.Method]
    about: Mapping[str, str]
    own: tuple[str, ...]
    encoded: Mapping[str, Extracted]


def encoders(
    config: ConfigDict, source: RecordSource, bundle: Path
) -> dict[str, inference.Encoder]:
    """The encoders to compare: the checkpoint's, those beside it, and a random one.

    Raises:
        InputError: If a checkpoint is missing or does not fit the records.
    """
    found = {MAIN: inference.load_encoder(config, bundle, source)}
    beside = dict(config.eval.checkpoints)
    if config.eval.imported:
        beside[IMPORTED] = config.eval.imported
    for name, path in beside.items():
        if name in (MAIN, RANDOM):
            raise InputError(
                f"config.eval.checkpoints: {name!r} is taken; give another name."
            )
        other = checkpoint.latest(path)
        found[name] = inference.load_encoder(
            inference.as_trained(config, other), other, source
        )
    if "random encoder" in config.eval.baselines:
        found[RANDOM] = inference.random_encoder(config, source)
    return found


def gather(
    config: ConfigDict, loaded: Mapping[str, inference.Encoder], city: City
) -> FeatureSets:
    """Features of all regions by every encoder and baseline that `config.eval` names.

    Raises:
        InputError: If a kind of features or a baseline is unknown.
    """
    kinds = tuple(config.eval.features)
    for kind in kinds:
        check_kind(kind)
    encoded = {}
    for name, encoder in loaded.items():
        log.info("features of %d regions (%s encoder) ...", len(city.source), name)
        encoded[name] = extract(config, encoder, city.source)
    methods, about = {}, {}
    for name, encoder in loaded.items():
        what = "random weights" if name == RANDOM else encoder.name
        for kind in _kinds_of(encoder, kinds):
            methods[f"{name} {kind}"] = encoded[name][kind]
            about[f"{name} {kind}"] = ABOUT[kind].format(what)
    plain, words = _baselines(config, city)
    return FeatureSets(
        methods | plain,
        about | words,
        tuple(f"{MAIN} {kind}" for kind in kinds),
        encoded,
    )


def extract(
    config: ConfigDict, encoder: inference.Encoder, source: RecordSource
) -> dict[str, np.ndarray]:
    """Features of every region, of every kind; see `features.extract`."""
    return features.extract(
        encoder.encode,
        source,
        batch_size=config.data.batch_size,
        num_threads=config.data.num_threads,
        edges=encoder.reads_edges,
    )


def check_kind(kind: str) -> None:
    """Raises InputError if there is no such kind of features."""
    if kind not in features.KINDS:
        raise InputError(
            f"features={kind!r} is unknown; allowed: {', '.join(features.KINDS)}."
        )


def measure_health(
    sets: FeatureSets, num_pois: np.ndarray
) -> dict[str, dict[str, float]]:
    """Encoder -> rank, uniformity, alignment and shared neighbours; see `health`."""
    return {name: _health(of, num_pois > 0) for name, of in sets.encoded.items()}


def measure_retrieval(
    sets: FeatureSets, num_pois: np.ndarray
) -> dict[str, retrieval.Retrieval]:
    """Retrieval both ways by the projections of every trained encoder."""
    there = num_pois > 0
    found = {}
    for name, of in sets.encoded.items():
        if name == RANDOM or not there.any():
            continue
        both = retrieval.both_ways(
            of["image_projection"][there], of["poi_projection"][there]
        )
        found |= {f"{name}: {direction}": result for direction, result in both.items()}
    return found


def _health(of: Extracted, there: np.ndarray) -> dict[str, float]:
    values = {
        "effective_rank": health.effective_rank(of["image"]),
        "constant_share": health.constant_share(of["image"]),
        "uniformity": health.uniformity(of["image_projection"]),
    }
    if there.sum() > 2:
        values["alignment"] = health.alignment(
            of["image_projection"][there], of["poi_projection"][there]
        )
        count = min(10, int(there.sum()) - 2)
        overlap = health.neighbour_overlap(
            of["image"][there], of["poi"][there], num_neighbours=count
        )
        values["neighbour_overlap"] = overlap.share
        values["overlap_by_chance"] = overlap.by_chance
    return values


def _kinds_of(encoder: inference.Encoder, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Weights of images alone have nothing to say of POIs."""
    if encoder.parts and not any(part.startswith("poi") for part in encoder.parts):
        return tuple(kind for kind in kinds if kind.startswith("image"))
    return kinds


def _baselines(
    config: ConfigDict, city: City
) -> tuple[dict[str, jobs.Method], dict[str, str]]:
    """Methods that need no encoder, and what they are."""
    for name in config.eval.baselines:
        check_choice("eval.baselines", name, tuple(baselines.BASELINES))
    wanted = [
        name
        for name in config.eval.baselines
        if name not in ("random encoder", "imported weights")
    ]
    inputs = baselines.Inputs(city.source, city.centre_m, {})
    able = baselines.available(inputs)
    for name in wanted:
        if name not in able:
            log.warning("baseline %s is left out: nobody knows where regions lie", name)
    wanted = [name for name in wanted if name in able]
    rules = {
        "mean": None,
        "neighbour average": city.centre_m is not None
        and functools.partial(_neighbour_average, city.centre_m),
    }
    given = baselines.features_of([n for n in wanted if n not in rules], inputs)
    methods = {name: given[name] if name in given else rules[name] for name in wanted}
    return methods, {name: baselines.BASELINES[name].sentence for name in wanted}


def _neighbour_average(
    centre_m: np.ndarray, values: np.ndarray, train: np.ndarray, validation: np.ndarray
) -> tuple[np.ndarray, float]:
    prediction, count = baselines.neighbour_average(
        centre_m, values, train=train, validation=validation
    )
    return prediction, float(count)
