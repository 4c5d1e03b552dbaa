"""A corpus of many cities: opened, ordered and read, at growing numbers of regions."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import growth, records
from benchmarks.table import Row
from mmgr_jax.data import opening, order, pipeline, schema
from mmgr_jax.data.corpus import Corpus
from mmgr_jax.data.settings import CorpusSettings, DataSettings

_CHILD = "benchmarks.measured.corpus"
_FAR = 1_000_000
_ORDERED = 20
_READ = 20


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each number of regions."""
    found = []
    for count in options.regions:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            _write(Path(folder), options, count)
            written_s = time.perf_counter() - start
            cost, printed = growth.measured("-m", _CHILD, folder, str(options.batch))
        measures = json.loads(printed.splitlines()[-1])
        found.append(
            {
                "cities": options.cities,
                **measures,
                "peak_mib": cost["peak_mib"],
                "processor_s": cost["processor_s"],
                "written_s": written_s,
                "load": cost["load"],
            }
        )
    return found


def _write(folder: Path, options: argparse.Namespace, count: int) -> None:
    """Cities of one size, whose shards are one file."""
    own = max(count // (options.cities * options.shards), 1)
    images = records.photographs(64, options.side)
    whole = records.write(folder / "one", images, "png", None, own)
    manifest = schema.Manifest.load(whole)
    (shard,) = manifest.shard_paths(whole)
    for number in range(options.cities):
        city = f"city{number:04d}"
        place = folder / city / "records"
        place.mkdir(parents=True)
        of_city = dataclasses.replace(
            manifest,
            city=city,
            num_regions=own * options.shards,
            shard_lengths=(own,) * options.shards,
            shard_sha256=manifest.shard_sha256 * options.shards,
            inputs_sha256=f"{number:064x}",
            content={},
        )
        for path in of_city.shard_paths(place):
            os.link(shard, path)
        name = schema.CATEGORY_VECTORS_FILE
        os.link(whole / name, place / name)
        of_city.save(place)


def _measure(folder: str, batch_size: int) -> Row:
    """What one process finds."""
    corpus = CorpusSettings(records=(f"{folder}/*/records",))
    data = DataSettings(batch_size=batch_size, num_threads=2, cache_mib=0)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        source = opening.open_training(corpus, "", data)
        seconds.append(time.perf_counter() - start)
    assert isinstance(source, Corpus)
    row: Row = {
        "regions": len(source),
        "opened_first_s": seconds[0],
        "opened_s": seconds[1],
        "opened_mib": _mib(),
    }
    batches = order.of_corpus(source, data, slice(0, batch_size), seed=0, draws=True)
    start = time.perf_counter()
    assert batches[_FAR]
    row["far_batch_ms"] = (time.perf_counter() - start) * 1e3
    start = time.process_time()
    for step in range(_ORDERED):
        assert batches[step]
    row["order_batches_per_core_s"] = _ORDERED / (time.process_time() - start)
    row["ordered_mib"] = _mib()
    read = pipeline.training_batches(source, data, seed=0)
    next(read)
    start = time.process_time()
    for _ in range(_READ):
        next(read)
    row["read_batches_per_core_s"] = _READ / (time.process_time() - start)
    row["read_mib"] = _mib()
    return row


def _mib() -> float:
    """Memory of this process."""
    return growth.own_mib(os.getpid()) or 0.0


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]))))
