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
        autumn_rgb: Their colours in late autumn; None where nothing grows.
    """

    polygon: np.ndarray
    rgb: UInt8[np.ndarray, "m 3"] | None
    autumn_rgb: UInt8[np.ndarray, "m 3"] | None = None


def layer(
    polygon: np.ndarray,
    rgb: Rgb | np.ndarray,
    autumn_rgb: Rgb | np.ndarray | None = None,
) -> Layer:
    """A layer in one colour [3] or one a polygon [m 3], clipped to valid pixels."""
    autumn = None if autumn_rgb is None else _valid(autumn_rgb, len(polygon))
    return Layer(polygon, _valid(rgb, len(polygon)), autumn)


def _valid(rgb: Rgb | np.ndarray, count: int) -> UInt8[np.ndarray, "m 3"]:
    colour = np.broadcast_to(np.asarray(rgb, float), (count, 3))
    return np.clip(colour, 1, 255).astype(np.uint8)


def shaded(
    rng: np.random.Generator, rgb: Rgb | np.ndarray, count: int, spread: float
) -> np.ndarray:
    """A colour with its brightness varied [m 3]."""
    return np.array(rgb) + rng.normal(0, spread, (count, 1))
