"""The whole city as layers of polygons, from the ground up, and its grain."""

from __future__ import annotations

import dataclasses

import numpy as np
import shapely
from jaxtyping import Float, Int

from data_prep.toy_city import ground, roofs, season
from data_prep.toy_city.area import random_stream
from data_prep.toy_city.buildings import Built
from data_prep.toy_city.layers import Layer, layer
from data_prep.toy_city.layout import Blocks, StreetLayout
from data_prep.toy_city.settings import PaletteSettings
from data_prep.toy_city.sun import Sun
from data_prep.toy_city.zoning import ZONE, ZONES, Uses

# Ground colours (red, green, blue); a block varies around its own.
GROUND_RGB = {
    "forest": (58, 82, 50),
    "water": (62, 88, 98),
    "unutilised": (148, 130, 104),
    "green_space": (98, 124, 72),
    "industrial": (142, 140, 136),
}
# Yards run from paved to green by the block's greenness, in all zones alike.
PAVED_RGB = (150, 146, 138)
GARDEN_RGB = (112, 124, 86)
CROPS_RGB = (
    (96, 122, 62),
    (132, 140, 74),
    (168, 152, 96),
    (142, 118, 88),
    (112, 130, 80),
    (176, 168, 118),
)
TRACK_RGB = (156, 144, 118)
KERB_RGB = (164, 162, 156)
KERB_WIDTH_M = 1.4
BLOCK_TINT = 7.0
# Strength of a texture as a share of the brightness.
CANOPY = {"forest": 0.30, "green_space": 0.08}
PATCHES = {"water": 0.015, "unutilised": 0.13, "industrial": 0.04}
PATCHES_ELSEWHERE = 0.06
STRIPES = (0.04, 0.13)
STRIPE_PERIOD_M = (7.0, 15.0)


@dataclasses.dataclass(frozen=True)
class Grain:
    """How the ground of every block is textured.

    Attributes:
        canopy: Strength of the crowns [m].
        patches: Strength of the patches [m].
        stripes: Strength of the stripes of a field [m].
        wave_per_m: Wave vector of the stripes [m 2].
    """

    canopy: Float[np.ndarray, " m"]
    patches: Float[np.ndarray, " m"]
    stripes: Float[np.ndarray, " m"]
    wave_per_m: Float[np.ndarray, "m 2"]


def make_layers(
    seed: int,
    layout: StreetLayout,
    uses: Uses,
    built: Built,
    sun: Sun,
    palette: PaletteSettings,
    flight: int,
) -> list[Layer]:
    """All layers, the lowest first; on another flight other cars are in the streets."""
    rng = random_stream(seed, "layers")
    blocks = layout.blocks
    paving = np.array(palette.paving)
    tracks, asphalt = TRACK_RGB * np.array(palette.soil), ground.ASPHALT_RGB * paving
    streets = np.where(layout.district_rural[:, None], tracks, asphalt)
    city = ~blocks.rural & (blocks.kind == "block")
    kerbs = shapely.buffer(blocks.polygon[city], KERB_WIDTH_M, join_style="mitre")
    return [
        layer(layout.districts, streets),
        *ground.roads(layout, palette),
        layer(kerbs, np.multiply(KERB_RGB, paving)),
        layer(blocks.polygon, *_ground(rng, uses, seed, palette)),
        *ground.parks(rng, blocks, uses, palette),
        *ground.open_lots(rng, built.open_lots, uses, palette),
        *_cars(rng, layout, seed, flight),
        *ground.trees(rng, layout, uses, sun, seed, palette),
        *ground.greenhouses(rng, blocks, uses),
        roofs.shadows(built.roofs, sun),
        *roofs.roof_layers(rng, built, uses, sun, palette),
    ]


def _cars(
    rng: np.random.Generator, layout: StreetLayout, seed: int, flight: int
) -> list[Layer]:
    """Cars; those of the first flight are drawn anyway, so that the rest stays."""
    first = ground.cars(rng, layout)
    if flight == 0:
        return first
    return ground.cars(random_stream(seed, f"cars of flight {flight}"), layout)


def make_grain(seed: int, blocks: Blocks, uses: Uses) -> Grain:
    """Textures of the blocks' ground."""
    rng = random_stream(seed, "grain")
    count = len(uses.zone)
    field = uses.zone == ZONE["agricultural"]
    turn = blocks.angle_rad + np.pi / 2 * rng.integers(2, size=count)
    wave_per_m = 2 * np.pi / rng.uniform(*STRIPE_PERIOD_M, count)
    direction = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return Grain(
        canopy=np.array([CANOPY.get(name, 0.0) for name in ZONES])[uses.zone],
        patches=np.array([PATCHES.get(n, PATCHES_ELSEWHERE) for n in ZONES])[uses.zone],
        stripes=np.where(field, rng.uniform(*STRIPES, count), 0.0),
        wave_per_m=direction * wave_per_m[:, None],
    )


def _ground(
    rng: np.random.Generator, uses: Uses, seed: int, palette: PaletteSettings
) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m 3"]]:
    """The colour of every block's ground in summer and in late autumn."""
    count = len(uses.zone)
    green = np.clip(0.15 + 0.8 * uses.greenness, 0, 1)[:, None]
    rgb = (1 - green) * PAVED_RGB + green * np.array(GARDEN_RGB)
    dry = (1 - green) * PAVED_RGB + green * np.array(season.GRASS_RGB)
    for name, colour in GROUND_RGB.items():
        rgb[uses.zone == ZONE[name]] = colour
    field = uses.zone == ZONE["agricultural"]
    rgb[field] = np.array(CROPS_RGB)[rng.integers(len(CROPS_RGB), size=field.sum())]
    tint = rng.normal(0, BLOCK_TINT, (count, 1)) + rng.normal(0, 2.0, (count, 3))
    steady = np.isin(uses.zone, [ZONE["water"], ZONE["forest"]])[:, None]
    tint = np.where(steady, 0.0, 1.0) * tint
    autumn = season.ground(seed, uses.zone, rgb, dry)
    summer, autumn = (
        colour * _factors(palette, uses.zone, green, colour) + tint
        for colour in (rgb, autumn)
    )
    return summer, autumn


def _factors(
    palette: PaletteSettings,
    zone: Int[np.ndarray, " m"],
    green: Float[np.ndarray, "m 1"],
    colour: Float[np.ndarray, "m 3"],
) -> Float[np.ndarray, "m 3"]:
    """What a palette makes of every block's ground, by its material.

    Args:
        palette: The palette.
        zone: Zones of the blocks.
        green: How much of a yard grows, the rest being paved.
        colour: Colours of the blocks; a field grows where it is green.
    """
    paving, vegetation = np.array(palette.paving), np.array(palette.vegetation)
    factor = paving + green * (vegetation - paving)
    of_zone = {
        "forest": vegetation,
        "green_space": vegetation,
        "water": np.array(palette.water),
        "unutilised": np.array(palette.soil),
        "industrial": paving,
    }
    for name, bands in of_zone.items():
        factor[zone == ZONE[name]] = bands
    field = zone == ZONE["agricultural"]
    crops = np.where(season.growing(colour)[:, None], vegetation, palette.soil)
    factor[field] = crops[field]
    return factor
