"""Compiled programs of a model that encode NumPy arrays, some rows at a time."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from mmgr_jax.data import pipeline
from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.evaluation.inference_encoder import read_image
from mmgr_jax.models import mmgr
from mmgr_jax.typing import Batch, PoiSets, Tree

Palette = Float32[np.ndarray, "1 2 3"] | None
"""Mean and deviation of the city of all tiles; None: the image encoder's own."""

_Given = tuple[Tree, jax.Array | None]
"""Variables, and the palette."""


@dataclasses.dataclass(frozen=True)
class CompiledModel:
    """A model that encodes tiles and POI sets in NumPy; it compiles at first use.

    Attributes:
        model: The Flax module.
        variables: Its parameters and batch statistics, on the devices.
        size_px: Side of the images that the model takes.
        every_stage: Whether the feature map of every stage is read, not only the pooled
            feature.
    """

    model: mmgr.MMGR
    variables: Tree
    size_px: int
    every_stage: bool

    def embed_tiles(
        self, tiles: np.ndarray, palette: Palette, batch_size: int
    ) -> np.ndarray:
        """Computes features [n f] of tiles [n h w 3], float32."""
        encode = functools.partial(self._image[0], (self.variables, palette))
        return self._in_batches(encode, {"image": tiles}, batch_size)

    def project_tiles(
        self, tiles: np.ndarray, palette: Palette, batch_size: int
    ) -> np.ndarray:
        """Computes projections [n p] of tiles [n h w 3], float32."""
        encode = functools.partial(self._image[1], (self.variables, palette))
        return self._in_batches(encode, {"image": tiles}, batch_size)

    def embed_pois(self, sets: pipeline.Batch, batch_size: int) -> np.ndarray:
        """Computes features [n q] of padded POI sets, float32."""
        encode = functools.partial(self._pois[0], self.variables)
        return self._in_batches(encode, sets, batch_size)

    def project_pois(self, sets: pipeline.Batch, batch_size: int) -> np.ndarray:
        """Computes projections [n p] of padded POI sets, float32."""
        encode = functools.partial(self._pois[1], self.variables)
        return self._in_batches(encode, sets, batch_size)

    def image_width(self, side_px: int, *, by_city: bool) -> int:
        """Returns the length of a tile's features, without computing any.

        Args:
            side_px: Side of the tiles.
            by_city: Whether pixels are normalised by mean and deviation of the city.
        """
        shape = (self.mesh.size, side_px, side_px, 3)
        image = {"image": jax.ShapeDtypeStruct(shape, np.uint8)}
        palette = jax.ShapeDtypeStruct((1, 2, 3), np.float32) if by_city else None
        groups = jax.eval_shape(self._image[0], (self.variables, palette), image)
        return sum(one.shape[-1] for one in groups.values())

    def poi_width(self) -> int:
        """Returns the length of a POI set's features, without computing any."""
        size, slots = self.mesh.size, pipeline.POI_SLOT_MULTIPLE
        sets = {
            "poi_category": jax.ShapeDtypeStruct((size, slots), np.int32),
            "poi_offset_m": jax.ShapeDtypeStruct((size, slots, 2), np.float32),
            "poi_mask": jax.ShapeDtypeStruct((size, slots), bool),
        }
        groups = jax.eval_shape(self._pois[0], self.variables, sets)
        return sum(one.shape[-1] for one in groups.values())

    @functools.cached_property
    def mesh(self) -> jax.sharding.Mesh:
        """The devices of this process."""
        return sharding.local_mesh(MeshSettings())

    # ---- how ----

    @functools.cached_property
    def _image(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """((variables, palette), batch) -> features by group; and -> projections."""
        read = functools.partial(
            read_image,
            size_px=self.size_px,
            every_stage=self.every_stage,
        )

        def embed(given: _Given, batch: Batch) -> dict[str, jax.Array]:
            variables, palette = given
            pooled, groups = read(self.model, variables, batch["image"], palette)
            if self.model.learning.locked:
                adapter = self._apply(variables, pooled, method="adapt_image")
                groups |= {"adapter": adapter}
            return groups

        def project(given: _Given, batch: Batch) -> dict[str, jax.Array]:
            variables, palette = given
            pooled, _ = read(self.model, variables, batch["image"], palette)
            return {"": self._apply(variables, pooled, method="project_image")}

        return self._jitted(embed), self._jitted(project)

    @functools.cached_property
    def _pois(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The same of POI sets."""

        def embed(variables: Tree, batch: Batch) -> dict[str, jax.Array]:
            pois = PoiSets.of(batch)
            return self._apply(variables, pois, apart=True, method="encode_pois")

        def project(variables: Tree, batch: Batch) -> dict[str, jax.Array]:
            pooled = self._apply(variables, PoiSets.of(batch), method="encode_pois")
            return {"": self._apply(variables, pooled, method="project_pois")}

        return self._jitted(embed), self._jitted(project)

    def _apply(self, variables: Tree, *inputs: Any, **options: Any) -> Any:
        return self.model.apply(variables, *inputs, **options)

    def _jitted(self, encode: Callable[..., Any]) -> Callable[..., Any]:
        whole, rows = sharding.replicated(self.mesh), sharding.split(self.mesh)
        return jax.jit(encode, in_shardings=(whole, rows), out_shardings=whole)

    def _in_batches(
        self,
        encode: Callable[[Mapping[str, jax.Array]], Mapping[str, jax.Array]],
        inputs: Mapping[str, np.ndarray],
        batch_size: int,
    ) -> np.ndarray:
        """Groups side by side of all rows, some rows at a time."""
        count, devices = len(next(iter(inputs.values()))), self.mesh.size
        size = -(-min(batch_size, max(count, 1)) // devices) * devices
        chunks = []
        for first in range(0, max(count, 1), size):
            batch = {name: _filled(rows, first, size) for name, rows in inputs.items()}
            groups = encode(sharding.put_batch(batch, self.mesh))
            rows = [np.asarray(group, np.float32) for group in groups.values()]
            chunks.append(np.concatenate(rows, axis=1)[: max(count - first, 0)])
        return np.concatenate(chunks)


def _filled(rows: np.ndarray, start: int, size: int) -> np.ndarray:
    """Rows from `start` on, zeros behind the last."""
    part = rows[start : start + size]
    return np.concatenate(
        [part, np.zeros((size - len(part), *rows.shape[1:]), rows.dtype)]
    )
