"""Real chips: MMGR on top of a locked tower, beside that tower alone.

A part of `python -m benchmarks.representation`. The tower is MobileNetV2 as trained on
ImageNet. Each of the five repeats has a training seed and a dealing of the folds of its
own.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from benchmarks import processes, ways
from configs import santa_monica, socal

FOLDER = "runs/representation/places"
TOWER = "MobileNetV2"
SCRATCH = "MMGR from scratch"
NO_COLOURS = "MMGR from scratch, no change of colour"
SEEDS = (0, 1, 2, 3, 4)
"""Of the training, and of the dealing of the folds."""

PLACES = ("santa_monica", "santa_monica_osm_pois", "riverside", "palm_springs")
METRICS = {"function": "l1", "population": "r2_log"}
SHOWN = (
    (TOWER, "the tower alone"),
    ("MMGR image", "MMGR on the tower, image"),
    ("random image", "a random head on the tower, image"),
    ("MMGR both", "MMGR on the tower, image and POIs"),
    ("random both", "a random head on the tower, image and POIs"),
    (f"{SCRATCH} image", "MMGR from scratch, image"),
    (f"{SCRATCH} both", "MMGR from scratch, image and POIs"),
    (f"{NO_COLOURS} image", "the same without change of colour, image"),
    (f"{NO_COLOURS} both", "the same without change of colour, image and POIs"),
    ("image statistics", "image statistics"),
    ("poi counts", "POI counts"),
    ("statistics and counts", "statistics and counts"),
    ("mean", "the mean of the labels"),
)
"""Method of the report -> its row of the table."""

log = logging.getLogger("study")


@dataclasses.dataclass(frozen=True)
class Job:
    """One repeat on one place: trainings and an evaluation."""

    place: str
    seed: int

    @property
    def folder(self) -> Path:
        """Where its result lies."""
        return Path(FOLDER) / self.place / str(self.seed)

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return (self.folder / ways.RESULT).exists()

    @property
    def spec(self) -> str:
        """How it is named to a process of its own."""
        return f"{self.place},{self.seed}"

    @property
    def seconds(self) -> float:
        """Processor seconds, about."""
        return 200.0 if self.place == "santa_monica" else 70.0


def place_config(place: str) -> ConfigDict:
    """The config of a place, with records of the study's own."""
    if place.startswith("santa_monica"):
        variant = place.removeprefix("santa_monica").removeprefix("_")
        c = santa_monica.get_config(variant or None)
    else:
        c = socal.get_config(place)
    c.records.dir = f"{FOLDER}/{place}/records"
    c.cpu_devices = 1
    c.eval.curves.methods = ()
    c.eval.splits = ("block",)
    c.eval.protocols = ("linear",)
    c.eval.features = ("image", "both")
    c.eval.baselines = (
        "random encoder", "image statistics", "poi counts", "statistics and counts",
        "mean",
    )  # fmt: skip
    return c


def on_tower(place: str) -> ConfigDict:
    """The same, trained on top of the features of the tower: it sees no views."""
    c = place_config(place)
    path = f"{FOLDER}/{place}/tower.npz"
    c.model.image_encoder = dict(name="table", path=path, train="none")
    c.loss.image_weight = 0.0
    c.optim.warmup = "30 steps"
    c.train.total = c.train.save_every = "400 steps"
    c.eval.tables = ((TOWER, path),)
    return c


def run(num_processes: int) -> None:
    """Does what is not done yet on the places whose files are there; a table."""
    found = [place for place in PLACES if _has_files(place)]
    jobs = [Job(place, seed) for seed in SEEDS for place in found]
    left = processes.left("places", jobs, num_processes)
    for place in {job.place: None for job in left}:
        _prepare(place)
    processes.together("benchmarks.places", left, num_processes)
    processes.write(Path(f"{FOLDER}.md"), table(jobs))


def one(job: Job) -> None:
    """Trains and evaluates; in a process of its own, on one device."""
    from benchmarks import pooled  # it loads libraries
    from mmgr_jax import settings
    from mmgr_jax.devices import compilation, distributed
    from mmgr_jax.devices.settings import DistributedSettings
    from mmgr_jax.evaluation import run as evaluation

    config = on_tower(job.place)
    compilation.use_cache(config.compilation_cache)
    distributed.use_cpu_devices(config.cpu_devices)
    with distributed.session(
        settings.read(DistributedSettings, config.distributed, "distributed")
    ):
        _train(config, job, "tower")
        if job.place == "santa_monica":
            plain, colours = place_config(job.place), place_config(job.place)
            colours.augment.jitter_probability = 0.0
            config.eval.checkpoints = (
                (SCRATCH, _train(plain, job, "scratch")),
                (NO_COLOURS, _train(colours, job, "scratch_no_colours")),
            )
        config.checkpoint = str(job.folder / "tower")
        config.workdir = str(job.folder / "evaluation")
        config.eval.seed = job.seed
        found = evaluation.evaluate(config)
    pooled.save(job.folder, found)


def table(jobs: list[Job]) -> str:
    """Each method on each place, the mean over the repeats, in Markdown."""
    from benchmarks import pooled  # it loads libraries

    by_place: dict[str, list[Path]] = {}
    for job in jobs:
        if job.done:
            by_place.setdefault(job.place, []).append(job.folder / ways.RESULT)
    columns = [
        (place, task)
        for place, paths in by_place.items()
        for task in METRICS
        if pooled.measured({0: paths}, task, TOWER)
    ]
    names = [f"{place.replace('_', ' ')}: {task}" for place, task in columns]
    lines = [
        "| features | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for method, sentence in SHOWN:
        cells = [_cell(by_place[place], task, method) for place, task in columns]
        lines.append(f"| {sentence} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(paths: list[Path], task: str, method: str) -> str:
    """The metric, and by how much it is better than the tower alone."""
    from benchmarks import pooled  # it loads libraries

    own = pooled.measured({0: paths}, task, method)
    if own is None:
        return ""
    if method == TOWER:
        return f"{own.estimate:.3f}"
    return f"{own.estimate:.3f} ({_better(paths, task, method)})"


def _better(paths: list[Path], task: str, method: str) -> str:
    """Mean and deviation of the difference in the repeats, above 0 for better."""
    import numpy as np

    from benchmarks import pooled  # it loads libraries

    sign = -1 if METRICS[task] == "l1" else 1
    each = []
    for path in paths:
        stored = pooled.stored(path)
        ours, tower = (stored[f"{task}|{name}|all"][0] for name in (method, TOWER))
        each.append(sign * (ours - tower))
    return f"{np.mean(each):+.3f} ± {np.std(each, ddof=1):.3f}"


def _train(config: ConfigDict, job: Job, name: str) -> str:
    from mmgr_jax.train import loop

    config.workdir = str(job.folder / name)
    config.seed = job.seed
    loop.train(config)
    return config.workdir


def _prepare(place: str) -> None:
    """Records and the tower's features of them."""
    from benchmarks.measured import pretrained_features
    from data_prep import build

    config = on_tower(place)
    build.ensure(config)
    path = config.model.image_encoder.path
    if not Path(path).exists():
        pretrained_features.write(
            config, model="mobilenet_v2", readout="pooled", out=path
        )


def _has_files(place: str) -> bool:
    """Whether the sources are there; says it where they are not."""
    config = place_config(place)
    sources: Mapping[str, str] = {
        "imagery": config.imagery.paths[0].rpartition("/")[0],
        "POIs": config.pois.path,
        **{f"label {name}": label.path for name, label in config.labels.items()},
    }
    for what, path in sources.items():
        if not Path(path).exists():
            log.warning("%s is left out: no %s (%s)", place, path, what)
            return False
    return True


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    name, number = sys.argv[1].removeprefix("--job=").split(",")
    one(Job(name, int(number)))
