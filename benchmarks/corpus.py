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

ABOUT = """A corpus of cities, in a process of its own for each number of regions.

Opened: all folders, the first time (every byte is checked) and again. Order: batches a
second of the order alone, and the time of one batch a million steps on, which is asked
for at once. Read: batches a second with tiles and POIs. Memory is the process's own
(PSS): after opening, after the order, after reading, and the most.
All shards of all cities are hard links to one file, so that a million records take
seconds to make and little disk; each is opened, checked and read by itself. Tiles are
of 32 px: a larger tile adds to a batch, not to what grows with the regions. The first
opening checks links of one file, which stays in the page cache: of records that do not
fit there it takes as long as reading them.
"""
_CHILD = "benchmarks.corpus"
_FAR = 1_000_000
_ORDERED = 20
_READ = 20


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--cities", type=int, default=100)
    parser.add_argument("--shards", type=int, default=8, help="of each city")
    parser.add_argument(
        "--regions", type=int, nargs="+", default=[10_000, 100_000, 1_000_000]
    )
    parser.add_argument("--batch", type=int, default=1024, help="regions a step")
    parser.add_argument("--side", type=int, default=32, help="px of a tile")


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
