"""Tests what a model of many cities is worth in another city without labels."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import __version__, summary
from mmgr_jax import main as main_lib
from mmgr_jax.data import opening
from mmgr_jax.data.settings import CorpusSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.devices import distributed
from mmgr_jax.disk import files
from mmgr_jax.evaluation import run as evaluation
from mmgr_jax.evaluation.transfer import encoders, study, trial
from mmgr_jax.evaluation.transfer import summary as numbers
from mmgr_jax.evaluation.transfer.settings import TransferSettings
from mmgr_jax.report import report_file, report_json, transfer_table
from mmgr_jax.report.page import transfer as page
from mmgr_jax.settings import read

PAGE = "transfer"

log = logging.getLogger(__name__)


def run(config: ConfigDict) -> None:
    """Trains missing encoders, tests every city, and writes page, table and numbers.

    Raises:
        InputError: If records do not fit together, or share no label.
    """
    settings = read(TransferSettings, config.transfer, "transfer")
    corpus = read(CorpusSettings, config.corpus, "corpus")
    named = opening.folders(corpus)
    with opening.kept(corpus, config.records.dir):
        sources = [RecordSource(one.path) for one in named]
        folders = {
            source.manifest.city: one
            for source, one in zip(sources, named, strict=True)
        }
        names = sorted(folders)
        tested = settings.tested or tuple(names)
        trained = encoders.to_train(names, tested, settings.num_cities)
        log.info(
            "%d cities, %d of them tested; %d encoders to train",
            len(names), len(tested), len(trained),
        )  # fmt: skip
        for number, one in enumerate(trained, start=1):
            log.info(
                "encoder %d of %d, %s: %s",
                number, len(trained), one.folder, ", ".join(one.cities),
            )  # fmt: skip
            with summary.parts():
                main_lib.main(_of(config, one, [folders[city] for city in one.cities]))
        if distributed.is_first():
            by_name = {source.manifest.city: source for source in sources}
            _test(config, settings, by_name, tested, trained)
    distributed.barrier("transfer")


def _of(
    config: ConfigDict, one: encoders.TrainedOn, folders: Sequence[opening.Folder]
) -> ConfigDict:
    """The config of a run that only trains an encoder."""
    own = config.copy_and_resolve_references()
    own.corpus.records = tuple(str(folder.path) for folder in folders)
    own.corpus.weights = tuple(folder.weight for folder in folders)
    own.workdir = str(Path(config.workdir) / "encoders" / one.folder)
    own.after_training = ()
    own.train.evaluate_every = None
    return own


def _test(
    config: ConfigDict,
    settings: TransferSettings,
    sources: dict[str, RecordSource],
    tested: Sequence[str],
    trained: Sequence[encoders.TrainedOn],
) -> None:
    eval_settings = evaluation.read(config)
    opened = study.open_study(config, settings, eval_settings, sources)
    trials = {}
    for number, city in enumerate(tested, start=1):
        log.info("testing city %d of %d, %s ...", number, len(tested), city)
        trials[city] = trial.run(opened, city)
    content = {
        "schema": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "tested": list(tested),
        "cities": {
            name: _city(source, opened.cities[name]) for name, source in sources.items()
        },
        "encoders": {one.folder: list(one.cities) for one in trained},
        "settings": dataclasses.asdict(settings),
        "readout": config.readout.to_dict(),
        "labels": numbers.of(opened, trials),
        "regions": _regions(opened, trials),
    }
    _write(Path(config.workdir), content)


def _city(source: RecordSource, one: trial.StudiedCity) -> dict[str, Any]:
    manifest = source.manifest
    return {
        "num_regions": len(source),
        "num_blocks": len(set(one.city.regions.block_id.tolist())),
        "num_categories": len(manifest.categories),
        "identity": dict(source.identity),
    }


def _regions(
    opened: trial.Study, trials: Mapping[str, Mapping[str, trial.CityResult]]
) -> dict[str, Any]:
    """What is mapped of tested cities: truth, and predictions of other cities' heads.

    {city: {x_m, y_m, side_m, drawn_of, tasks {label: {truth, predictions}}}}, as in
    `report.report_json`; cities whose regions have no known places are left out.
    """
    mapped = {}
    for name, results in trials.items():
        city = opened.cities[name].city
        if city.centre_m is None:
            continue
        chosen = report_json.drawn(len(city.centre_m))
        tasks = {}
        for label, result in results.items():
            others = result.results[trial.OTHERS]
            kept = [m for m in others if m.startswith(f"{encoders.UNSEEN} ")][-1:]
            tasks[label] = {
                "truth": report_json.rounded(
                    np.asarray(opened.targets[label][name].values)[chosen]
                ),
                "predictions": {
                    method: report_json.rounded(others[method].prediction[chosen])
                    for method in kept
                },
            }
        mapped[name] = {
            "x_m": np.round(city.centre_m[chosen, 0], 1).tolist(),
            "y_m": np.round(city.centre_m[chosen, 1], 1).tolist(),
            "side_m": city.source.manifest.tile_size_m,
            "drawn_of": len(city.centre_m),
            "tasks": tasks,
        }
    return mapped


def _write(workdir: Path, content: dict[str, Any]) -> None:
    text = report_file.text(content)
    table = transfer_table.table(content)
    files.write_text(workdir / f"{PAGE}.json", text)
    files.write_text(workdir / f"{PAGE}.txt", table + "\n")
    files.write_text(workdir / f"{PAGE}.html", page.render(json.loads(text)))
    paths = {
        "page to open": workdir / f"{PAGE}.html",
        "all metrics as a table": workdir / f"{PAGE}.txt",
    }
    summary.end(transfer_table.first_lines(content), paths)
