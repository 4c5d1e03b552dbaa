"""Runners that write the shards: one process, several processes, or Apache Beam.

A shard is the unit of work, and its bytes depend only on its regions. So every runner
makes the same records, and any runner can continue a stopped build.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from data_prep.records import shards
from data_prep.records.names import RUNNERS
from data_prep.records.shards import Encode, Shard
from data_prep.running import processes, progress
from mmgr_jax import cores
from mmgr_jax.errors import InputError
from mmgr_jax.extras import install

Runner = Callable[[Encode, Sequence[Shard]], None]

_DASK = "DaskRunner"
_FULL_NAME = {_DASK: "apache_beam.runners.dask.dask_runner.DaskRunner"}
"""Of engines that Beam has and does not list."""
_DASK_PARTS = ("--dask_npartitions", "--dask_partition_size")
# Fewer regions are encoded by this process's threads before others have started.
_WORTH_PROCESSES = 4096


def make(
    name: str,
    *,
    workers: int = 0,
    beam_runner: str | None = None,
    beam_options: Sequence[str] = (),
) -> Runner:
    """Makes the runner that a command line names.

    Args:
        name: "local" or "beam".
        workers: Processes of the local runner; 0: one per core, if there are enough
            regions.
        beam_runner: Beam's name of its engine; see `beam`.
        beam_options: Beam's own flags, such as "--flink_master=host:8081".

    Raises:
        InputError: If the name or the number is not allowed, Beam's options are given
            to another runner, or Beam is not installed.
    """
    if name not in RUNNERS:
        raise InputError(f"--runner={name} is unknown; allowed: {', '.join(RUNNERS)}.")
    if workers < 0:
        raise InputError(f"--workers={workers}; allowed: 1 or more, or 0 to choose.")
    if name == "local" and (beam_options or beam_runner):
        raise InputError(
            "--beam_runner and --beam_options have no effect without --runner=beam."
        )
    if name == "beam" and workers:
        raise InputError(
            "--workers has no effect with --runner=beam; Beam takes the number in "
            "--beam_options, such as --direct_num_workers=2."
        )
    return beam(beam_runner, beam_options) if name == "beam" else local(workers)


def local(workers: int = 0) -> Runner:
    """Writes shards in this process, or in several of this machine."""

    def run(encode: Encode, todo: Sequence[Shard]) -> None:
        regions = sum(shard.length for shard in todo)
        count = min(workers or _sensible(regions), len(todo))
        meter = progress.Meter("records written", regions)
        if count <= 1:
            for shard in todo:
                shards.write(shard, lambda r: meter.through(encode(r)))
            return
        logging.info("%d processes write %d shards", count, len(todo))
        for place, _ in processes.as_done(_write, encode, todo, count):
            meter.add(todo[place].length)

    return run


def beam(engine: str | None, options: Sequence[str] = ()) -> Runner:
    """Writes shards by an Apache Beam pipeline.

    Sources and records must lie where every worker finds them under the same path: on
    one machine, on a shared disk, or in a mounted bucket.

    Args:
        engine: Beam's name of the runner, such as "FnApiRunner" (this machine),
            "DaskRunner" or "FlinkRunner". Beam's default "DirectRunner" changes from
            release to release, and may download a runner.
        options: Beam's further flags.

    Raises:
        InputError: If Beam is not installed, or no engine is named.
    """
    if not engine or engine.lower() in ("direct", "directrunner", "direct_runner"):
        raise InputError(
            f"--beam_runner={engine or ''} names no engine. Name one, such as "
            "FnApiRunner (this machine), DaskRunner, FlinkRunner or DataflowRunner."
        )
    if any(option.startswith("--runner") for option in options):
        raise InputError("--beam_options has --runner: name it by --beam_runner.")
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(
            f"--runner=beam needs Apache Beam, which is not installed: "
            f"{install('beam')}."
        ) from error

    def run(encode: Encode, todo: Sequence[Shard]) -> None:
        if not todo:  # some engines make no partitions of nothing
            return
        logging.info("Beam's %s writes %d shards", engine, len(todo))
        given = [f"--runner={_FULL_NAME.get(engine, engine)}", *options]
        if engine == _DASK and not any(o.startswith(_DASK_PARTS) for o in given):
            # Beam's default is one partition of 128 elements, so one worker.
            given.append(f"--dask_npartitions={len(todo)}")
        pipeline = apache_beam.Pipeline(options=PipelineOptions(given))
        _ = (
            pipeline
            | "shards" >> apache_beam.Create(list(todo))
            | "spread" >> apache_beam.Reshuffle()
            | "write" >> apache_beam.Map(shards.write, encode)
        )
        result: Any = pipeline.run()
        try:
            result.wait_until_finish()
        finally:
            if engine == _DASK:  # Beam leaves it open, and it outlives its scheduler
                result.client.close()

    return run


def _sensible(regions: int) -> int:
    return cores.count() if regions >= _WORTH_PROCESSES else 1


def _write(encode: Encode, shard: Shard) -> None:
    shards.write(shard, encode)
