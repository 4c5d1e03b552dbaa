"""Encoders for inference: a checkpoint, or random weights, and the features they give.

Shared by eval and embed; what a training run is made of stands in experiment.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import augment, checkpoint, experiment, sharding, train_step, warm_start
from mmgr_jax.data import pipeline
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.models import mmgr
from mmgr_jax.typing import PoiSets, Tree


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A model for inference.

    Attributes:
        encode: Host batch -> `image` float32 [b f], `poi` float32 [b q], and their
            projections `image_projection` and `poi_projection` float32 [b p].
        reads_edges: Whether the batch must hold the POI graph.
        name: Where its parameters come from.
        model: The model.
        variables: Its parameters and batch statistics, on the devices.
        size_px: Side of the images it takes.
        parts: Parts of the model that are not random; () for all.
    """

    encode: Callable[[pipeline.Batch], dict[str, np.ndarray]]
    reads_edges: bool
    name: str
    model: mmgr.MMGR
    variables: Tree
    size_px: int
    parts: tuple[str, ...] = ()


def as_trained(config: ConfigDict, bundle: Path) -> ConfigDict:
    """The config with the model, and the size of images, that a checkpoint had.

    Raises:
        InputError: If the bundle is none of this program.
    """
    stored = checkpoint.load_metadata(bundle).config
    own = ConfigDict(config.to_dict())
    own.model = ConfigDict(stored["model"])
    own.augment.size_px = stored.get("augment", config.augment)["size_px"]
    return own


@checkpoint.by_one_process()
def load_encoder(config: ConfigDict, bundle: Path, source: RecordSource) -> Encoder:
    """The encoder of a checkpoint, whose `model` alone is read.

    Where the checkpoint holds a part of a model (weights that `mmgr_jax.convert`
    brought in), the rest is random, and the log says so.

    Raises:
        InputError: If the checkpoint holds another model than the config describes, or
            was trained on other POI categories than the records hold.
    """
    metadata = checkpoint.load_metadata(bundle)
    if metadata.parts:
        model, mesh, init = _fresh(config, source)
        variables = warm_start.start_from(
            init(), bundle, categories=source.manifest.categories
        )
        found = _encoder(config, model, variables, mesh, str(bundle))
        return dataclasses.replace(found, parts=metadata.parts)
    experiment.check_same_model(config.model.to_dict(), metadata, bundle)
    if metadata.categories != source.manifest.categories:
        raise InputError(
            f"{bundle}: trained with {len(metadata.categories)} POI categories, but "
            f"{source.records_dir} holds {len(source.manifest.categories)} or names "
            "them otherwise. Build the records of both cities with one category list."
        )
    model, mesh, init = _fresh(config, source)
    abstract = checkpoint.abstract_like(jax.eval_shape(init), sharding.replicated(mesh))
    variables = checkpoint.load_model(bundle, abstract)
    return _encoder(config, model, variables, mesh, str(bundle))


def random_encoder(config: ConfigDict, source: RecordSource) -> Encoder:
    """The same architecture with random parameters: what training must beat."""
    model, mesh, init = _fresh(config, source)
    return _encoder(config, model, init(), mesh, "random")


def _fresh(
    config: ConfigDict, source: RecordSource
) -> tuple[mmgr.MMGR, jax.sharding.Mesh, Callable[[], Tree]]:
    """The model for some records, its devices, and () -> random variables."""
    vectors = source.category_vectors()
    metadata = checkpoint.Metadata({}, source.manifest.categories, vectors.shape[1])
    model = experiment.build_model(config.model.to_dict(), metadata, vectors)
    mesh = sharding.local_mesh(**config.mesh)
    init_key, _ = experiment.keys(config.seed)
    num_slots = pipeline.poi_slots(source, None)

    def init() -> Tree:
        return train_step.init_variables(
            model, init_key, num_slots, config.augment.size_px
        )

    return model, mesh, experiment.jit_init(init, sharding.replicated(mesh))


def _encoder(
    config: ConfigDict,
    model: mmgr.MMGR,
    variables: Tree,
    mesh: jax.sharding.Mesh,
    name: str,
) -> Encoder:
    size_px = config.augment.size_px
    whole, rows = sharding.replicated(mesh), sharding.split(mesh)

    def encode(variables: Tree, batch: train_step.Batch) -> dict[str, jax.Array]:
        view = augment.plain_view(batch["image"], size_px=size_px)
        image = model.apply(variables, view, method="encode_image")
        poi = model.apply(variables, PoiSets.of(batch), method="encode_pois")
        return {
            "image": image,
            "poi": poi,
            "image_projection": model.apply(variables, image, method="project_image"),
            "poi_projection": model.apply(variables, poi, method="project_pois"),
        }

    jitted = jax.jit(encode, in_shardings=(whole, rows), out_shardings=whole)
    return Encoder(
        encode=lambda batch: {
            key: np.asarray(value, np.float32)
            for key, value in jitted(variables, sharding.put_batch(batch, mesh)).items()
        },
        reads_edges=model.poi_encoder.reads_edges,
        name=name,
        model=model,
        variables=variables,
        size_px=size_px,
    )
