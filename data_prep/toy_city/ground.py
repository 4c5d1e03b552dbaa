"""What lies on the ground: streets, parks, open lots, cars, trees, greenhouses."""

from __future__ import annotations

import numpy as np
import shapely

from data_prep.toy_city import season
from data_prep.toy_city.buildings import Footprints
from data_prep.toy_city.geometry import (
    Corners,
    discs,
    inside,
    lines,
    patch,
    points_inside,
    sides_m,
)
from data_prep.toy_city.layers import Layer, layer, shaded
from data_prep.toy_city.layout import ARTERIAL_WIDTH_M, Blocks, StreetLayout
from data_prep.toy_city.settings import PaletteSettings
from data_prep.toy_city.sun import Sun
from data_prep.toy_city.zoning import ALIKE, ZONE, Uses

ASPHALT_RGB = (104, 104, 106)
LANE_RGB = (138, 138, 138)
MEDIAN_RGB = (92, 112, 74)
PATH_RGB = (186, 176, 154)
POND_RGB = (66, 94, 102)
# The surface of an open lot, and its marks, whatever the zone.
LOT_RGB = (132, 130, 122)
MARK_RGB = (184, 182, 176)
TREE_RGB = (62, 84, 48)
CAR_RGB = ((186, 186, 186), (58, 60, 64), (150, 152, 156), (140, 66, 58))
GREENHOUSE_RGB = (204, 210, 210)
# Trees a hectare: at least, and more with the greenness of the block.
TREES_PER_HA = {
    "green_space": (30.0, 20.0),
    "unutilised": (3.0, 2.0),
    "industrial": (4.0, 6.0),
    "agricultural": (0.5, 0.3),
}
YARD_TREES_PER_HA = (5.0, 26.0)
STREET_TREE_EVERY_M = 17.0
# From a crown to its shadow and to its lit part under the default sun.
TREE_SHADOW_M, LIT_OFFSET_M = (-1.6, 2.0), (0.6, -0.8)
CARS_PER_KM_OF_KERB = 14.0
# Marks are about as wide as one pixel of 2 m can show.
MARK_WIDTH_M = 1.8
BAY_M = 6.0
COURT_M = (22.0, 12.0)
PARK_BAND_M = 2.6
GARDEN_PATHS, GARDEN_PATH_M = 6, 12.0


def roads(layout: StreetLayout, palette: PaletteSettings) -> list[Layer]:
    """Arterials with lane marks and a green median."""
    paving, vegetation = np.array(palette.paving), np.array(palette.vegetation)
    widths = (
        (ARTERIAL_WIDTH_M, np.multiply(ASPHALT_RGB, paving), None),
        (13.4, np.multiply(LANE_RGB, paving), None),
        (12.2, np.multiply(ASPHALT_RGB, paving), None),
        (
            3.4,
            np.multiply(MEDIAN_RGB, vegetation),
            np.multiply(season.GRASS_RGB, vegetation),
        ),
    )
    return [
        layer(
            shapely.get_parts(
                shapely.buffer(layout.arterials, width_m / 2, cap_style="flat")
            ),
            rgb,
            autumn_rgb,
        )
        for width_m, rgb, autumn_rgb in widths
    ]


def parks(
    rng: np.random.Generator, blocks: Blocks, uses: Uses, palette: PaletteSettings
) -> list[Layer]:
    """Paths through green blocks, and ponds in some of the larger ones."""
    park = blocks.polygon[(uses.zone == ZONE["green_space"]) & (blocks.kind == "block")]
    middle = shapely.get_coordinates(shapely.centroid(park))
    count = len(park)
    paths = []
    for turn in (0.0, np.pi / 2):
        angle = rng.uniform(-0.6, 0.6, count) + turn
        reach = 150.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        bend = middle + rng.normal(0, 12.0, (count, 2))
        axis = shapely.linestrings(np.stack([middle - reach, bend, middle + reach], 1))
        paths.append(shapely.buffer(axis, 1.5))
    paths.append(shapely.difference(park, shapely.buffer(park, -2.5)))
    clipped = shapely.get_parts(
        shapely.intersection(np.concatenate(paths), np.tile(park, 3))
    )
    pond = (shapely.area(park) > 4000) & (rng.uniform(size=count) < 0.4)
    shore = discs(middle[pond] + 9.0, rng.uniform(11.0, 20.0, pond.sum()))
    wet = shapely.get_parts(
        shapely.intersection(shapely.buffer(shore, 3.0), shapely.buffer(park[pond], -4))
    )
    soil, water = np.array(palette.soil), np.array(palette.water)
    return [
        layer(_rings(clipped), np.multiply(PATH_RGB, soil)),
        layer(_rings(wet), np.multiply(POND_RGB, water)),
    ]


def _rings(polygons: np.ndarray) -> np.ndarray:
    """Polygons without holes; one with a hole becomes a band along its outline."""
    polygons = polygons[shapely.get_type_id(polygons) == 3]
    holed = shapely.get_num_interior_rings(polygons) > 0
    outline = shapely.get_exterior_ring(polygons[holed])
    corners = [shapely.get_coordinates(ring) for ring in outline]
    bands = [lines(ring[:-1], ring[1:], PARK_BAND_M) for ring in corners]
    return np.concatenate([polygons[~holed], *bands])


def open_lots(
    rng: np.random.Generator, lots: Footprints, uses: Uses, palette: PaletteSettings
) -> list[Layer]:
    """Gardens, car parks and sports courts on the same paved surface."""
    zone = uses.zone[lots.block]
    paving = np.array(palette.paving)
    surface = layer(
        lots.polygon, shaded(rng, np.multiply(LOT_RGB, paving), len(zone), 8.0)
    )
    parking = lots.corners[zone == ZONE["commercial"]]
    courts = lots.corners[zone == ZONE["educational_governmental"]]
    gardens = lots.corners[zone == ZONE["residential"]]
    return [
        surface,
        layer(_bays(parking), MARK_RGB),
        layer(_court_lines(courts), MARK_RGB),
        layer(_paths(rng, gardens), MARK_RGB),
    ]


def _bays(corners: Corners) -> np.ndarray:
    """Two combs of bay marks along the long sides of every lot."""
    count = np.maximum((sides_m(corners)[:, 0] // BAY_M).astype(int), 1)
    lot = np.repeat(np.arange(len(count)), count)
    place = (np.arange(len(lot)) - np.repeat(np.cumsum(count) - count, count) + 0.5) / (
        count[lot]
    )
    marks = []
    for low, high in ((0.06, 0.36), (0.64, 0.94)):
        start = inside(corners[lot], place, np.full(len(lot), low))
        end = inside(corners[lot], place, np.full(len(lot), high))
        marks.append(lines(start, end, MARK_WIDTH_M))
    return np.concatenate(marks)


def _court_lines(corners: Corners) -> np.ndarray:
    """Outline, middle line and two end lines of a court in every lot."""
    share = np.minimum(COURT_M / sides_m(corners), 0.92)
    low, high = 0.5 - share / 2, 0.5 + share / 2
    court = patch(corners, (low[:, 0], high[:, 0]), (low[:, 1], high[:, 1]))
    marks = [lines(court[:, i], court[:, (i + 1) % 4], MARK_WIDTH_M) for i in range(4)]
    near, far = np.zeros(len(corners)), np.ones(len(corners))
    for along in (0.22, 0.5, 0.78):
        at = np.full(len(corners), along)
        marks.append(
            lines(inside(court, at, near), inside(court, at, far), MARK_WIDTH_M)
        )
    return np.concatenate(marks)


def _paths(rng: np.random.Generator, corners: Corners) -> np.ndarray:
    """Stray paths: as bright and as long as the marks elsewhere, but unordered."""
    lot = np.repeat(np.arange(len(corners)), GARDEN_PATHS)
    middle = inside(corners[lot], *rng.uniform(0.25, 0.75, (2, len(lot))))
    angle = rng.uniform(0, np.pi, len(lot))
    reach = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    reach *= GARDEN_PATH_M / 2
    return lines(middle - reach, middle + reach, MARK_WIDTH_M)


def cars(rng: np.random.Generator, layout: StreetLayout) -> list[Layer]:
    """Cars along the kerbs of the city's blocks and on the arterials."""
    urban = ~layout.blocks.rural & (layout.blocks.kind == "block")
    kerb = shapely.get_exterior_ring(shapely.buffer(layout.blocks.polygon[urban], 2.6))
    lane = shapely.buffer(layout.arterials, 0.1)
    parked, along = _spaced(rng, kerb, 1000.0 / CARS_PER_KM_OF_KERB)
    moving, ahead = _spaced(rng, shapely.get_parts(lane), 45.0, exterior=True)
    across = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
    moving = moving + across * rng.choice([-8.5, -4.5, 4.5, 8.5], (len(moving), 1))
    middle, along = np.concatenate([parked, moving]), np.concatenate([along, ahead])
    colour = np.array(CAR_RGB)[rng.integers(len(CAR_RGB), size=len(middle))]
    return [layer(lines(middle - 2.1 * along, middle + 2.1 * along, 1.9), colour)]


def _spaced(
    rng: np.random.Generator, rings: np.ndarray, every_m: float, exterior: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Random points on lines, one in `every_m` on average, and the direction there."""
    rings = shapely.get_exterior_ring(rings) if exterior else rings
    rings = rings[~shapely.is_missing(rings)]
    length_m = shapely.length(rings)
    line = np.repeat(np.arange(len(rings)), rng.poisson(length_m / every_m))
    at_m = rng.uniform(0, 1, len(line)) * length_m[line]
    here = shapely.get_coordinates(shapely.line_interpolate_point(rings[line], at_m))
    ahead_m = (at_m + 1.0) % length_m[line]
    ahead = shapely.get_coordinates(
        shapely.line_interpolate_point(rings[line], ahead_m)
    )
    step = ahead - here
    return here, step / np.maximum(np.hypot(*step.T), 1e-6)[:, None]


def trees(
    rng: np.random.Generator,
    layout: StreetLayout,
    uses: Uses,
    sun: Sun,
    seed: int,
    palette: PaletteSettings,
) -> list[Layer]:
    """Single trees with their shadows, in yards, parks and along the arterials."""
    blocks = layout.blocks
    low, more = np.zeros(len(uses.zone)), np.zeros(len(uses.zone))
    alike = dict.fromkeys(ALIKE, YARD_TREES_PER_HA)
    for name, rate in {**TREES_PER_HA, **alike}.items():
        low[uses.zone == ZONE[name]], more[uses.zone == ZONE[name]] = rate
    rate = (low + more * uses.greenness) / 1e4
    middle = points_inside(rng, blocks.polygon, rng.poisson(rate * blocks.area_m2))
    street = _street_trees(rng, layout)
    middle = np.concatenate([middle, street])
    radius_m = rng.uniform(1.9, 4.2, len(middle))
    colour = shaded(rng, TREE_RGB, len(middle), 9.0)
    autumn = colour + season.crowns(seed, len(middle), TREE_RGB)
    tint = np.array(palette.vegetation)
    lit = middle + sun.turned(np.array(LIT_OFFSET_M))
    shadow = sun.crown_shadows(middle, radius_m, np.array(TREE_SHADOW_M))
    return [
        Layer(shadow, None),
        layer(discs(middle, radius_m), colour * tint, autumn * tint),
        layer(discs(lit, 0.5 * radius_m), (colour + 16) * tint, (autumn + 16) * tint),
    ]


def _street_trees(rng: np.random.Generator, layout: StreetLayout) -> np.ndarray:
    band = shapely.get_parts(shapely.buffer(layout.arterials, ARTERIAL_WIDTH_M / 2 + 1))
    rings = shapely.get_exterior_ring(band)
    return _spaced(rng, rings, STREET_TREE_EVERY_M)[0]


def greenhouses(rng: np.random.Generator, blocks: Blocks, uses: Uses) -> list[Layer]:
    """Rows of long light roofs on some fields."""
    chosen = (uses.zone == ZONE["agricultural"]) & (
        rng.uniform(size=len(uses.zone)) < 0.05
    )
    rows = []
    for block in np.flatnonzero(chosen):
        angle = blocks.angle_rad[block]
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        size_m = blocks.cell_size_m[block] - 24.0
        offset_m = np.arange(-size_m[1] / 2, size_m[1] / 2, 12.0)
        middle = blocks.centroid[block] + offset_m[:, None] * across
        reach = along * size_m[0] / 2
        row = lines(middle - reach, middle + reach, 8.0)
        rows.append(shapely.intersection(row, blocks.polygon[block]))
    polygons = shapely.get_parts(np.concatenate([np.array([], object), *rows]))
    return [layer(polygons, shaded(rng, GREENHOUSE_RGB, len(polygons), 6.0))]
