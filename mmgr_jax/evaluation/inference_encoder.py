"""A model for inference, which computes features by kind and group from batches."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from mmgr_jax.augment.image_ops import Palettes
from mmgr_jax.augment.views import plain_view
from mmgr_jax.data import contents, corpus, pipeline
from mmgr_jax.data.source import RecordSource
from mmgr_jax.devices import sharding
from mmgr_jax.evaluation.features import features
from mmgr_jax.models import mmgr
from mmgr_jax.towers import towers
from mmgr_jax.typing import Batch, PoiSets, Tiles, Tree

_PALETTE = "palette"
"""In a batch: mean and deviation of the city of each tile [b 2 3]."""


@dataclasses.dataclass(frozen=True)
class InferenceEncoder:
    """A model for inference.

    Attributes:
        run: (variables, host batch) -> features, as `encode` returns them.
        reads_edges: Whether the batch must contain the POI graph.
        name: Source of the parameters.
        model: The model.
        variables: Its parameters and batch statistics, on the devices.
        size_px: Side of the images that the model takes.
        normalise: Whose mean and deviation normalise pixels. With "city", use the
            encoder that `of_city` returns.
        parts: Parts of the model that are not random; () for all.
        num_devices: Number of devices that share a batch.
        made_by: What decides the features in addition to the variables. None if this is
            unknown; then features are not stored on disk.
        categories: POI categories, in the order of the model's numbers. None: the
            numbers of the records that are read.
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
        """Returns the model's numbers of categories, -1: unknown; None if the same."""
        if self.categories is None:
            return None
        return corpus.numbers_in(theirs, self.categories)

    def palette(self, source: RecordSource) -> Float32[np.ndarray, "1 2 3"] | None:
        """Returns the mean and deviation of the records; None if not used for pixels.

        Raises:
            InputError: If they are used, but are missing in the records.
        """
        return corpus.palettes(source, self.normalise)

    def of_city(self, source: RecordSource) -> InferenceEncoder:
        """Returns the encoder for some records, with their colours and categories.

        Categories are found by name. POIs of unknown categories are left out.

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
        """Computes features of a batch: kind -> group -> float32 [b n].

        The kinds are `image` and `poi`, and their projections `image_projection` and
        `poi_projection`.
        """
        return self.run(self.variables, batch)


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
        palette: Mean and deviation of their cities; None: those of the image encoder.
        size_px: Side of the images that the model takes.
        every_stage: Whether every stage's map is read, not only the pooled feature.
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
    """Makes the encoder of a model.

    Args:
        model: The model.
        variables: Its parameters and batch statistics.
        mesh: The devices.
        name: Source of the variables.
        size_px: Side of the images that the model takes.
        normalise: Whose mean and deviation normalise pixels.
        readout: Which features of images are read, one of `READOUTS`.
        kept: Stored features of a locked image encoder, read instead of images.
        adapted: Whether the image head is evaluated too. Then the features of a locked
            tower also include the hidden layer of this head, which learnt from POIs.
    """
    reading = _Reading(
        model,
        size_px=size_px,
        normalise=normalise,
        every_stage=readout == "stages",
        given=kept is not None,
        adapted=adapted,
    )
    # Two programs: batches have several numbers of POI slots, and for another number
    # the small one alone is compiled.
    whole, rows = sharding.replicated(mesh), sharding.split(mesh)
    jitted_images, jitted_pois = (
        jax.jit(encode, in_shardings=(whole, rows), out_shardings=whole)
        for encode in (reading.encode_images, reading.encode_pois)
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


@dataclasses.dataclass(frozen=True, eq=False)
class _Reading:
    """What is read of a batch; attributes as the arguments of `encoder`.

    `given`: The batch holds features of a locked image encoder in place of tiles.
    """

    model: mmgr.MMGR
    size_px: int
    normalise: str
    every_stage: bool
    given: bool
    adapted: bool

    def encode_images(self, variables: Tree, batch: Batch) -> dict[str, Tree]:
        """Kind of features -> group -> [b n]."""
        apply = self._applied(variables)
        pooled, stages = self._image(variables, batch)
        if self.model.learning.locked and self.adapted:
            stages |= {"adapter": apply(pooled, method="adapt_image")}
        z_image = apply(pooled, method="project_image")
        return {"image": stages, "image_projection": {"image projection": z_image}}

    def encode_pois(self, variables: Tree, batch: Batch) -> dict[str, Tree]:
        """Likewise of POI sets."""
        apply = self._applied(variables)
        pois = PoiSets.of(batch)
        z_poi = apply(apply(pois, method="encode_pois"), method="project_pois")
        return {
            "poi": apply(pois, apart=True, method="encode_pois"),
            "poi_projection": {"POI projection": z_poi},
        }

    def _applied(self, variables: Tree) -> Callable[..., Any]:
        return functools.partial(self.model.apply, variables)

    def _image(
        self, variables: Tree, batch: Batch
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The pooled feature, and what is read of images."""
        if self.given:
            pooled = batch["tower"][:, 0]
            return pooled, {"table" if self.model.reads_table else "pooled": pooled}
        palette = batch.get(_PALETTE)
        assert self.normalise == "encoder" or palette is not None, "see `of_city`"
        return read_image(
            self.model,
            variables,
            batch["image"],
            palette,
            size_px=self.size_px,
            every_stage=self.every_stage,
        )
