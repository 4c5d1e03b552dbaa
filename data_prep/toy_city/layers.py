"""Layers of coloured polygons, which a picture is painted from."""

from __future__ import annotations

import dataclasses

import numpy as np
import shapely
from jaxtyping import Float, UInt8

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


def lines(
    start: Float[np.ndarray, "m 2"], end: Float[np.ndarray, "m 2"], width_m: float
) -> np.ndarray:
    """Straight lines of a width, as polygons [m]."""
    ends = np.stack([start, end], axis=1)
    return shapely.buffer(shapely.linestrings(ends), width_m / 2, cap_style="flat")


def discs(
    middle: Float[np.ndarray, "m 2"], radius_m: Float[np.ndarray, " m"]
) -> np.ndarray:
    """Octagons [m]."""
    turn = (np.arange(8) + 0.5) / 8 * 2 * np.pi
    unit = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return shapely.polygons(middle[:, None] + radius_m[:, None, None] * unit)


def inside(
    corners: Float[np.ndarray, "m 4 2"], along: np.ndarray, across: np.ndarray
) -> Float[np.ndarray, "m 2"]:
    """Points of quadrilaterals, from 0 to 1 along the first side and the second."""
    along, across = along[:, None], across[:, None]
    near = (1 - along) * corners[:, 0] + along * corners[:, 1]
    far = (1 - along) * corners[:, 3] + along * corners[:, 2]
    return (1 - across) * near + across * far


def patch(
    corners: Float[np.ndarray, "m 4 2"],
    along: tuple[np.ndarray, np.ndarray],
    across: tuple[np.ndarray, np.ndarray],
) -> Float[np.ndarray, "m 4 2"]:
    """Parts of quadrilaterals between two positions each way."""
    ends = [(0, 0), (1, 0), (1, 1), (0, 1)]
    return np.stack([inside(corners, along[i], across[j]) for i, j in ends], axis=1)
