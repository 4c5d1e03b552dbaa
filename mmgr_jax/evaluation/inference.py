"""Encoders for inference: a checkpoint, or random weights, and the features they give.

Shared by eval and embed; what a training run is made of stands in experiment.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import augment, run_settings, settings
from mmgr_jax.data import pipeline
from mmgr_jax.data.source import RecordSource
from mmgr_jax.devices import sharding
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.features import features
from mmgr_jax.evaluation.settings import ReadoutSettings
from mmgr_jax.models import mmgr, start
from mmgr_jax.store import checkpoint, identity, warm_start
from mmgr_jax.towers import settings as tower_settings
from mmgr_jax.towers import towers
from mmgr_jax.typing import Batch, PoiSets, Tree


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A model for inference.

    Attributes:
        encode: Host batch -> kind of features -> group -> float32 [b n]: of `image` and
            `poi`, and of their projections `image_projection` and `poi_projection`.
        reads_edges: Whether the batch must hold the POI graph.
        name: Where its parameters come from.
        model: The model.
        variables: Its parameters and batch statistics, on the devices.
        size_px: Side of the images it takes.
        parts: Parts of the model that are not random; () for all.
    """

    encode: Callable[[pipeline.Batch], features.Encoded]
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
        model, mesh, init, tower = _fresh(config, source)
        variables = warm_start.start_from(
            init(), bundle, categories=source.manifest.categories
        )
        adapted = "image_head" in metadata.parts
        found = _encoder(config, model, variables, mesh, str(bundle), tower, adapted)
        return dataclasses.replace(found, parts=metadata.parts)
    identity.check_model(config.model.to_dict(), metadata, bundle)
    if metadata.categories != source.manifest.categories:
        raise InputError(
            f"{bundle}: trained with {len(metadata.categories)} POI categories, but "
            f"{source.records_dir} holds {len(source.manifest.categories)} or names "
            "them otherwise. Build the records of both cities with one category list."
        )
    model, mesh, init, tower = _fresh(config, source)
    abstract = checkpoint.abstract_like(jax.eval_shape(init), sharding.replicated(mesh))
    variables = checkpoint.load_model(bundle, abstract)
    return _encoder(config, model, variables, mesh, str(bundle), tower)


def random_encoder(config: ConfigDict, source: RecordSource) -> Encoder:
    """The same architecture with random parameters: what training must beat."""
    model, mesh, init, tower = _fresh(config, source)
    return _encoder(config, model, init(), mesh, "random", tower)


def _fresh(
    config: ConfigDict, source: RecordSource
) -> tuple[mmgr.MMGR, jax.sharding.Mesh, Callable[[], Tree], towers.Tower | None]:
    """The model for some records, its devices, () -> random variables, its tower."""
    vectors = source.category_vectors()
    table = tower_settings.read_table(config.model.image_encoder.to_dict(), source)
    metadata = checkpoint.Metadata({}, source.manifest.categories, vectors.shape[1])
    model = start.build_model(
        config.model.to_dict(), metadata, vectors, table_features=table
    )
    mesh = sharding.local_mesh(**config.mesh)
    init_key, _ = start.keys(run_settings.read(config).seed)
    num_slots = pipeline.poi_slots(source, None)

    def init() -> Tree:
        return start.init_variables(model, init_key, num_slots, config.augment.size_px)

    init = start.jit_init(init, sharding.replicated(mesh))
    return model, mesh, init, tower_settings.locked_tower(config, model, source, table)


def _encoder(
    config: ConfigDict,
    model: mmgr.MMGR,
    variables: Tree,
    mesh: jax.sharding.Mesh,
    name: str,
    locked: towers.Tower | None,
    adapted: bool = True,
) -> Encoder:
    """The encoder of a model.

    Args:
        config: Says what is read of images.
        model: The model.
        variables: Its parameters and batch statistics.
        mesh: The devices.
        name: Where these come from.
        locked: Its image encoder, if it is locked: then the hidden layer of the image
            head, where the POIs' teaching lies, stands beside the tower's features.
        adapted: Whether that head is part of what is evaluated.
    """
    size_px = config.augment.size_px
    readout = settings.read(ReadoutSettings, config.readout, "readout")
    every_stage = readout.image == "stages"
    kept = None
    if locked and (model.reads_table or not (every_stage or locked.kept_views)):
        kept = locked.found(towers.own_variables(variables))
    whole, rows = sharding.replicated(mesh), sharding.split(mesh)
    tower = model.image_encoder

    def encode_image(
        variables: Tree, batch: Batch
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The pooled feature, and what is read of images."""
        if kept is not None:
            pooled = batch["tower"][:, 0]
            return pooled, {"table" if model.reads_table else "pooled": pooled}
        view = augment.plain_view(
            batch["image"],
            size_px=size_px,
            mean=tower.pixel_mean,
            std=tower.pixel_std,
        )
        apply = functools.partial(model.apply, variables, view, method="encode_image")
        pooled = apply()
        return pooled, apply(every_stage=True) if every_stage else {"pooled": pooled}

    def encode(variables: Tree, batch: Batch) -> dict[str, Tree]:
        apply = functools.partial(model.apply, variables)
        pois = PoiSets.of(batch)
        pooled, stages = encode_image(variables, batch)
        if locked and adapted:
            stages |= {"adapter": apply(pooled, method="adapt_image")}
        poi = apply(pois, method="encode_pois")
        z_image = apply(pooled, method="project_image")
        return {
            "image": stages,
            "poi": apply(pois, apart=True, method="encode_pois"),
            "image_projection": {"image projection": z_image},
            "poi_projection": {"POI projection": apply(poi, method="project_pois")},
        }

    jitted = jax.jit(encode, in_shardings=(whole, rows), out_shardings=whole)

    put = functools.partial(sharding.put_batch, mesh=mesh)
    if kept is not None:
        put = towers.put(kept, mesh)

    def on_devices(batch: pipeline.Batch) -> features.Encoded:
        encoded = jitted(variables, put(batch))
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), encoded)

    return Encoder(
        encode=on_devices,
        reads_edges=model.poi_encoder.reads_edges,
        name=name,
        model=model,
        variables=variables,
        size_px=size_px,
    )
