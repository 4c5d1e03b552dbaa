"""Embeddings, predictions and maps of every region. `mmgr_jax.embed` runs it."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import __version__, run_settings, settings, summary
from mmgr_jax.data import facts, schema
from mmgr_jax.data.schema import Label
from mmgr_jax.data.source import RecordSource
from mmgr_jax.devices import distributed
from mmgr_jax.disk import locks
from mmgr_jax.evaluation import (
    clusters,
    drawing,
    exchange,
    feature_sets,
    inference,
    kept_heads,
    mapped_city,
    predictors,
    publish,
    readouts,
    run,
    store,
)
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.settings import EmbedSettings
from mmgr_jax.store import checkpoint
from mmgr_jax.terminal import duration

FOLDER = "maps"

_TELL_S = 10.0

log = logging.getLogger(__name__)


def embed(config: ConfigDict, *, share: tuple[int, int] = (0, 1)) -> Path:
    """Writes `workdir/maps` and returns the folder.

    Args:
        config: Config of the city.
        share: Number of this process and number of processes that encode. Process 0
            writes.

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
    """Does the same as `embed` with all processes; each encodes some regions."""
    embed(config, share=distributed.place())


def _embed(
    config: ConfigDict,
    embed_settings: EmbedSettings,
    source: RecordSource,
    bundle: Path,
    workdir: Path,
) -> Path:
    if embed_settings.formats:  # so that hours of encoding do not end in a refusal
        given = feature_sets.EvaluatedCity.of(source)
        exchange.refuse(workdir / FOLDER, embed_settings.formats, given)
    mapped = mapped_city.gather(config, embed_settings, source, bundle, workdir)
    city, read, heads = mapped.city, mapped.features, mapped.heads
    folder = workdir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    known = facts.of_manifest(city.source.manifest)
    metadata = {
        "model": checkpoint.load_metadata(bundle).config["model"],
        "features": embed_settings.features,
        "predicted_from": dict(heads.kinds),
        "made_by": mapped.made_by,
        "records": dict(city.source.identity),
        "readout": dataclasses.asdict(mapped.readout),
        "groups": [list(group) for group in read.groups],
        "checkpoint": str(bundle),
        "created": datetime.datetime.now(datetime.UTC).isoformat(),
        "crs": city.source.manifest.crs,
        "city": city.source.manifest.city,
        "sources": {name: known[name] for name in ("imagery", "pois", "labels")},
        "interval_level": predictors.LEVEL,
        "out_of_fold": heads.out_of_fold,
        "software": f"mmgr-jax {__version__}",
    }
    table = folder / "embeddings.parquet"
    unlabelled = not heads.predictors and not city.source.manifest.labels
    members = clusters.cluster(read) if unlabelled else {}
    drawn = _write(table, mapped, metadata, members, embed_settings.dtype)
    if members:
        drawing.clusters(folder, city, members)
    for task, (truth, prediction) in drawn.items():
        label = heads.predictors[task].label
        about = drawing.about(
            label, heads.kinds[task], truth, prediction.value,
            chosen=embed_settings.predict_from == kept_heads.BEST,
            split=heads.predictors[task].heads[predictors.UNSEEN].split,
            out_of_fold=heads.out_of_fold,
        )  # fmt: skip
        drawing.task(folder, city, task, label, truth, prediction, about)
    tables = [
        exchange.mapped(task, heads.predictors[task].label, *known)
        for task, known in drawn.items()
    ]
    exchange.write(folder, embed_settings.formats, city, tables, members)
    publish.write(table, embed_settings.formats, mapped, tables, members, metadata)
    what = "embeddings, and no predictions,"
    if heads.predictors:
        what = "embeddings and predictions"
    paths = {"table": table, "maps": folder} if drawn or members else {"table": table}
    summary.end([f"{what} of {len(read)} regions"], paths)
    return folder


def _write(
    path: Path,
    mapped: mapped_city.MappedCity,
    metadata: Mapping[str, Any],
    members: Mapping[int, np.ndarray],
    dtype: str,
) -> dict[str, tuple[np.ndarray, predictors.Prediction]]:
    """Writes the table, some regions at a time; truth and prediction of each task."""
    from mmgr_jax.geo import columns as columns_lib  # geopandas loads here alone
    from mmgr_jax.geo import packed, spatial_order, writers

    city, read, heads = mapped.city, mapped.features, mapped.heads
    kinds = mapped.read_by_heads
    regions, labels = city.regions, run.labelled(city.source, city.regions)
    writers.refuse_repeated(path, regions.region_ids)
    parts: dict[str, list[tuple[np.ndarray, predictors.Prediction]]] = {}
    assert city.centre_m is not None  # `mapped_city.gather` refuses such records
    order = spatial_order.along_hilbert(city.centre_m)
    recall = None
    if dtype == "int8":
        log.info("int8: reading all features for their scales")
        recall = packed.measured(_read(read, order), read.rows)
    crs, started, last = city.source.manifest.crs, time.monotonic(), time.monotonic()
    with writers.writing(path, crs=crs, metadata=metadata, recall=recall) as table:
        for first in range(0, len(read), writers.ROW_GROUP_SIZE):
            rows = order[first : first + writers.ROW_GROUP_SIZE]
            embeddings = read.rows(rows)
            columns = {
                f"cluster_of_{count}": cluster[rows]
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
                truth = _truth(task, predictor.label, labels, own.value, rows)
                columns |= columns_lib.of_task(
                    exchange.mapped(task, predictor.label, truth, own)
                )
                parts.setdefault(task, []).append((truth, own))
            table.add(
                rows,
                [regions.region_ids[row] for row in rows],
                [regions.geometry_wkb[row] for row in rows],
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
    place = np.argsort(order)  # of each region in the table
    return {task: _whole(some, place) for task, some in parts.items()}


def _read(read: Features, order: np.ndarray) -> Iterator[np.ndarray]:
    """All features, some rows at a time."""
    from mmgr_jax.geo import writers

    for first in range(0, len(order), writers.ROW_GROUP_SIZE):
        yield read.rows(order[first : first + writers.ROW_GROUP_SIZE])
        store.release(read)


def _whole(
    parts: Sequence[tuple[np.ndarray, predictors.Prediction]], place: np.ndarray
) -> tuple[np.ndarray, predictors.Prediction]:
    """Truth and prediction of all regions, in the order of the records."""
    fields = [field.name for field in dataclasses.fields(predictors.Prediction)]
    values = {
        name: np.concatenate([getattr(one, name) for _, one in parts])[place]
        for name in fields
    }
    truth = np.concatenate([truth for truth, _ in parts])[place]
    return truth, predictors.Prediction(**values)


def _truth(
    task: str,
    label: Label,
    labels: Mapping[str, tuple[Label, np.ndarray]],
    value: np.ndarray,
    rows: np.ndarray,
) -> np.ndarray:
    """The known values of a task; none where this city has no such label."""
    if task in labels and labels[task][0].kind == label.kind:
        return labels[task][1][rows]
    shape = value.shape[:1] if label.kind == "class" else value.shape
    return np.full(shape, np.nan, np.float32)
