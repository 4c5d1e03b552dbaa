"""`python -m mmgr_jax.eval`: what the embeddings are worth, from a checkpoint alone."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import checkpoint, cli, distributed, experiment, inference
from mmgr_jax.data import folds
from mmgr_jax.data.schema import Label
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluators import cities as cities_lib
from mmgr_jax.evaluators import features, splits, tasks

USAGE = """Evaluates frozen features under spatial cross-validation.

Small heads predict every label of the city from the features of a checkpoint; beside
them stand the same heads on a randomly initialised encoder and the mean predictor.

  python -m mmgr_jax.eval --config=configs/toy_city.py
  python -m mmgr_jax.eval --config=configs/toy_city.py --checkpoint=runs/other
  python -m mmgr_jax.eval --config=... --config.eval.features="('image',)"
  python -m mmgr_jax.eval --config=... --config.eval.buffer_m=500
  python -m mmgr_jax.eval --config=... \\
      --config.eval.other_records="('data/other_city/records',)"

In the workdir: eval/metrics.json and eval/metrics.txt; with other cities
eval/metrics_cities.json and .txt, where each city is tested by heads of the others.
"""

FOLDER = "eval"

log = logging.getLogger(__name__)


def evaluate(config: ConfigDict) -> tasks.Report:
    """Evaluates a checkpoint, prints the table and writes it to `workdir/eval`.

    Raises:
        InputError: If records or checkpoint are missing or do not fit.
    """
    source = experiment.open_source(config)
    bundle = checkpoint.latest(config.checkpoint or config.workdir)
    encoders = {
        "MMGR": inference.load_encoder(config, bundle, source),
        "random": inference.random_encoder(config, source),
    }
    methods = _methods(config, encoders, source, config.eval.features)
    regions = features.read_regions(source)
    report = tasks.evaluate(
        methods,
        labelled(source, regions),
        choose_splits(config, source, regions, config.eval.splits),
        **_head_options(config),
    )
    told = {"checkpoint": str(bundle), "training_seed": config.seed}
    _write(config, "metrics", report, told)
    if config.eval.other_records:
        _leave_one_city_out(config, encoders, source, methods, told)
    return report


def extract(
    config: ConfigDict, encoder: inference.Encoder, source: RecordSource
) -> dict[str, np.ndarray]:
    """Features of every region, of every kind; see `features.extract`."""
    return features.extract(
        encoder.encode,
        source,
        batch_size=config.data.batch_size,
        num_threads=config.data.num_threads,
        edges=encoder.reads_edges,
    )


def select(extracted: dict[str, np.ndarray], kind: str) -> np.ndarray:
    """The features of one kind.

    Raises:
        InputError: If there is no such kind.
    """
    if kind not in extracted:
        raise InputError(
            f"features={kind!r} is unknown; allowed: {', '.join(features.KINDS)}."
        )
    return extracted[kind]


def labelled(
    source: RecordSource, regions: features.Regions
) -> dict[str, tuple[Label, np.ndarray]]:
    """Labels with their meaning."""
    labels = source.manifest.labels
    return {name: (labels[name], values) for name, values in regions.labels.items()}


def choose_splits(
    config: ConfigDict,
    source: RecordSource,
    regions: features.Regions,
    kinds: Sequence[str],
) -> dict[str, splits.Split]:
    """The splits of the records, or those that `config.eval` asks for instead."""
    if not source.manifest.crs and tuple(kinds) != ("random",):
        log.warning(
            "%s: the records do not say where the regions lie, so there is no spatial "
            "split: the numbers are of a random one and flatter.",
            source.records_dir,
        )
        kinds = ("random",)
    return splits.choose(
        kinds,
        region_ids=regions.region_ids,
        block_id=regions.block_id,
        geometry_wkb=regions.geometry_wkb,
        stored=folds.read(source.records_dir, source.manifest, regions.region_ids),
        meanings=source.manifest.splits,
        num_folds=config.eval.num_folds,
        buffer_m=config.eval.buffer_m,
        seed=config.eval.seed,
    )


def _methods(
    config: ConfigDict,
    encoders: Mapping[str, inference.Encoder],
    source: RecordSource,
    kinds: Sequence[str],
) -> dict[str, np.ndarray | None]:
    """What the heads are given: name -> features of every region, None for the mean."""
    methods: dict[str, np.ndarray | None] = {"mean": None}
    for name, encoder in encoders.items():
        log.info("features of %d regions (%s encoder) ...", len(source), name)
        extracted = extract(config, encoder, source)
        methods |= {f"{name} {kind}": select(extracted, kind) for kind in kinds}
    log.info("heads on %d feature sets ...", len(methods))
    return methods


def _head_options(config: ConfigDict) -> dict[str, Any]:
    return {name: config.eval[name] for name in ("tasks", "strengths", "seed")}


def _leave_one_city_out(
    config: ConfigDict,
    encoders: Mapping[str, inference.Encoder],
    home: RecordSource,
    home_methods: Mapping[str, np.ndarray | None],
    told: Mapping[str, Any],
) -> None:
    """Tests every city with heads trained on all the others; writes its own table.

    The encoder has seen the city of the checkpoint, and no label of any.
    """
    others = [
        RecordSource(folder, cache_mib=config.data.cache_mib)
        for folder in config.eval.other_records
    ]
    cities = [home, *others]
    kinds = cities_lib.shared_features(cities, config.eval.features)
    parts = [home_methods]
    parts += [_methods(config, encoders, city, kinds) for city in others]
    regions = [features.read_regions(city) for city in cities]
    inner = [
        choose_splits(config, city, known, ("block",)).popitem()[1].fold
        for city, known in zip(cities, regions, strict=True)
    ]
    report = tasks.evaluate(
        cities_lib.joined(parts),
        cities_lib.shared_labels(
            [labelled(city, known) for city, known in zip(cities, regions, strict=True)]
        ),
        {"city": splits.by_city(inner)},
        **_head_options(config),
    )
    names = [city.manifest.city for city in cities]
    _write(config, "metrics_cities", report, {**told, "cities": names})


def _write(
    config: ConfigDict, name: str, report: tasks.Report, told: Mapping[str, Any]
) -> None:
    """Prints the table; writes it and its numbers to `workdir/eval`."""
    folder = Path(config.workdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    table = report.table()
    text = json.dumps({**told, **report.to_json()}, indent=2)
    (folder / f"{name}.json").write_text(text + "\n")
    (folder / f"{name}.txt").write_text(table + "\n")
    print(table)
    log.info("written to %s", folder / f"{name}.json")


if __name__ == "__main__":
    cli.run(
        distributed.by_first(evaluate),
        USAGE,
        shortcuts=("workdir", "checkpoint"),
        session=distributed.session,
    )
