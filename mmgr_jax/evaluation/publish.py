"""Publishes a city's embeddings: a STAC catalogue and a projector for TensorBoard."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmgr_jax import __version__
from mmgr_jax.card import stac_item
from mmgr_jax.data import facts, schema
from mmgr_jax.disk import files
from mmgr_jax.evaluation import exchange, mapped_city, predictors
from mmgr_jax.store import checkpoint, exported

if TYPE_CHECKING:
    from mmgr_jax.geo.columns import Column, Mapped

PROJECTOR = "projector"

_READ = 64

log = logging.getLogger(__name__)


def write(
    table: Path,
    formats: Sequence[str],
    mapped: mapped_city.MappedCity,
    tables: Sequence[Mapped],
    members: Mapping[int, np.ndarray],
    metadata: Mapping[str, Any],
) -> None:
    """Writes the formats of `config.embed.formats`, after all other files.

    Args:
        table: The table of embeddings.
        formats: "stac": a collection and two items; "projector": a folder for
            TensorBoard.
        mapped: The city.
        tables: Truth and prediction of each label; empty without heads.
        members: Number of clusters -> the cluster of each region.
        metadata: Metadata in the header of the table.
    """
    if "projector" in formats:
        folder = _projector(table.parent / PROJECTOR, mapped, tables, members)
        log.info("for TensorBoard: tensorboard --logdir %s", folder)
    if "stac" in formats:
        from mmgr_jax.geo import stac

        written = stac.write(
            table,
            _origin(table.parent, mapped, metadata),
            _described(tables, members),
            _others(table.parent, formats, tables),
            uncertain=any(one.label.kind != "class" for one in tables),
        )
        log.info("STAC: %s", ", ".join(path.name for path in written))


def _origin(
    folder: Path, mapped: mapped_city.MappedCity, metadata: Mapping[str, Any]
) -> Any:
    from mmgr_jax.geo import stac, stac_words

    source = mapped.city.source
    bundle = Path(metadata["checkpoint"])
    about = exported.about_checkpoint(checkpoint.load_metadata(bundle), bundle)
    model = stac_item.item(
        about,
        weights=str(mapped.made_by.get("weights") or ""),
        href=_relative(bundle, folder),
        artifact=stac_item.ORBAX,
        created=stac_words.utc(metadata["created"]),
        widths={"": mapped.features.num_features},
    )
    manifest = source.manifest
    regions = manifest.config.get("regions") or {}
    return stac.Origin(
        facts=facts.of_manifest(manifest),
        layout=stac.layout(regions, manifest.tile_size_px),
        source_href=_relative(source.records_dir / schema.MANIFEST_FILE, folder),
        model=model,
        software={"mmgr-jax": __version__},
    )


def _relative(path: Path, folder: Path) -> str:
    """An address from a folder, which holds where both are moved together."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _others(
    folder: Path, formats: Sequence[str], tables: Sequence[Mapped]
) -> list[Path]:
    """Files of this run that a catalogue names, beside the table."""
    names = ["columns.csv"]
    names += [exchange.GEOPACKAGE] if "gpkg" in formats else []
    names += ["regions.pmtiles"] if "pmtiles" in formats else []
    for one in tables:
        name = files.safe_name(one.task)
        names += [f"{name}.png", f"{name}_certainty.png"]
        if "cog" in formats:
            names += [f"{name}.tif", f"{name}_predicted_class.tif"]
    return [folder / name for name in names if (folder / name).exists()]


def _described(
    tables: Sequence[Mapped], members: Mapping[int, np.ndarray]
) -> list[Column]:
    from mmgr_jax.geo import columns

    described = [columns.about_clusters(count) for count in members]
    for one in tables:
        described += columns.about_task(one.task, one.label, predictors.LEVEL)
    return described


def _projector(
    folder: Path,
    mapped: mapped_city.MappedCity,
    tables: Sequence[Mapped],
    members: Mapping[int, np.ndarray],
) -> Path:
    from mmgr_jax.geo import columns as columns_lib
    from mmgr_jax.geo import projector

    city = mapped.city
    rows = projector.chosen(len(mapped.features))
    if len(rows) < len(mapped.features):
        log.info(
            "the projector shows %d of %d regions, drawn at random",
            len(rows),
            len(mapped.features),
        )
    columns: dict[str, Sequence[Any]] = {
        "region_id": [city.regions.region_ids[row] for row in rows],
        "row": rows.tolist(),
    }
    for count, cluster in members.items():
        columns[f"cluster_of_{count}"] = cluster[rows].tolist()
    for one in tables:
        columns |= {
            name: values[rows].tolist()
            for name, values in columns_lib.of_task(one).items()
            if not name.startswith((f"{one.task}_low", f"{one.task}_high"))
        }
    tiles = None if mapped.encoder.model.reads_table else _tiles(city.source, rows)
    return projector.write(folder, mapped.features.rows(rows), columns, tiles)


def _tiles(source: Any, rows: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(rows), _READ):
        for record in source.read(rows[first : first + _READ].tolist(), image=True):
            yield record["image"]
