"""The evaluation of a checkpoint: features, heads, report. `mmgr_jax.eval` runs it."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import run_settings, settings, summary
from mmgr_jax.data import folds, schema
from mmgr_jax.data.schema import Label
from mmgr_jax.data.source import RecordSource, open_source
from mmgr_jax.disk import files, locks
from mmgr_jax.evaluation import (
    across,
    feature_sets,
    kept_heads,
    predictors,
    provenance,
    tuning,
)
from mmgr_jax.evaluation.certainty import metrics
from mmgr_jax.evaluation.design import splits, targets
from mmgr_jax.evaluation.features import features
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import jobs
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.evaluation.settings import CurveSettings, EvalSettings, Kind
from mmgr_jax.evaluation.trials import tasks
from mmgr_jax.evaluation.trials.results import Report
from mmgr_jax.evaluation.trials.scores import Certainty
from mmgr_jax.report import choice, report, report_file, report_json
from mmgr_jax.report.page import standing
from mmgr_jax.report.page.render import render
from mmgr_jax.store import checkpoint
from mmgr_jax.terminal import visible

FOLDER = "eval"

log = logging.getLogger(__name__)


def evaluate(config: ConfigDict) -> Report:
    """Evaluates a checkpoint, prints a summary, writes report, table and heads.

    Raises:
        InputError: If records or checkpoint are missing or do not fit.
    """
    run, eval_settings = run_settings.read(config), read(config)
    # A training or a build beside this takes neither away.
    with locks.kept(Path(config.records.dir) / schema.MANIFEST_FILE):
        city = feature_sets.EvaluatedCity.of(open_source(config))
        with checkpoint.held(run.to_load) as bundle:
            folder = Path(run.workdir) / FOLDER
            return _evaluate(config, eval_settings, city, bundle, folder)


def read(config: ConfigDict) -> EvalSettings:
    """Reads the section `eval`."""
    return settings.read(EvalSettings, config.eval, "eval")


def _evaluate(
    config: ConfigDict,
    eval_settings: EvalSettings,
    city: feature_sets.EvaluatedCity,
    bundle: Path,
    folder: Path,
) -> Report:
    for sentence in provenance.told_apart(config, city, bundle):
        log.warning(sentence)
    given_splits = choose_splits(
        eval_settings, city.source, city.regions, eval_settings.splits
    )
    encoders = feature_sets.encoders(config, eval_settings, city.source, bundle)
    sets = feature_sets.gather(config, eval_settings, encoders, city)
    evaluated = tasks.evaluate(
        sets.methods,
        labelled(city.source, city.regions),
        given_splits,
        eval_settings,
        certainty=_certainty(eval_settings, city, sets.own),
        label_curves=_curves(eval_settings.curves, sets),
        tuners=tuning.tuners(eval_settings, encoders, city, tuple(sets.methods)),
        keep=sets.own,
    )
    first = next(iter(given_splits.values()))
    made_by = provenance.features(config, encoders[feature_sets.MAIN])
    kept_heads.save(
        folder / kept_heads.FOLDER,
        predictors_of(evaluated, sets.methods, city, first),
        city,
        fold=first.fold,
        features=made_by,
        checkpoint=bundle,
        best=best_kinds(evaluated, sets.own),
    )
    references = _references(sets)
    content = {
        **provenance.of(config, eval_settings, city, bundle, encoders, made_by),
        "methods": {
            name: {"about": sets.about[name], "num_features": _width(method)}
            for name, method in sets.methods.items()
        },
        **report_json.report_json(evaluated, references=references),
        "regions": _regions(evaluated, city, sets.own),
        "health": {
            name: report_json.finite(measures)
            for name, measures in feature_sets.measure_health(
                sets, city.regions.num_pois
            ).items()
        },
        "retrieval": _retrieval(sets, city),
        "cities": None,
    }
    table = "\n".join(
        [
            *map(visible, standing.lines(content)),
            "",
            report.table(evaluated, references=references),
        ]
    )
    if eval_settings.other_records:
        content["cities"], more = _across(config, eval_settings, encoders, city)
        table += f"\n\n{more}"
    _write(folder, content, table)
    return evaluated


def predictors_of(
    evaluated: Report,
    methods: Mapping[str, jobs.Method],
    city: feature_sets.EvaluatedCity,
    split: splits.Split,
) -> dict[str, dict[str, predictors.Predictor]]:
    """Returns task -> kind of features -> heads to keep, with their intervals."""
    labels = labelled(city.source, city.regions)
    return {
        name: {
            method.split()[-1]: predictors.of_task(
                task,
                targets.check(name, *labels[name], len(split.fold)),
                method,
                cast(Features, methods[method]),  # only of these heads are kept
                city.regions.block_id,
                split.fold,
            )
            for method in task.kept
        }
        for name, task in evaluated.tasks.items()
    }


def best_kinds(evaluated: Report, own: Sequence[str]) -> dict[str, Kind]:
    """Returns task -> the kind of features to map, see `report.choice`.

    Args:
        evaluated: The report, with all scores.
        own: Names of the checkpoint's methods.
    """
    best: dict[str, Kind] = {}
    for name, task in evaluated.tasks.items():
        head = task.headline
        folds = {
            method: [report_json.number(fold[head]) for fold in result.fold_metrics]
            for method in own
            if (result := task.main.get(method)) is not None
        }
        higher = head in metrics.HIGHER_IS_BETTER
        method = choice.best(folds, higher=higher) or next(iter(folds))
        best[name] = cast(Kind, method.split()[-1])
    return best


def labelled(
    source: RecordSource, regions: features.RegionTable
) -> dict[str, tuple[Label, np.ndarray]]:
    """Returns label name -> (meaning, values)."""
    labels = source.manifest.labels
    return {name: (labels[name], values) for name, values in regions.labels.items()}


def choose_splits(
    eval_settings: EvalSettings,
    source: RecordSource,
    regions: features.RegionTable,
    kinds: Sequence[str],
) -> dict[str, splits.Split]:
    """Returns the splits of the records, or new ones if the settings say so."""
    if not source.manifest.crs and tuple(kinds) != ("random",):
        log.warning(
            "%s: the records do not say where the regions lie, so there is no "
            "spatial split: scores come from a random split and are too optimistic.",
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
        num_folds=eval_settings.num_folds,
        buffer_m=eval_settings.buffer_m,
        seed=eval_settings.seed,
    )


def _across(
    config: ConfigDict,
    eval_settings: EvalSettings,
    encoders: Mapping[str, InferenceEncoder],
    home: feature_sets.EvaluatedCity,
) -> tuple[dict[str, Any], str]:
    others = [
        feature_sets.EvaluatedCity.of(
            RecordSource(folder, cache_mib=config.data.cache_mib)
        )
        for folder in eval_settings.other_records
    ]
    inner = [
        next(
            iter(
                choose_splits(
                    eval_settings, city.source, city.regions, ("block",)
                ).values()
            )
        )
        for city in (home, *others)
    ]
    return across.compare(config, eval_settings, encoders, home, others, inner)


def _certainty(
    eval_settings: EvalSettings,
    city: feature_sets.EvaluatedCity,
    covered: Sequence[str],
) -> Certainty:
    return Certainty(
        block=city.regions.block_id,
        settings=eval_settings.certainty,
        centre_m=city.centre_m,
        covered=covered,
    )


def _curves(
    eval_settings: CurveSettings, sets: feature_sets.FeatureSets
) -> CurveSettings | None:
    """Whose label curves to draw: those asked for that there are."""
    methods = tuple(name for name in eval_settings.methods if name in sets.methods)
    if not methods or not (eval_settings.num_labels or eval_settings.fractions):
        return None
    return dataclasses.replace(eval_settings, methods=methods)


def _references(sets: feature_sets.FeatureSets) -> dict[str, list[str]]:
    """Every method of the checkpoint is compared with all others."""
    return {own: [m for m in sets.methods if m != own] for own in sets.own}


def _width(method: jobs.Method) -> int | None:
    return method.num_features if isinstance(method, Features) else None


def _regions(
    evaluated: Report, city: feature_sets.EvaluatedCity, methods: Sequence[str]
) -> dict[str, Any] | None:
    if city.centre_m is None:
        return None
    return report_json.regions_json(
        evaluated,
        city.regions.labels,
        region_ids=city.regions.region_ids,
        centre_m=city.centre_m,
        side_m=city.source.manifest.tile_size_m,
        block=city.regions.block_id,
        methods=methods,
    )


def _retrieval(
    sets: feature_sets.FeatureSets, city: feature_sets.EvaluatedCity
) -> dict[str, Any]:
    by_direction = feature_sets.measure_retrieval(sets, city.regions.num_pois)
    return {
        name: {
            "recall": {str(depth): value for depth, value in scores.recall.items()},
            "median_rank": scores.median_rank,
            "num_regions": scores.num_regions,
            "num_queries": scores.num_queries,
        }
        for name, scores in by_direction.items()
    }


def _write(folder: Path, content: Mapping[str, Any], table: str) -> None:
    """Writes the table, the report and its page; ends in the first lines and paths."""
    text = report_file.text(content)
    files.write_text(folder / "report.json", text)
    files.write_text(folder / "report.html", render(json.loads(text)))
    files.write_text(folder / "metrics.txt", table + "\n")
    paths = {
        "page to open": folder / "report.html",
        "all metrics as a table": folder / "metrics.txt",
    }
    summary.end(standing.lines(content), paths)
