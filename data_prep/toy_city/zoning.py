"""What every block is: zone, density, greenness and the latent fields.

Over built blocks, the economic latents (prosperity, specialisation, noise) are made
uncorrelated with everything clear in the picture and with one another. So each explains
its own part of GDP, with any seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

from data_prep.labels.settings import FUNCTION_CLASSES
from data_prep.toy_city.area import Area, Points, gaussian_field, random_stream
from data_prep.toy_city.layout import Blocks

ZONES = FUNCTION_CLASSES
ZONE = {name: number for number, name in enumerate(ZONES)}
# Zones with roofs; those that share palettes and footprints come first.
ALIKE = ("residential", "commercial", "educational_governmental")
BUILT = (*ALIKE, "industrial")

LATENT_CORRELATION_M = 500.0
# Shares of the urban blocks left at each step of `_urban_zones`.
INDUSTRIAL_SHARE = 0.13
GREEN_SHARE = 0.08
UNUTILISED_SHARE = 0.03
COMMERCIAL_SHARE = 0.24
EDUCATIONAL_SHARE = 0.19
# Shares of the rural blocks.
FOREST_SHARE = 0.34
RURAL_UNUTILISED_SHARE = 0.07
VILLAGE_SHARE = 0.10
SUB_CENTRES = 3

Values = Float[np.ndarray, " m"]


@dataclasses.dataclass(frozen=True)
class Uses:
    """Attributes of every block [m].

    Attributes:
        zone: Index into `ZONES`.
        density: Built density, 0 to 1 (rank among urban blocks); 0 where unbuilt.
        greenness: How green yards are, 0 to 1.
        prosperity: Zero mean and unit variance over built blocks.
        specialisation: The same; technology and finance against logistics.
        noise: The same; visible nowhere.
        population_noise: The same; in neither picture nor places.
    """

    zone: Int[np.ndarray, " m"]
    density: Values
    greenness: Values
    prosperity: Values
    specialisation: Values
    noise: Values
    population_noise: Values

    @property
    def built(self) -> np.ndarray:
        """Whether a block has buildings."""
        return np.isin(self.zone, [ZONE[name] for name in BUILT])


def make_urbanity(area: Area, seed: int) -> Callable[[Points], Values]:
    """How urban a place is: a centre, sub-centres and an uneven fringe."""
    rng = random_stream(seed, "urbanity")
    scale_m = area.extent_m / 2
    angle = rng.uniform(0, 2 * np.pi) + 2 * np.pi / SUB_CENTRES * (
        np.arange(SUB_CENTRES) + rng.uniform(-0.2, 0.2, SUB_CENTRES)
    )
    distance_m = rng.uniform(0.45, 0.65, SUB_CENTRES)[:, None] * scale_m
    spots = area.centre + distance_m * np.stack([np.cos(angle), np.sin(angle)], 1)
    uneven = gaussian_field(rng, area, min(600.0, area.extent_m / 4))

    def urbanity(points: Points) -> Values:
        radius = np.hypot(*(points - area.centre).T) / scale_m
        apart = np.hypot(*np.moveaxis(points[:, None] - spots, -1, 0)) / scale_m
        bumps = 0.32 * np.exp(-((apart / 0.18) ** 2)).sum(axis=1)
        return 1.12 - radius + bumps + 0.11 * uneven(points)

    return urbanity


def make_uses(
    area: Area, seed: int, blocks: Blocks, urbanity: Callable[[Points], Values]
) -> Uses:
    """Assigns zones and latents to the blocks."""
    rng = random_stream(seed, "uses")
    points = blocks.centroid
    level = urbanity(points)
    zone = np.full(len(points), ZONE["agricultural"])
    zone[blocks.kind == "water"] = ZONE["water"]
    zone[blocks.kind == "bank"] = ZONE["green_space"]
    urban = (blocks.kind == "block") & ~blocks.rural
    rural = (blocks.kind == "block") & blocks.rural
    zone[urban] = _urban_zones(rng, area, points[urban], level[urban])
    zone[rural] = _rural_zones(rng, area, points[rural])
    density = _density(rng, area, points, level, urban)
    greenness = norm.cdf(
        0.8 * gaussian_field(rng, area, 400.0)(points)
        + 0.6 * rng.standard_normal(len(points))
    )
    built = np.isin(zone, [ZONE[name] for name in BUILT])
    plain = [norm.ppf(np.clip(density, 0.02, 0.98)), greenness]
    plain += [(zone == ZONE[name]).astype(float) for name in BUILT]
    latents: list[Values] = []
    for correlation_m, local_share in (
        (LATENT_CORRELATION_M, 0.10),
        (LATENT_CORRELATION_M, 0.10),
        (LATENT_CORRELATION_M, 0.45),
        (LATENT_CORRELATION_M, 0.60),
    ):
        raw = _latent(rng, area, points, correlation_m, local_share)
        latents.append(_uncorrelated(raw, [*plain, *latents], built, blocks.area_m2))
    return Uses(zone, np.where(built, density, 0.0), greenness, *latents)


def _top(score: Values, share: float) -> np.ndarray:
    """The given share of the entries with the highest score."""
    if not len(score):
        return np.zeros(0, bool)
    return score > np.quantile(score, 1 - share)


def _urban_zones(
    rng: np.random.Generator, area: Area, points: Points, level: Values
) -> Int[np.ndarray, " m"]:
    """Zones of city blocks, one kind after another out of those left."""
    fringe = np.exp(-(((level - 0.36) / 0.16) ** 2))
    standard = (level - level.mean()) / max(level.std(), 1e-6)
    steps = (
        ("industrial", INDUSTRIAL_SHARE, 650.0, 1.0, 0.1, 1.7 * fringe),
        ("green_space", GREEN_SHARE, 260.0, 1.0, 0.8, 0.0),
        ("unutilised", UNUTILISED_SHARE, 200.0, 0.5, 1.0, -0.5 * standard),
        ("commercial", COMMERCIAL_SHARE, 320.0, 1.0, 0.5, 0.35 * standard),
        ("educational_governmental", EDUCATIONAL_SHARE, 280.0, 1.0, 0.5, 0.0),
    )
    zone = np.full(len(points), ZONE["residential"])
    left = np.ones(len(points), bool)
    for name, share, correlation_m, smooth, local, bias in steps:
        score = smooth * gaussian_field(rng, area, correlation_m)(points) + bias
        score = score + local * rng.standard_normal(len(points))
        index = np.flatnonzero(left)
        chosen = index[_top(score[index], share)]
        zone[chosen] = ZONE[name]
        left[chosen] = False
    return zone


def _rural_zones(
    rng: np.random.Generator, area: Area, points: Points
) -> Int[np.ndarray, " m"]:
    zone = np.full(len(points), ZONE["agricultural"])
    forest = gaussian_field(rng, area, 700.0)(points)
    bare = gaussian_field(rng, area, 200.0)(points) + rng.standard_normal(len(points))
    village = gaussian_field(rng, area, 180.0)(points) - 0.8 * forest
    zone[_top(forest, FOREST_SHARE)] = ZONE["forest"]
    zone[_top(bare, RURAL_UNUTILISED_SHARE)] = ZONE["unutilised"]
    zone[_top(village, VILLAGE_SHARE)] = ZONE["residential"]
    return zone


def _density(
    rng: np.random.Generator,
    area: Area,
    points: Points,
    level: Values,
    urban: np.ndarray,
) -> Values:
    """Rank of the density score among urban blocks; villages are low."""
    standard = (level - level[urban].mean()) / level[urban].std()
    score = 1.0 * standard + 0.7 * gaussian_field(rng, area, LATENT_CORRELATION_M)(
        points
    )
    score = score + 0.25 * rng.standard_normal(len(points))
    rank = np.searchsorted(np.sort(score[urban]), score) / max(urban.sum(), 1)
    return np.where(urban, rank, 0.08)


def _latent(
    rng: np.random.Generator,
    area: Area,
    points: Points,
    correlation_m: float,
    local_share: float,
) -> Values:
    """A smooth field with a share of variance from one block to the next."""
    smooth = gaussian_field(rng, area, correlation_m)(points)
    local = gaussian_field(rng, area, 90.0)(points)
    return np.sqrt(1 - local_share) * smooth + np.sqrt(local_share) * local


def _uncorrelated(
    raw: Values, others: list[Values], built: np.ndarray, area_m2: Values
) -> Values:
    """The part of a field that the others do not explain over built blocks."""
    design = np.stack([np.ones_like(raw), *others], axis=1)[built]
    weight = np.sqrt(area_m2[built])[:, None]
    fit = np.linalg.lstsq(design * weight, raw[built] * weight[:, 0], rcond=None)[0]
    rest = raw.copy()
    rest[built] -= design @ fit
    deviation = np.sqrt(np.average(rest[built] ** 2, weights=area_m2[built]))
    return rest / deviation
