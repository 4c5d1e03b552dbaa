"""What there is to map of a city: its features, and the heads that predict from them.

The maps of `mapping` and the page of `mmgr_jax.explore` are made of it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import (
    feature_sets,
    inference,
    kept_heads,
    predictors,
    provenance,
    readouts,
    run,
)
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.settings import (
    EmbedSettings,
    EvalSettings,
    Kind,
    ReadoutSettings,
)
from mmgr_jax.evaluation.trials import tasks

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class MappedCity:
    """A city, its features, and the heads that predict from them.

    Attributes:
        city: The records.
        encoder: What gives the features.
        encoded: What the encoder gives, of every kind.
        features: What heads are given.
        heads: Task -> its heads; empty where there are none.
        fold: The fold of each region that they have seen [r]; None: they saw none.
        made_by: What decides the features.
        readout: How they were read.
    """

    city: feature_sets.EvaluatedCity
    encoder: inference.InferenceEncoder
    encoded: readouts.Extracted
    features: Features
    heads: Mapping[str, predictors.Predictor]
    fold: np.ndarray | None
    made_by: Mapping[str, Any]
    readout: ReadoutSettings


def gather(
    config: ConfigDict,
    embed_settings: EmbedSettings,
    source: RecordSource,
    bundle: Path,
    workdir: Path,
) -> MappedCity:
    """What there is to map of a city: features, and heads that predict from them.

    Args:
        config: Of the city.
        embed_settings: Which features and heads.
        source: The records.
        bundle: The checkpoint.
        workdir: Where features and heads are kept.

    Raises:
        InputError: If nobody knows where regions lie, or the checkpoint or the heads
            do not fit.
    """
    city = feature_sets.EvaluatedCity.of(source)
    if city.centre_m is None:
        raise InputError(
            f"{city.source.records_dir}: the records do not say where the regions lie, "
            "so there is nothing to map; those of the released sample never do."
        )
    encoder = inference.load_encoder(config, bundle, city.source)
    readout = feature_sets.Readout(config, city)
    encoded = readout.encoded(encoder)
    read = readout.features(encoded, embed_settings.features)
    made_by = provenance.features(config, encoder)
    for sentence in provenance.told_apart(config, city, bundle):
        log.warning(sentence)
    heads, fold = _heads(run.read(config), embed_settings, workdir, city, made_by, read)
    return MappedCity(
        city, encoder, encoded, read, heads, fold, made_by, readout.settings
    )


def _heads(
    eval_settings: EvalSettings,
    embed_settings: EmbedSettings,
    workdir: Path,
    city: feature_sets.EvaluatedCity,
    features: Mapping[str, Any],
    embeddings: Features,
) -> tuple[Mapping[str, predictors.Predictor], np.ndarray | None]:
    """The heads, and the fold of each region that they have seen.

    Those of the workdir are trained anew where they are of other weights, of another
    readout or of labels before the records changed; of a folder that the config names
    such are refused.
    """
    if not embed_settings.predictions:
        return {}, None
    own = embed_settings.heads is None
    folder = Path(embed_settings.heads or workdir / run.FOLDER / kept_heads.FOLDER)
    if own and not kept_heads.exists(folder):
        if not city.source.manifest.labels:
            log.info(
                "no labels, and no heads in %s: embeddings alone, no predictions; "
                "config.embed.heads names those of another city",
                folder,
            )
            return {}, None
        log.info("no heads in %s yet: they are trained now", folder)
        return _trained_now(eval_settings, embed_settings.features, city, embeddings)
    try:
        heads = kept_heads.load(
            folder,
            embed_settings.features,
            features=features,
            tasks=eval_settings.tasks,
        )
        heads.refuse_stale(city, folder)
    except InputError as error:
        if not own:
            raise
        log.warning("%s They are trained now, for these maps alone.", error)
        return _trained_now(eval_settings, embed_settings.features, city, embeddings)
    fold = heads.fold_of(city)
    if fold is None:
        log.info("the heads have learnt from other regions: none of these is theirs")
    return heads.predictors, fold


def _trained_now(
    eval_settings: EvalSettings,
    kind: Kind,
    city: feature_sets.EvaluatedCity,
    embeddings: Features,
) -> tuple[dict[str, predictors.Predictor], np.ndarray]:
    split = _split(eval_settings, city)
    method = f"{feature_sets.MAIN} {kind}"
    report = tasks.evaluate(
        {method: embeddings},
        run.labelled(city.source, city.regions),
        {"block": split},
        dataclasses.replace(eval_settings, protocols=eval_settings.protocols[:1]),
        keep=(method,),
    )
    kept = run.predictors_of(report, {method: embeddings}, city, split)
    return {task: kinds[kind] for task, kinds in kept.items()}, split.fold


def _split(
    eval_settings: EvalSettings, city: feature_sets.EvaluatedCity
) -> run.splits.Split:
    """The split that the heads were kept under: the first of `eval.splits`."""
    chosen = run.choose_splits(
        eval_settings, city.source, city.regions, eval_settings.splits[:1]
    )
    return next(iter(chosen.values()))
