"""Buildings from above: shadows, roofs and what stands on them."""

from __future__ import annotations

import numpy as np
import shapely
from jaxtyping import Float

from data_prep.toy_city.buildings import Built, Footprints
from data_prep.toy_city.layers import Layer, inside, layer, lines, patch
from data_prep.toy_city.zoning import ZONE, Uses

# One palette for residential, commercial and educational roofs.
ROOF_RGB = (
    (150, 148, 144),
    (128, 122, 116),
    (166, 156, 140),
    (152, 112, 94),
    (134, 100, 86),
    (122, 128, 136),
    (172, 168, 160),
)
SHED_RGB = ((166, 168, 170), (112, 132, 158), (178, 176, 170), (140, 134, 126))
ROOF_SPREAD = 8.0
# The sun stands in the south-east; metres of shadow a metre of height.
SHADOW_PER_M = np.array([-0.24, 0.34])
STOREY_M = 3.0
MAX_HEIGHT_M = 84.0
# A plant is a light box with a shadow of its own; a ridge spends the same light and
# dark area on two long lines, at RIDGE_CONTRAST of the plant's strength. So the two
# differ in shape and little in how much they add to the mean and the variance of a
# tile, which say next to nothing about prosperity (docs/toy_city.md has the figures).
PLANT_SIDE_M = 8.0
PLANT_SHADOW_M = 4.0
RIDGE_LENGTH_M = 24.0
LIGHT_STEP, DARK_STEP = 62.0, -58.0
RIDGE_CONTRAST = 0.65
SHED_LINE_EVERY_M = 12.0


def shadows(roofs: Footprints) -> Layer:
    """The ground in the shadow of every building."""
    height_m = np.minimum(STOREY_M * roofs.storeys, MAX_HEIGHT_M)
    moved = roofs.corners + (height_m[:, None] * SHADOW_PER_M)[:, None]
    swept = shapely.multipoints(np.concatenate([roofs.corners, moved], axis=1))
    return Layer(shapely.convex_hull(swept), None)


def roof_layers(rng: np.random.Generator, built: Built, uses: Uses) -> list[Layer]:
    """Roofs, ribs of sheds, ridges and plants."""
    roofs = built.roofs
    shed = uses.zone[roofs.block] == ZONE["industrial"]
    colour = np.array(ROOF_RGB, float)[rng.integers(len(ROOF_RGB), size=len(shed))]
    sheds = np.array(SHED_RGB, float)[rng.integers(len(SHED_RGB), size=len(shed))]
    colour = np.where(shed[:, None], sheds, colour)
    colour += rng.normal(0, ROOF_SPREAD, (len(colour), 1))
    return [
        layer(roofs.polygon, colour),
        _ribs(roofs.corners[shed], colour[shed]),
        *_slot_layers(built, colour),
    ]


def _along_first(corners: Float[np.ndarray, "m 4 2"]) -> Float[np.ndarray, "m 4 2"]:
    """The same rectangles with the long side first."""
    sides_m = np.linalg.norm(np.diff(corners[:, :3], axis=1), axis=2)
    turned = np.roll(corners, -1, axis=1)
    return np.where((sides_m[:, 0] >= sides_m[:, 1])[:, None, None], corners, turned)


def _ribs(corners: Float[np.ndarray, "m 4 2"], colour: np.ndarray) -> Layer:
    """Darker joints across the long roofs of sheds."""
    corners = _along_first(corners)
    length_m = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    count = np.maximum((length_m // SHED_LINE_EVERY_M).astype(int), 1)
    roof = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(roof)) - np.repeat(np.cumsum(count) - count, count)
    along = (place + 0.5) / count[roof]
    start = inside(corners[roof], along, np.zeros(len(roof)))
    end = inside(corners[roof], along, np.ones(len(roof)))
    return layer(lines(start, end, 1.6), colour[roof] - 16)


def _slot_layers(built: Built, colour: np.ndarray) -> list[Layer]:
    slots = built.slots
    corners = _along_first(built.roofs.corners)[slots.building]
    length_m = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    width_m = np.linalg.norm(corners[:, 2] - corners[:, 1], axis=1)
    plant = slots.plant
    half = np.full(len(plant), 0.5)
    middle = inside(corners, slots.along, half)
    box = _box(middle, corners, np.full(len(plant), PLANT_SIDE_M))
    shade = box + PLANT_SHADOW_M * np.array([-0.7, 1.0])
    # The ridge: the area of the box and of its visible shadow, drawn out in length.
    reach = np.minimum(RIDGE_LENGTH_M / 2, 0.45 * width_m)
    light_m = PLANT_SIDE_M**2 / (2 * reach)
    dark_m = 0.85 * PLANT_SIDE_M * PLANT_SHADOW_M * 1.2 / (2 * reach)
    across = (0.5 - reach / width_m, 0.5 + reach / width_m)
    offset = light_m / length_m
    gap = dark_m / length_m
    ridge = patch(corners, (slots.along - offset / 2, slots.along + offset / 2), across)
    gutter = patch(
        corners, (slots.along + offset / 2, slots.along + offset / 2 + gap), across
    )
    tone = colour[slots.building]
    return [
        layer(
            shapely.polygons(gutter[~plant]),
            tone[~plant] + RIDGE_CONTRAST * DARK_STEP,
        ),
        layer(
            shapely.polygons(ridge[~plant]), tone[~plant] + RIDGE_CONTRAST * LIGHT_STEP
        ),
        layer(shapely.polygons(shade[plant]), tone[plant] + DARK_STEP),
        layer(shapely.polygons(box[plant]), tone[plant] + LIGHT_STEP),
    ]


def _box(
    middle: np.ndarray, corners: Float[np.ndarray, "m 4 2"], side_m: np.ndarray
) -> Float[np.ndarray, "m 4 2"]:
    """Squares around points, parallel to quadrilaterals."""
    along = corners[:, 1] - corners[:, 0]
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    reach = signs[None] * side_m[:, None, None]
    return (
        middle[:, None]
        + reach[..., :1] * along[:, None]
        + reach[..., 1:] * across[:, None]
    )
