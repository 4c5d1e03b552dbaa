"""`python -m benchmarks.representation`: which representation wins, and by how much."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import places, processes, ways

USAGE = """Trains and evaluates all ways of the study: tables. All parts, or one:

  python -m benchmarks.representation
  python -m benchmarks.representation --part=development
  python -m benchmarks.representation --part=development --ways=recommended,paper

  development  every way, on the generated cities that choices are made on
  held_out     the ways that were chosen, on generated cities that no choice has seen
  robustness   the same on one of these, made harder in seven ways
  places       real chips whose files you have brought: see configs/santa_monica.py
               and configs/socal.py; needs requirements-benchmarks.txt

What is done is kept in runs/representation and not done again, so a stopped command
goes on where it was. One process for each core; hours are said before they pass.
"""

PARTS = ("development", "held_out", "robustness", "places")

TRAIN_S, EVALUATE_S, BASELINES_S = 85, 40, 130
"""Processor seconds of a job's parts, measured on a core of an Intel Xeon of 2026."""

ALWAYS = ("image", "both")
"""Kinds of features of every way."""

log = logging.getLogger("representation")


@dataclasses.dataclass(frozen=True)
class Job:
    """One evaluation: a way on a city, from one training seed."""

    city: int
    way: str
    seed: int
    part: str
    harder: str = ""

    @property
    def folder(self) -> Path:
        """Where its result lies."""
        name = self.way.replace(" ", "_").replace("'", "")
        city = f"{self.city}{'_' + self.harder if self.harder else ''}"
        return Path(ways.FOLDER) / self.part / city / name / str(self.seed)

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return (self.folder / ways.RESULT).exists()

    @property
    def with_baselines(self) -> bool:
        """Baselines without a network are the same for every way and seed."""
        return self.way == "recommended" and self.seed == ways.TRAINING_SEEDS[0]

    @property
    def spec(self) -> str:
        """How it is named to a process of its own."""
        return ",".join(map(str, dataclasses.astuple(self)))

    @property
    def seconds(self) -> float:
        """Processor seconds, about."""
        trains = 0 if ways.WAYS[self.way].trained else TRAIN_S
        more = BASELINES_S if self.with_baselines else 0
        return trains + EVALUATE_S + more


def jobs(
    part: str, names: Sequence[str], seeds: Sequence[int] = ways.TRAINING_SEEDS
) -> list[Job]:
    """All jobs of a part, those first whose training others read."""
    order = sorted(names, key=lambda name: bool(ways.WAYS[name].trained))
    if part == "development":
        cities, harder = ways.DEVELOPMENT, ("",)
    elif part == "held_out":
        cities, harder = ways.HELD_OUT, ("",)
    else:
        cities, harder = ways.HELD_OUT[:1], tuple(ways.HARDER)
    seeds = seeds if part != "robustness" else seeds[:1]
    return [
        Job(city, name, seed, part, more)
        for seed in seeds
        for name in order
        for more in harder
        for city in cities
    ]


def run(
    part: str, names: Sequence[str], seeds: Sequence[int], num_processes: int
) -> None:
    """Does what is not done yet, and writes the tables."""
    everything = jobs(part, names, seeds)
    left = processes.left(part, everything, num_processes)
    for city in sorted({(job.city, job.harder) for job in left}):
        _records(*city)
    first = [job for job in left if not ways.WAYS[job.way].trained]
    for stage in (first, [job for job in left if job not in first]):
        processes.together("benchmarks.representation", stage, num_processes)
    from benchmarks import pooled  # it loads NumPy

    processes.write(Path(ways.FOLDER) / f"{part}.md", pooled.tables(part, everything))


def one(job: Job) -> None:
    """Trains and evaluates; in a process of its own, on one device."""
    from benchmarks import pooled  # libraries load once flags are fine
    from mmgr_jax import settings
    from mmgr_jax.devices import compilation, distributed
    from mmgr_jax.devices.settings import DistributedSettings
    from mmgr_jax.evaluation import run as evaluation
    from mmgr_jax.train import loop

    way = ways.WAYS[job.way]
    config = ways.city_config(job.city, job.way, job.harder)
    config.seed = job.seed
    config.cpu_devices = 1
    trained = dataclasses.replace(job, way=way.trained or job.way)
    config.workdir = str(trained.folder)
    compilation.use_cache(config.compilation_cache)
    distributed.use_cpu_devices(config.cpu_devices)
    with distributed.session(
        settings.read(DistributedSettings, config.distributed, "distributed")
    ):
        if way.code:
            from benchmarks import lost_ways

            getattr(lost_ways, way.code)(config)
        if not way.trained:
            loop.train(config)
        config.checkpoint = str(trained.folder)
        config.workdir = str(job.folder)
        _ask(config, job)
        found = evaluation.evaluate(config)
    pooled.save(job.folder, found)


def _ask(config: ways.ConfigDict, job: Job) -> None:
    """What this evaluation is asked for: no more than the table shows."""
    judged = job.part == "held_out" and job.way == "recommended"
    config.eval.splits, config.eval.protocols = ("block",), ("linear",)
    curved: tuple[str, ...] = ()
    if job.with_baselines:
        named = ("MMGR both", "MMGR image", "random both")
        curved = (*named, *config.eval.baselines)
    else:
        config.eval.features = ALWAYS
        config.eval.baselines = ("random encoder",) if judged else ()
        curved = ("MMGR both", "MMGR image") if judged else ()
    config.eval.curves.methods = curved


def _records(city: int, harder: str) -> None:
    from data_prep import build

    build.ensure(ways.city_config(city, harder=harder))


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.representation",
        description=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", choices=PARTS, help="all by default")
    parser.add_argument("--ways", default="", help="names, by commas; all by default")
    parser.add_argument("--seeds", default="", help="of the training; likewise")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _names(part: str, given: str) -> tuple[str, ...]:
    if not given:
        return ways.CHOSEN if part != "development" else tuple(ways.WAYS)
    names = tuple(name.strip() for name in given.split(","))
    unknown = [name for name in names if name not in ways.WAYS]
    if unknown:
        raise SystemExit(f"--ways: {unknown} unknown; there are {', '.join(ways.WAYS)}")
    return names


def _seeds(given: str) -> tuple[int, ...]:
    numbers = tuple(map(int, given.split(","))) if given else ways.TRAINING_SEEDS
    if unknown := set(numbers) - set(ways.TRAINING_SEEDS):
        raise SystemExit(f"--seeds: {unknown} unknown; there are {ways.TRAINING_SEEDS}")
    return numbers


def _job(spec: str) -> Job:
    city, way, seed, part, harder = spec.split(",")
    return Job(int(city), way, int(seed), part, harder)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = _parsed(sys.argv[1:])
    if options.job:
        one(_job(options.job))
    else:
        for chosen in (options.part,) if options.part else PARTS:
            if chosen == "places":
                places.run(options.processes)
            else:
                names = _names(chosen, options.ways)
                run(chosen, names, _seeds(options.seeds), options.processes)
