"""Late autumn: the colours of plants, and the date of each strip of images."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from data_prep.toy_city.area import Area, random_stream
from data_prep.toy_city.layers import Rgb
from data_prep.toy_city.zoning import ZONE

# Dry lawns, in yards, parks and medians.
GRASS_RGB = (150, 136, 96)
# The forest floor under bare crowns; a block keeps a share of evergreens.
FOREST_RGB = (116, 98, 74)
EVERGREEN_OF_FOREST = (0.1, 0.8)
# Single trees: evergreen, or yellow, rusty, bare.
EVERGREEN_OF_TREES = 0.3
TREES_RGB = ((164, 138, 62), (142, 96, 54), (110, 100, 84))
# Fields are harvested or ploughed, some are green with winter crops; those that are
# dry or bare in summer stay so.
FIELDS_RGB = ((170, 152, 108), (126, 104, 80))
WINTER_CROPS = 0.2
# Strips run from north to south, turned by this at most.
MAX_TURN_RAD = 0.18

Colours = Float[np.ndarray, "m 3"]


def ground(
    seed: int, zone: Int[np.ndarray, " m"], summer: Colours, yards: Colours
) -> Colours:
    """The ground of every block in late autumn.

    Args:
        seed: Seed of the city.
        zone: Zones of the blocks.
        summer: Their colours in summer.
        yards: Their colours as yards with dry lawns.
    """
    rng = random_stream(seed, "season ground")
    evergreen = rng.uniform(*EVERGREEN_OF_FOREST, (len(zone), 1))
    forest = evergreen * summer + (1 - evergreen) * FOREST_RGB
    fields = np.array(FIELDS_RGB)[rng.integers(len(FIELDS_RGB), size=len(zone))]
    harvested = growing(summer) & (rng.uniform(size=len(zone)) >= WINTER_CROPS)
    autumn = yards.copy()
    for name in ("water", "unutilised", "industrial"):
        autumn[zone == ZONE[name]] = summer[zone == ZONE[name]]
    autumn[zone == ZONE["green_space"]] = GRASS_RGB
    autumn[zone == ZONE["forest"]] = forest[zone == ZONE["forest"]]
    farmed = zone == ZONE["agricultural"]
    autumn[farmed] = np.where(harvested[:, None], fields, summer)[farmed]
    return autumn


def growing(colour: Colours) -> Bool[np.ndarray, " m"]:
    """Whether fields of these colours are green."""
    red, green, blue = colour.T
    return (green > red) & (green > blue)


def crowns(seed: int, count: int, summer: Rgb) -> Colours:
    """Change of single trees' colours from summer to late autumn."""
    rng = random_stream(seed, "season trees")
    turned = np.array(TREES_RGB)[rng.integers(len(TREES_RGB), size=count)]
    evergreen = rng.uniform(size=(count, 1)) < EVERGREEN_OF_TREES
    return np.where(evergreen, 0.0, turned - np.array(summer, float))


@dataclasses.dataclass(frozen=True)
class Dates:
    """When every place was photographed, from summer (0) to late autumn (1).

    Attributes:
        share: Dates of the strips from west to east [n].
        across: Unit vector across the strips, x and y.
        start_m: Where the first strip begins along `across`.
        width_m: Width of a strip.
    """

    share: Float[np.ndarray, " n"]
    across: Float[np.ndarray, " 2"]
    start_m: float
    width_m: float

    def __call__(
        self, east_m: Float[np.ndarray, "1 w"], north_m: Float[np.ndarray, "h 1"]
    ) -> Float[np.ndarray, "h w"]:
        """Dates at the crossings of local eastings and northings."""
        across_m = east_m * self.across[0] + north_m * self.across[1]
        strip = ((across_m - self.start_m) // self.width_m).astype(int)
        return self.share[np.clip(strip, 0, len(self.share) - 1)]


def make_dates(
    area: Area, seed: int, season: float, season_strips_m: float
) -> Dates | None:
    """One date, or one a strip between summer and `season`; None is summer."""
    if season == 0:
        return None
    if season_strips_m == 0:
        return Dates(np.array([season]), np.array([1.0, 0.0]), 0.0, np.inf)
    rng = random_stream(seed, "season strips")
    turn = rng.uniform(-MAX_TURN_RAD, MAX_TURN_RAD)
    across = np.array([np.cos(turn), np.sin(turn)])
    width_m, height_m = area.size_m
    corners = np.array([[0, 0], [width_m, 0], [0, height_m], [width_m, height_m]])
    reach_m = corners @ across
    start_m = reach_m.min() - rng.uniform() * season_strips_m
    count = int((reach_m.max() - start_m) // season_strips_m) + 1
    share = season * rng.uniform(size=count)
    return Dates(share, across, float(start_m), season_strips_m)
