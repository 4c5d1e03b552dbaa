"""From a config to the records of a released sample: what the command line does."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from ml_collections import ConfigDict

from data_prep import comparison, sources
from data_prep import settings as settings_lib
from data_prep.files import faults
from data_prep.import_released import categories, images, sample
from data_prep.import_released.sample import Sample
from data_prep.import_released.settings import ReleasedSettings
from data_prep.records import runners, writer
from data_prep.running import threads
from data_prep.settings import PreparationSettings
from data_prep.splits import splits
from mmgr_jax import cli
from mmgr_jax.data import contents, schema, source, tiles
from mmgr_jax.errors import InputError

_USAGE = """Takes the folders of the released MMGR sample over as records.

Needs PyTorch, which reads the sample's tensors: pip install -r requirements-convert.txt

The sample does not say where POIs and regions lie. Unless config.released.centres
names a table of centres, maps of the records cannot be drawn, and splits by block are
random splits.

Usage:
    python -m data_prep.import_released --config=configs/released_sample.py
    python -m data_prep.import_released --config=configs/released_sample.py \\
        --config.released.centres=centres.csv --config.released.tile_size_m=1000
"""


def import_records(config: ConfigDict) -> Path:
    """Writes the records of a released sample; a stopped import goes on where it was.

    Args:
        config: The city's configuration: `city`, `released`, `blocks` and `records`.

    Returns:
        The records folder.

    Raises:
        InputError: Naming everything that is wrong with the sample and settings.
    """
    settings, released = _read(config)
    records_dir, city = settings.records_dir, settings.city.name
    found = writer.problems(city, settings.records)
    size_m = settings.blocks.size_m
    if size_m == splits.AUTO:
        found.append(
            "config.blocks.size_m is 'auto', which takes a city of known places with "
            "labels; give metres."
        )
    faults.refuse(city, found)
    writer.refuse_foreign(records_dir)
    stamps = contents.Stamps(records_dir / contents.STAMPS_FILE)
    described = sources.describe(_present(released), records_dir, stamps)
    found = sample.read(settings.city, float(size_m), released)
    _tell(found)
    compared = comparison.comparable(settings)
    tile_writer = writer.tile_writer(settings.records)
    with writer.alone(records_dir):
        writer.write(
            records_dir,
            manifest=_manifest(
                city, found, tile_writer.image_format, described, compared
            ),
            vectors=found.pois.vectors,
            encode=functools.partial(_encoded, found, tile_writer),
            num_shards=settings.records.num_shards,
            fingerprint=sources.fingerprint(compared, described),
            run=runners.local(),
            stamps=stamps,
            check=lambda: sources.refuse_changed(described, _present(released), stamps),
        )
    logging.info("%s: %d records", records_dir, len(found.regions))
    return records_dir


def ensure(config: ConfigDict) -> Path:
    """The records of a sample, imported only when there are none that fit the config.

    Records fit when the same settings made them and the folders are unchanged, or gone.
    Records whose manifest names no settings are taken as they are.

    Args:
        config: As in `import_records`.

    Returns:
        The records folder.

    Raises:
        InputError: If the records are missing or do not fit, and cannot be imported.
    """
    settings, released = _read(config)
    records_dir = settings.records_dir
    if not (records_dir / schema.MANIFEST_FILE).exists():
        return import_records(config)
    manifest = schema.Manifest.load(records_dir)
    if not manifest.config:
        return records_dir
    differing = comparison.differing(manifest.config, settings)
    cause = writer.misfit(
        manifest,
        records_dir,
        differing,
        lambda: _changed_sources(manifest, records_dir, released),
    )
    if cause is None:
        source.RecordSource(records_dir)  # one process reads what others find read
        return records_dir
    logging.info("%s: %s; importing again", records_dir, cause)
    return import_records(config)


def main() -> None:
    """Entry point of `python -m data_prep.import_released`."""
    cli.run(_command, _USAGE)


def _command(config: ConfigDict) -> None:
    import_records(config)


def _read(config: ConfigDict) -> tuple[PreparationSettings, ReleasedSettings]:
    settings = settings_lib.read(config)
    if settings.released is None:
        raise InputError(
            "config.released is None: it names the folders of a released sample, as in "
            "configs/released_sample.py. To build records from GeoTIFFs and POIs use "
            "`python -m data_prep.build`."
        )
    return settings, settings.released


def _present(released: ReleasedSettings) -> dict[str, Path]:
    """Folders and files whose content decides the records, by their settings."""
    named: dict[str, str | None] = {
        "image_dir": released.image_dir,
        "vector_dir": released.vector_dir,
        "edge_dir": released.edge_dir,
        "centres": released.centres,
    }
    for name, label in released.labels.items():
        named[f"labels.{name}.dir"] = label.dir
    named |= {f"lists.{name}": path for name, path in released.lists.items()}
    return {
        f"released.{key}/{Path(path).name}": Path(path)
        for key, path in sorted(named.items())
        if path is not None and Path(path).exists()
    }


def _changed_sources(
    manifest: schema.Manifest, records_dir: Path, released: ReleasedSettings
) -> list[str]:
    """Parts of the sample that are others than the manifest has; none of one gone."""
    found = _present(released)
    return sources.changed_since(manifest, found, records_dir) if found else []


def _tell(found: Sample) -> None:
    for what, told in found.report.items():
        if what == "lists":
            told = {name: len(regions) for name, regions in told.items()}
        if told and what != "unknown":
            logging.info("%s: %s", what, _words(told))
    for what in found.report["unknown"]:
        logging.warning("unknown: %s", what)


def _words(told: Any) -> str:
    if isinstance(told, int):
        return f"{told:,}"
    if not isinstance(told, Mapping):
        return faults.names(told)
    return "; ".join(
        f"{name}: {_words(value)}"
        if isinstance(value, Mapping)
        else f"{_words(value)} {name}"
        for name, value in told.items()
    )


def _manifest(
    city: str,
    found: Sample,
    image_format: str,
    described: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> schema.Manifest:
    counts = [len(found.pois.category[region]) for region in found.regions]
    names = categories.names(len(found.pois.vectors))
    return schema.Manifest(
        city=city,
        crs=found.places.crs,
        tile_size_px=found.tile_size_px,
        tile_size_m=found.places.tile_size_m,
        num_regions=len(found.regions),
        shard_lengths=(),
        shard_sha256=(),
        max_pois=max(counts),
        empty_share=float(np.mean(np.equal(counts, 0))),
        categories=names,
        category_parents=names,
        labels=found.meanings,
        block_size_m=found.places.block_size_m,
        image_format=image_format,
        report=found.report,
        sources=described,
        config=settings,
    )


def _encoded(
    found: Sample, tile_writer: tiles.Writer, regions: Sequence[int]
) -> Iterator[bytes]:
    """Serialised records of some regions, in their order."""
    layout = schema.Layout(found.tile_size_px, found.meanings, tile_writer.image_format)
    arguments = ((found, region, layout, tile_writer) for region in regions)
    return threads.in_order(_encode, arguments)


def _encode(
    found: Sample, region: int, layout: schema.Layout, tile_writer: tiles.Writer
) -> bytes:
    name = found.regions[region]
    tile = images.read(found.images[name], found.tile_size_px)
    category, edges = found.pois.category[name], found.pois.edges[name]
    record: schema.Record = {
        "region_id": name,
        "image": tile_writer.encode(tile),
        "poi/category": category,
        "poi/offset_m": np.zeros((len(category), 2), np.float32),
        "poi/edges": edges,
        "poi/edge_weight": np.ones(len(edges), np.float32),
        "geometry": shapely.to_wkb(found.places.geometry[region]),
        "block_id": found.places.block_id[region],
    }
    for label, values in found.labels.items():
        record[f"label/{label}"] = values[region]
    return schema.serialize(record, layout)
