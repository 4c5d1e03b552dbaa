"""Ways of learning that were tried and did not win: code outside the program.

Each function changes the program in memory before a run in a process of its own;
`benchmarks.ways` names the function. Ways that win move into the program; ways that
lose stay here, so that the table can be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import shapely
from ml_collections import ConfigDict

from benchmarks import program_changes as changes
from benchmarks.program_changes import Encode
from mmgr_jax.data.pipeline import Batch
from mmgr_jax.data.source import open_source
from mmgr_jax.evaluation import feature_sets
from mmgr_jax.evaluation.features import groups
from mmgr_jax.evaluation.features.features import Encoded
from mmgr_jax.losses import contrastive
from mmgr_jax.models import mmgr, poi
from mmgr_jax.typing import Batch as OnDevices
from mmgr_jax.typing import PoiSets

NEAR_M = 200.0
GRID = 8  # cells along a side of a view that are hidden or predicted


def noise(config: ConfigDict) -> None:
    """Gaussian noise on every view, of up to a fifth of a channel's deviation."""
    del config

    def add(views: jax.Array, key: jax.Array) -> jax.Array:
        draw, strength = jax.random.split(key)
        most = jax.random.uniform(strength, (*views.shape[:2], 1, 1, 1)) * 0.2
        return views + most * jax.random.normal(draw, views.shape)

    changes.change_views(add)


def blur(config: ConfigDict) -> None:
    """Half of the views blurred by the binomial filter of 3 by 3 pixels."""
    del config

    def smooth(views: jax.Array, key: jax.Array) -> jax.Array:
        blurred = _binomial(_binomial(views, 2), 3)
        chosen = jax.random.bernoulli(key, 0.5, (*views.shape[:2], 1, 1, 1))
        return jnp.where(chosen, blurred, views)

    changes.change_views(smooth)


def erasing(config: ConfigDict) -> None:
    """A quarter of the cells of every view hidden."""
    del config
    changes.change_views(partial(_hidden, share=0.25))


def two_scales(config: ConfigDict) -> None:
    """View 2 is of the tile and its eight neighbours, at a third of the scale."""
    wide = _wide_tiles(config)
    changes.second_tiles(lambda index: wide[index])


def shifted(config: ConfigDict) -> None:
    """View 2 is of ground up to half a tile away."""
    mosaics, draw = _mosaics(config), np.random.default_rng(config.seed)
    side = mosaics.shape[1] // 3

    def moved(index: np.ndarray) -> np.ndarray:
        start = side + draw.integers(-side // 2, side // 2 + 1, (len(index), 2))
        return np.stack(
            [
                mosaics[row, top : top + side, left : left + side]
                for row, (top, left) in zip(index, start, strict=True)
            ]
        )

    changes.second_tiles(moved)


def masked_modelling(config: ConfigDict) -> None:
    """In addition to the contrast, predicts a view's colours with 40 % of it hidden."""
    del config
    size = GRID * GRID * 3

    def target(batch: OnDevices, views: jax.Array) -> jax.Array:
        v, b, side, _, _ = views.shape
        cells = views.reshape(v, b, GRID, side // GRID, GRID, side // GRID, 3)
        return cells.mean(axis=(3, 5)).reshape(v, b, size)

    def hide(views: jax.Array) -> jax.Array:
        key = jax.random.key(jnp.sum(jnp.abs(views) * 1e3).astype(jnp.uint32))
        return _hidden(views, key, share=0.4)

    changes.predict_beside(size, target, weight=0.5, before=hide)


def counts_from_images(config: ConfigDict) -> None:
    """In addition to the contrast, predicts log POI category counts from images."""
    k = len(open_source(config).manifest.categories)

    def target(batch: OnDevices, views: jax.Array) -> jax.Array:
        counts = poi.log_counts(PoiSets.of(batch), k)
        return jnp.broadcast_to(counts, (len(views), *counts.shape))

    changes.predict_beside(k + 1, target, weight=1.0)


def pois_dropped(config: ConfigDict) -> None:
    """A quarter of the POIs of every set hidden, never all of them."""
    draw = np.random.default_rng(config.seed)

    def thin(batch: Batch) -> Batch:
        mask = batch["poi_mask"]
        kept = mask & (draw.random(mask.shape) > 0.25)
        kept = np.where(kept.any(axis=1, keepdims=True), kept, mask)
        return {**batch, "poi_mask": kept}

    changes.change_batches(thin)


def no_near_negatives(config: ConfigDict) -> None:
    """Regions whose centres are within `NEAR_M` are not each other's negatives."""
    centre_m = _centres_m(config)

    def locate(batch: Batch) -> Batch:
        return {**batch, "centre_m": centre_m[batch["region_index"]]}

    changes.change_batches(locate)
    changes.more_outputs("centre_m")

    def loss(
        z_image: jax.Array, z_poi: jax.Array, centre_m: jax.Array, **options: Any
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        apart = jnp.linalg.norm(centre_m[:, None] - centre_m[None], axis=-1)
        near = (apart < NEAR_M) & ~jnp.eye(len(apart), dtype=bool)

        def one(a: jax.Array, b: jax.Array, empty: jax.Array) -> jax.Array:
            z = contrastive.unit_rows(jnp.concatenate([a, b]))
            logits = z @ z.T / options["settings"].temperature
            columns = contrastive._columns(options["example_mask"], empty)
            columns &= ~jnp.tile(near, (2, 2))
            total = jax.nn.logsumexp(
                jnp.where(columns, logits, contrastive.EXCLUDED), 1
            )
            count = len(a)
            positive = jnp.concatenate(
                [jnp.diagonal(logits, count), jnp.diagonal(logits, -count)]
            )
            rows = jnp.tile(options["example_mask"], 2)
            summed = jnp.sum(jnp.where(rows, total - positive, 0.0))
            return summed / jnp.maximum(jnp.sum(rows), 1)

        return _weighted(one, z_image, z_poi, options)

    contrastive.mmgr_loss = loss


def sigmoid(config: ConfigDict) -> None:
    """SigLIP's pairwise loss with learnt temperature and bias (arXiv 2303.15343)."""
    config.model.learn_temperature, config.loss.temperature = True, 0.1
    setup, call = mmgr.MMGR.setup, mmgr.MMGR.__call__

    def with_bias(self: mmgr.MMGR) -> None:
        setup(self)
        init = nn.initializers.constant(-10.0)
        self.loss_bias = self.param("loss_bias", init, (), jnp.float32)

    def outputs(self: mmgr.MMGR, *given: Any, **named: Any) -> dict[str, jax.Array]:
        return {**call(self, *given, **named), "bias": self.loss_bias}

    mmgr.MMGR.setup, mmgr.MMGR.__call__ = with_bias, outputs

    def loss(
        z_image: jax.Array,
        z_poi: jax.Array,
        bias: jax.Array,
        temperature_factor: jax.Array,
        **options: Any,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        tau = options["settings"].temperature * temperature_factor
        valid = options["example_mask"]

        def one(a: jax.Array, b: jax.Array, empty: jax.Array) -> jax.Array:
            logits = contrastive.unit_rows(a) @ contrastive.unit_rows(b).T / tau + bias
            same = jnp.eye(len(a), dtype=bool)
            counts = valid[:, None] & valid & (same | ~(empty[:, None] & empty))
            surprise = -jax.nn.log_sigmoid(jnp.where(same, logits, -logits))
            summed = jnp.sum(jnp.where(counts, surprise, 0.0))
            return summed / jnp.maximum(jnp.sum(valid), 1)

        return _weighted(one, z_image, z_poi, options)

    contrastive.mmgr_loss = loss


def turned(config: ConfigDict) -> None:
    """What is read of an image is the mean over its eight turns and flips."""
    del config

    def read(encode: Encode, batch: Batch) -> Encoded:
        every = [encode(dict(batch, image=tiles)) for tiles in _turns(batch["image"])]
        image = jax.tree.map(
            lambda *of: np.mean(of, axis=0), *(e["image"] for e in every)
        )
        return {**every[0], "image": image}

    changes.change_reading(read)


def wide_view(config: ConfigDict) -> None:
    """A tile with its eight neighbours, at a third of the scale, is read beside it."""
    wide = _wide_tiles(config)

    def read(encode: Encode, batch: Batch) -> Encoded:
        near = encode(batch)
        far = encode(dict(batch, image=wide[batch["region_index"]]))["image"]
        around = {f"wide {group}": values for group, values in far.items()}
        return {**near, "image": {**near["image"], **around}}

    changes.change_reading(read)


def projections(config: ConfigDict) -> None:
    """Heads read what the losses see, beside the features."""
    del config
    kinds = dict(feature_sets.KINDS)
    kinds["image"] += ("image_projection",)
    kinds["both"] += ("image_projection", "poi_projection")
    feature_sets.KINDS = kinds


def touching(config: ConfigDict) -> None:
    """Regions that are not tested also read the features of tested neighbours."""
    del config
    groups.Features.around_untested = lambda self, test: self


def _weighted(
    one: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    z_image: jax.Array,
    z_poi: jax.Array,
    options: dict[str, Any],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Both losses of MMGR by another loss of two sides."""
    empty, nobody = options["poi_empty"], jnp.zeros_like(options["poi_empty"])
    inter = (one(z_image[0], z_poi, empty) + one(z_image[1], z_poi, empty)) / 2
    intra = one(z_image[0], z_image[1], nobody)
    weight = options["settings"].image_weight
    parts = {"loss_inter": inter, "loss_intra": intra}
    return (1 - weight) * inter + weight * intra, parts


def _hidden(views: jax.Array, key: jax.Array, share: float) -> jax.Array:
    """Views with that share of their cells at the mean colour."""
    hidden = jax.random.bernoulli(key, share, (*views.shape[:2], GRID, GRID, 1))
    scale = views.shape[2] // GRID
    hidden = jnp.repeat(jnp.repeat(hidden, scale, axis=2), scale, axis=3)
    return jnp.where(hidden, 0.0, views)


def _binomial(views: jax.Array, axis: int) -> jax.Array:
    size = views.shape[axis]
    pad = [(0, 0)] * views.ndim
    pad[axis] = (1, 1)
    wide = jnp.pad(views, pad, mode="edge")
    before, here, after = (
        jax.lax.slice_in_dim(wide, start, start + size, axis=axis) for start in range(3)
    )
    return (before + 2 * here + after) / 4


def _turns(tiles: np.ndarray) -> list[np.ndarray]:
    """The eight turns and flips of tiles [b s s 3]."""
    return [
        np.rot90(side, turns, axes=(1, 2))
        for side in (tiles, tiles[:, ::-1])
        for turns in range(4)
    ]


def _wide_tiles(config: ConfigDict) -> np.ndarray:
    """Each tile with its eight neighbours at a third of the scale, uint8 [r s s 3]."""
    mosaics = _mosaics(config)
    side = mosaics.shape[1] // 3
    wide = mosaics.reshape(-1, side, 3, side, 3, 3).mean(axis=(2, 4), dtype=np.float32)
    return np.round(wide).astype(np.uint8)


def _records(config: ConfigDict) -> Sequence[dict[str, Any]]:
    source = open_source(config)
    return [of for rows in source.parts() for of in source.read(rows, image=True)]


def _centres_m(config: ConfigDict) -> np.ndarray:
    """Centres of all regions [r 2], from the first one."""
    outlines = shapely.from_wkb([of["geometry"] for of in _records(config)])
    centre_m = shapely.get_coordinates(shapely.centroid(outlines))
    return (centre_m - centre_m[0]).astype(np.float32)


def _mosaics(config: ConfigDict) -> np.ndarray:
    """Each tile among its eight neighbours, uint8 [r 3s 3s 3].

    Where a neighbour is missing, the tile itself is mirrored.
    """
    records = _records(config)
    tiles = np.stack([of["image"] for of in records])
    centre_m, side = _centres_m(config), tiles.shape[1]
    step_m = config.regions.tile_size_px * config.regions.gsd_m
    place = np.round(centre_m / step_m).astype(int)
    at = {tuple(of): row for row, of in enumerate(place.tolist())}
    mosaics = np.empty((len(tiles), 3, side, 3, side, 3), np.uint8)
    for row, (x, y) in enumerate(place.tolist()):
        for down, north in enumerate((1, 0, -1)):
            for across, east in enumerate((-1, 0, 1)):
                other = at.get((x + east, y + north))
                tile = tiles[row] if other is None else tiles[other]
                if other is None:
                    tile = tile[:: -1 if north else 1, :: -1 if east else 1]
                mosaics[row, down, :, across] = tile
    return mosaics.reshape(len(tiles), 3 * side, 3 * side, 3)
