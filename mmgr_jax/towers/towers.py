"""Computes the features of a locked tower once for every region, and keeps them.

A tower is an image encoder that does not learn.

    tower/<key>.npy    features of each region's views, float32 [r w f]
          <key>.json   what they were computed from

The key is a hash of all that decides the features: the tower's weights, the records,
the views. Files of another key are never read; they may be removed at any time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Float

from mmgr_jax import __version__
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.augment.views import palette_of, plain_view, two_views
from mmgr_jax.data import contents, pipeline
from mmgr_jax.data.source import RegionSource
from mmgr_jax.devices import distributed, sharding
from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError
from mmgr_jax.models.learning import ENCODER
from mmgr_jax.models.mmgr import MMGR
from mmgr_jax.store import arrays
from mmgr_jax.terminal import duration
from mmgr_jax.typing import VIEWS, Batch, Key, Tree

FOLDER = "tower"
_EVERY_S = 5.0  # seconds between two lines of progress

Kept = Float[np.ndarray, "r w f"]
Put = Callable[[pipeline.Batch], dict[str, jax.Array]]
"""Function from a host batch to the global batch on the mesh."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Tower:
    """A locked image encoder and the regions that it encodes.

    Attributes:
        model: The model that the encoder is part of.
        options: The section `model.image_encoder`.
        source: The records.
        folder: Folder where features are kept.
        augment: How random views differ from tiles, and the size of any view.
        kept_views: Number of random views of each region to keep; 0: only the plain
            view.
        key: Random key; together with the number of a region it decides its views.
        num_threads: Number of threads that read and decode.
        batch_size: Number of regions encoded at a time.
        local_mesh: Devices of this process.
        table: Features of every region [r f], if the tower is a table.
        palettes: `corpus.palettes` of the records.
    """

    model: MMGR
    options: Mapping[str, Any]
    source: RegionSource
    folder: Path
    augment: AugmentSettings
    kept_views: int
    key: Key
    num_threads: int
    batch_size: int
    local_mesh: Mesh
    table: Float[np.ndarray, "r f"] | None = None
    palettes: Float[np.ndarray, "c 2 3"] | None = None

    def features(self, variables: Tree) -> Kept:
        """Returns the features of every region, in record order.

        They are read from the folder. If they are not there, process 0 computes them
        and the others wait. Features from a table are quick to compute and not kept.

        Args:
            variables: Variables of the tower only, see `own_variables`.

        Raises:
            InputError: If some features are not finite.
        """
        if self.table is not None:
            of_table = self.found(variables)
            assert of_table is not None
            return of_table
        about = self.about(variables)
        path = self.path(about)
        if distributed.is_first() and load(path, len(self.source)) is None:
            self._make(variables, path, about)
        distributed.barrier("tower")
        features = load(path, len(self.source))
        assert features is not None, path
        log.info("features of the locked tower: %s, %s", path, features.shape)
        return features

    def found(self, variables: Tree) -> Kept | None:
        """Returns the features if no image must be encoded first, otherwise None."""
        if self.table is not None:
            encoder = self.model.image_encoder
            rows = encoder.apply(variables, jnp.asarray(self.table), False)
            return np.asarray(rows, np.float32)[:, None]
        if not self.folder.is_dir():
            return None
        return load(self.path(self.about(variables)), len(self.source))

    def about(self, variables: Tree) -> dict[str, Any]:
        """Describes everything that decides the features."""
        encoder, records = self.model.image_encoder, self.source.identity
        about = {
            "version": __version__,
            "weights": arrays.hash_of(variables),
            "records": records["inputs"] or records["regions"],
            "encoder": {
                name: value
                for name, value in self.options.items()
                if name not in ("train", "kept_views")
            },
            "dtype": jnp.dtype(self.model.dtype).name,
            "size_px": self.augment.size_px,
            "mean": encoder.pixel_mean,
            "std": encoder.pixel_std,
            "kept_views": self.kept_views,
        }
        if self.palettes is not None:
            about["palettes"] = self.palettes.tolist()
        if self.kept_views:
            drawn = dataclasses.asdict(self.augment)
            del drawn["normalise"]  # said by what it is normalised by
            about["augment"] = drawn
            about["key"] = jax.random.key_data(self.key).tolist()
        return json.loads(json.dumps(about))

    def path(self, about: Mapping[str, Any]) -> Path:
        """Returns the path of the file of features with a given description."""
        return self.folder / f"{_name(about)}.npy"

    def _make(self, variables: Tree, path: Path, about: Mapping[str, Any]) -> None:
        """Writes the file; it gets its name when all of it is written."""
        kept, start, logged_at = None, time.perf_counter(), time.perf_counter()
        total = len(self.source)
        log.info("features of the locked tower, of %d regions, kept in %s ...",
                 total, path)  # fmt: skip
        with files.replacing(path) as partial:
            for index, features in self._encoded(variables):
                if kept is None:
                    shape = (total, *features.shape[1:])
                    kept = np.lib.format.open_memmap(
                        partial, "w+", dtype=np.float32, shape=shape
                    )
                _check_finite(features, index, self.source)
                kept[index] = features
                now, done = time.perf_counter(), int(index[-1]) + 1
                if now - logged_at >= _EVERY_S:
                    logged_at = now
                    log.info(
                        "  %d of %d regions, about %s left",
                        done,
                        total,
                        duration((now - start) / done * (total - done)),
                    )
            assert kept is not None  # records hold a region at least
            kept.flush()
            del kept
            sealed = {**about, "sha256": contents.of_file(partial)}
            written = json.dumps(sealed, indent=2, sort_keys=True)
            files.write_text(path.with_suffix(".json"), written + "\n")

    def _encoded(self, variables: Tree) -> Any:
        """Yields numbers of regions and their features [b w f], batch by batch."""
        mesh = self.local_mesh
        whole, rows = sharding.replicated(mesh), sharding.split(mesh)
        encode = jax.jit(self._encode, in_shardings=(whole, rows), out_shardings=whole)
        variables = jax.device_put(variables, whole)
        for batch in pipeline.epoch_batches(
            self.source, batch_size=self.batch_size, num_threads=self.num_threads
        ):
            present, index = batch["example_mask"], batch["region_index"]
            given = {"image": batch["image"], "region": index.astype(np.int32)}
            if "city_index" in batch:
                given["city_index"] = batch["city_index"]
            features = encode(variables, sharding.put_batch(given, mesh))
            yield index[present], np.asarray(features)[present]

    def _encode(self, variables: Tree, batch: Batch) -> jax.Array:
        encoder, image = self.model.image_encoder, batch["image"]
        pixels: dict[str, Any] = {
            "mean": encoder.pixel_mean,
            "std": encoder.pixel_std,
            "palette": palette_of(self.palettes, batch.get("city_index")),
        }
        if not self.kept_views:
            size_px = self.augment.size_px
            views = plain_view(image, size_px=size_px, **pixels)[None]
        else:
            # A region's number is its place, so its views do not depend on its batch.
            pairs = [
                two_views(
                    image,
                    jax.random.fold_in(self.key, pair),
                    self.augment,
                    batch["region"],
                    **pixels,
                )
                for pair in range(-(-self.kept_views // VIEWS))
            ]
            views = jnp.concatenate(pairs)[: self.kept_views]
        encoded = jax.lax.map(lambda view: encoder.apply(variables, view, False), views)
        return jnp.moveaxis(encoded, 0, 1).astype(jnp.float32)


def load(path: Path, num_regions: int) -> Kept | None:
    """Maps kept features into memory; None if they are absent or damaged.

    Args:
        path: File of the features.
        num_regions: Number of regions that it should hold.

    Raises:
        InputError: If the system does not allow to read them now.
    """
    if not path.exists() or not path.with_suffix(".json").exists():
        return None
    try:
        about = files.from_json(path.with_suffix(".json").read_bytes())
        sha256 = about.pop("sha256")
        if _name(about) != path.stem:
            raise ValueError("features of another tower or other records")
        with contents.stamps(path.parent) as stamps:
            if sha256 != stamps.sha256(path.name, path):
                raise ValueError("other bytes than were written")
        kept = np.load(path, mmap_mode="r")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        refusals.refuse_unreadable(path, error)
        log.warning("%s: damaged (%s), so it is made again", path, error)
        return None
    whole = kept.ndim == 3 and len(kept) == num_regions and kept.dtype == np.float32
    return kept if whole else None


def put(kept: Kept, mesh: Mesh) -> Put:
    """Makes the function that adds features to a batch and sends it to the devices.

    Args:
        kept: Features of every region.
        mesh: The devices.
    """
    rows = sharding.split(mesh)

    def add(batch: pipeline.Batch) -> dict[str, jax.Array]:
        tower = np.take(kept, batch["region_index"], axis=0)
        tower = jax.make_array_from_process_local_data(rows, tower)
        return {**sharding.put_batch(batch, mesh), "tower": tower}

    return add


def own_variables(variables: Tree, *, shared: bool = False) -> Tree:
    """Returns parameters and statistics of the tower only, whole and on the host.

    Args:
        variables: `params` and `batch_stats` of a model.
        shared: Whether several processes hold them together; then all of them must
            call this.
    """
    own = {name: tree[ENCODER] for name, tree in variables.items() if ENCODER in tree}
    if shared and jax.process_count() > 1:
        return multihost_utils.process_allgather(own, tiled=True)
    return jax.device_get(own)


def _name(about: Mapping[str, Any]) -> str:
    text = json.dumps(about, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_finite(values: np.ndarray, index: np.ndarray, source: RegionSource) -> None:
    broken = index[~np.isfinite(values).all(axis=(1, 2))]
    if len(broken):
        region = source[int(broken[0])]["region_id"]
        raise InputError(
            f"{source.place}: the locked tower makes features that are not "
            f"finite of {len(broken)} regions, such as {region!r}. Bring its weights "
            "in again by `python -m mmgr_jax.convert`, or try "
            "config.model.dtype=float32."
        )
