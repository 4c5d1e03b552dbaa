"""Embeddings, predictions and maps of every region. `mmgr_jax.embed` runs it."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import __version__, run_settings, settings
from mmgr_jax.data import schema
from mmgr_jax.data.schema import Label
from mmgr_jax.data.source import open_source
from mmgr_jax.disk import files, locks
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import (
    feature_sets,
    inference,
    kept_heads,
    predictors,
    provenance,
    run,
)
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.settings import EmbedSettings, EvalSettings, Kind
from mmgr_jax.evaluation.trials import tasks
from mmgr_jax.store import checkpoint

FOLDER = "maps"

log = logging.getLogger(__name__)


def embed(config: ConfigDict) -> Path:
    """Writes `workdir/maps`; returns the folder.

    Raises:
        InputError: If records, checkpoint or heads are missing or do not fit.
    """
    embed_settings = settings.read(EmbedSettings, config.embed, "embed")
    top = run_settings.read(config)
    with (  # a training or a build beside this takes neither away
        locks.kept(Path(config.records.dir) / schema.MANIFEST_FILE),
        checkpoint.held(top.to_load) as bundle,
    ):
        return _embed(config, embed_settings, bundle, Path(top.workdir))


def _embed(
    config: ConfigDict, embed_settings: EmbedSettings, bundle: Path, workdir: Path
) -> Path:
    from mmgr_jax.geo import writers  # rasterio and geopandas load here alone

    city = feature_sets.EvaluatedCity.of(open_source(config))
    manifest = city.source.manifest
    if city.centre_m is None:
        raise InputError(
            f"{city.source.records_dir}: the records do not say where the regions lie, "
            "so there is nothing to map; those of the released sample never do."
        )
    kind = embed_settings.features
    encoder = inference.load_encoder(config, bundle, city.source)
    readout = feature_sets.Readout(config, city)
    read = readout.features(readout.encoded(encoder), kind)
    embeddings = read.values
    made_by = provenance.features(config, encoder)
    for sentence in provenance.told_apart(config, city, bundle):
        log.warning(sentence)
    heads, fold = _heads(run.read(config), embed_settings, workdir, city, made_by, read)

    folder = workdir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    labels = run.labelled(city.source, city.regions)
    columns = {}
    for task, predictor in heads.items():
        prediction = predictor.predict(embeddings, fold)
        truth = _truth(task, predictor.label, labels, prediction.value)
        columns |= writers.columns(task, predictor.label, truth, prediction.value)
        columns |= writers.interval_columns(
            task, predictor.label, prediction.low, prediction.high
        )
        columns[f"{task}_unlike"] = prediction.unlike
        _draw(folder, city, task, predictor.label, truth, prediction)
    table = folder / "embeddings.parquet"
    writers.write_embeddings(
        table,
        region_ids=city.regions.region_ids,
        geometry_wkb=city.regions.geometry_wkb,
        crs=manifest.crs,
        embeddings=embeddings,
        columns=columns,
        metadata={
            "model": checkpoint.load_metadata(bundle).config["model"],
            "features": kind,
            "made_by": made_by,
            "records": dict(city.source.identity),
            "readout": dataclasses.asdict(readout.settings),
            "groups": [list(group) for group in read.groups],
            "checkpoint": str(bundle),
            "created": datetime.datetime.now(datetime.UTC).isoformat(),
            "crs": manifest.crs,
            "city": manifest.city,
            "interval_level": predictors.LEVEL,
            "out_of_fold": fold is not None and bool((fold != predictors.UNSEEN).all()),
            "software": f"mmgr-jax {__version__}",
        },
    )
    log.info("embeddings and predictions of %d regions: %s", len(embeddings), table)
    return folder


def _heads(
    eval_settings: EvalSettings,
    embed_settings: EmbedSettings,
    workdir: Path,
    city: feature_sets.EvaluatedCity,
    features: Mapping[str, Any],
    embeddings: Features,
) -> tuple[Mapping[str, predictors.Predictor], np.ndarray | None]:
    """The heads, and the fold of each region that they have seen.

    Those of the workdir are trained anew where they are of other weights, of another
    readout or of labels before the records changed; of a folder that the config names
    such are refused.
    """
    own = embed_settings.heads is None
    folder = Path(embed_settings.heads or workdir / run.FOLDER / kept_heads.FOLDER)
    if own and not kept_heads.exists(folder):
        log.info("no heads in %s yet: they are trained now", folder)
        return _trained_now(eval_settings, embed_settings.features, city, embeddings)
    try:
        heads = kept_heads.load(
            folder,
            embed_settings.features,
            features=features,
            tasks=eval_settings.tasks,
        )
        heads.refuse_stale(city, folder)
    except InputError as error:
        if not own:
            raise
        log.warning("%s They are trained now, for these maps alone.", error)
        return _trained_now(eval_settings, embed_settings.features, city, embeddings)
    fold = heads.fold_of(city)
    if fold is None:
        log.info("the heads have learnt from other regions: none of these is theirs")
    return heads.predictors, fold


def _trained_now(
    eval_settings: EvalSettings,
    kind: Kind,
    city: feature_sets.EvaluatedCity,
    embeddings: Features,
) -> tuple[dict[str, predictors.Predictor], np.ndarray]:
    split = _split(eval_settings, city)
    method = f"{feature_sets.MAIN} {kind}"
    report = tasks.evaluate(
        {method: embeddings},
        run.labelled(city.source, city.regions),
        {"block": split},
        dataclasses.replace(eval_settings, protocols=eval_settings.protocols[:1]),
        keep=(method,),
    )
    kept = run.predictors_of(report, {method: embeddings}, city, split)
    return {task: kinds[kind] for task, kinds in kept.items()}, split.fold


def _split(
    eval_settings: EvalSettings, city: feature_sets.EvaluatedCity
) -> run.splits.Split:
    """The split that the heads were kept under: the first of `eval.splits`."""
    chosen = run.choose_splits(
        eval_settings, city.source, city.regions, eval_settings.splits[:1]
    )
    return next(iter(chosen.values()))


def _truth(
    task: str,
    label: Label,
    labels: Mapping[str, tuple[Label, np.ndarray]],
    value: np.ndarray,
) -> np.ndarray:
    """The known values of a task; none where this city has no such label."""
    if task in labels and labels[task][0].kind == label.kind:
        return labels[task][1]
    shape = value.shape[:1] if label.kind == "class" else value.shape
    return np.full(shape, np.nan, np.float32)


def _draw(
    folder: Path,
    city: feature_sets.EvaluatedCity,
    task: str,
    label: Label,
    truth: np.ndarray,
    prediction: predictors.Prediction,
) -> None:
    from mmgr_jax.geo import maps

    started = time.perf_counter()
    common: dict[str, Any] = dict(
        geometry_wkb=city.regions.geometry_wkb,
        crs=city.source.manifest.crs,
        prediction=prediction.value,
        label=label,
        task=task,
    )
    drawn = []
    if np.isfinite(truth).any():
        drawn.append(folder / f"{files.safe_name(task)}.png")
        maps.task_map(drawn[-1], truth=truth, **common)
    if label.kind != "class":  # its probabilities have no intervals
        drawn.append(folder / f"{files.safe_name(task)}_certainty.png")
        maps.certainty_map(
            drawn[-1],
            low=prediction.low,
            high=prediction.high,
            unlike=prediction.unlike,
            level=predictors.LEVEL,
            **common,
        )
    taken_s = time.perf_counter() - started
    log.info("maps of %s: %s (%.1f s)", task, ", ".join(map(str, drawn)), taken_s)
