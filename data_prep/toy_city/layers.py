"""Layers of coloured polygons, which a picture is painted from."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import UInt8

Rgb = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Layer:
    """Polygons painted in order, or a shadow over all that lies below.

    Attributes:
        polygon: Polygons in local metres [m].
        rgb: Their colours; None for a layer of shadows.
    """

    polygon: np.ndarray
    rgb: UInt8[np.ndarray, "m 3"] | None


def layer(polygon: np.ndarray, rgb: Rgb | np.ndarray) -> Layer:
    """A layer in one colour [3] or one a polygon [m 3], clipped to valid pixels."""
    colour = np.broadcast_to(np.asarray(rgb, float), (len(polygon), 3))
    return Layer(polygon, np.clip(colour, 1, 255).astype(np.uint8))


def shaded(rng: np.random.Generator, rgb: Rgb, count: int, spread: float) -> np.ndarray:
    """A colour with its brightness varied [m 3]."""
    return np.array(rgb) + rng.normal(0, spread, (count, 1))
