"""Buildings and open lots of the built blocks.

Residential, commercial and educational blocks are built by the same rule from the
block's density alone. Their difference is what their few open lots hold.
Prosperity is on the roofs: a roof has slots, and a slot carries either a rooftop
plant (a small raised box with its shadow) or a ridge; `roofs` draws them.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import shapely
from jaxtyping import Bool, Float, Int

from data_prep.toy_city.area import random_stream
from data_prep.toy_city.geometry import Corners, sides_m
from data_prep.toy_city.layout import Blocks, StreetLayout
from data_prep.toy_city.zoning import ZONE, Uses

# One lot in this many stays open: garden, parking or sports court by zone.
OPEN_LOT_EVERY = 5
VACANT_SHARE = 0.05
SETBACK_M = 3.0
MIN_SIDE_M = 11.0
# A lot cut by the edge of its block is tried at these sizes.
FIT_SCALES = (1.0, 0.8, 0.62)
# A plant's slot needs this much roof; more slots than the cap say no more.
ROOF_PER_SLOT_M2 = 150.0
MAX_SLOTS = 4
# Chance of a plant in a slot: logistic in prosperity, 0.5 at the city's mean.
PLANT_SLOPE = 3.0


@dataclasses.dataclass(frozen=True)
class Footprints:
    """Rectangles in the ground plan.

    Attributes:
        corners: Corner points in order [m 4 2], local metres.
        block: Block a rectangle stands in.
        storeys: Storeys; 0 for an open lot.
    """

    corners: Corners
    block: Int[np.ndarray, " m"]
    storeys: Float[np.ndarray, " m"]

    @property
    def polygon(self) -> np.ndarray:
        """The rectangles as polygons [m]."""
        return np.asarray(shapely.polygons(self.corners))

    @property
    def area_m2(self) -> Float[np.ndarray, " m"]:
        """Ground area."""
        return shapely.area(self.polygon)

    def take(self, index: np.ndarray) -> Footprints:
        """A selection."""
        return Footprints(self.corners[index], self.block[index], self.storeys[index])


@dataclasses.dataclass(frozen=True)
class Slots:
    """Spots on roofs that carry a plant or a ridge.

    Attributes:
        building: Roof of every slot.
        along: Position along the roof's long axis, 0 to 1.
        plant: Whether it carries a plant.
    """

    building: Int[np.ndarray, " s"]
    along: Float[np.ndarray, " s"]
    plant: Bool[np.ndarray, " s"]


@dataclasses.dataclass(frozen=True)
class Built:
    """Everything built.

    Attributes:
        roofs: Buildings.
        open_lots: Unbuilt lots of the zones that look alike.
        slots: What the roofs carry.
    """

    roofs: Footprints
    open_lots: Footprints
    slots: Slots

    def floor_area_m2(self, block_count: int) -> Float[np.ndarray, " m"]:
        """Floor area of every block."""
        floors = self.roofs.area_m2 * self.roofs.storeys
        return np.bincount(self.roofs.block, floors, minlength=block_count)


def make_built(seed: int, layout: StreetLayout, uses: Uses) -> Built:
    """Fills the built blocks with lots."""
    rng = random_stream(seed, "buildings")
    blocks = layout.blocks
    parts = [
        _block_lots(rng, blocks, uses, block)
        for block in np.flatnonzero(uses.built).tolist()
    ]
    corners, block, storeys = (
        np.concatenate([part[i] for part in parts]) for i in range(3)
    )
    bent = layout.warp(corners.reshape(-1, 2)).reshape(-1, 4, 2)
    lots = Footprints(bent, block, storeys)
    lots = _fit(lots, shapely.buffer(blocks.polygon, -SETBACK_M))
    roofs = lots.take(lots.storeys > 0)
    return Built(roofs, lots.take(lots.storeys == 0), _slots(rng, roofs, uses))


def _fit(lots: Footprints, yards: np.ndarray) -> Footprints:
    """Lots inside their yard, the others made smaller until they are or dropped."""
    shapely.prepare(yards)
    fitted = []
    for scale in FIT_SCALES:
        middle = lots.corners.mean(axis=1, keepdims=True)
        corners = middle + scale * (lots.corners - middle)
        inside = shapely.contains(yards[lots.block], shapely.polygons(corners))
        inside &= sides_m(corners).min(axis=1) > 0.9 * MIN_SIDE_M
        fitted.append(Footprints(corners, lots.block, lots.storeys).take(inside))
        lots = lots.take(~inside)
    names = ("corners", "block", "storeys")
    return Footprints(
        *(np.concatenate([getattr(part, name) for part in fitted]) for name in names)
    )


def _block_lots(
    rng: np.random.Generator, blocks: Blocks, uses: Uses, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners, block and storeys of one block's lots."""
    size_m = blocks.cell_size_m[block] - 2 * SETBACK_M
    if uses.zone[block] == ZONE["industrial"]:
        lot_m, cover = _shed_lot(rng)
        storeys_mean = 1.6
    else:
        lot_m, cover = _lot(rng, uses.density[block])
        storeys_mean = 1.6 + 25.0 * uses.density[block] ** 2.0
    count = np.maximum(1, (size_m / lot_m).astype(int))
    lots = int(count.prod())
    step = size_m / count
    grid = np.stack(
        [g.ravel() for g in np.meshgrid(np.arange(count[0]), np.arange(count[1]))], 1
    )
    middle = (grid + 0.5) * step - size_m / 2 + rng.uniform(-1.2, 1.2, (lots, 2))
    sides = np.minimum(step, lot_m * 1.3) * cover * rng.uniform(0.88, 1.1, (lots, 2))
    sides = np.maximum(sides, MIN_SIDE_M)
    storeys = np.maximum(1.0, storeys_mean * np.exp(rng.normal(0, 0.22, lots)))
    if uses.zone[block] != ZONE["industrial"]:
        open_lot = (
            np.arange(lots) + rng.integers(OPEN_LOT_EVERY)
        ) % OPEN_LOT_EVERY == 0
        open_lot = rng.permutation(open_lot) & (lots >= 3)
        storeys = np.where(open_lot, 0.0, storeys)
        sides = np.where(open_lot[:, None], np.clip(step - 4, 12.0, 34.0), sides)
    kept = rng.uniform(size=lots) >= VACANT_SHARE
    corners = _rectangles(
        middle[kept], sides[kept], blocks.frame[block], blocks.angle_rad[block]
    )
    return corners, np.full(kept.sum(), block), storeys[kept]


def _lot(rng: np.random.Generator, density: float) -> tuple[np.ndarray, np.ndarray]:
    """Lot size in metres and the share of each side that is built."""
    kind = density + rng.normal(0, 0.08)
    if kind < 0.38:
        size, cover = (rng.uniform(18, 22), rng.uniform(18, 22)), (0.68, 0.64)
    elif kind < 0.78:
        size, cover = (rng.uniform(27, 38), rng.uniform(20, 24)), (0.80, 0.62)
    else:
        size, cover = (rng.uniform(27, 33), rng.uniform(27, 32)), (0.78, 0.76)
    return np.array(size), np.array(cover)


def _shed_lot(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    long_m, wide_m = rng.uniform(40, 84), rng.uniform(28, 42)
    return np.array([long_m, wide_m]), np.array([0.86, 0.76])


def _rectangles(
    middle: np.ndarray, sides: np.ndarray, frame: np.ndarray, angle_rad: float
) -> Corners:
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    corners = middle[:, None] + signs * sides[:, None]
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return corners @ np.array([[cos, sin], [-sin, cos]]) + frame


def _slots(rng: np.random.Generator, roofs: Footprints, uses: Uses) -> Slots:
    count = np.clip(np.round(roofs.area_m2 / ROOF_PER_SLOT_M2), 1, MAX_SLOTS).astype(
        int
    )
    building = np.repeat(np.arange(len(count)), count)
    first = np.cumsum(count) - count
    place = np.arange(len(building)) - first[building]
    along = (place + 0.5) / count[building]
    prosperity = uses.prosperity[roofs.block[building]]
    chance = 1 / (1 + np.exp(-PLANT_SLOPE * prosperity))
    return Slots(building, along, rng.uniform(size=len(building)) < chance)
