"""Places (POIs): how many of which kind a block holds, where, and their names."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from data_prep.toy_city.area import Points, random_stream
from data_prep.toy_city.buildings import Built
from data_prep.toy_city.categories import (
    CATEGORIES,
    OPENINGS,
    PLACES_PER_HA,
    SECOND_WORDS,
)
from data_prep.toy_city.geometry import inside, points_inside
from data_prep.toy_city.layout import Blocks
from data_prep.toy_city.settings import PoiHabitSettings
from data_prep.toy_city.zoning import ZONES, Uses

# Change of the log of the number of places a unit of prosperity, and from the least
# to the most dense block: prosperity is loud, density weak.
NUMBER_BY_PROSPERITY = 0.18
NUMBER_BY_DENSITY = 0.45
# The table's loadings are given in round numbers and scaled by this.
LOADING_SCALE = 1.35
# No block is fuller than this factor makes it.
MAX_NUMBER_FACTOR = 1.7
# Latents beyond three standard deviations say no more.
MAX_LATENT = 3.0


@dataclasses.dataclass(frozen=True)
class Places:
    """All places.

    Attributes:
        points: Local metres [m 2].
        category: Index into `CATEGORIES`.
        variety: Which of the names of its category it goes by, 0 to 1.
        block: Block it stands in.
        name: What it is called [m].
        poi_id: What it is numbered as [m].
    """

    points: Points
    category: Int[np.ndarray, " m"]
    variety: Float[np.ndarray, " m"]
    block: Int[np.ndarray, " m"]
    name: list[str]
    poi_id: list[str]


def expected_places(
    blocks: Blocks, uses: Uses, habits: PoiHabitSettings
) -> Float[np.ndarray, "m k"]:
    """Expected number of places of every category in every block."""
    prosperity = np.clip(uses.prosperity, -MAX_LATENT, MAX_LATENT)
    specialisation = np.clip(uses.specialisation, -MAX_LATENT, MAX_LATENT)
    weight = np.array([[c.weight.get(zone, 0.0) for c in CATEGORIES] for zone in ZONES])
    loading = LOADING_SCALE * np.array(
        [(c.prosperity, c.specialisation) for c in CATEGORIES]
    )
    drawn = np.stack([prosperity, specialisation], axis=1) @ loading.T
    mix = weight[uses.zone] * np.exp(np.where(uses.built[:, None], drawn, 0.0))
    mix /= np.maximum(mix.sum(axis=1, keepdims=True), 1e-12)
    rate = [PLACES_PER_HA.get(z, 0.0) * habits.places.get(z, 1.0) for z in ZONES]
    per_ha = np.array(rate)[uses.zone]
    change = NUMBER_BY_PROSPERITY * prosperity + NUMBER_BY_DENSITY * (
        uses.density - 0.5
    )
    factor = np.where(uses.built, np.minimum(np.exp(change), MAX_NUMBER_FACTOR), 1.0)
    factor = np.where(blocks.kind == "bank", 0.3, factor)
    return (per_ha * factor * blocks.area_m2 / 1e4)[:, None] * mix


def make_places(
    seed: int, blocks: Blocks, uses: Uses, built: Built, habits: PoiHabitSettings
) -> Places:
    """Draws the places: Poisson numbers, on buildings where a block has some."""
    rng = random_stream(seed, "places")
    number = rng.poisson(expected_places(blocks, uses, habits))
    block, category = np.nonzero(number)
    repeat = number[block, category]
    block, category = np.repeat(block, repeat), np.repeat(category, repeat)
    points = points_inside(
        rng, blocks.polygon, np.bincount(block, minlength=len(number))
    )
    housed, at = _on_roofs(rng, built, block, len(number))
    points[housed] = at
    order = rng.permutation(len(block))
    category = category[order]
    poi_id = [f"p{number:07d}" for number in range(len(order))]
    names = _names(rng, category)
    variety = random_stream(seed, "poi variety").uniform(size=len(order))
    return Places(points[order], category, variety, block[order], names, poi_id)


def _on_roofs(
    rng: np.random.Generator, built: Built, block: np.ndarray, block_count: int
) -> tuple[np.ndarray, Points]:
    """Places of blocks with buildings, and points on those."""
    order = np.argsort(built.roofs.block, kind="stable")
    count = np.bincount(built.roofs.block, minlength=block_count)
    first = np.cumsum(count) - count
    housed = np.flatnonzero(count[block] > 0)
    pick = (rng.uniform(size=len(housed)) * count[block[housed]]).astype(int)
    roof = order[first[block[housed]] + pick]
    at = rng.uniform(0.05, 0.95, (2, len(housed)))
    return housed, inside(built.roofs.corners[roof], *at)


def _names(rng: np.random.Generator, category: np.ndarray) -> list[str]:
    opening = rng.integers(len(OPENINGS), size=len(category))
    second = rng.integers(len(SECOND_WORDS), size=len(category))
    noun = rng.integers(1 << 16, size=len(category))
    return [
        " ".join(
            filter(
                None,
                (
                    OPENINGS[opening[i]],
                    SECOND_WORDS[second[i]],
                    CATEGORIES[k].nouns[noun[i] % len(CATEGORIES[k].nouns)],
                ),
            )
        )
        for i, k in enumerate(category)
    ]
