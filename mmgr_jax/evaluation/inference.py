"""Encoders for inference, from a checkpoint or with random weights.

The commands eval, embed and query use them. For the parts of a training run see
`train.experiment`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import run_settings, settings
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.data import corpus, pipeline
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import inference_encoder
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.evaluation.settings import ReadoutSettings
from mmgr_jax.models import mmgr, start
from mmgr_jax.models.settings import ModelSettings
from mmgr_jax.store import arrays, checkpoint, identity, warm_start
from mmgr_jax.towers import locked, towers
from mmgr_jax.typing import Tree

_NAMED = 8  # categories in a sentence
log = logging.getLogger(__name__)


def as_trained(config: ConfigDict, bundle: Path) -> ConfigDict:
    """Returns the config with the model and the image size of a checkpoint.

    The normalisation of pixels is not set here: `load_encoder` always takes it from the
    checkpoint.

    Raises:
        InputError: If the bundle is not from this program.
    """
    stored = checkpoint.load_metadata(bundle).config
    own = ConfigDict(config.to_dict())
    own.model = ConfigDict(stored["model"])
    own.augment.size_px = stored.get("augment", config.augment)["size_px"]
    return own


@checkpoint.by_one_process()
def load_encoder(
    config: ConfigDict, bundle: Path, source: RecordSource
) -> InferenceEncoder:
    """Loads the encoder of a checkpoint; only the model in it is read.

    If the records are not those of the training, POI categories are found by name.

    If the checkpoint holds only a part of a model (weights that `mmgr_jax.convert`
    imported), the rest is random, and this is logged.

    Raises:
        InputError: If the checkpoint holds another model than the config describes. Or
            if the records have POI categories that the checkpoint does not know, unless
            `config.corpus.unknown_categories` is "drop".
    """
    metadata = checkpoint.load_metadata(bundle)
    normalise = metadata.normalise
    if metadata.parts:
        model, mesh, init, tower = _fresh(config, source, normalise)
        variables = warm_start.start_from(
            init(), bundle, categories=source.manifest.categories, parts=()
        )
        adapted = "image_head" in metadata.parts
        encoder = _encoder(
            config, model, variables, mesh, str(bundle), tower, normalise, adapted
        )
        return dataclasses.replace(encoder, parts=metadata.parts)
    identity.check_model(config.model.to_dict(), metadata, bundle)
    _tell_of_unknown(config, metadata, bundle, source)
    model, mesh, init, tower = _fresh(config, source, normalise, metadata)
    abstract = checkpoint.abstract_like(jax.eval_shape(init), sharding.replicated(mesh))
    variables = checkpoint.load_model(bundle, abstract)
    encoder = _encoder(config, model, variables, mesh, str(bundle), tower, normalise)
    return dataclasses.replace(encoder, categories=metadata.categories)


def _tell_of_unknown(
    config: ConfigDict,
    metadata: checkpoint.Metadata,
    bundle: Path,
    source: RecordSource,
) -> None:
    """Refuses, or says, that records have POI categories unknown to a checkpoint."""
    theirs = source.manifest.categories
    numbers = corpus.numbers_in(theirs, metadata.categories)
    if numbers is None or (numbers >= 0).all():
        return
    counts = np.zeros(len(theirs), np.int64)
    for rows in source.parts():
        for record in source.read(rows):
            np.add.at(counts, record["poi/category"], 1)
    lost = counts * (numbers < 0)
    names = [f"{theirs[i]} ({lost[i]})" for i in np.argsort(-lost) if numbers[i] < 0]
    sentence = (
        f"{bundle}: trained with {len(metadata.categories)} POI categories; "
        f"{source.records_dir} has {len(names)} others, with {lost.sum()} of its "
        f"{counts.sum()} POIs: {', '.join(names[:_NAMED])}"
        + (", ..." if len(names) > _NAMED else "")
    )
    given = settings.read(CorpusSettings, config.corpus, "corpus")
    if given.unknown_categories == "refuse":
        raise InputError(
            f"{sentence}. Build the records of both cities with one category list, or "
            "leave these POIs out by --config.corpus.unknown_categories=drop."
        )
    log.warning("%s. They are left out.", sentence)


def random_encoder(
    config: ConfigDict, source: RecordSource, normalise: str | None = None
) -> InferenceEncoder:
    """Makes an encoder of the same architecture with random parameters, to compare.

    Args:
        config: Describes the model.
        source: The records.
        normalise: Normalisation of the encoder to compare with; None: the config's.
    """
    normalise = normalise or _augment(config).normalise
    model, mesh, init, tower = _fresh(config, source, normalise)
    made = _encoder(config, model, init(), mesh, "random", tower, normalise)
    return dataclasses.replace(made, categories=source.manifest.categories)


def for_training(
    config: ConfigDict,
    source: RecordSource,
    trained_on: checkpoint.Metadata | None = None,
) -> Callable[[Tree], InferenceEncoder]:
    """Returns a function (variables) -> encoder of a model in training.

    Its programs are compiled only once.

    Args:
        config: Config of the run.
        source: The records to encode.
        trained_on: Metadata with the POI categories, if the run reads other records.
    """
    normalise = _augment(config).normalise
    model, mesh, _, tower = _fresh(config, source, normalise, trained_on)
    compiled: list[InferenceEncoder] = []

    def encoder_with(variables: Tree) -> InferenceEncoder:
        variables = jax.device_put(variables, sharding.replicated(mesh))
        if not compiled:
            made = _encoder(
                config, model, variables, mesh, "training", tower, normalise
            )
            if trained_on is not None:
                made = dataclasses.replace(made, categories=trained_on.categories)
            compiled.append(made.of_city(source))
        return dataclasses.replace(compiled[0], variables=variables)

    return encoder_with


def _fresh(
    config: ConfigDict,
    source: RecordSource,
    normalise: str,
    trained_on: checkpoint.Metadata | None = None,
) -> tuple[mmgr.MMGR, jax.sharding.Mesh, Callable[[], Tree], towers.Tower | None]:
    """The model for some records, its devices, () -> random variables, its tower.

    Args:
        config: Says what the model is.
        source: The records.
        normalise: By whose mean and deviation pixels are normalised.
        trained_on: Gives the POI categories where others than theirs are loaded.
    """
    vectors: np.ndarray | None = source.category_vectors()
    metadata = checkpoint.Metadata({}, source.manifest.categories, vectors.shape[1])
    if trained_on is not None and trained_on.categories != metadata.categories:
        metadata, vectors = trained_on, None
    given = settings.read(ModelSettings, config.model, "model")
    augment = dataclasses.replace(_augment(config), normalise=normalise)
    devices = settings.read(MeshSettings, config.mesh, "mesh")
    run = run_settings.read(config)
    table = locked.read_table(given.image_encoder, source)
    model = start.build_model(given, metadata, vectors, table_features=table)
    mesh = sharding.local_mesh(devices)
    init_key, _ = start.keys(run.seed)
    num_slots = pipeline.poi_slots(source, None)

    def init() -> Tree:
        return start.init_variables(model, init_key, num_slots, augment.size_px)

    init = start.jit_init(init, sharding.replicated(mesh))
    tower = locked.locked_tower(
        model,
        source,
        table,
        options=given.image_encoder,
        augment=augment,
        data=settings.read(DataSettings, config.data, "data"),
        mesh=devices,
        seed=run.seed,
        workdir=Path(run.workdir),
    )
    return model, mesh, init, tower


def _augment(config: ConfigDict) -> AugmentSettings:
    return settings.read(AugmentSettings, config.augment, "augment")


def _encoder(
    config: ConfigDict,
    model: mmgr.MMGR,
    variables: Tree,
    mesh: jax.sharding.Mesh,
    name: str,
    tower: towers.Tower | None,
    normalise: str,
    adapted: bool = True,
) -> InferenceEncoder:
    """The encoder of a model as a config reads it; `tower` is its locked one."""
    readout = settings.read(ReadoutSettings, config.readout, "readout").image
    kept = None
    every_stage = readout == "stages"
    if tower and (model.reads_table or not (every_stage or tower.kept_views)):
        kept = tower.found(towers.own_variables(variables))
    made = inference_encoder.encoder(
        model,
        variables,
        mesh,
        name,
        size_px=config.augment.size_px,
        normalise=normalise,
        readout=readout,
        kept=kept,
        adapted=adapted,
    )
    described = identity.flat({"model": config.model.to_dict()})
    described.pop("model.image_encoder.path", None)  # what it holds is hashed
    made_by = {
        **described,
        "table": arrays.hash_of({"table": kept}) if model.reads_table else None,
        "augment.size_px": config.augment.size_px,
        "readout.image": readout,
        "adapted": adapted,
    }
    if normalise != "encoder":  # features of before have no such key
        made_by["augment.normalise"] = normalise
    return dataclasses.replace(made, made_by=made_by)
