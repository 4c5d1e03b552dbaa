"""Pre-training: build, restore, loop, save. The order of events is this file."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from mmgr_jax import checkpoint, experiment, metrics
from mmgr_jax.errors import InputError
from mmgr_jax.experiment import Experiment

log = logging.getLogger(__name__)


def train(config: ConfigDict) -> Path:
    """Trains to the end, from the newest checkpoint where there is one.

    Args:
        config: As from configs/.

    Returns:
        Folder of the run.

    Raises:
        InputError: If records, settings or the checkpoint do not fit, or the loss is
            no longer a number.
    """
    run = experiment.build(config)
    run.workdir.mkdir(parents=True, exist_ok=True)
    log.info(describe(run, config))
    with checkpoint.Checkpoints(run.workdir, keep=config.train.keep) as checkpoints:
        # Where does this run begin?
        #   1. the workdir holds a whole checkpoint: there, with state, data iterator
        #      and clock of that moment, bit for bit as if nothing had happened
        #   2. it holds none: at step 0
        state, iterator, clock = run.init(), run.batches(), metrics.Clock()
        start = checkpoints.latest_step or 0
        if start:
            bundle = checkpoint.latest(run.workdir)
            experiment.check_same_model(
                config.model.to_dict(), checkpoint.load_metadata(bundle), bundle
            )
            abstract = checkpoint.abstract_like(
                state, jax.tree.leaves(state)[0].sharding
            )
            state, times = checkpoints.restore(abstract, iterator, clock.state())
            clock = metrics.Clock(**times)
            log.info("continuing from step %d of %s", start, run.workdir)
        if start < run.total_steps:
            _loop(run, checkpoints, state, iterator, clock, start)
        else:
            log.info("already trained: %d steps in %s", start, run.workdir)
    return run.workdir


def describe(run: Experiment, config: ConfigDict) -> str:
    """The run in one sentence."""
    regions, batch_size = len(run.source), config.data.batch_size
    devices = run.mesh.devices
    return (
        f"{config.city.name}: {regions} regions, batches of {batch_size} over "
        f"{devices.size} {devices.flat[0].platform} device(s), "
        f"{run.total_steps} steps = "
        f"{run.total_steps * batch_size / regions:.1f} epochs, in {run.workdir}"
    )


def _loop(
    run: Experiment,
    checkpoints: checkpoint.Checkpoints,
    state: experiment.train_step.TrainState,
    iterator: experiment.grain.DatasetIterator,
    clock: metrics.Clock,
    start: int,
) -> None:
    progress = metrics.Progress(
        clock,
        start,
        total_steps=run.total_steps,
        batch_size=run.metadata.config["data"]["batch_size"],
    )
    log.info("compiling the step (under a minute on a CPU) ...")
    with metrics.Writer(run.workdir, start_step=start) as writer:
        for step in range(start + 1, run.total_steps + 1):
            before = time.perf_counter()
            batch = run.put(next(iterator))
            clock.add_wait(time.perf_counter() - before)
            state, values = run.step(state, batch)

            last = step == run.total_steps
            if last or step == start + 1 or step % run.log_every == 0:
                values = {k: float(v) for k, v in jax.device_get(values).items()}
                _check_finite(values, step, checkpoints.latest_step)
                rates = progress.measure(step)
                if step > start + 1:  # the first step's time is its compilation's
                    values |= rates
                values["learning_rate"] = float(run.learning_rate(step - 1))
                writer.write(step, values)
                log.info(metrics.log_line(step, run.total_steps, values))
            if last or step % run.save_every == 0:
                checkpoints.save(state, iterator, clock.state(), run.metadata)


def _check_finite(
    values: Mapping[str, float], step: int, saved_step: int | None
) -> None:
    if not all(math.isfinite(value) for value in values.values()):
        raise InputError(
            f"step {step}: the loss is no longer a number ({dict(values)}). Lower "
            "config.optim.learning_rate or lengthen config.optim.warmup; the newest "
            f"checkpoint is of step {saved_step or 0}."
        )
