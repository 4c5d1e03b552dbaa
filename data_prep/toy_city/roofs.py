"""Buildings from above: shadows, roofs and what stands on them."""

from __future__ import annotations

import numpy as np
import shapely

from data_prep.toy_city.buildings import Built, Footprints
from data_prep.toy_city.geometry import Corners, inside, lines, patch, sides_m, square
from data_prep.toy_city.layers import Layer, layer
from data_prep.toy_city.settings import PaletteSettings
from data_prep.toy_city.sun import Sun
from data_prep.toy_city.zoning import ZONE, Uses

SHED_RGB = ((166, 168, 170), (112, 132, 158), (178, 176, 170), (140, 134, 126))
ROOF_SPREAD = 8.0
STOREY_M = 3.0
MAX_HEIGHT_M = 84.0
# A plant is a light box with a shadow of its own; a ridge spends the same light and
# dark area on two long lines, at RIDGE_CONTRAST of the plant's strength. So the two
# differ in shape and little in how much they add to the mean and the variance of a
# tile, which say next to nothing about prosperity (docs/toy_city.md has the figures).
PLANT_SIDE_M = 8.0
PLANT_SHADOW_M = 4.0
# Where a plant's shadow lies under the default sun, in lengths of it.
PLANT_SHADOW_SIDE = (-0.7, 1.0)
RIDGE_LENGTH_M = 24.0
LIGHT_STEP, DARK_STEP = 62.0, -58.0
RIDGE_CONTRAST = 0.65
SHED_LINE_EVERY_M = 12.0


def shadows(roofs: Footprints, sun: Sun) -> Layer:
    """The ground in the shadow of every building."""
    height_m = np.minimum(STOREY_M * roofs.storeys, MAX_HEIGHT_M)
    moved = roofs.corners + (height_m[:, None] * sun.shadow_per_m)[:, None]
    swept = shapely.multipoints(np.concatenate([roofs.corners, moved], axis=1))
    return Layer(np.asarray(shapely.convex_hull(swept)), None)


def roof_layers(
    rng: np.random.Generator,
    built: Built,
    uses: Uses,
    sun: Sun,
    palette: PaletteSettings,
) -> list[Layer]:
    """Roofs, ribs of sheds, ridges and plants."""
    roofs = built.roofs
    shed = uses.zone[roofs.block] == ZONE["industrial"]
    # One palette for residential, commercial and educational roofs.
    roofs_rgb = np.array(palette.roofs_rgb, float)
    colour = roofs_rgb[rng.integers(len(roofs_rgb), size=len(shed))]
    sheds = np.array(SHED_RGB, float)[rng.integers(len(SHED_RGB), size=len(shed))]
    colour = np.where(shed[:, None], sheds, colour)
    colour += rng.normal(0, ROOF_SPREAD, (len(colour), 1))
    return [
        layer(roofs.polygon, colour),
        _ribs(roofs.corners[shed], colour[shed]),
        *_slot_layers(built, colour, sun),
    ]


def _along_first(corners: Corners) -> Corners:
    """The same rectangles with the long side first."""
    first_m, second_m = sides_m(corners).T
    turned = np.roll(corners, -1, axis=1)
    return np.where((first_m >= second_m)[:, None, None], corners, turned)


def _ribs(corners: Corners, colour: np.ndarray) -> Layer:
    """Darker joints across the long roofs of sheds."""
    corners = _along_first(corners)
    length_m = sides_m(corners)[:, 0]
    count = np.maximum((length_m // SHED_LINE_EVERY_M).astype(int), 1)
    roof = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(roof)) - np.repeat(np.cumsum(count) - count, count)
    along = (place + 0.5) / count[roof]
    start = inside(corners[roof], along, np.zeros(len(roof)))
    end = inside(corners[roof], along, np.ones(len(roof)))
    return layer(lines(start, end, 1.6), colour[roof] - 16)


def _slot_layers(built: Built, colour: np.ndarray, sun: Sun) -> list[Layer]:
    """What stands in the slots of every roof."""
    slots = built.slots
    corners = _along_first(built.roofs.corners)[slots.building]
    tone, plant = colour[slots.building], slots.plant
    return [
        *_ridges(corners[~plant], slots.along[~plant], tone[~plant]),
        *_plants(corners[plant], slots.along[plant], tone[plant], sun),
    ]


def _ridges(corners: Corners, along: np.ndarray, tone: np.ndarray) -> list[Layer]:
    """A light band across the roof, as large as a plant's box, and a dark one.

    The dark one is as large as three quarters of the shadow that shows beside a box.
    """
    length_m, width_m = sides_m(corners).T
    reach_m = np.minimum(RIDGE_LENGTH_M / 2, 0.45 * width_m)
    across = (0.5 - reach_m / width_m, 0.5 + reach_m / width_m)
    light = PLANT_SIDE_M**2 / (2 * reach_m) / length_m
    dark = 1.02 * PLANT_SIDE_M * PLANT_SHADOW_M / (2 * reach_m) / length_m
    start, middle = along - light / 2, along + light / 2
    gutter = patch(corners, (middle, middle + dark), across)
    ridge = patch(corners, (start, middle), across)
    return [
        layer(np.asarray(shapely.polygons(gutter)), tone + RIDGE_CONTRAST * DARK_STEP),
        layer(np.asarray(shapely.polygons(ridge)), tone + RIDGE_CONTRAST * LIGHT_STEP),
    ]


def _plants(
    corners: Corners, along: np.ndarray, tone: np.ndarray, sun: Sun
) -> list[Layer]:
    """Light boxes in the middle of the roof, and their shadows.

    Those turn with the sun but keep their length, so that plants and ridges stay as
    alike in light and dark area as they are.
    """
    middle = inside(corners, along, np.full(len(along), 0.5))
    box = square(middle, corners, PLANT_SIDE_M)
    shade = box + PLANT_SHADOW_M * sun.turned(np.array(PLANT_SHADOW_SIDE))
    return [
        layer(np.asarray(shapely.polygons(shade)), tone + DARK_STEP),
        layer(np.asarray(shapely.polygons(box)), tone + LIGHT_STEP),
    ]
