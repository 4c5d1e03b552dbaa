"""Embedding a city of many regions: seconds, regions a second, memory at the peak."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
import shapely
from ml_collections import ConfigDict
from pyarrow import parquet

from benchmarks import growth, records
from benchmarks.table import Row
from configs import toy_city
from data_prep.records import runners, writer
from mmgr_jax.data import record_format, schema, tiles
from mmgr_jax.data.pixels import PixelSums
from mmgr_jax.data.source import RecordSource
from mmgr_jax.evaluation import inference
from mmgr_jax.store import checkpoint

_TILES, _SIDE_PX, _SIDE_M, _COLUMNS = 64, 64, 128.0, 320
_CATEGORIES = ("bank", "cafe", "park", "school", "shop")
_MOST_POIS = 48
_CRS = "EPSG:32651"


def rows(options: argparse.Namespace) -> list[Row]:
    """A row for each command."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if options.table:
            call = f"embed.write_table({place!r}, {options.table}, {options.width})"
            command = ["-c", f"from benchmarks.measured import embed; {call}"]
            return [_row("table", command, folder / "table.parquet")]
        config = _city(folder, options.regions)
        command = [
            *("-m", "mmgr_jax.embed", "--quiet"),
            f"--config={toy_city.__file__}",
            f"--config.records.dir={config.records.dir}",
            f"--workdir={config.workdir}",
            f"--config.embed.features={options.features}",
            f"--config.embed.predict_from={options.features}",
        ]
        table = Path(config.workdir) / "maps/embeddings.parquet"
        return [_row(name, command, table) for name in ("encoded", "kept")]


def write_table(folder: str, num_rows: int, width: int) -> None:
    """Writes random vectors of squares, as `mmgr_jax.embed` writes a city."""
    from mmgr_jax.geo import writers

    rng = np.random.default_rng(0)
    metadata = {"made_by": "benchmarks"}
    path = Path(folder) / "table.parquet"
    with writers.writing(path, crs=_CRS, metadata=metadata) as table:
        for first in range(0, num_rows, writers.ROW_GROUP_SIZE):
            index = np.arange(first, min(first + writers.ROW_GROUP_SIZE, num_rows))
            values = rng.normal(size=(len(index), width)).astype(np.float32)
            ids = [f"r{k:08d}" for k in index]
            table.add(index, ids, _outlines(index), values, {})


def _row(name: str, command: Sequence[str], table: Path) -> Row:
    cost, _ = growth.measured(*command)
    written = parquet.ParquetFile(table).metadata
    return {
        "features": name,
        "regions": written.num_rows,
        "regions_per_s": written.num_rows / cost["seconds"],
        **cost,
        "row_groups": written.num_row_groups,
        "table_mib": table.stat().st_size / 2**20,
    }


def _city(folder: Path, num_regions: int) -> ConfigDict:
    """Records, a run with random weights, and their config."""
    config = toy_city.get_config()
    config.records.dir, config.workdir = str(folder / "records"), str(folder / "run")
    images = records.photographs(_TILES, _SIDE_PX)
    stored = tuple(map(tiles.TileWriter("png").measured, images))
    rng = np.random.default_rng(0)
    counts = [len(_pois(index)[0]) for index in range(num_regions)]
    manifest = schema.Manifest(
        city="bench",
        crs=_CRS,
        tile_size_px=_SIDE_PX,
        tile_size_m=_SIDE_M,
        num_regions=num_regions,
        shard_lengths=(),
        shard_sha256=(),
        max_pois=max(counts),
        empty_share=float(np.mean(np.equal(counts, 0))),
        categories=_CATEGORIES,
        category_parents=_CATEGORIES,
        labels={},
        block_size_m=4 * _SIDE_M,
        image_format="png",
    )
    writer.write(
        folder / "records",
        manifest=manifest,
        vectors=rng.normal(size=(len(_CATEGORIES), 64)).astype(np.float32),
        encode=_Encode(stored),
        num_shards=max(num_regions // 8192, 1),
        fingerprint="bench",
        run=runners.local(1),
    )
    source = RecordSource(config.records.dir)
    encoder = inference.random_encoder(config, source)
    vectors = source.category_vectors()
    about = checkpoint.Metadata(config.to_dict(), _CATEGORIES, vectors.shape[1])
    checkpoint.save_model(config.workdir, jax.device_get(encoder.variables), about)
    return config


@dataclasses.dataclass(frozen=True)
class _Encode:
    """Serialised records of some regions, and sums of their pixels."""

    stored: tuple[tuple[bytes, PixelSums], ...]

    def __call__(self, regions: Sequence[int]) -> Iterator[tuple[bytes, PixelSums]]:
        layout = record_format.RecordLayout(_SIDE_PX, {}, "png")
        for index, outline in zip(regions, _outlines(np.array(regions)), strict=True):
            category, offset_m = _pois(index)
            image, pixels = self.stored[index % len(self.stored)]
            record = {
                "region_id": f"r{index:08d}",
                "image": image,
                "poi/category": category,
                "poi/offset_m": offset_m,
                "poi/edges": np.zeros((0, 2), np.int32),
                "poi/edge_weight": np.zeros(0, np.float32),
                "geometry": outline,
                "block_id": np.int32(index // 16),
            }
            yield record_format.serialize(record, layout), pixels


def _pois(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Categories and places of a region's POIs; few regions have many."""
    rng = np.random.default_rng(index)
    count = int(rng.integers(0, 9) if index % 64 else rng.integers(9, _MOST_POIS))
    half_m = _SIDE_M / 2
    category = rng.integers(0, len(_CATEGORIES), count).astype(np.int32)
    return category, rng.uniform(-half_m, half_m, (count, 2)).astype(np.float32)


def _outlines(index: np.ndarray) -> list[bytes]:
    """Squares beside each other."""
    west = 3e5 + index % _COLUMNS * _SIDE_M
    north = 3.4e6 - index // _COLUMNS * _SIDE_M
    return list(
        shapely.to_wkb(shapely.box(west, north - _SIDE_M, west + _SIDE_M, north))
    )
