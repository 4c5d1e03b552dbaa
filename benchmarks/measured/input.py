"""From records to batches on the device: every stored format, beside Pillow's."""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import augment, records, turns
from benchmarks.table import Row
from mmgr_jax.data import pipeline, tiles
from mmgr_jax.data.settings import DataSettings
from mmgr_jax.data.source import RecordSource

_RECORDS = 2048
"""Tiles are repeated up to this many: Grain takes 0.36 ms to place a row in the shuffle
of 64 records, 0.02 in that of 2,000 and 0.004 in that of 50,000."""

_STEPS = 16
"""Batches of a round, well beyond those made ahead."""

FORMATS = (
    ("raw", None),
    ("png", None),
    ("webp", None),
    ("jpeg", 98),
    ("jpeg", 95),
    ("jpeg", 90),
    ("webp", 90),
)


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each format, and one of the released loader."""
    if options.records:
        source = RecordSource(options.records)
        count = min(options.tiles, len(source))
        images = np.stack([source[index]["image"] for index in range(count)])
    else:
        images = records.photographs(options.tiles, options.size)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, quality in FORMATS:
            place = Path(folder) / f"{name}{quality}"
            records.write(place, images, name, quality, max(_RECORDS, len(images)))
            found.append(
                _row(images, name, quality)
                | _batches(place, options.threads, options.rounds)
            )
    if not options.no_peer:
        found.append(_released(images, options.rounds))
    return found


def _row(images: np.ndarray, name: str, quality: int | None) -> Row:
    """Size, speed and loss of a format."""
    side = images.shape[1]
    stored = [tiles.encode(image, name, quality) for image in images]
    out = np.empty_like(images[0])
    ways: dict[str, Callable[[], object]] = {
        "written_per_s": lambda: [tiles.encode(k, name, quality) for k in images],
        "read_per_s": lambda: [tiles.decode(k, name, side, out) for k in stored],
    }
    if name != "raw":
        ways["pillow_read_per_s"] = lambda: [_by_pillow(k) for k in stored]
    rates = _rates(ways, len(images), rounds=5)
    medians = {way: statistics.median(values) for way, values in rates.items()}
    decoded = np.stack([tiles.decode(k, name, side) for k in stored]).astype(np.int16)
    error = decoded - images
    square = np.mean(np.square(error, dtype=np.float64))
    return {
        "format": name + (f" {quality}" if quality else ""),
        "kib_a_tile": sum(map(len, stored)) / len(stored) / 1024,
        "size_ratio": sum(map(len, stored)) / images.nbytes,
        "snr_db": 10 * np.log10(255**2 / square) if square else None,
        "largest_error": int(np.abs(error).max()),
        **medians,
        **(
            turns.ratios("ratio", rates["read_per_s"], rates["pillow_read_per_s"])
            if "pillow_read_per_s" in rates
            else {}
        ),
    }


def _batches(folder: Path, threads: int, rounds: int) -> Row:
    """Tiles a second through the training pipeline."""
    source = RecordSource(folder)
    batch_size = min(64, len(source))
    batches = pipeline.training_batches(
        source, DataSettings(batch_size=batch_size, num_threads=threads), seed=0
    )
    next(batches)
    per_core, per_s = [], []
    for _ in range(rounds):
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(_STEPS):
            next(batches)
        per_s.append(_STEPS * batch_size / (time.perf_counter() - start))
        per_core.append(_STEPS * batch_size / (time.process_time() - cpu))
    return {
        **turns.spread("batches_per_core_s", per_core),
        **turns.spread("batches_per_s", per_s),
    }


def _released(images: np.ndarray, rounds: int) -> Row:
    """The released loader's work: a PNG decoded, and two views made, by Pillow."""
    import torch
    from PIL import Image

    transforms = augment.torchvision("torchvision.transforms")
    torch.set_num_threads(1)  # a tile is too small for two: they wait for each other
    side = images.shape[1]
    view = transforms.Compose(
        [
            transforms.RandomResizedCrop(side, scale=(0.2, 1.0)),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.25,) * 3),
        ]
    )
    stored = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        stored.append(buffer.getvalue())

    def load() -> None:
        for one in stored:
            image = Image.open(io.BytesIO(one)).convert("RGB")
            view(image)
            view(image)

    load()
    rates = _rates({"loaded": load}, len(images), rounds)["loaded"]
    spread = turns.spread("batches_per_core_s", rates)
    return {"format": "released loader, two views", **spread}


def _by_pillow(stored: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(stored)))


def _rates(
    ways: dict[str, Callable[[], object]], count: int, rounds: int
) -> dict[str, list[float]]:
    """Tiles a second of processor time, of each round in turns."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, call in ways.items():
            start = time.process_time()
            call()
            rates[name].append(count / max(time.process_time() - start, 1e-9))
    return rates
