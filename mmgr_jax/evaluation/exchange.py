"""Writes a city's predictions for other programs, in addition to the embeddings."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation import drawing, feature_sets, predictors

if TYPE_CHECKING:
    from mmgr_jax.geo.columns import Mapped

GEOPACKAGE, TILES = "regions.gpkg", "regions.pmtiles"

log = logging.getLogger(__name__)


def refuse(
    folder: Path, formats: Sequence[str], city: feature_sets.EvaluatedCity
) -> None:
    """Raises InputError, before encoding starts, for formats that cannot be written."""
    if "cog" in formats and city.centre_m is not None:
        from mmgr_jax.geo import cog  # rasterio loads here alone

        cog.grid(folder, city.regions.geometry_wkb, city.source.manifest.crs)
    if "pmtiles" in formats:
        from mmgr_jax.geo import pmtiles

        pmtiles.require_packages()


def write(
    folder: Path,
    formats: Sequence[str],
    city: feature_sets.EvaluatedCity,
    mapped: Sequence[Mapped],
    members: Mapping[int, np.ndarray],
) -> None:
    """Writes the files that `config.embed.formats` asks for.

    Args:
        folder: Folder of the maps.
        formats: "gpkg": `regions.gpkg` and `styles/`; "cog": a `.tif` of each label;
            "pmtiles": `regions.pmtiles`.
        city: The city.
        mapped: Truth and prediction of each label; empty without heads.
        members: Number of clusters -> the cluster of each region.
    """
    for old in stale(folder, formats):
        log.warning(
            "%s is from an earlier run; config.embed.formats does not ask for it now",
            old,
        )
    regions, crs = city.regions, city.source.manifest.crs
    path = folder / GEOPACKAGE
    if "gpkg" in formats:
        from mmgr_jax.geo import geopackage

        written = geopackage.write(
            path,
            region_ids=regions.region_ids,
            geometry_wkb=regions.geometry_wkb,
            crs=crs,
            mapped=mapped,
            breaks={
                one.task: drawing.breaks(one.label, one.truth, one.value)
                for one in mapped
            },
            level=predictors.LEVEL,
            members=members,
        )
        log.info("for QGIS: %s, with %d styles", path, len(written) - 1)
    if "pmtiles" in formats:
        _write_tiles(folder / TILES, city, mapped)
    if "cog" not in formats:
        return
    if not mapped:
        log.warning("no GeoTIFF: nothing is predicted, so there is nothing to write")
        return
    from mmgr_jax.geo import cog

    cells = cog.grid(folder, regions.geometry_wkb, crs)
    for one in mapped:
        breaks = drawing.breaks(one.label, one.truth, one.value)
        written = cog.write(folder, cells, one, predictors.LEVEL, breaks)
        log.info("GeoTIFF of %s: %s", one.task, ", ".join(map(str, written)))


def _write_tiles(
    path: Path, city: feature_sets.EvaluatedCity, mapped: Sequence[Mapped]
) -> None:
    from mmgr_jax.geo import columns, pmtiles

    values = {"region_id": np.array(city.regions.region_ids, object)}
    for one in mapped:
        values |= columns.of_task(one)
    manifest = city.source.manifest
    written = pmtiles.write(
        path,
        geometry_wkb=city.regions.geometry_wkb,
        crs=manifest.crs,
        columns=values,
        name=manifest.city,
    )
    log.info(
        "vector tiles: %s, regions from zoom %d on, squares from %d",
        path, written.region_zoom, written.min_zoom,
    )  # fmt: skip


def stale(folder: Path, formats: Sequence[str]) -> list[Path]:
    """Lists files of an earlier run that do not belong to the new predictions."""
    names = {"gpkg": GEOPACKAGE, "cog": "*.tif", "pmtiles": TILES}
    names |= {"stac": "collection.json", "projector": "projector"}
    patterns = [name for kind, name in names.items() if kind not in formats]
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def mapped(
    task: str, label: Label, truth: np.ndarray, prediction: predictors.Prediction
) -> Mapped:
    """Combines truth and prediction of a label for tables and maps."""
    from mmgr_jax.geo.columns import Mapped

    fields = dataclasses.fields(predictors.Prediction)
    return Mapped(
        task,
        label,
        truth,
        **{one.name: getattr(prediction, one.name) for one in fields},
    )
