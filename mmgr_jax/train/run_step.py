"""Builds the training step of a run, also for devices that this machine does not have.

It needs only shapes and settings, no records: planning compiles the same step.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
import optax

from mmgr_jax.devices import sharding
from mmgr_jax.errors import InputError
from mmgr_jax.models import mmgr, start
from mmgr_jax.store import checkpoint
from mmgr_jax.store.state import TrainState
from mmgr_jax.towers import locked
from mmgr_jax.train import durations, optim
from mmgr_jax.train import step as train_step
from mmgr_jax.train.settings import TrainingSettings


@dataclasses.dataclass(frozen=True)
class Step:
    """The part of a run that needs no records: its functions and its length.

    Attributes:
        model: The model.
        abstract: Shapes, types and layout of the state.
        init: () -> the state before the first step, jitted, laid out on the mesh.
        run: (state, batch, key) -> (state, metrics), jitted; it reuses the memory of
            the old state.
        learning_rate: Step -> rate.
        to_steps: (duration, config key) -> steps.
        total_steps: Number of steps of the run.
    """

    model: mmgr.MMGR
    abstract: TrainState
    init: Callable[[], TrainState]
    run: Callable[..., tuple[TrainState, train_step.Metrics]]
    learning_rate: optax.Schedule
    to_steps: Callable[[str, str], int]
    total_steps: int


def build(
    settings: TrainingSettings,
    mesh: jax.sharding.Mesh,
    metadata: checkpoint.Metadata,
    *,
    steps_per_epoch: int,
    num_slots: int,
    category_vectors: np.ndarray | None = None,
    table_features: np.ndarray | None = None,
    palettes: np.ndarray | None = None,
) -> Step:
    """Builds the training step for a mesh of devices that this machine may not have.

    Args:
        settings: Settings of the run.
        mesh: The devices.
        metadata: Metadata, from which the size of the category table is read.
        steps_per_epoch: Number of batches in an epoch.
        num_slots: Number of POI slots for each region in a batch.
        category_vectors: As for `start.build_model`.
        table_features: As for `start.build_model`.
        palettes: As for `step.make_train_step`. It may also be None if only shapes and
            times are of interest.

    Raises:
        InputError: If a setting does not fit.
    """
    to_steps = _to_steps(settings, steps_per_epoch)
    total_steps = to_steps.keywords["total_steps"]
    batch_size, train = settings.data.batch_size, settings.train
    tx, rate = optim.build(
        settings.optim,
        batch_size=batch_size,
        total_steps=total_steps,
        to_steps=to_steps,
    )
    model = _model(settings, mesh, metadata, category_vectors, table_features)
    if model.learning.decay < 1:
        tx = optim.scaled_by_part(tx, model.learning.factors_of_all)
    step = train_step.make_train_step(
        model,
        tx,
        augment=settings.augment,
        loss=settings.loss,
        gradient_dtype=train.gradient_dtype,
        microbatches=sharding.microbatches(mesh, batch_size, train.microbatch_size),
        mesh=mesh,
        palettes=palettes,
    )
    init_key, _ = start.keys(settings.seed)

    def init() -> TrainState:
        return train_step.init_state(
            model, tx, init_key, num_slots, settings.augment.size_px
        )

    shapes = jax.eval_shape(init)
    layout = sharding.lay_out(shapes, mesh, settings.sharding)
    abstract = checkpoint.abstract_like(shapes, layout)
    whole, rows = sharding.replicated(mesh), sharding.split(mesh)
    run = jax.jit(
        step,
        in_shardings=(layout, rows, whole),
        out_shardings=(layout, whole),
        donate_argnums=0,
    )
    first = start.jit_init(init, layout)
    return Step(model, abstract, first, run, rate, to_steps, total_steps)


def _model(
    settings: TrainingSettings,
    mesh: jax.sharding.Mesh,
    metadata: checkpoint.Metadata,
    category_vectors: np.ndarray | None,
    table_features: np.ndarray | None,
) -> mmgr.MMGR:
    """Builds the model, and checks that other settings fit it."""
    model = start.build_model(
        settings.model,
        metadata,
        category_vectors,
        num_devices=mesh.size,
        table_features=table_features,
    )
    locked.check(
        settings.model.image_encoder,
        locked=model.learning.locked,
        image_weight=settings.loss.image_weight,
        normalise=settings.augment.normalise,
    )
    return model


def total_steps(settings: TrainingSettings, steps_per_epoch: int) -> int:
    """Returns the number of steps of a run.

    Raises:
        InputError: If `train.total` is no duration, or less than one step.
    """
    return _to_steps(settings, steps_per_epoch).keywords["total_steps"]


def _to_steps(
    settings: TrainingSettings, steps_per_epoch: int
) -> functools.partial[int]:
    """Returns (duration, key) -> steps, for this run's batches and length."""
    batch_size, total = settings.data.batch_size, settings.train.total
    to_steps = functools.partial(
        durations.to_steps,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
    )
    total_steps = to_steps(total, "train.total")
    if total_steps < 1:
        raise InputError(
            f"config.train.total={total!r} is less than one step of "
            f"config.data.batch_size={batch_size} regions."
        )
    return functools.partial(to_steps, total_steps=total_steps)
