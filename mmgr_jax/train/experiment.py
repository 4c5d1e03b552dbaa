"""Builds the objects of a training run from a config.

Sections become dataclasses here; the code that this module calls sees no config.
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
from mmgr_jax.data.settings import DataSettings
from mmgr_jax.data.source import RegionSource
from mmgr_jax.devices import distributed, sharding, tiles
from mmgr_jax.errors import InputError
from mmgr_jax.models import mmgr, start
from mmgr_jax.store import checkpoint, identity, warm_start
from mmgr_jax.store.state import TrainState
from mmgr_jax.towers import locked, towers
from mmgr_jax.train import agreement, run_step
from mmgr_jax.train import step as train_step
from mmgr_jax.train.settings import TrainingSettings
from mmgr_jax.typing import Batch

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Holds all objects of a training run.

    Attributes:
        settings: The settings that it was built from.
        workdir: Folder of the run.
        source: The records.
        mesh: The devices.
        metadata: Metadata of its checkpoints.
        abstract: Shapes, types and layout of the state.
        init: () -> the state before the first step, laid out on the mesh.
        batches: () -> this process's iterator over training batches.
        put: Host batch -> global batch on the mesh; None before `ready` if the tower
            is locked.
        step: (state, batch) -> (state, metrics), jitted; it reuses the memory of the
            old state.
        learning_rate: Step -> rate.
        total_steps: Number of steps of the run.
        log_every: Number of steps between log lines.
        save_every: Number of steps between checkpoints.
        evaluate_every: Number of steps between evaluations of the features; None for
            no evaluation.
        profile: Steps to trace, such as "10:20".
        tower: The locked image encoder; None if the encoder learns.
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
        """Refuses to continue from a checkpoint of other settings or other records.

        Raises:
            InputError: If they differ; the message names the differences, see
                `identity`.
        """
        identity.check_restart(self.metadata, stored, bundle, _weights_in)

    def continued(self, step: int) -> Experiment:
        """Returns the run with metadata that hold its history before `step`."""
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
        """Returns the run with `put`, after a locked tower's features are made or read.

        Args:
            state: The state at which the run begins, with the tower's weights.
        """
        if self.tower is None:
            return self
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        own = towers.own_variables(variables, shared=True)
        kept = self.tower.features(own)
        return dataclasses.replace(self, put=towers.put(kept, self.mesh))


def build(config: ConfigDict) -> Experiment:
    """Builds the run that a config describes, with nothing trained yet.

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
    step = run_step.build(
        settings,
        mesh,
        metadata,
        steps_per_epoch=pipeline.epoch_steps(source, data),
        num_slots=pipeline.poi_slots(source, data.max_pois),
        category_vectors=vectors,
        table_features=table,
        palettes=corpus.palettes(source, settings.augment.normalise),
    )
    named = _identity(settings, source, table, step.total_steps)
    metadata = dataclasses.replace(metadata, identity=named)
    workdir = Path(config.workdir)
    tower = _tower(settings, workdir, step.model, source, table)
    resident = tower is None and tiles.wanted(data.device_resident, source, mesh)
    put = None
    if tower is None:
        put = _put(source, mesh, data, resident=resident)
    whole = sharding.replicated(mesh)
    step_key = jax.jit(lambda: start.keys(settings.seed)[1], out_shardings=whole)()
    run = distributed.together(step.run)
    to_steps, train = step.to_steps, settings.train
    return Experiment(
        settings=settings,
        workdir=workdir,
        source=source,
        mesh=mesh,
        metadata=metadata,
        abstract=step.abstract,
        init=lambda: _warm(settings, metadata, distributed.together(step.init)()),
        batches=functools.partial(
            _batches,
            source,
            settings,
            images=not resident and tower is None,
            edges=step.model.poi_encoder.reads_edges,
        ),
        put=put,
        step=lambda state, batch: run(state, batch, step_key),
        learning_rate=step.learning_rate,
        total_steps=step.total_steps,
        log_every=max(to_steps(train.log_every, "train.log_every"), 1),
        save_every=max(to_steps(train.save_every, "train.save_every"), 1),
        evaluate_every=_every(to_steps, train.evaluate_every),
        profile=config.profile,
        tower=tower,
    )


def _tower(
    settings: TrainingSettings,
    workdir: Path,
    model: mmgr.MMGR,
    source: RegionSource,
    table: np.ndarray | None,
) -> towers.Tower | None:
    """Makes the image encoder if it is locked."""
    return locked.locked_tower(
        model,
        source,
        table,
        options=settings.model.image_encoder,
        augment=settings.augment,
        data=settings.data,
        mesh=settings.mesh,
        seed=settings.seed,
        workdir=workdir,
    )


def _put(
    source: RegionSource, mesh: jax.sharding.Mesh, data: DataSettings, *, resident: bool
) -> Callable[[pipeline.Batch], dict[str, jax.Array]]:
    """Returns host batch -> global batch; `resident`: tiles are kept on the devices."""
    if resident:
        return tiles.put(source, mesh, data.num_threads)
    return functools.partial(sharding.put_batch, mesh=mesh)


def _batches(
    source: RegionSource, settings: TrainingSettings, *, images: bool, edges: bool
) -> pipeline.TrainingBatches:
    """Makes this process's iterator over training batches."""
    return pipeline.training_batches(
        source,
        settings.data,
        seed=settings.seed,
        images=images,
        edges=edges,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _identity(
    settings: TrainingSettings,
    source: RegionSource,
    table: np.ndarray | None,
    num_steps: int,
) -> dict[str, Any]:
    """Describes the records and the length of a run, for its checkpoints."""
    return identity.of_run(
        source.identity,
        table=table,
        total_steps=num_steps,
        corpus=source.members if isinstance(source, Corpus) else None,
        pixels=_pixels(source, settings.augment.normalise),
    )


def _pixels(source: RegionSource, normalise: str) -> dict[str, Any] | None:
    """Returns what the pixels of each city are normalised by, for checkpoints."""
    if normalise == "encoder":
        return None
    measured = corpus.pixel_statistics(source)
    return {city: dataclasses.asdict(of_city) for city, of_city in measured.items()}


def _every(to_steps: Callable[[str, str], int], duration: str | None) -> int | None:
    return max(to_steps(duration, "train.evaluate_every"), 1) if duration else None


def _warm(
    settings: TrainingSettings, metadata: checkpoint.Metadata, state: TrainState
) -> TrainState:
    """Puts the weights of `config.init.checkpoint`, if given, into a fresh state."""
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
    """Returns the hash of the weights in a run or checkpoint; None if there is none."""
    try:
        return identity.of_weights(checkpoint.load_arrays(checkpoint.latest(path)))
    except InputError:
        return None
