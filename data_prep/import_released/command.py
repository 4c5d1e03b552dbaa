"""Writes the records of a released sample from a config, for the command line."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
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
from data_prep.import_released import sample
from data_prep.import_released.sample import ReleasedSample
from data_prep.import_released.settings import ReleasedSettings
from data_prep.records import runners, writer
from data_prep.running import threads
from mmgr_jax.data import contents, record_format, schema, tiles
from mmgr_jax.data.pixels import PixelSums
from mmgr_jax.errors import InputError

_POPULATION = "population"
_UNKNOWN = (
    "where POIs stand in their region: offsets are 0",
    "how long edges are: each weighs 1",
    "what the categories are called: they have numbers for names",
    "where regions lie: outlines are empty, maps cannot be drawn, and each region is a "
    "spatial block of its own, so splits by block are random splits",
    "how large a tile is on the ground",
)
"""What the records do not know, in words."""


def import_records(config: ConfigDict) -> Path:
    """Writes the records of a released sample; continues an import that was stopped.

    Args:
        config: The city's configuration: `city`, `released` and `records`.

    Returns:
        The records folder.

    Raises:
        InputError: If sample or settings are wrong; it names everything that is wrong.
    """
    settings = settings_lib.read(config)
    released = settings.released_sample
    if released is None:
        raise InputError(
            "config.released_sample is None: it names the folder of a released sample, "
            "as in configs/released_sample.py. To build records from GeoTIFFs and POIs "
            "use `python -m data_prep.build`."
        )
    records_dir, city = settings.records_dir, settings.city.name
    faults.refuse(city, writer.problems(city, settings.records))
    writer.refuse_foreign(records_dir)
    stamps = contents.Stamps(records_dir / contents.STAMPS_FILE)
    described = sources.describe(present(released), records_dir, stamps)
    content = sample.read(city, released.dir)
    _tell(content)
    meaning = schema.Label(**dataclasses.asdict(released.population))
    labels = {_POPULATION: meaning}
    compared = comparison.comparable(settings)
    tile_writer = writer.tile_writer(settings.records)
    with writer.alone(records_dir):
        writer.write(
            records_dir,
            manifest=_manifest(
                content,
                labels,
                city=city,
                image_format=tile_writer.image_format,
                sources=described,
                config=compared,
            ),
            vectors=content.pois.vectors,
            encode=functools.partial(_encoded, content, labels, tile_writer),
            num_shards=settings.records.num_shards,
            fingerprint=sources.fingerprint(compared, described),
            run=runners.local(),
            stamps=stamps,
            check=lambda: sources.refuse_changed(described, present(released), stamps),
        )
    logging.info("%s: %d records", records_dir, len(content.images))
    return records_dir


def present(released: ReleasedSettings) -> dict[str, Path]:
    """Returns the folders whose content decides the records, by what they hold."""
    folders = sample.folders(released.dir)
    return {f"released.{kind}/{path.name}": path for kind, path in folders.items()}


def _tell(content: ReleasedSample) -> None:
    for name, value in content.report.items():
        if isinstance(value, Mapping):
            value = "; ".join(f"{count:,} {what}" for what, count in value.items())
        logging.info("%s: %s", name, value)
    for text in _UNKNOWN:
        logging.warning("unknown: %s", text)


def _manifest(
    content: ReleasedSample, labels: Mapping[str, schema.Label], **fields: Any
) -> schema.Manifest:
    counts = [len(category) for category in content.pois.category]
    k = len(content.pois.vectors)
    width = max(3, len(str(k - 1)))
    names = tuple(f"category_{index:0{width}d}" for index in range(k))
    return schema.Manifest(
        crs="",
        tile_size_px=content.tile_size_px,
        tile_size_m=0.0,
        num_regions=len(content.images),
        shard_lengths=(),
        shard_sha256=(),
        max_pois=max(counts),
        empty_share=counts.count(0) / len(counts),
        categories=names,
        category_parents=names,
        labels=labels,
        block_size_m=0.0,
        report={**content.report, "unknown": list(_UNKNOWN)},
        **fields,
    )


def _encoded(
    content: ReleasedSample,
    labels: Mapping[str, schema.Label],
    tile_writer: tiles.TileWriter,
    regions: Sequence[int],
) -> Iterator[tuple[bytes, PixelSums]]:
    """Serialised records of some regions and sums of their pixels, in their order."""
    layout = record_format.RecordLayout(
        content.tile_size_px, labels, tile_writer.image_format
    )
    names = list(content.images)
    block_id = _block_ids(names)

    def encode(region: int) -> tuple[bytes, PixelSums]:
        name = names[region]
        category, edges = content.pois.category[region], content.pois.edges[region]
        image, pixels = tile_writer.measured(sample.tile(content.images[name]))
        record: record_format.Record = {
            "region_id": name,
            "image": image,
            "poi/category": category,
            "poi/offset_m": np.zeros((len(category), 2), np.float32),
            "poi/edges": edges,
            "poi/edge_weight": np.ones(len(edges), np.float32),
            "geometry": shapely.to_wkb(shapely.Polygon()),
            "block_id": np.int32(block_id[name]),
            f"label/{_POPULATION}": content.population[region],
        }
        return record_format.serialize(record, layout), pixels

    return threads.in_order(encode, ((region,) for region in regions))


def _block_ids(names: Sequence[str]) -> dict[str, int]:
    """Each region as a block of its own.

    Blocks are numbered in the order of a hash of the regions' names, so that neither
    the order of the files nor what a name says of a place decides a split.
    """
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return {name: number for number, name in enumerate(ordered)}
