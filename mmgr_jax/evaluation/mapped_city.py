"""Features of a city and heads that predict from them, for maps.

`mapping` makes maps from them, and `mmgr_jax.explore` makes its page.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
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
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.evaluation.settings import (
    EmbedSettings,
    EvalSettings,
    Kind,
    ReadoutSettings,
)
from mmgr_jax.evaluation.trials import tasks

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class MappedHeads:
    """The heads that predict every region.

    Attributes:
        predictors: Task -> predictor.
        kinds: Task -> the kind of features that its predictor reads.
        fold: Fold of each region [r], if the heads have seen some of the regions.
    """

    predictors: Mapping[str, predictors.Predictor] = dataclasses.field(
        default_factory=dict
    )
    kinds: Mapping[str, Kind] = dataclasses.field(default_factory=dict)
    fold: np.ndarray | None = None

    @property
    def out_of_fold(self) -> bool:
        """Whether every region is predicted by a head of another fold."""
        return self.fold is not None and bool((self.fold != predictors.UNSEEN).all())


@dataclasses.dataclass(frozen=True)
class MappedCity:
    """A city, its features, and the heads that predict from them.

    Attributes:
        city: The records.
        encoder: The encoder that computes the features.
        encoded: Features by the encoder, of every kind.
        features: Features that are written as embeddings.
        heads: The heads that predict.
        read_by_heads: The features that heads read, by their kind.
        made_by: Identity of the features: everything that decides their values.
        readout: The readout of the features.
    """

    city: feature_sets.EvaluatedCity
    encoder: InferenceEncoder
    encoded: readouts.Extracted
    features: Features
    heads: MappedHeads
    read_by_heads: Mapping[Kind, Features]
    made_by: Mapping[str, Any]
    readout: ReadoutSettings


def gather(
    config: ConfigDict,
    embed_settings: EmbedSettings,
    source: RecordSource,
    bundle: Path,
    workdir: Path,
) -> MappedCity:
    """Gathers features of a city and the heads that predict from them.

    Args:
        config: Config of the city.
        embed_settings: Which features and heads to use.
        source: The records.
        bundle: The checkpoint.
        workdir: Folder in which features and heads are stored.

    Raises:
        InputError: If the places of regions are unknown, or if the checkpoint or the
            heads do not fit.
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
    features_of = functools.cache(functools.partial(readout.features, encoded))
    made_by = provenance.features(config, encoder)
    for sentence in provenance.told_apart(config, city, bundle):
        log.warning(sentence)
    heads = _heads(
        run.read(config), embed_settings, workdir, city, made_by, features_of
    )
    return MappedCity(
        city=city,
        encoder=encoder,
        encoded=encoded,
        features=features_of(embed_settings.features),
        heads=heads,
        read_by_heads={kind: features_of(kind) for kind in set(heads.kinds.values())},
        made_by=made_by,
        readout=readout.settings,
    )


def _heads(
    eval_settings: EvalSettings,
    embed_settings: EmbedSettings,
    workdir: Path,
    city: feature_sets.EvaluatedCity,
    made_by: Mapping[str, Any],
    features_of: Callable[[Kind], Features],
) -> MappedHeads:
    """The heads, and the fold of each region that they have seen.

    Those of the workdir are trained anew where they are of other weights, of another
    readout or of labels before the records changed; of a folder that the config names
    such are refused.
    """
    if not embed_settings.predictions:
        return MappedHeads()
    own = embed_settings.heads is None
    folder = Path(embed_settings.heads or workdir / run.FOLDER / kept_heads.FOLDER)
    kind = embed_settings.predict_from
    kinds = eval_settings.features if kind == kept_heads.BEST else (kind,)
    if own and not kept_heads.exists(folder):
        if not city.source.manifest.labels:
            log.info(
                "no labels, and no heads in %s: embeddings alone, no predictions; "
                "config.embed.heads names those of another city",
                folder,
            )
            return MappedHeads()
        log.info("no heads in %s yet: they are trained now", folder)
        return _trained_now(eval_settings, kinds, city, features_of)
    try:
        heads = kept_heads.load(
            folder, kind, features=made_by, tasks=eval_settings.tasks
        )
        heads.refuse_stale(city, folder)
    except InputError as error:
        if not own:
            raise
        log.warning("%s They are trained now, for these maps alone.", error)
        return _trained_now(eval_settings, kinds, city, features_of)
    fold = heads.fold_of(city)
    if fold is None:
        log.info("the heads have learnt from other regions than these")
    return MappedHeads(heads.predictors, heads.kinds, fold)


def _trained_now(
    eval_settings: EvalSettings,
    kinds: Sequence[Kind],
    city: feature_sets.EvaluatedCity,
    features_of: Callable[[Kind], Features],
) -> MappedHeads:
    split = _split(eval_settings, city)
    methods = {f"{feature_sets.MAIN} {kind}": features_of(kind) for kind in kinds}
    report = tasks.evaluate(
        methods,
        run.labelled(city.source, city.regions),
        {"block": split},
        dataclasses.replace(eval_settings, protocols=eval_settings.protocols[:1]),
        keep=tuple(methods),
    )
    kept = run.predictors_of(report, methods, city, split)
    best = run.best_kinds(report, tuple(methods))
    return MappedHeads(
        {task: kept[task][kind] for task, kind in best.items()}, best, split.fold
    )


def _split(
    eval_settings: EvalSettings, city: feature_sets.EvaluatedCity
) -> run.splits.Split:
    """The split that the heads were kept under: the first of `eval.splits`."""
    chosen = run.choose_splits(
        eval_settings, city.source, city.regions, eval_settings.splits[:1]
    )
    return next(iter(chosen.values()))
