"""Who writes the shards: this process, several of them, or Apache Beam.

A shard is the unit of work and its bytes depend on its regions alone, so every runner
makes the same records, and a stopped build goes on under any of them.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from data_prep.records import shards
from data_prep.records.shards import Encode, Shard
from data_prep.running import progress
from mmgr_jax.errors import InputError

Runner = Callable[[Encode, Sequence[Shard]], None]

NAMES = ("local", "beam")
# Fewer regions are encoded by this process's threads before others have started.
_WORTH_PROCESSES = 4096


def make(name: str, *, workers: int = 0, beam_options: Sequence[str] = ()) -> Runner:
    """The runner a command line asks for.

    Args:
        name: "local" or "beam".
        workers: Processes of the local runner; 0 for as many as there are cores once
            there are regions enough for them.
        beam_options: Beam's own flags, such as "--runner=FlinkRunner".

    Raises:
        InputError: If the name or the number is not allowed, options are given to
            another runner than theirs, or Beam is not installed.
    """
    if name not in NAMES:
        raise InputError(f"--runner={name} is unknown; allowed: {', '.join(NAMES)}.")
    if workers < 0:
        raise InputError(f"--workers={workers}; allowed: 1 or more, or 0 to choose.")
    if name == "local" and beam_options:
        raise InputError("--beam_options have no effect without --runner=beam.")
    if name == "beam" and workers:
        raise InputError(
            "--workers has no effect with --runner=beam; Beam takes the number in "
            "--beam_options, such as --direct_num_workers=2."
        )
    return beam(beam_options) if name == "beam" else local(workers)


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
        _in_processes(encode, todo, count, meter)

    return run


def beam(options: Sequence[str] = ()) -> Runner:
    """Writes shards by an Apache Beam pipeline.

    Sources and records must lie where every worker finds them under the same path: on
    one machine, on a shared disk, or in a mounted bucket.

    Args:
        options: Beam's flags; none runs its local DirectRunner.

    Raises:
        InputError: If Beam is not installed.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(
            "--runner=beam needs Apache Beam: pip install -r requirements-beam.txt"
        ) from error

    def run(encode: Encode, todo: Sequence[Shard]) -> None:
        logging.info("Beam writes %d shards", len(todo))
        with apache_beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            _ = (
                pipeline
                | "shards" >> apache_beam.Create(list(todo))
                | "spread" >> apache_beam.Reshuffle()
                | "write" >> apache_beam.Map(shards.write, encode)
            )

    return run


def _sensible(regions: int) -> int:
    return (os.cpu_count() or 1) if regions >= _WORTH_PROCESSES else 1


def _in_processes(
    encode: Encode, todo: Sequence[Shard], count: int, meter: progress.Meter
) -> None:
    # Fresh processes: GDAL's and JAX's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, _start, (encode,)) as pool:
        futures = {pool.submit(_write, shard): shard for shard in todo}
        try:
            for future in as_completed(futures):
                future.result()
                meter.add(futures[future].length)
        except BrokenProcessPool as error:
            raise InputError(
                f"one of {count} worker processes died, most likely for lack of "
                "memory. Give the command again with fewer --workers: finished shards "
                "are kept."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_encode: Encode | None = None


def _start(encode: Encode) -> None:
    """Gives a fresh process what every shard needs, once."""
    global _encode
    _encode = encode
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent was killed: another build may begin then."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write(shard: Shard) -> None:
    assert _encode is not None, "the pool starts each process by _start"
    shards.write(shard, _encode)
