"""Embeddings, predictions and maps of every region. `mmgr_jax.embed` runs it."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import __version__, run_settings, settings
from mmgr_jax.data import schema
from mmgr_jax.data.schema import Label
from mmgr_jax.data.source import RecordSource
from mmgr_jax.devices import distributed
from mmgr_jax.disk import locks
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import (
    clusters,
    drawing,
    exchange,
    feature_sets,
    inference,
    kept_heads,
    predictors,
    provenance,
    readouts,
    run,
    store,
)
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.settings import EmbedSettings, EvalSettings, Kind
from mmgr_jax.evaluation.trials import tasks
from mmgr_jax.store import checkpoint
from mmgr_jax.terminal import duration

FOLDER = "maps"

_TELL_S = 10.0

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class MappedHeads:
    """The heads that predict every region.

    Attributes:
        predictors: Task -> predictor.
        kinds: Task -> the kind of features that it reads.
        fold: Of each region, where the heads have seen some of them [r].
    """

    predictors: Mapping[str, predictors.Predictor] = dataclasses.field(
        default_factory=dict
    )
    kinds: Mapping[str, Kind] = dataclasses.field(default_factory=dict)
    fold: np.ndarray | None = None

    @property
    def out_of_fold(self) -> bool:
        """Whether every region is predicted by a head of another fold."""
        return self.fold is not None and bool((self.fold != predictors.UNSEEN).all())


def embed(config: ConfigDict, *, share: tuple[int, int] = (0, 1)) -> Path:
    """Writes `workdir/maps`; returns the folder.

    Args:
        config: Of the city.
        share: Number of this process, and how many encode; the first one writes.

    Raises:
        InputError: If records, checkpoint or heads are missing or do not fit.
    """
    embed_settings = settings.read(EmbedSettings, config.embed, "embed")
    top = run_settings.read(config)
    with (  # a training or a build beside this takes neither away
        locks.kept(Path(config.records.dir) / schema.MANIFEST_FILE),
        checkpoint.held(top.to_load) as bundle,
    ):
        workdir = Path(top.workdir)
        # Every region is read once, so none is kept in memory.
        source = RecordSource(config.records.dir)
        if share[1] > 1:
            workdir.mkdir(parents=True, exist_ok=True)
            distributed.check_shared(workdir, "config.workdir")
            encoder = inference.load_encoder(config, bundle, source)
            readouts.encoded(config, encoder, source, share=share)
            distributed.barrier("encoded")
            if share[0] > 0:
                return workdir / FOLDER
        return _embed(config, embed_settings, source, bundle, workdir)


def embed_together(config: ConfigDict) -> None:
    """The same by all processes, each of which encodes a part of the regions."""
    embed(config, share=distributed.place())


def _embed(
    config: ConfigDict,
    embed_settings: EmbedSettings,
    source: RecordSource,
    bundle: Path,
    workdir: Path,
) -> Path:
    city = feature_sets.EvaluatedCity.of(source)
    if city.centre_m is None:
        raise InputError(
            f"{city.source.records_dir}: the records do not say where the regions lie, "
            "so there is nothing to map; those of the released sample never do."
        )
    exchange.refuse(workdir / FOLDER, embed_settings.formats, city)
    encoder = inference.load_encoder(config, bundle, city.source)
    readout = feature_sets.Readout(config, city)
    encoded = readout.encoded(encoder)
    features_of = functools.cache(functools.partial(readout.features, encoded))
    read = features_of(embed_settings.features)
    made_by = provenance.features(config, encoder)
    for sentence in provenance.told_apart(config, city, bundle):
        log.warning(sentence)
    heads = _heads(
        run.read(config), embed_settings, workdir, city, made_by, features_of
    )
    kinds = {kind: features_of(kind) for kind in set(heads.kinds.values())}
    out_of_fold = heads.out_of_fold

    folder = workdir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {
        "model": checkpoint.load_metadata(bundle).config["model"],
        "features": embed_settings.features,
        "predicted_from": dict(heads.kinds),
        "made_by": made_by,
        "records": dict(city.source.identity),
        "readout": dataclasses.asdict(readout.settings),
        "groups": [list(group) for group in read.groups],
        "checkpoint": str(bundle),
        "created": datetime.datetime.now(datetime.UTC).isoformat(),
        "crs": city.source.manifest.crs,
        "city": city.source.manifest.city,
        "interval_level": predictors.LEVEL,
        "out_of_fold": out_of_fold,
        "software": f"mmgr-jax {__version__}",
    }
    table = folder / "embeddings.parquet"
    unlabelled = not heads.predictors and not city.source.manifest.labels
    members = clusters.cluster(read) if unlabelled else {}
    mapped = _write(table, city, read, heads, kinds, metadata, members)
    if members:
        drawing.clusters(folder, city, members)
    for task, (truth, prediction) in mapped.items():
        label = heads.predictors[task].label
        about = drawing.about(
            label, heads.kinds[task], truth, prediction.value,
            chosen=embed_settings.predict_from == kept_heads.BEST,
            split=heads.predictors[task].heads[predictors.UNSEEN].split,
            out_of_fold=out_of_fold,
        )  # fmt: skip
        drawing.task(folder, city, task, label, truth, prediction, about)
    tables = [
        exchange.mapped(task, heads.predictors[task].label, *known)
        for task, known in mapped.items()
    ]
    exchange.write(folder, embed_settings.formats, city, tables, members)
    what = "embeddings, and no predictions,"
    if heads.predictors:
        what = "embeddings and predictions"
    log.info("%s of %d regions: %s", what, len(read), table)
    return folder


def _write(
    path: Path,
    city: feature_sets.EvaluatedCity,
    read: Features,
    heads: MappedHeads,
    kinds: Mapping[str, Features],
    metadata: Mapping[str, Any],
    members: Mapping[int, np.ndarray],
) -> dict[str, tuple[np.ndarray, predictors.Prediction]]:
    """Writes the table, some regions at a time; truth and prediction of each task."""
    from mmgr_jax.geo import columns as columns_lib  # geopandas loads here alone
    from mmgr_jax.geo import writers

    regions, labels = city.regions, run.labelled(city.source, city.regions)
    writers.refuse_repeated(path, regions.region_ids)
    parts: dict[str, list[tuple[np.ndarray, predictors.Prediction]]] = {}
    crs, started, last = city.source.manifest.crs, time.monotonic(), time.monotonic()
    with writers.writing(path, crs=crs, metadata=metadata) as table:
        for first in range(0, len(read), writers.ROW_GROUP_SIZE):
            rows = np.arange(first, min(first + writers.ROW_GROUP_SIZE, len(read)))
            part = slice(first, first + len(rows))
            embeddings = read.rows(rows)
            columns = {
                f"cluster_of_{count}": cluster[part]
                for count, cluster in members.items()
            }
            given = {
                kind: embeddings if one is read else one.rows(rows)
                for kind, one in kinds.items()
            }
            for task, predictor in heads.predictors.items():
                own = predictor.predict(
                    given[heads.kinds[task]],
                    None if heads.fold is None else heads.fold[rows],
                )
                truth = _truth(task, predictor.label, labels, own.value, part)
                columns |= columns_lib.of_task(
                    exchange.mapped(task, predictor.label, truth, own)
                )
                parts.setdefault(task, []).append((truth, own))
            table.add(
                regions.region_ids[part],
                regions.geometry_wkb[part],
                embeddings,
                columns,
            )
            for one in (read, *kinds.values()):
                store.release(one)
            if time.monotonic() - last > _TELL_S:
                last = time.monotonic()
                left_s = (last - started) / (first + len(rows)) * (len(read) - first)
                log.info("%d of %d rows, about %s left", first, len(read),
                         duration(left_s))  # fmt: skip
    described = [columns_lib.about_clusters(count) for count in members]
    for task, predictor in heads.predictors.items():
        described += columns_lib.about_task(task, predictor.label, predictors.LEVEL)
    columns_lib.write_dictionary(path, described)
    return {task: _whole(some) for task, some in parts.items()}


def _whole(
    parts: Sequence[tuple[np.ndarray, predictors.Prediction]],
) -> tuple[np.ndarray, predictors.Prediction]:
    """Truth and prediction of all regions."""
    fields = [field.name for field in dataclasses.fields(predictors.Prediction)]
    values = {
        name: np.concatenate([getattr(prediction, name) for _, prediction in parts])
        for name in fields
    }
    truth = np.concatenate([truth for truth, _ in parts])
    return truth, predictors.Prediction(**values)


def _heads(
    eval_settings: EvalSettings,
    embed_settings: EmbedSettings,
    workdir: Path,
    city: feature_sets.EvaluatedCity,
    made_by: Mapping[str, Any],
    features_of: Callable[[Kind], Features],
) -> MappedHeads:
    """The heads, and the fold of each region that they have seen.

    Those of the workdir are trained anew where they are of other weights, of another
    readout or of labels before the records changed; of a folder that the config names
    such are refused.
    """
    if not embed_settings.predictions:
        return MappedHeads()
    own = embed_settings.heads is None
    folder = Path(embed_settings.heads or workdir / run.FOLDER / kept_heads.FOLDER)
    kind = embed_settings.predict_from
    kinds = eval_settings.features if kind == kept_heads.BEST else (kind,)
    if own and not kept_heads.exists(folder):
        if not city.source.manifest.labels:
            log.info(
                "no labels, and no heads in %s: embeddings alone, no predictions; "
                "config.embed.heads names those of another city",
                folder,
            )
            return MappedHeads()
        log.info("no heads in %s yet: they are trained now", folder)
        return _trained_now(eval_settings, kinds, city, features_of)
    try:
        heads = kept_heads.load(
            folder, kind, features=made_by, tasks=eval_settings.tasks
        )
        heads.refuse_stale(city, folder)
    except InputError as error:
        if not own:
            raise
        log.warning("%s They are trained now, for these maps alone.", error)
        return _trained_now(eval_settings, kinds, city, features_of)
    fold = heads.fold_of(city)
    if fold is None:
        log.info("the heads have learnt from other regions: none of these is theirs")
    return MappedHeads(heads.predictors, heads.kinds, fold)


def _trained_now(
    eval_settings: EvalSettings,
    kinds: Sequence[Kind],
    city: feature_sets.EvaluatedCity,
    features_of: Callable[[Kind], Features],
) -> MappedHeads:
    split = _split(eval_settings, city)
    methods = {f"{feature_sets.MAIN} {kind}": features_of(kind) for kind in kinds}
    report = tasks.evaluate(
        methods,
        run.labelled(city.source, city.regions),
        {"block": split},
        dataclasses.replace(eval_settings, protocols=eval_settings.protocols[:1]),
        keep=tuple(methods),
    )
    kept = run.predictors_of(report, methods, city, split)
    best = run.best_kinds(report, tuple(methods))
    return MappedHeads(
        {task: kept[task][kind] for task, kind in best.items()}, best, split.fold
    )


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
    part: slice,
) -> np.ndarray:
    """The known values of a task; none where this city has no such label."""
    if task in labels and labels[task][0].kind == label.kind:
        return labels[task][1][part]
    shape = value.shape[:1] if label.kind == "class" else value.shape
    return np.full(shape, np.nan, np.float32)
