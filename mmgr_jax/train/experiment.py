"""From a config to the objects of a training run.

Here sections become dataclasses; nothing below sees a config.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from mmgr_jax.data import corpus, facts, opening, pipeline
from mmgr_jax.data.corpus import Corpus
from mmgr_jax.data.source import RegionSource
from mmgr_jax.devices import distributed, sharding, tiles
from mmgr_jax.errors import InputError
from mmgr_jax.models import mmgr, start
from mmgr_jax.store import checkpoint, identity, warm_start
from mmgr_jax.store.state import TrainState
from mmgr_jax.towers import locked, towers
from mmgr_jax.train import agreement, durations, optim
from mmgr_jax.train import step as train_step
from mmgr_jax.train.settings import TrainingSettings
from mmgr_jax.typing import Batch

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything a training run is made of.

    Attributes:
        settings: What it was built of.
        workdir: Folder of the run.
        source: The records.
        mesh: The devices.
        metadata: What checkpoints say of themselves.
        abstract: Shapes, types and layout of the state.
        init: () -> the state before the first step, laid out on the mesh.
        batches: () -> this process's iterator over training batches.
        put: Host batch -> global batch on the mesh; None before `ready` where a tower
            is locked.
        step: (state, batch) -> (state, metrics), jitted; gives the old state away.
        learning_rate: Step -> rate.
        total_steps: Length of the run.
        log_every: Steps between log lines.
        save_every: Steps between checkpoints.
        evaluate_every: Steps between two looks at the features; None for none.
        profile: Steps to trace, such as "10:20".
        tower: The locked image encoder; None for one that learns.
    """

    settings: TrainingSettings
    workdir: Path
    source: RegionSource
    mesh: jax.sharding.Mesh
    metadata: checkpoint.Metadata
    abstract: TrainState
    init: Callable[[], TrainState]
    batches: Callable[[], pipeline.TrainingBatches]
    put: Callable[[pipeline.Batch], dict[str, jax.Array]] | None
    step: Callable[
        [TrainState, Batch],
        tuple[TrainState, train_step.Metrics],
    ]
    learning_rate: optax.Schedule
    total_steps: int
    log_every: int
    save_every: int
    evaluate_every: int | None
    profile: str | None = None
    tower: towers.Tower | None = None

    def check(self, stored: checkpoint.Metadata, bundle: Path) -> None:
        """Refuses to go on from a checkpoint of other settings or other records.

        Raises:
            InputError: With all that differs; see `identity`.
        """
        identity.check_restart(self.metadata, stored, bundle, _weights_in)

    def continued(self, step: int) -> Experiment:
        """The run with checkpoints that tell what it was trained with before `step`."""
        stored, began_with = None, None
        if step:
            folder = checkpoint.latest(self.workdir).parent
            stored = checkpoint.load_metadata(folder / str(step))
        elif path := self.settings.init.checkpoint:
            began_with = _weights_in(path)
        metadata, changes = identity.continued(
            self.metadata,
            stored,
            step,
            began_with=began_with,
            weights_of=_weights_in,
        )
        for key, (before, now) in changes.items():
            log.info("from step %d on %s is %r; it was %r", step, key, now, before)
        return dataclasses.replace(self, metadata=metadata)

    def ready(self, state: TrainState) -> Experiment:
        """The run where batches can be put: a locked tower's features are made or read.

        Args:
            state: Where the run begins; gives the tower's weights.
        """
        if self.tower is None:
            return self
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        own = towers.own_variables(variables, shared=True)
        kept = self.tower.features(own)
        return dataclasses.replace(self, put=towers.put(kept, self.mesh))


@dataclasses.dataclass(frozen=True)
class Step:
    """The part of a run that needs no records: what is compiled, and for how long.

    Attributes:
        model: The model.
        abstract: Shapes, types and layout of the state.
        init: () -> the state before the first step, jitted, laid out on the mesh.
        run: (state, batch, key) -> (state, metrics), jitted; gives the old state away.
        learning_rate: Step -> rate.
        to_steps: (duration, config key) -> steps.
        total_steps: Length of the run.
    """

    model: mmgr.MMGR
    abstract: TrainState
    init: Callable[[], TrainState]
    run: Callable[..., tuple[TrainState, train_step.Metrics]]
    learning_rate: optax.Schedule
    to_steps: Callable[[str, str], int]
    total_steps: int


def build(config: ConfigDict) -> Experiment:
    """The run a config describes, with nothing trained yet.

    Raises:
        InputError: If the records are missing or a setting does not fit.
    """
    agreement.agree(config.to_dict())
    settings = TrainingSettings.of(config)
    data = settings.data
    mesh = sharding.make_mesh(settings.mesh)
    sharding.check_batch(mesh, data.batch_size, settings.train.microbatch_size)
    source = opening.open_training(settings.corpus, config.records.dir, data)
    agreement.agree_on_records(source.identity)
    vectors = source.category_vectors()
    table = locked.read_table(settings.model.image_encoder, source)
    metadata = checkpoint.Metadata(
        config=config.to_dict(),
        categories=source.manifest.categories,
        category_dim=vectors.shape[1],
        cities=facts.of_source(source),
    )
    step = build_step(
        settings,
        mesh,
        metadata,
        steps_per_epoch=pipeline.epoch_steps(source, data),
        num_slots=pipeline.poi_slots(source, data.max_pois),
        category_vectors=vectors,
        table_features=table,
        palettes=corpus.palettes(source, settings.augment.normalise),
    )
    metadata = dataclasses.replace(
        metadata,
        identity=identity.of_run(
            source.identity,
            table=table,
            total_steps=step.total_steps,
            corpus=source.members if isinstance(source, Corpus) else None,
            pixels=_pixels(source, settings.augment.normalise),
        ),
    )
    tower = locked.locked_tower(
        step.model,
        source,
        table,
        options=settings.model.image_encoder,
        augment=settings.augment,
        data=data,
        mesh=settings.mesh,
        seed=settings.seed,
        workdir=Path(config.workdir),
    )
    resident = tower is None and tiles.wanted(data.device_resident, source, mesh)
    put = functools.partial(sharding.put_batch, mesh=mesh)
    if resident:
        put = tiles.put(source, mesh, data.num_threads)
    whole = sharding.replicated(mesh)
    step_key = jax.jit(lambda: start.keys(settings.seed)[1], out_shardings=whole)()
    run = distributed.together(step.run)
    to_steps, train = step.to_steps, settings.train
    return Experiment(
        settings=settings,
        workdir=Path(config.workdir),
        source=source,
        mesh=mesh,
        metadata=metadata,
        abstract=step.abstract,
        init=lambda: _warm(settings, metadata, distributed.together(step.init)()),
        batches=lambda: pipeline.training_batches(
            source,
            data,
            seed=settings.seed,
            images=not resident and tower is None,
            edges=step.model.poi_encoder.reads_edges,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        ),
        put=put if tower is None else None,
        step=lambda state, batch: run(state, batch, step_key),
        learning_rate=step.learning_rate,
        total_steps=step.total_steps,
        log_every=max(to_steps(train.log_every, "train.log_every"), 1),
        save_every=max(to_steps(train.save_every, "train.save_every"), 1),
        evaluate_every=_every(to_steps, train.evaluate_every),
        profile=config.profile,
        tower=tower,
    )


def build_step(
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
    """The training step on a mesh, which may be of devices not at hand.

    Args:
        settings: Of the run.
        mesh: The devices.
        metadata: Gives the size of the category table.
        steps_per_epoch: Batches of an epoch.
        num_slots: POI slots of a batch.
        category_vectors: As for `start.build_model`.
        table_features: As for `start.build_model`.
        palettes: As for `train_step.make_train_step`; None, too, where shapes and
            times alone are of interest.

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


def _pixels(source: RegionSource, normalise: str) -> dict[str, Any] | None:
    """What the pixels of each city are normalised by, for checkpoints to say."""
    if normalise == "encoder":
        return None
    measured = corpus.pixel_statistics(source)
    return {city: dataclasses.asdict(of_city) for city, of_city in measured.items()}


def _every(to_steps: Callable[[str, str], int], duration: str | None) -> int | None:
    return max(to_steps(duration, "train.evaluate_every"), 1) if duration else None


def total_steps(settings: TrainingSettings, steps_per_epoch: int) -> int:
    """Length of a run.

    Raises:
        InputError: If it is no duration, or less than a step.
    """
    return _to_steps(settings, steps_per_epoch).keywords["total_steps"]


def _to_steps(
    settings: TrainingSettings, steps_per_epoch: int
) -> functools.partial[int]:
    """(duration, key) -> steps, for this run's batches and length."""
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


def _warm(
    settings: TrainingSettings, metadata: checkpoint.Metadata, state: TrainState
) -> TrainState:
    """The fresh state, with the weights of `config.init.checkpoint` where given."""
    init, options = settings.init, settings.model.image_encoder
    locked.check_weights(options, init, settings.augment.normalise)
    if init.checkpoint is None:
        return state
    variables = warm_start.start_from(
        {"params": state.params, "batch_stats": state.batch_stats},
        checkpoint.latest(init.checkpoint),
        categories=metadata.categories,
        parts=init.parts,
    )
    return dataclasses.replace(state, **variables)


def _weights_in(path: str) -> str | None:
    """The hash of the weights in a run or checkpoint; None where there are none."""
    try:
        return identity.of_weights(checkpoint.load_arrays(checkpoint.latest(path)))
    except InputError:
        return None
