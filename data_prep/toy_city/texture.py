"""Periodic noise that gives surfaces their grain.

The textures repeat after `TEXTURE_SIZE_PX` pixels, so that windows of any mosaic
join without a seam.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from data_prep.toy_city.area import random_stream

TEXTURE_SIZE_PX = 1024
# Crown size in forests, patches in grass and soil, and large uneven light.
CANOPY_M = 4.0
PATCH_M = 11.0
LIGHT_M = 220.0

Texture = Float[np.ndarray, "h w"]


@dataclasses.dataclass(frozen=True)
class Textures:
    """Zero mean, unit variance, periodic.

    Attributes:
        canopy: Crowns lit from one side.
        patches: Soft patches over a fine grain.
        light: Slow changes of brightness.
        sensor: White noise.
    """

    canopy: Texture
    patches: Texture
    light: Texture
    sensor: Texture


def tiled(
    texture: Texture, rows: np.ndarray, columns: np.ndarray
) -> Float[np.ndarray, "rows columns"]:
    """A texture over the pixels of a window, repeated as often as needed."""
    return texture[np.ix_(rows % TEXTURE_SIZE_PX, columns % TEXTURE_SIZE_PX)]


def make_textures(seed: int, gsd_m: float, flight: int) -> Textures:
    """Draws the textures; light and grain of the sensor are those of a flight."""
    rng = random_stream(seed, "texture")

    def smooth(scale_m: float) -> Texture:
        noise = rng.standard_normal((TEXTURE_SIZE_PX, TEXTURE_SIZE_PX))
        sigma_px = min(scale_m / 2 / gsd_m, TEXTURE_SIZE_PX / 6)
        return ndimage.gaussian_filter(noise, sigma_px, mode="wrap")

    height = _standard(smooth(CANOPY_M))
    lit = height + 0.8 * _standard(np.roll(height, (1, -1), (0, 1)) - height)
    patches = _standard(smooth(PATCH_M)) + 0.5 * _standard(smooth(gsd_m * 1.2))
    textures = Textures(
        canopy=_standard(lit),
        patches=_standard(patches),
        light=_standard(smooth(LIGHT_M)),
        sensor=_standard(smooth(gsd_m * 0.9)),
    )
    if flight == 0:
        return textures
    rng = random_stream(seed, f"texture of flight {flight}")
    return dataclasses.replace(
        textures,
        light=_standard(smooth(LIGHT_M)),
        sensor=_standard(smooth(gsd_m * 0.9)),
    )


def _standard(texture: Texture) -> Texture:
    return ((texture - texture.mean()) / texture.std()).astype(np.float32)
