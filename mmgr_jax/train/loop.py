"""Runs pre-training: build, restore, loop, save; this file has the order of events."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from mmgr_jax.data import opening, pipeline
from mmgr_jax.data.corpus import Corpus
from mmgr_jax.data.settings import CorpusSettings
from mmgr_jax.data.source import RegionSource
from mmgr_jax.devices import compilation, distributed, memory, sharding
from mmgr_jax.disk import folders, locks
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read
from mmgr_jax.store import checkpoint
from mmgr_jax.store.state import TrainState
from mmgr_jax.train import experiment, metrics, profile
from mmgr_jax.train.experiment import Experiment
from mmgr_jax.typing import Tree

LOCK_FILE = ".training"
"""Lock file in the folder of a run while it trains."""

_NAMED = 8  # number of regions named in an error

log = logging.getLogger(__name__)


Evaluate = Callable[[RegionSource, Tree], dict[str, float]]
"""(records, parameters and statistics) -> numbers to log together with the losses."""


def train(config: ConfigDict, evaluate: Evaluate | None = None) -> Path:
    """Trains to the end, from the newest checkpoint if there is one.

    Args:
        config: A config as in configs/.
        evaluate: Function that scores the features every `train.evaluate_every`; only
            process 0 calls it. None: no scores.

    Returns:
        Folder of the run.

    Raises:
        InputError: If records, settings or the checkpoint do not fit, or the loss is
            no longer a number.
    """
    settings = read(CorpusSettings, config.corpus, "corpus")
    with opening.kept(settings, config.records.dir):
        return _train(config, evaluate)


def _train(config: ConfigDict, evaluate: Evaluate | None) -> Path:
    """Trains on records that no other process replaces meanwhile."""
    run = experiment.build(config)
    log.info(describe(run, config.city.name))
    if isinstance(run.source, Corpus):
        log.info(run.source.describe(run.settings.data, run.total_steps))
    memory.refuse_too_large(run.abstract, run.abstract.params)
    with (
        alone_in(run.workdir),
        checkpoint.Checkpoints(
            run.workdir, keep=run.settings.train.keep
        ) as checkpoints,
    ):
        state, iterator, clock = begin(run, checkpoints)
        start = int(state.step)
        run = run.continued(start)
        if start < run.total_steps:
            run = run.ready(state)
            _loop(run, checkpoints, state, iterator, clock, start, evaluate)
        else:
            log.info("already trained: %d steps in %s", start, run.workdir)
    return run.workdir


@contextlib.contextmanager
def alone_in(workdir: Path) -> Iterator[None]:
    """Makes the folder of a run, and locks it while the context lasts.

    If several processes train one model, process 0 holds the lock for all.

    Raises:
        InputError: If another run trains there (the message names its process and
            host), or if the processes of this run do not share the folder.
    """
    if not distributed.is_first():
        distributed.check_shared(workdir, "config.workdir")
        yield
        return
    workdir = folders.real(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    remedy = "name another --config.workdir"
    with locks.held(workdir / LOCK_FILE, "a training", remedy):
        distributed.check_shared(workdir, "config.workdir")
        yield


def begin(
    run: Experiment, checkpoints: checkpoint.Checkpoints
) -> tuple[TrainState, pipeline.TrainingBatches, metrics.Clock]:
    """Returns the state, data iterator and clock with which a run begins.

      1. If its workdir holds an undamaged checkpoint, the run continues from there, bit
         for bit as without a break. A damaged one is renamed, and the one before taken.
      2. If its workdir never held a checkpoint, the run begins at step 0.

    Raises:
        InputError: If the checkpoint is of another model, or none can be read.
    """
    iterator, clock = run.batches(), metrics.Clock()
    if checkpoints.is_new():
        return run.init(), iterator, clock
    state, times = checkpoints.restore(
        run.abstract,
        iterator,
        clock.state(),
        run.check,
    )
    log.info("continuing from step %d of %s", state.step, run.workdir)
    return state, iterator, metrics.Clock(**times)


def describe(run: Experiment, city: str) -> str:
    """Describes the run in one sentence."""
    regions, data, train = len(run.source), run.settings.data, run.settings.train
    epochs = run.total_steps / pipeline.epoch_steps(run.source, data)
    if isinstance(run.source, Corpus):
        city = run.source.manifest.city
    batch = sharding.describe_batch(run.mesh, data.batch_size, train.microbatch_size)
    return (
        f"{city}: {regions} regions, batches of {batch}, "
        f"{run.total_steps} steps = {epochs:.1f} epochs, in {run.workdir}"
    )


def _loop(
    run: Experiment,
    checkpoints: checkpoint.Checkpoints,
    state: TrainState,
    iterator: pipeline.TrainingBatches,
    clock: metrics.Clock,
    start: int,
    evaluate: Evaluate | None,
) -> None:
    progress = metrics.TrainingProgress(
        clock,
        start,
        total_steps=run.total_steps,
        batch_size=run.settings.data.batch_size,
    )
    log.info("compiling the step (under a minute on a CPU, only once on a machine) ...")
    assert run.put is not None  # see `Experiment.ready`
    recent, pace, compiled = _Recent(run.source), _Pace(clock), compilation.Watch()
    with (
        metrics.MetricsWriter(
            run.workdir,
            start_step=start,
            save_every=run.save_every,
            digest=run.metadata.rows,
            mute=not distributed.is_first(),
        ) as writer,
        _Stop() as stop,
        profile.Profile(run.profile, run.workdir / metrics.BOARD) as trace,
    ):
        for step in range(start + 1, run.total_steps + 1):
            with trace.step(step, lambda: pace.running):
                rows, batch = pace.fetch(iterator, run.put)
                # A transfer to the devices that the code does not ask for is an error.
                guard = jax.transfer_guard_host_to_device("disallow")
                with compiled.step(step), guard:
                    state, values = run.step(state, batch)
                pace.dispatched(values["loss"])
            recent.add(step, values, rows["region_index"])

            stopping = stop.asked(step)
            last = stopping or step == run.total_steps
            due = bool(run.evaluate_every) and step % run.evaluate_every == 0
            look = evaluate if due else None
            if last or look or step == start + 1 or step % run.log_every == 0:
                recent.check_finite(checkpoints.latest_step)
                values = {k: float(v) for k, v in jax.device_get(values).items()}
                rates = progress.measure(step)
                if step == start + 1:  # its time is mostly compilation
                    rates = {"data_wait_share": rates["data_wait_share"]}
                values |= rates
                values["learning_rate"] = float(
                    cast(float, run.learning_rate(step - 1))
                )
                if look:
                    with clock.paused():
                        values |= _evaluated(run, look, state, step)
                writer.write(step, values)
                log.info(metrics.log_line(step, run.total_steps, values))
            if last or step % run.save_every == 0:
                recent.check_finite(checkpoints.latest_step)
                metadata = dataclasses.replace(run.metadata, rows=writer.digest())
                checkpoints.save(state, iterator, clock.state(), metadata)
            if stopping:
                log.info("asked to stop: step %d is saved in %s", step, run.workdir)
                raise Stopped(
                    f"stopped at step {step} of {run.total_steps}, as asked; give the "
                    "same command to continue."
                )


def _evaluated(
    run: Experiment, evaluate: Evaluate, state: TrainState, step: int
) -> dict[str, float]:
    """Returns the scores that process 0 computes; the others wait."""
    state_of_one = (state.params, state.batch_stats)
    if jax.process_count() > 1:  # each process holds all of it for a moment
        whole = sharding.replicated(run.mesh)
        state_of_one = jax.jit(lambda held: held, out_shardings=whole)(state_of_one)
        state_of_one = jax.tree.map(lambda leaf: leaf.addressable_data(0), state_of_one)
    params, batch_stats = state_of_one
    variables = {"params": params, "batch_stats": batch_stats}
    values = distributed.by_first(evaluate)(run.source, variables) or {}
    distributed.barrier(f"evaluated at {step}")
    return {f"{metrics.VALIDATION}{name}": value for name, value in values.items()}


class _Pace:
    """Lets one step wait on the devices while another runs, and no more.

    So the host works, and mainly reads, during a step; batches do not fill the memory
    of the devices; and the time for which devices wait for data can be measured.
    """

    def __init__(self, clock: metrics.Clock) -> None:
        self.running: jax.Array | None = None
        self._clock = clock

    def fetch(
        self, iterator: pipeline.TrainingBatches, put: Callable[..., Any]
    ) -> tuple[pipeline.Batch, dict[str, jax.Array]]:
        """Returns the next batch, on the host and on the devices.

        If the devices have finished meanwhile, all of its time counts as waiting.
        """
        before = time.perf_counter()
        rows = next(iterator)
        batch = put(rows)
        # The types of JAX do not declare `is_ready`.
        running: Any = self.running
        if running is None or running.is_ready():
            self._clock.add_wait(time.perf_counter() - before)
        return rows, batch

    def dispatched(self, loss: jax.Array) -> None:
        """Notes the step that the devices do next, and waits for the one before."""
        before, self.running = self.running, loss
        if before is not None:
            jax.block_until_ready(before)


class Stopped(SystemExit):
    """Training was asked to stop, and has saved; exit status 143, as after SIGTERM."""

    def __init__(self, message: str) -> None:
        """Takes the message for the user."""
        super().__init__(143)
        self.message = message


class _Stop:
    """Saves a checkpoint on SIGTERM, which machines send before they shut down.

    If several processes train together, they stop at the same step: the coordination
    service of JAX chooses it.
    """

    def __enter__(self) -> _Stop:
        self._asked = False
        self._several = jax.process_count() > 1
        # Python sets signal handlers only in the main thread. In other threads, such as
        # a notebook's worker, SIGTERM ends the process as usual.
        self._handles = threading.current_thread() is threading.main_thread()
        if self._handles and not self._several:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._several:
            distributed.let_sigterm_end()
        elif self._handles:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, *_: object) -> None:
        self._asked = True

    def asked(self, step: int) -> bool:
        """Returns whether training should stop after this step."""
        if self._several:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked


class _Recent:
    """Keeps metrics of the steps since the last check, on the device, with regions."""

    def __init__(self, source: RegionSource) -> None:
        self._source = source
        self._steps: list[tuple[int, Mapping[str, jax.Array], np.ndarray]] = []

    def add(
        self, step: int, values: Mapping[str, jax.Array], region_index: np.ndarray
    ) -> None:
        self._steps.append((step, values, region_index))

    def check_finite(self, saved_step: int | None) -> None:
        """Checks all metrics since the last call.

        Raises:
            InputError: If one is not a finite number; the message names the first such
                step and the regions in this process's share of it.
        """
        steps, self._steps = self._steps, []
        for step, values, region_index in steps:
            values = {name: float(value) for name, value in values.items()}
            if not all(math.isfinite(value) for value in values.values()):
                names = [self._source[int(i)]["region_id"] for i in region_index]
                more = len(names) - _NAMED
                shown = ", ".join(f"{k} {v:g}" for k, v in values.items())
                raise InputError(
                    f"step {step}: the loss or gradient is no longer a number "
                    f"({shown}), with the regions {', '.join(names[:_NAMED])}"
                    + (f" and {more} more" if more > 0 else "")
                    + ". Lower config.optim.learning_rate or lengthen "
                    "config.optim.warmup; if it is always these regions, look at them "
                    "with `python -m data_prep.validate`. The newest checkpoint is of "
                    f"step {saved_step or 0}."
                )
