"""Records to measure with: tiles like photographs, and some POIs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import UInt8

from mmgr_jax.data import record_format, schema, tiles

_SLOPE = 1.4
"""Amplitude falls with frequency to this power."""

_NOISE = 3.0
"""Of 255, of the sensor. Stored they take as much as aerial tiles: PNG 0.65 of the
pixels (0.65), WebP 0.60 (0.58), JPEG 0.21 (0.25)."""

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
    folder: Path,
    images: UInt8[np.ndarray, "n h w 3"],
    image_format: str,
    quality: int | None,
    count: int | None = None,
) -> Path:
    """A finished records folder of these tiles, over and over up to `count`."""
    rng = np.random.default_rng(0)
    stored = [tiles.encode(image, image_format, quality) for image in images]
    count = count or len(stored)
    labels = {"population": schema.Label("count", "persons")}
    layout = record_format.RecordLayout(len(images[0]), labels, image_format)
    folder.mkdir(parents=True)
    writer = ArrayRecordWriter(
        str(folder / schema.shard_name("bench", 0, 1)), "group_size:1,uncompressed"
    )
    most = 0
    for index in range(count):
        pois = int(rng.integers(0, 17))
        most = max(most, pois)
        record = {
            "region_id": f"r{index:06d}",
            "image": stored[index % len(stored)],
            "poi/category": rng.integers(0, len(_CATEGORIES), pois),
            "poi/offset_m": rng.uniform(-64, 64, (pois, 2)),
            "poi/edges": np.zeros((0, 2)),
            "poi/edge_weight": np.zeros(0),
            "geometry": b"",
            "block_id": index,
            "label/population": rng.lognormal(3),
        }
        writer.write(record_format.serialize(record, layout))
    writer.close()
    vectors = rng.normal(size=(len(_CATEGORIES), 64)).astype(np.float32)
    np.save(folder / schema.CATEGORY_VECTORS_FILE, vectors)
    schema.Manifest(
        city="bench",
        crs="",
        tile_size_px=len(images[0]),
        tile_size_m=0.0,
        num_regions=count,
        shard_lengths=(count,),
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
