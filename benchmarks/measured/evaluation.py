"""Evaluations of made-up cities of several sizes: seconds, memory, exponents."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import growth
from benchmarks.table import Row
from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation import feature_sets, predictors, readouts
from mmgr_jax.evaluation.design import splits, targets
from mmgr_jax.evaluation.features import baselines
from mmgr_jax.evaluation.features.groups import Features, beside
from mmgr_jax.evaluation.heads.jobs import Method
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.evaluation.trials import tasks
from mmgr_jax.evaluation.trials.scores import Certainty
from mmgr_jax.report import report_json

Labels = dict[str, tuple[Label, np.ndarray]]

HIDDEN = 16
SIDE_M, BLOCK_M = 128.0, 768.0
SMALL = {"image statistics": 59, "poi counts": 100, "poi tf-idf": 99}
"""Baselines and the numbers that each has of a region."""


def rows(options: argparse.Namespace) -> list[Row]:
    """A row a size."""
    measured = []
    for regions in sorted(options.regions):
        sizes = (str(number) for number in (regions, options.image, options.poi))
        cost, printed = growth.measured("-m", "benchmarks.measured.evaluation", *sizes)
        parts = {f"{name}_s": value for name, value in json.loads(printed).items()}
        measured.append({"regions": regions, **cost, **parts})
    return growth.with_exponents(measured)


def city(
    folder: Path, regions: int, image: int, poi: int
) -> tuple[feature_sets.FeatureSets, Labels, np.ndarray, np.ndarray]:
    """Features, labels, centres and blocks of a made-up city.

    Args:
        folder: Where features are written.
        regions: Number of them, of a square as far as it goes.
        image: Features of a tile.
        poi: Features of a POI set.
    """
    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(regions)))
    centre_m = SIDE_M * np.stack(np.divmod(np.arange(regions), side), axis=1)
    waves = rng.uniform(0.2e-3, 3e-3, (2, HIDDEN)) * rng.choice([-1, 1], (2, HIDDEN))
    hidden = np.sin(centre_m @ waves + rng.uniform(0, 6, HIDDEN)).astype(np.float32)
    hidden += rng.normal(scale=0.3, size=hidden.shape).astype(np.float32)

    def features(name: str, length: int, noise: float) -> Features:
        weights = rng.normal(size=(HIDDEN, length)).astype(np.float32)
        path = folder / f"{name}.npy"
        shape = (regions, length)
        values = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        for start in range(0, regions, 4096):
            part = slice(start, start + 4096)
            clean = np.maximum(hidden[part] @ weights, 0)
            values[part] = clean + noise * rng.normal(size=clean.shape)
        values.flush()
        return Features.of(name, np.load(path, mmap_mode="r"))

    encoded = {
        encoder: {
            "image": features(f"{encoder} image", image, noise),
            "poi": features(f"{encoder} poi", poi, noise),
            "image_projection": features(f"{encoder} z image", 128, noise),
            "poi_projection": features(f"{encoder} z poi", 128, noise),
        }
        for encoder, noise in (("MMGR", 1.0), ("random", 3.0))
    }
    methods: dict[str, Method] = {}
    for encoder, parts in encoded.items():
        for kind in EvalSettings().features:
            both = [parts[part] for part in readouts.KINDS[kind]]
            methods[f"{encoder} {kind}"] = beside(both)
    plain = {name: features(name, length, 2.0) for name, length in SMALL.items()}
    plain["statistics and counts"] = beside(
        [plain["image statistics"], plain["poi counts"]]
    )
    surface = baselines.trend_surface(centre_m)
    plain["coordinates"] = Features.of("place", surface)
    methods |= plain
    methods["neighbour average"] = functools.partial(
        feature_sets.neighbour_average, centre_m
    )
    methods["mean"] = None
    shares = np.exp(hidden @ rng.normal(size=(HIDDEN, 10)))
    number = Label(kind="count", unit="persons")
    names = tuple(f"class {k}" for k in range(10))
    labels = {
        "function": (
            Label(kind="share", unit="1", classes=names),
            (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32),
        ),
        "population": (number, _count(hidden, rng)),
        "gdp": (number, _count(hidden, rng)),
    }
    block = (centre_m // BLOCK_M).astype(np.int64) @ (10_000, 1)
    own = tuple(f"MMGR {kind}" for kind in EvalSettings().features)
    sets = feature_sets.FeatureSets(methods, dict.fromkeys(methods, ""), own, encoded)
    return sets, labels, centre_m, block


def evaluate(folder: Path, regions: int, image: int, poi: int) -> dict[str, float]:
    """Seconds of the parts of an evaluation."""
    seconds: dict[str, float] = {}
    mark = time.perf_counter()

    def done(part: str) -> None:
        nonlocal mark
        seconds[part], mark = time.perf_counter() - mark, time.perf_counter()

    sets, labels, centre_m, block = city(folder, regions, image, poi)
    settings = EvalSettings()
    given = splits.choose(
        settings.splits,
        region_ids=[f"{number:06d}" for number in range(regions)],
        block_id=block,
        geometry_wkb=(),
        stored={},
        meanings={},
        num_folds=None,
        buffer_m=0.0,
        seed=0,
    )
    done("made")
    report = tasks.evaluate(
        sets.methods,
        labels,
        given,
        settings,
        certainty=Certainty(block, settings.certainty, centre_m, sets.own),
        label_curves=settings.curves,
        keep=sets.own,
    )
    done("heads")
    num_pois = np.ones(regions)
    feature_sets.measure_health(sets, num_pois)
    feature_sets.measure_retrieval(sets, num_pois)
    done("health")
    for name, task in report.tasks.items():
        target = targets.check(name, *labels[name], regions)
        for method in task.kept:
            features = sets.methods[method]
            assert isinstance(features, Features)
            predictors.of_task(
                task, target, method, features, block, given["block"].fold
            )
    done("predictors")
    references = {own: [m for m in sets.methods if m != own] for own in sets.own}
    content = report_json.report_json(report, references=references)
    (folder / "report.json").write_text(json.dumps(content), "utf-8")
    done("report")
    return seconds


def _count(hidden: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    field = hidden @ rng.normal(size=HIDDEN) / 2
    return rng.poisson(np.exp(3 + field)).astype(np.float32)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    with tempfile.TemporaryDirectory() as scratch:
        regions, image, poi = (int(text) for text in sys.argv[1:4])
        print(json.dumps(evaluate(Path(scratch), regions, image, poi)))
