"""From a config to the objects of a training run.

The last place that sees a ConfigDict: what lies below takes keyword arguments.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from mmgr_jax import (
    checkpoint,
    device_tiles,
    distributed,
    durations,
    optim,
    sharding,
    train_step,
    warm_start,
)
from mmgr_jax.data import pipeline
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError, check_choice
from mmgr_jax.models import mmgr
from mmgr_jax.typing import Tree

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_FREE = ("dtype", "batch_norm")  # of section `model`: the arrays are the same


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything a training run is made of.

    Attributes:
        workdir: Folder of the run.
        source: The records.
        mesh: The devices.
        metadata: What checkpoints say of themselves.
        abstract: Shapes, types and layout of the state.
        init: () -> the state before the first step, laid out on the mesh.
        batches: () -> this process's iterator over training batches.
        put: Host batch -> global batch on the mesh.
        step: (state, batch) -> (state, metrics), jitted; gives the old state away.
        learning_rate: Step -> rate.
        total_steps: Length of the run.
        log_every: Steps between log lines.
        save_every: Steps between checkpoints.
        profile: Steps to trace, such as "10:20".
    """

    workdir: Path
    source: RecordSource
    mesh: jax.sharding.Mesh
    metadata: checkpoint.Metadata
    abstract: train_step.TrainState
    init: Callable[[], train_step.TrainState]
    batches: Callable[[], pipeline.TrainingBatches]
    put: Callable[[pipeline.Batch], dict[str, jax.Array]]
    step: Callable[
        [train_step.TrainState, train_step.Batch],
        tuple[train_step.TrainState, train_step.Metrics],
    ]
    learning_rate: optax.Schedule
    total_steps: int
    log_every: int
    save_every: int
    profile: str | None = None


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
    abstract: train_step.TrainState
    init: Callable[[], train_step.TrainState]
    run: Callable[..., tuple[train_step.TrainState, train_step.Metrics]]
    learning_rate: optax.Schedule
    to_steps: Callable[[str, str], int]
    total_steps: int


def build(config: ConfigDict) -> Experiment:
    """The run a config describes, with nothing trained yet.

    Raises:
        InputError: If the records are missing or a setting does not fit.
    """
    mesh = sharding.make_mesh(**config.mesh)
    sharding.check_batch(mesh, config.data.batch_size, config.train.microbatch_size)
    source = open_source(config)
    data = config.data.to_dict()
    del data["cache_mib"]  # read by open_source
    resident = device_tiles.wanted(data.pop("device_resident"), source, mesh)
    vectors = source.category_vectors()
    metadata = checkpoint.Metadata(
        config=config.to_dict(),
        categories=source.manifest.categories,
        category_dim=vectors.shape[1],
    )
    step = build_step(
        config,
        mesh,
        metadata,
        num_regions=len(source),
        num_slots=pipeline.poi_slots(source, config.data.max_pois),
        category_vectors=vectors,
    )
    whole = sharding.replicated(mesh)
    step_key = jax.jit(lambda: keys(config.seed)[1], out_shardings=whole)()
    run = distributed.together(step.run)
    to_steps = step.to_steps
    return Experiment(
        workdir=Path(config.workdir),
        source=source,
        mesh=mesh,
        metadata=metadata,
        abstract=step.abstract,
        init=lambda: _warm(config, metadata, distributed.together(step.init)()),
        batches=lambda: pipeline.training_batches(
            source,
            **data,
            seed=config.seed,
            images=not resident,
            edges=step.model.poi_encoder.reads_edges,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        ),
        put=device_tiles.put(source, mesh, data["num_threads"])
        if resident
        else lambda batch: sharding.put_batch(batch, mesh),
        step=lambda state, batch: run(state, batch, step_key),
        learning_rate=step.learning_rate,
        total_steps=step.total_steps,
        log_every=max(to_steps(config.train.log_every, "train.log_every"), 1),
        save_every=max(to_steps(config.train.save_every, "train.save_every"), 1),
        profile=config.profile,
    )


def build_step(
    config: ConfigDict,
    mesh: jax.sharding.Mesh,
    metadata: checkpoint.Metadata,
    *,
    num_regions: int,
    num_slots: int,
    category_vectors: np.ndarray | None = None,
) -> Step:
    """The training step of a config on a mesh, which may be of devices not at hand.

    Args:
        config: As from configs/.
        mesh: The devices.
        metadata: Gives the size of the category table.
        num_regions: Regions of an epoch.
        num_slots: POI slots of a batch.
        category_vectors: As for `build_model`.

    Raises:
        InputError: If a setting does not fit.
    """
    to_steps = _to_steps(config, num_regions)
    total_steps = to_steps.keywords["total_steps"]
    tx, rate = optim.build(
        **config.optim,
        batch_size=config.data.batch_size,
        total_steps=total_steps,
        to_steps=to_steps,
    )
    model = build_model(
        config.model.to_dict(), metadata, category_vectors, num_devices=mesh.size
    )
    step = train_step.make_train_step(
        model,
        tx,
        augment_options=config.augment.to_dict(),
        loss_options=config.loss.to_dict(),
        microbatches=sharding.microbatches(
            mesh, config.data.batch_size, config.train.microbatch_size
        ),
        gradient_dtype=config.train.gradient_dtype,
        mesh=mesh,
    )
    init_key, _ = keys(config.seed)

    def init() -> train_step.TrainState:
        return train_step.init_state(
            model, tx, init_key, num_slots, config.augment.size_px
        )

    shapes = jax.eval_shape(init)
    layout = sharding.lay_out(shapes, mesh, **config.sharding)
    abstract = checkpoint.abstract_like(shapes, layout)
    whole, rows = sharding.replicated(mesh), sharding.split(mesh)
    run = jax.jit(
        step,
        in_shardings=(layout, rows, whole),
        out_shardings=(layout, whole),
        donate_argnums=0,
    )
    first = jit_init(init, layout)
    return Step(model, abstract, first, run, rate, to_steps, total_steps)


def open_source(config: ConfigDict) -> RecordSource:
    """The records of a config.

    Raises:
        InputError: If they are missing or damaged.
    """
    return RecordSource(config.records.dir, cache_mib=config.data.cache_mib)


def build_model(
    options: Mapping[str, Any],
    metadata: checkpoint.Metadata,
    category_vectors: np.ndarray | None = None,
    num_devices: int = 1,
) -> mmgr.MMGR:
    """The model of a config section and a category table.

    Args:
        options: The section `model`.
        metadata: Gives the size of the category table.
        category_vectors: Its first values, float32 [k d]; None where they will be
            loaded.
        num_devices: Devices that training splits batches over.

    Raises:
        InputError: If an encoder or dtype is unknown.
    """
    options = dict(options)
    name = options.pop("dtype")
    check_choice("model.dtype", name, DTYPES)
    return mmgr.build(
        **options,
        dtype=DTYPES[name],
        num_categories=len(metadata.categories),
        category_dim=metadata.category_dim,
        category_vectors=category_vectors,
        num_devices=num_devices,
    )


def check_same_model(
    wanted: Mapping[str, Any], metadata: checkpoint.Metadata, bundle: Path
) -> None:
    """Refuses a checkpoint of another model.

    Raises:
        InputError: With every key that differs.
    """
    if metadata.parts:  # it fits where its arrays do
        return
    stored = _flat(metadata.config["model"])
    wanted = _flat(wanted)
    differing = [
        f"model.{key}: {stored.get(key)!r} in the checkpoint, {wanted.get(key)!r} here"
        for key in sorted(stored.keys() | wanted.keys())
        if key not in _FREE and stored.get(key) != wanted.get(key)
    ]
    if differing:
        raise InputError(
            f"{bundle}: a checkpoint of another model ({'; '.join(differing)}). Use "
            "the config it was trained with, or name another checkpoint or workdir."
        )


def jit_init(init: Callable[[], Tree], layout: Any) -> Callable:
    """Initialisation as one program, laid out on the mesh.

    It runs once, and on a CPU optimising its hundred random draws took 7.1 s against
    1.5 s without, for the same values.
    """
    quick = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }
    options = quick if jax.default_backend() == "cpu" else {}
    return jax.jit(init, out_shardings=layout, compiler_options=options)


def keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of the initial parameters and that of the steps."""
    init_key, step_key = jax.random.split(jax.random.key(seed))
    return init_key, step_key


def _to_steps(config: ConfigDict, num_regions: int) -> functools.partial[int]:
    """(duration, key) -> steps, for this run's batches and length."""
    batch_size = config.data.batch_size
    to_steps = functools.partial(
        durations.to_steps,
        batch_size=batch_size,
        steps_per_epoch=pipeline.steps_per_epoch(
            num_regions, batch_size, config.data.short_batch
        ),
    )
    total_steps = to_steps(config.train.total, "train.total")
    if total_steps < 1:
        raise InputError(
            f"config.train.total={config.train.total!r} is less than one step of "
            f"config.data.batch_size={batch_size} regions."
        )
    return functools.partial(to_steps, total_steps=total_steps)


def _warm(
    config: ConfigDict, metadata: checkpoint.Metadata, state: train_step.TrainState
) -> train_step.TrainState:
    """The fresh state, with the weights of `config.init.checkpoint` where given."""
    if config.init.checkpoint is None:
        return state
    variables = warm_start.start_from(
        {"params": state.params, "batch_stats": state.batch_stats},
        checkpoint.latest(config.init.checkpoint),
        categories=metadata.categories,
        parts=config.init.parts,
    )
    return dataclasses.replace(state, **variables)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
