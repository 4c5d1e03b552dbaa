"""Encodes the position of a POI in its region as a vector."""

import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmgr_jax.models.set2set import uniform_init
from mmgr_jax.typing import PoiOffset, PoiSets


class PositionContext(nn.Module):
    """POI vectors with their position added: norm(x) + W fourier_features(offset).

    The vectors are brought to unit variance first, and a position's share starts at a
    sixth of it: tables come at unit length or drawn from N(0, 1), and neither may drown
    the other.

    Attributes:
        shortest_wavelength_m: See `wavelengths_m`. 64 m by default: coordinates of POIs
            are good to 10 or 20 m, which is what a quarter of it resolves.
        longest_wavelength_m: See `wavelengths_m`. 2048 m by default: its sine rises all
            the way across a region of 1 km, so no two places in it look the same.
    """

    shortest_wavelength_m: float
    longest_wavelength_m: float

    reads_edges: ClassVar[bool] = False

    @nn.compact
    def __call__(
        self, vectors: Float[Array, "b n d"], pois: PoiSets
    ) -> Float[Array, "b n d"]:
        """Returns the vectors with their positions, anything where masked."""
        # Zeros in place of padding: a NaN there would reach the gradient.
        real = pois.mask[..., None]
        features = fourier_features(
            jnp.where(real, pois.offset_m, 0.0),
            wavelengths_m(self.shortest_wavelength_m, self.longest_wavelength_m),
        )
        init = uniform_init(features.shape[-1])
        dense = nn.Dense(vectors.shape[-1], kernel_init=init, name="position")
        norm = nn.LayerNorm(use_bias=False, use_scale=False, use_fast_variance=False)
        return norm(jnp.where(real, vectors, 0.0)) + dense(features)


def wavelengths_m(shortest_m: float, longest_m: float) -> Float[np.ndarray, " w"]:
    """Wavelengths from shortest to longest, a factor of about two apart."""
    octaves = round(math.log2(longest_m / shortest_m))
    return np.geomspace(shortest_m, longest_m, octaves + 1, dtype=np.float32)


def fourier_features(
    offset_m: PoiOffset, wavelength_m: Float[np.ndarray, " w"]
) -> Float[Array, "b n f"]:
    """Sine and cosine of both coordinates at each wavelength, f = 4 w.

    Places that lie close have features that lie close, at the scale of each wavelength.

    Reference: Vaswani et al. (2017), Attention is all you need (arXiv 1706.03762),
    section 3.5, with metres for the index and two axes.
    """
    turns = offset_m[..., None] / wavelength_m
    angle = 2.0 * jnp.pi * turns.reshape(*offset_m.shape[:2], -1)
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
