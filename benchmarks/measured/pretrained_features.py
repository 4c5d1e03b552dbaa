"""Features of tiles by somebody else's network, trained on ImageNet."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from torch.nn import functional

from benchmarks.pretrained_networks import NETWORKS, Maps, Network
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError

BATCH_SIZE = 32

log = logging.getLogger(__name__)


def write(config: ConfigDict, *, model: str, readout: str, out: str | None) -> Path:
    """Writes the features of every region of the records; returns the file.

    Args:
        config: The city, whose records are built.
        model: One of `NETWORKS`.
        readout: One of `benchmarks.pretrained_features.READOUTS`.
        out: The file; folders are made.

    Raises:
        InputError: If `out` is no .npz, a package is missing, or the records are.
    """
    if out is None or not out.endswith(".npz"):
        raise InputError(
            f"--out={out}: give a file ending in .npz, such as "
            f"data/{config.city.name}/{model}.npz."
        )
    network = NETWORKS[model]
    said = {"package": network.version}  # first: whether it is installed
    source = RecordSource(config.records.dir)
    region_ids, features = extract(source, network, readout)
    said |= {
        "model": model,
        "readout": readout,
        "licence": f"{network.licence} (packages); trained on ImageNet",
        "size_px": network.size_px,
        "mean": network.mean,
        "deviation": network.deviation,
        "city": source.manifest.city,
    }
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, region_id=region_ids, features=features, metadata=json.dumps(said))
    log.info("%d features of %d regions: %s", *features.shape[::-1], path)
    return path


def extract(
    source: RecordSource, network: Network, readout: str
) -> tuple[list[str], Float[np.ndarray, "r m"]]:
    """Names and features of all regions, in the order of the records."""
    maps_of = network.load()
    ids, parts = [], []
    for rows in source.parts(BATCH_SIZE):
        records = source.read(rows, image=True)
        ids += [record["region_id"] for record in records]
        tiles = np.stack([record["image"] for record in records])
        parts.append(read_out(maps_of(pictures(tiles, network)), readout))
    return ids, np.concatenate(parts)


def pictures(tiles: UInt8[np.ndarray, "b h w 3"], network: Network) -> torch.Tensor:
    """Whole tiles as the network wants them [b 3 s s].

    They are resized by bilinear interpolation, with anti-aliasing where they shrink,
    then scaled by the network's mean and deviation. So the ground covered by a pixel
    is the tile's side over s, whatever the network has seen in training.
    """
    values = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
    size = (network.size_px,) * 2
    values = functional.interpolate(
        values, size, mode="bilinear", antialias=True, align_corners=False
    )
    mean, deviation = (
        torch.tensor(of).view(3, 1, 1) for of in (network.mean, network.deviation)
    )
    return (values - mean) / deviation


def read_out(maps: Maps, readout: str) -> Float[np.ndarray, "b m"]:
    """Features of some tiles: means of the last map, or two moments of every map."""
    axes = (2, 3)
    if readout == "pooled":
        return maps[-1].mean(axes).numpy()
    moments = [
        moment for of in maps for moment in (of.mean(axes), of.std(axes, correction=0))
    ]
    return torch.cat(moments, dim=1).numpy()
