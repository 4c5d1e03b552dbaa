"""How a way of learning changes the program in memory: its views, batches and losses.

Use it in a process of its own: a change lasts until the process ends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mmgr_jax.data.pipeline import Batch
from mmgr_jax.evaluation import inference
from mmgr_jax.evaluation.features.features import Encoded
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.losses import contrastive
from mmgr_jax.models import mmgr
from mmgr_jax.train import experiment, step
from mmgr_jax.train import loop as train
from mmgr_jax.typing import Batch as OnDevices
from mmgr_jax.typing import PoiSets

Change = Callable[[jax.Array, jax.Array], jax.Array]
"""(views [v b s s 3], key) -> views."""

Encode = Callable[[Batch], Encoded]


def change_views(change: Change) -> None:
    """Changes the views of training."""
    made = step.two_views

    def views(image: jax.Array, key: jax.Array, *given: Any, **named: Any) -> jax.Array:
        return change(made(image, key, *given, **named), jax.random.fold_in(key, 7))

    step.two_views = views


def change_batches(change: Callable[[Batch], Batch]) -> None:
    """Changes the batches of the host before they are sent."""
    build = experiment.build

    def changed(config: ConfigDict) -> experiment.Experiment:
        run = build(config)
        put = run.put
        assert put is not None  # no tower is locked here
        return dataclasses.replace(run, put=lambda batch: put(change(batch)))

    train.experiment.build = changed


def more_outputs(*names: str) -> None:
    """Hands some arrays of a batch to the loss."""
    apply = step.apply

    def with_more(
        model: mmgr.MMGR, params: Any, stats: Any, batch: OnDevices, views: jax.Array
    ) -> tuple[dict[str, jax.Array], Any]:
        outputs, stats = apply(model, params, stats, batch, views)
        return {**outputs, **{name: batch[name] for name in names}}, stats

    step.apply = with_more


def second_tiles(tiles: Callable[[np.ndarray], np.ndarray]) -> None:
    """View 2 is made of other tiles, given by the numbers of the regions."""

    def beside(batch: Batch) -> Batch:
        both = [batch["image"], tiles(batch["region_index"])]
        return {**batch, "image": np.concatenate(both, axis=-1)}

    made = step.two_views

    def views(image: jax.Array, *given: Any, **named: Any) -> jax.Array:
        first = made(image[..., :3], *given, **named)
        second = made(image[..., 3:], *given, **named)
        return jnp.stack([first[0], second[1]])

    change_batches(beside)
    step.two_views = views


def predict_beside(
    size: int,
    target_of: Callable[[OnDevices, jax.Array], jax.Array],
    weight: float,
    before: Callable[[jax.Array], jax.Array] = lambda views: views,
) -> None:
    """A linear prediction from the pooled image feature, squared error, beside all."""
    setup, apply, contrast = mmgr.MMGR.setup, step.apply, contrastive.mmgr_loss

    def with_layer(self: mmgr.MMGR) -> None:
        setup(self)
        self.beside = nn.Dense(size)

    def call(
        self: mmgr.MMGR, views: jax.Array, pois: PoiSets, train: bool
    ) -> dict[str, jax.Array]:
        features = jnp.stack([self.encode_image(view, train) for view in views])
        return {
            "z_image": self.project_image(features),
            "z_poi": self.project_pois(self.encode_pois(pois, train)),
            "predicted": self.beside(features),
        }

    def with_target(
        model: mmgr.MMGR, params: Any, stats: Any, batch: OnDevices, views: jax.Array
    ) -> tuple[dict[str, jax.Array], Any]:
        target = target_of(batch, views)
        outputs, stats = apply(model, params, stats, batch, before(views))
        return {**outputs, "target": target}, stats

    def loss(
        predicted: jax.Array, target: jax.Array, **given: Any
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        total, parts = contrast(**given)
        error = jnp.mean((predicted - target) ** 2, axis=(0, 2))
        valid = given["example_mask"]
        beside = jnp.sum(jnp.where(valid, error, 0.0)) / jnp.maximum(valid.sum(), 1)
        return total + weight * beside, {**parts, "loss_beside": beside}

    mmgr.MMGR.setup, mmgr.MMGR.__call__ = with_layer, call
    step.apply, contrastive.mmgr_loss = with_target, loss


def change_reading(read: Callable[[Encode, Batch], Encoded]) -> None:
    """Changes what heads are given of trained and of random encoders alike."""

    def changed(load: Callable[..., InferenceEncoder]) -> Any:
        def loaded(*given: Any, **named: Any) -> InferenceEncoder:
            encoder = load(*given, **named)

            def run(variables: Any, batch: Batch) -> Encoded:
                return read(partial(encoder.run, variables), batch)

            return dataclasses.replace(encoder, run=run)

        return loaded

    inference.load_encoder = changed(inference.load_encoder)
    inference.random_encoder = changed(inference.random_encoder)
