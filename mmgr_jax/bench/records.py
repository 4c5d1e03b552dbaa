"""Records to measure with: tiles like photographs, and some POIs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from mmgr_jax.data import schema, tiles

_SLOPE = 1.1
"""Amplitude falls with frequency to this power."""

_NOISE = 2.0
"""Of 255, of the sensor. With it a PNG takes 0.64 of the pixels, as of aerial tiles."""

_CATEGORIES = ("bank", "cafe", "park", "school", "shop")


def photographs(count: int, size_px: int, seed: int = 0) -> np.ndarray:
    """Tiles with the spectrum of photographs, uint8 [n h w 3]."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(
        np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px)[None]
    )
    frequency[0, 0] = np.inf
    found = []
    for _ in range(count):
        noise = np.fft.rfft2(rng.normal(size=(size_px, size_px)))
        grey = np.fft.irfft2(noise / frequency**_SLOPE, s=(size_px, size_px))
        tint = rng.uniform(0.8, 1.0, 3)
        pixels = (110 + 45 * grey / grey.std())[..., None] * tint
        pixels += rng.normal(0, _NOISE, pixels.shape)
        found.append(np.clip(pixels, 0, 255).astype(np.uint8))
    return np.stack(found)


def write(
    folder: Path, images: Iterable[np.ndarray], image_format: str, quality: int | None
) -> Path:
    """A finished records folder of these tiles; returns it."""
    rng = np.random.default_rng(0)
    images = list(images)
    labels = {"population": schema.Label("count", "persons")}
    layout = schema.Layout(len(images[0]), labels, image_format)
    folder.mkdir(parents=True)
    writer = ArrayRecordWriter(
        str(folder / schema.shard_name("bench", 0, 1)), "group_size:1,uncompressed"
    )
    most = 0
    for index, image in enumerate(images):
        count = int(rng.integers(0, 17))
        most = max(most, count)
        record = {
            "region_id": f"r{index:06d}",
            "image": tiles.encode(image, image_format, quality),
            "poi/category": rng.integers(0, len(_CATEGORIES), count),
            "poi/offset_m": rng.uniform(-64, 64, (count, 2)),
            "poi/edges": np.zeros((0, 2)),
            "poi/edge_weight": np.zeros(0),
            "geometry": b"",
            "block_id": index,
            "label/population": rng.lognormal(3),
        }
        writer.write(schema.serialize(record, layout))
    writer.close()
    vectors = rng.normal(size=(len(_CATEGORIES), 64)).astype(np.float32)
    np.save(folder / schema.CATEGORY_VECTORS_FILE, vectors)
    schema.Manifest(
        city="bench",
        crs="",
        tile_size_px=len(images[0]),
        tile_size_m=0.0,
        num_regions=len(images),
        shard_lengths=(len(images),),
        shard_sha256=("",),
        max_pois=most,
        empty_share=0.0,
        categories=_CATEGORIES,
        category_parents=_CATEGORIES,
        labels=labels,
        block_size_m=0.0,
        image_format=image_format,
    ).save(folder)
    return folder
