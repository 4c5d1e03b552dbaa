"""Encoders for inference: a checkpoint, or random weights, and the features they give.

Shared by eval, embed and query; what a training run is made of stands in
`train.experiment`.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32
from ml_collections import ConfigDict

from mmgr_jax import run_settings, settings
from mmgr_jax.augment.image_ops import Palettes
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.augment.views import plain_view
from mmgr_jax.data import contents, corpus, pipeline
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.features import features
from mmgr_jax.evaluation.settings import ReadoutSettings
from mmgr_jax.models import mmgr, start
from mmgr_jax.models.settings import ModelSettings
from mmgr_jax.store import arrays, checkpoint, identity, warm_start
from mmgr_jax.towers import locked, towers
from mmgr_jax.typing import Batch, PoiSets, Tiles, Tree

_NAMED = 8  # categories in a sentence
_PALETTE = "palette"
"""In a batch: mean and deviation of the city of each tile [b 2 3]."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class InferenceEncoder:
    """A model for inference.

    Attributes:
        run: (variables, host batch) -> what `encode` gives.
        reads_edges: Whether the batch must hold the POI graph.
        name: Where its parameters come from.
        model: The model.
        variables: Its parameters and batch statistics, on the devices.
        size_px: Side of the images it takes.
        normalise: By whose mean and deviation its pixels are normalised; with "city"
            it reads batches of `of_city` alone.
        parts: Parts of the model that are not random; () for all.
        num_devices: Devices that share a batch.
        made_by: What decides its features beside its variables; None where nobody says,
            so that none of them are kept on disk.
        categories: POI categories by the numbers it knows them by; None: by those of
            whatever records it reads.
    """

    run: Callable[[Tree, pipeline.Batch], features.Encoded]
    reads_edges: bool
    name: str
    model: mmgr.MMGR
    variables: Tree
    size_px: int
    normalise: str
    parts: tuple[str, ...] = ()
    num_devices: int = 1
    made_by: Mapping[str, Any] | None = None
    categories: tuple[str, ...] | None = None

    def numbers(self, theirs: Sequence[str]) -> np.ndarray | None:
        """Its numbers of categories, -1 for unknown ones; None: they are the same."""
        if self.categories is None:
            return None
        return corpus.numbers_in(theirs, self.categories)

    def palette(self, source: RecordSource) -> Float32[np.ndarray, "1 2 3"] | None:
        """What it normalises the pixels of some records by; None: always the same.

        Raises:
            InputError: If it is theirs, and they do not say it.
        """
        return corpus.palettes(source, self.normalise)

    def of_city(self, source: RecordSource) -> InferenceEncoder:
        """The same for batches of some records, as they have colours and categories.

        Categories are found by name; POIs of one that it does not know are left out.

        Raises:
            InputError: As for `palette`.
        """
        numbers, palette = (
            self.numbers(source.manifest.categories),
            self.palette(source),
        )
        if numbers is None and palette is None:
            return self

        def run(variables: Tree, batch: pipeline.Batch) -> features.Encoded:
            own = {}
            if numbers is not None:
                category = numbers[batch["poi_category"]]
                mask = batch["poi_mask"] & (category >= 0)
                own = {"poi_category": np.maximum(category, 0), "poi_mask": mask}
            if palette is not None:
                own[_PALETTE] = np.repeat(palette, len(batch["example_mask"]), axis=0)
            return self.run(variables, {**batch, **own})

        made_by = self.made_by
        if made_by is not None and numbers is not None:
            made_by = {**made_by, "categories": contents.of_value(self.categories)}
        if made_by is not None and palette is not None:
            made_by = {**made_by, _PALETTE: palette.tolist()}
        return dataclasses.replace(self, run=run, made_by=made_by, categories=None)

    def encode(self, batch: pipeline.Batch) -> features.Encoded:
        """Kind of features -> group -> float32 [b n].

        Of `image` and `poi`, and of their projections `image_projection` and
        `poi_projection`.
        """
        return self.run(self.variables, batch)


def as_trained(config: ConfigDict, bundle: Path) -> ConfigDict:
    """The config with the model, and the size of images, that a checkpoint had.

    By what pixels are normalised, `load_encoder` takes from the checkpoint anyway.

    Raises:
        InputError: If the bundle is none of this program.
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
    """The encoder of a checkpoint, whose `model` alone is read.

    POI categories of other records than it was trained on are found by name.

    Where the checkpoint holds a part of a model (weights that `mmgr_jax.convert`
    brought in), the rest is random, and the log says so.

    Raises:
        InputError: If the checkpoint holds another model than the config describes, or
            the records POI categories that it does not know, unless
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
    """The same architecture with random parameters: what training must beat.

    Args:
        config: Says what the model is.
        source: The records.
        normalise: That of the encoder it is compared with; None: the config's.
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
    """(variables) -> the encoder of a model in training; compiled once for all.

    Args:
        config: Of the run.
        source: The records that it looks at.
        trained_on: Gives the POI categories where the run reads others.
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


def read_image(
    model: mmgr.MMGR,
    variables: Tree,
    tiles: Tiles,
    palette: Palettes | None,
    *,
    size_px: int,
    every_stage: bool,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The pooled feature of tiles [b f], and what is read of them, by name.

    Args:
        model: The model.
        variables: Its parameters and batch statistics.
        tiles: Whole tiles.
        palette: Mean and deviation of their cities; None: the image encoder's own.
        size_px: Side of the images that the model takes.
        every_stage: Read every stage's map, not the pooled feature alone.
    """
    tower = model.image_encoder
    view = plain_view(
        tiles,
        size_px=size_px,
        mean=tower.pixel_mean,
        std=tower.pixel_std,
        palette=palette,
    )

    def apply(**options: Any) -> Any:
        return model.apply(variables, view, method="encode_image", **options)

    pooled = apply()
    return pooled, apply(every_stage=True) if every_stage else {"pooled": pooled}


def encoder(
    model: mmgr.MMGR,
    variables: Tree,
    mesh: jax.sharding.Mesh,
    name: str,
    *,
    size_px: int,
    normalise: str,
    readout: str,
    kept: towers.Kept | None = None,
    adapted: bool = True,
) -> InferenceEncoder:
    """The encoder of a model.

    Args:
        model: The model.
        variables: Its parameters and batch statistics.
        mesh: The devices.
        name: Where the variables come from.
        size_px: Side of the images that the model takes.
        normalise: By whose mean and deviation pixels are normalised.
        readout: What is read of images, one of `READOUTS`.
        kept: Features of a locked image encoder, read in place of images.
        adapted: Whether the image head is part of what is evaluated. Beside the
            features of a locked tower then stands its hidden layer, where the POIs'
            teaching lies.
    """
    every_stage = readout == "stages"
    whole, rows = sharding.replicated(mesh), sharding.split(mesh)

    def encode_image(
        variables: Tree, batch: Batch
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The pooled feature, and what is read of images."""
        if kept is not None:
            pooled = batch["tower"][:, 0]
            return pooled, {"table" if model.reads_table else "pooled": pooled}
        palette = batch.get(_PALETTE)
        assert normalise == "encoder" or palette is not None, "see `of_city`"
        return read_image(
            model,
            variables,
            batch["image"],
            palette,
            size_px=size_px,
            every_stage=every_stage,
        )

    def encode_images(variables: Tree, batch: Batch) -> dict[str, Tree]:
        def apply(*given: Any, **options: Any) -> Any:
            return model.apply(variables, *given, **options)

        pooled, stages = encode_image(variables, batch)
        if model.learning.locked and adapted:
            stages |= {"adapter": apply(pooled, method="adapt_image")}
        z_image = apply(pooled, method="project_image")
        return {"image": stages, "image_projection": {"image projection": z_image}}

    def encode_pois(variables: Tree, batch: Batch) -> dict[str, Tree]:
        def apply(*given: Any, **options: Any) -> Any:
            return model.apply(variables, *given, **options)

        pois = PoiSets.of(batch)
        z_poi = apply(apply(pois, method="encode_pois"), method="project_pois")
        return {
            "poi": apply(pois, apart=True, method="encode_pois"),
            "poi_projection": {"POI projection": z_poi},
        }

    # Two programs: batches have several numbers of POI slots, and for another number
    # the small one alone is compiled.
    jitted_images, jitted_pois = (
        jax.jit(encode, in_shardings=(whole, rows), out_shardings=whole)
        for encode in (encode_images, encode_pois)
    )
    put = functools.partial(sharding.put_batch, mesh=mesh)
    if kept is not None:
        put = towers.put(kept, mesh)

    def run(variables: Tree, batch: pipeline.Batch) -> features.Encoded:
        images, pois = {}, {}
        for name, values in put(batch).items():
            (pois if name.startswith("poi_") else images)[name] = values
        both = jitted_images(variables, images) | jitted_pois(variables, pois)
        encoded = {kind: both[kind] for kind in features.KINDS}
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), encoded)

    return InferenceEncoder(
        run=run,
        reads_edges=model.poi_encoder.reads_edges,
        name=name,
        model=model,
        variables=variables,
        size_px=size_px,
        normalise=normalise,
        num_devices=mesh.size,
    )


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
    made = encoder(
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
