"""Methods to compare: features of encoders and baselines, and rules without features.

Each method has a name. "MMGR image" are the image features of the checkpoint. "random
both" are image and POI features of the same network with random weights.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax.data import feature_tables, schema
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import inference
from mmgr_jax.evaluation.certainty import checks
from mmgr_jax.evaluation.features import baselines, health, retrieval
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import jobs
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.evaluation.readouts import KINDS, EvaluatedCity, Extracted, Readout
from mmgr_jax.evaluation.settings import EvalSettings, Kind
from mmgr_jax.store import checkpoint

MAIN = "MMGR"
RANDOM = "random"
IMPORTED = "imported"

KINDS_OF_RANDOM = tuple(kind for kind in KINDS if kind != "all")

ABOUT = {
    "image": "image features of {}",
    "poi": "POI features of {}",
    "both": "image and POI features of {}, side by side",
    "all": "image and POI features of {}, image statistics and POI counts",
    "image_projection": "what the contrastive loss sees of a tile by {}",
    "poi_projection": "what the contrastive loss sees of a POI set by {}",
}

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FeatureSets:
    """All methods of one city.

    Attributes:
        methods: Name -> features or rule; those of the checkpoint first.
        about: Name -> description in words.
        own: Names of the checkpoint's methods, in the order of `eval.features`.
        encoded: Name of the encoder -> its features of every kind.
    """

    methods: Mapping[str, jobs.Method]
    about: Mapping[str, str]
    own: tuple[str, ...]
    encoded: Mapping[str, Extracted]


def encoders(
    config: ConfigDict, eval_settings: EvalSettings, source: RecordSource, bundle: Path
) -> dict[str, InferenceEncoder]:
    """Loads the encoders to compare: of the checkpoint, further ones, a random one.

    Args:
        config: Describes the model and the readout.
        eval_settings: Names the further encoders.
        source: The records.
        bundle: The checkpoint.

    Raises:
        InputError: If a checkpoint is missing or does not fit the records, or records
            lack the values by which their pixels would be normalised.
    """
    loaded = {MAIN: inference.load_encoder(config, bundle, source)}
    beside = dict(eval_settings.checkpoints)
    if eval_settings.imported:
        beside[IMPORTED] = eval_settings.imported
    for name, path in beside.items():
        if name in (MAIN, RANDOM):
            raise InputError(
                f"config.eval.checkpoints: the name {name!r} is in use; give another "
                "name."
            )
        with checkpoint.held(path) as other:
            own = inference.as_trained(config, other)
            loaded[name] = inference.load_encoder(own, other, source)
    if "random encoder" in eval_settings.baselines:
        main = loaded[MAIN]
        loaded[RANDOM] = inference.random_encoder(config, source, main.normalise)
    if any(encoder.normalise == "city" for encoder in loaded.values()):
        for folder in (source.records_dir, *eval_settings.other_records):
            if (Path(folder) / schema.MANIFEST_FILE).exists():  # now, not hours later
                schema.Manifest.load(folder).measured_pixels(folder)
    return loaded


def gather(
    config: ConfigDict,
    eval_settings: EvalSettings,
    loaded: Mapping[str, InferenceEncoder],
    city: EvaluatedCity,
) -> FeatureSets:
    """Gathers features of all regions by every encoder and baseline of the settings.

    All use the same readout: if surroundings are read for the encoders, they are read
    for the baselines too.

    Raises:
        InputError: If a table does not contain every region.
    """
    kinds = eval_settings.features
    readout = Readout(config, city)
    encoded, methods, about = {}, {}, {}
    for name, encoder in loaded.items():
        log.info("features of %d regions (%s encoder) ...", len(city.source), name)
        encoded[name] = readout.encoded(encoder)
        what = "random weights" if name == RANDOM else encoder.name
        own = KINDS_OF_RANDOM if name == RANDOM else KINDS
        for kind in _kinds_of(encoder, [kind for kind in kinds if kind in own]):
            methods[f"{name} {kind}"] = readout.features(encoded[name], kind)
            about[f"{name} {kind}"] = readout.said(ABOUT[kind].format(what))
    plain, words = _baselines(eval_settings.baselines, city, readout)
    for name, path in eval_settings.tables:
        if name in methods or name in plain or name in (MAIN, RANDOM):
            raise InputError(
                f"config.eval.tables: the name {name!r} is in use; give another name."
            )
        labels = tuple(city.source.manifest.labels)
        table = feature_tables.read(
            name,
            path,
            city.regions.region_ids,
            label_names=labels,
            records=city.source.identity,
        )
        plain[name] = readout.around(Features.of(name, table))
        words[name] = readout.said(feature_tables.about(name, path, label_names=labels))
    return FeatureSets(
        methods | plain,
        about | words,
        tuple(f"{MAIN} {kind}" for kind in kinds),
        encoded,
    )


def measure_health(
    sets: FeatureSets, num_pois: np.ndarray
) -> dict[str, dict[str, float]]:
    """Measures the features of each encoder.

    Returns:
        Encoder -> rank, uniformity, alignment and shared neighbours; see `health`.
    """
    return {
        name: _health(encoded, num_pois > 0) for name, encoded in sets.encoded.items()
    }


def measure_retrieval(
    sets: FeatureSets, num_pois: np.ndarray
) -> dict[str, retrieval.Retrieval]:
    """Measures retrieval in both directions by projections of every trained encoder."""
    there = num_pois > 0
    by_direction = {}
    for name, encoded in sets.encoded.items():
        if name == RANDOM or not there.any():
            continue
        both = retrieval.both_ways(
            *(
                encoded[kind].rows(np.flatnonzero(there))
                for kind in ("image_projection", "poi_projection")
            )
        )
        by_direction |= {
            f"{name}: {direction}": result for direction, result in both.items()
        }
    return by_direction


def _health(encoded: Extracted, there: np.ndarray) -> dict[str, float]:
    drawn = checks.drawn(len(there), checks.MANY)
    there = there[drawn]
    image, poi, z_image, z_poi = (
        encoded[kind].rows(drawn)
        for kind in ("image", "poi", "image_projection", "poi_projection")
    )
    values = {
        "num_regions": float(len(drawn)),
        "effective_rank": health.effective_rank(image),
        "constant_share": health.constant_share(image),
        "uniformity": health.uniformity(z_image),
    }
    if there.sum() > 2:
        values["alignment"] = health.alignment(z_image[there], z_poi[there])
        count = min(10, int(there.sum()) - 2)
        overlap = health.neighbour_overlap(
            image[there], poi[there], num_neighbours=count
        )
        values["neighbour_overlap"] = overlap.share
        values["overlap_by_chance"] = overlap.by_chance
    return values


def _kinds_of(encoder: InferenceEncoder, kinds: Sequence[Kind]) -> tuple[Kind, ...]:
    """Weights of images alone have nothing to say of POIs."""
    if encoder.parts and not any(part.startswith("poi") for part in encoder.parts):
        return tuple(kind for kind in kinds if kind.startswith("image"))
    return tuple(kinds)


def _baselines(
    names: Sequence[str], city: EvaluatedCity, readout: Readout
) -> tuple[dict[str, jobs.Method], dict[str, str]]:
    """Methods that need no encoder, and what they are."""
    methods, words = {}, {}
    for name in names:
        baseline = baselines.BASELINES[name]
        if baseline.needs == "encoder":
            continue
        if baseline.needs == "place" and city.centre_m is None:
            log.warning(
                "baseline %s is left out: the records do not say where regions lie",
                name,
            )
            continue
        words[name] = baseline.sentence
        if name == "neighbour average":
            assert city.centre_m is not None  # it needs places, see above
            methods[name] = functools.partial(neighbour_average, city.centre_m)
        elif not (baseline.features or baseline.parts):
            methods[name] = None
        elif baseline.needs == "place":
            methods[name] = readout.plain(name)
        else:
            methods[name] = readout.baseline(name)
            words[name] = readout.said(baseline.sentence)
    return methods, words


def neighbour_average(
    centre_m: np.ndarray, values: np.ndarray, train: np.ndarray, validation: np.ndarray
) -> tuple[np.ndarray, float]:
    """Predicts by neighbours; validation chooses their number, then joins training."""
    _, count = baselines.neighbour_average(
        centre_m, values, train=train, validation=validation
    )
    prediction, _ = baselines.neighbour_average(
        centre_m, values, train=train | validation, validation=validation,
        counts=(count,),
    )  # fmt: skip
    return prediction, float(count)
