"""The ground as a trained encoder reads it, to stand beside the doctor's statistics."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

import mmgr_jax
from data_prep.alignment.ground import Ground
from data_prep.imagery.mosaic import Imagery
from mmgr_jax.data.pixels import PixelStatistics
from mmgr_jax.encoder import Encoder
from mmgr_jax.errors import InputError
from mmgr_jax.models.resnet import ResNet

_STRIDE_M = 16.0  # between windows
_MOST = 24  # principal components: as many numbers as the statistics are, and some
_STAGES = ("layer1_0", "layer2_0")  # maps of 4 and 8 pixels: fine enough for 30 m


class _Picture(NamedTuple):
    """All of a city's imagery at once."""

    tile: UInt8[np.ndarray, "h w 3"]
    valid: Bool[np.ndarray, "h w"]
    corner_m: tuple[float, float]
    gsd_m: float


def read(imagery: Imagery, run: str | Path, gsd_m: float) -> dict[str, Ground]:
    """Grounds by how they are read: of windows of whole tiles, and of early maps.

    Args:
        imagery: Opened with pixels of `gsd_m`; all of it is read at once.
        run: The encoder's run; its tiles have pixels of `gsd_m`.
        gsd_m: Side of a pixel.

    Raises:
        InputError: If the encoder is no residual network, or reads other pixels.
    """
    encoder = mmgr_jax.load(run)
    own_gsd_m = encoder.about.tile_size_m / encoder.about.size_px
    if not isinstance(encoder.model.image_encoder, ResNet) or own_gsd_m != gsd_m:
        raise InputError(
            f"{run}: its encoder reads pixels of {own_gsd_m:g} m, or is no ResNet. "
            f"Name a run with a ResNet at {gsd_m:g} m."
        )
    west, south, east, north = imagery.bounds_m
    size_px = int(max(east - west, north - south) / gsd_m)
    bounds_m = (west, north - size_px * gsd_m, west + size_px * gsd_m, north)
    tile, valid = imagery.read_tile(bounds_m, size_px)
    picture = _Picture(tile, valid, (west, north), gsd_m)
    return {
        "windows": _of_windows(encoder, picture),
        "early maps": _of_maps(encoder, picture),
    }


def _of_windows(encoder: Encoder, picture: _Picture) -> Ground:
    """Features of a whole tile around every `_STRIDE_M`."""
    half, step = encoder.about.size_px // 2, round(_STRIDE_M / picture.gsd_m)
    padded = np.pad(picture.tile, ((half, half), (half, half), (0, 0)), mode="reflect")
    middle = np.arange(step // 2, len(picture.tile), step)
    inside = picture.valid[np.ix_(middle, middle)]
    pixels = None
    if encoder.about.normalise == "city":
        pixels = PixelStatistics.of(picture.tile[picture.valid].reshape(-1, 1, 1, 3))
    rows = []
    for row, center in enumerate(middle):
        columns = middle[inside[row]]
        tiles = [
            padded[center : center + 2 * half, column : column + 2 * half]
            for column in columns
        ]
        if tiles:
            rows.append(
                encoder.embed_tiles(np.stack(tiles), pixels=pixels, batch_size=256)
            )
    return _ground(np.concatenate(rows), inside, picture.corner_m, step * picture.gsd_m)


def _of_maps(encoder: Encoder, picture: _Picture) -> Ground:
    """Maps of the first two stages, over all of the city at once."""
    image = picture.tile.astype(np.float32) / 255
    model = encoder.model.image_encoder
    mean, deviation = np.array(model.pixel_mean), np.array(model.pixel_std)
    if encoder.about.normalise == "city":
        mean, deviation = (
            image[picture.valid].mean(axis=0),
            image[picture.valid].std(axis=0),
        )
    image = np.where(picture.valid[..., None], (image - mean) / deviation, 0)
    variables = {
        kind: part["image_encoder"]
        for kind, part in encoder.variables.items()
        if "image_encoder" in part
    }
    run = jax.jit(
        functools.partial(
            model.clone().apply,
            train=False,
            capture_intermediates=lambda module, _: module.name in _STAGES,
        )
    )
    _, kept = run(variables, image[None].astype(np.float32))
    maps = [
        np.asarray(kept["intermediates"][name]["__call__"][0][0]) for name in _STAGES
    ]
    side = len(maps[0])
    fine = [
        np.repeat(np.repeat(one, -(-side // len(one)), 0), -(-side // len(one)), 1)
        for one in maps
    ]
    joined = np.concatenate([one[:side, :side] for one in fine], axis=2)
    step = round(len(picture.tile) / side)
    middle = (np.arange(side) * step + step // 2).clip(0, len(picture.tile) - 1)
    inside = picture.valid[np.ix_(middle, middle)]
    return _ground(joined[inside], inside, picture.corner_m, step * picture.gsd_m)


def _ground(
    rows: Float[np.ndarray, "n d"],
    inside: Bool[np.ndarray, "h w"],
    corner_m: tuple[float, float],
    gsd_m: float,
) -> Ground:
    """Principal components of standardised features [n d] where there is imagery."""
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    _, directions = np.linalg.eigh(rows.T @ rows / len(rows))
    parts = np.zeros((*inside.shape, min(_MOST, rows.shape[1])), np.float32)
    parts[inside] = rows @ directions[:, ::-1][:, : parts.shape[-1]]
    return Ground(parts, inside, *corner_m, gsd_m)
