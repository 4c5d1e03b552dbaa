"""`python -m mmgr_jax.eval`: what the embeddings are worth, from a checkpoint alone."""

import json
import logging
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import checkpoint, cli, experiment, inference
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluators import features, splits, tasks

USAGE = """Evaluates frozen features under spatial cross-validation.

Small heads predict every label of the city from the features of a checkpoint; beside
them stand the same heads on a randomly initialised encoder and the mean predictor.

  python -m mmgr_jax.eval --config=configs/toy_city.py
  python -m mmgr_jax.eval --config=configs/toy_city.py --checkpoint=runs/other
  python -m mmgr_jax.eval --config=... --config.eval.features="('image',)"

In the workdir: eval/metrics.json and eval/metrics.txt.
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
    options = config.eval.to_dict()
    kinds = options.pop("features")
    methods: dict[str, np.ndarray | None] = {"mean": None}
    for name, encoder in encoders.items():
        log.info("features of %d regions (%s encoder) ...", len(source), name)
        extracted = extract(config, encoder, source)
        methods |= {f"{name} {kind}": select(extracted, kind) for kind in kinds}
    log.info("heads on %d feature sets ...", len(methods))
    split_kinds = splits.KINDS
    if not source.manifest.crs:
        log.warning(
            "%s: the records do not say where the regions lie, so there is no spatial "
            "split: the numbers are of a random one and flatter.",
            source.records_dir,
        )
        split_kinds = ("random",)
    report = tasks.evaluate(
        methods, *labelled(source), **options, split_kinds=split_kinds
    )

    folder = Path(config.workdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    table = report.table()
    result = {
        "checkpoint": str(bundle),
        "training_seed": config.seed,
        **report.to_json(),
    }
    (folder / "metrics.json").write_text(json.dumps(result, indent=2) + "\n")
    (folder / "metrics.txt").write_text(table + "\n")
    print(table)
    log.info("written to %s", folder)
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
    source: RecordSource,
) -> tuple[dict[str, tuple], np.ndarray]:
    """Labels with their meaning, and the spatial block of each region."""
    regions = features.read_regions(source)
    labels = source.manifest.labels
    return (
        {name: (labels[name], values) for name, values in regions.labels.items()},
        regions.block_id,
    )


if __name__ == "__main__":
    cli.run(evaluate, USAGE, shortcuts=("workdir", "checkpoint"))
