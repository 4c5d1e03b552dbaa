"""`python -m mmgr_jax.embed`: embeddings and predictions of every region, and maps."""

import datetime
import logging
import time
from pathlib import Path

from ml_collections import ConfigDict

from mmgr_jax import (
    __version__,
    checkpoint,
    cli,
    distributed,
    experiment,
    inference,
)
from mmgr_jax.errors import InputError
from mmgr_jax.eval import choose_splits, extract, labelled, select
from mmgr_jax.evaluators import features, tasks

USAGE = """Writes embeddings and predictions of every region, and a map of each task.

The predictions are out-of-fold: each region is predicted by a head that has seen
neither it nor its spatial block.

  python -m mmgr_jax.embed --config=configs/toy_city.py
  python -m mmgr_jax.embed --config=... --checkpoint=runs/other
  python -m mmgr_jax.embed --config=... --config.embed.features=both

In the workdir: maps/embeddings.parquet (GeoParquet) and maps/<task>.png.
"""

FOLDER = "maps"

log = logging.getLogger(__name__)


def embed(config: ConfigDict) -> Path:
    """Writes `workdir/maps`; returns the folder.

    Raises:
        InputError: If records or checkpoint are missing or do not fit.
    """
    from mmgr_jax.geo import maps, writers  # rasterio and geopandas load here alone

    source = experiment.open_source(config)
    if not source.manifest.crs:
        raise InputError(
            f"{source.records_dir}: the records do not say where the regions lie, so "
            "there is nothing to map. Give config.released.centres and import again."
        )
    bundle = checkpoint.latest(config.checkpoint or config.workdir)
    encoder = inference.load_encoder(config, bundle, source)
    kind = config.embed.features
    embeddings = select(extract(config, encoder, source), kind)
    regions = features.read_regions(source)
    labels = labelled(source, regions)
    report = tasks.evaluate(
        {kind: embeddings},
        labels,
        choose_splits(config, source, regions, ("block",)),
        tasks=config.eval.tasks,
        strengths=config.eval.strengths,
    )

    folder = Path(config.workdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    crs = source.manifest.crs
    columns = {}
    for task, predictions in report.predictions.items():
        started = time.perf_counter()
        label, truth = labels[task]
        columns |= writers.columns(task, label, truth, predictions[kind])
        path = folder / f"{task}.png"
        maps.task_map(
            path,
            geometry_wkb=regions.geometry_wkb,
            crs=crs,
            truth=truth,
            prediction=predictions[kind],
            label=label,
            task=task,
            dpi=config.embed.dpi,
        )
        log.info("map of %s: %s (%.1f s)", task, path, time.perf_counter() - started)
    table = folder / "embeddings.parquet"
    writers.write_embeddings(
        table,
        region_ids=regions.region_ids,
        geometry_wkb=regions.geometry_wkb,
        crs=crs,
        embeddings=embeddings,
        columns=columns,
        metadata={
            "model": config.model.to_dict(),
            "features": kind,
            "checkpoint": str(bundle),
            "created": datetime.datetime.now(datetime.UTC).isoformat(),
            "crs": crs,
            "city": source.manifest.city,
            "software": f"mmgr-jax {__version__}",
        },
    )
    log.info("embeddings and predictions of %d regions: %s", len(embeddings), table)
    return folder


if __name__ == "__main__":
    cli.run(
        distributed.by_first(embed),
        USAGE,
        shortcuts=("workdir", "checkpoint"),
        session=distributed.session,
    )
