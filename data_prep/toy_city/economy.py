"""Population and GDP of every block, with and without each of their causes."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from data_prep.toy_city.buildings import Built
from data_prep.toy_city.layout import Blocks
from data_prep.toy_city.zoning import ZONE, Uses

# Value of a square metre of floor, relative to commercial.
FLOOR_VALUE = {
    "commercial": 1.0,
    "educational_governmental": 0.45,
    "industrial": 2.2,
    "residential": 0.28,
}
# Million CNY a square metre of ground at floor value 1, other causes at their mean:
# about 1,400 million CNY a square kilometre of city.
GDP_PER_M2 = 0.0011
# GDP grows less than floor value: the slope of log GDP on the log of floor value.
FLOOR_EXPONENT = 0.45
# Change of log GDP a standard deviation of each latent.
BY_PROSPERITY, BY_SPECIALISATION, BY_NOISE = 0.74, 0.40, 0.52
# Ground whatever stands on it, million CNY a square metre: 6 a km2 of fields.
GROUND_GDP_PER_M2 = {
    "agricultural": 6e-6,
    "forest": 2e-6,
    "water": 2e-6,
    "green_space": 8e-6,
    "unutilised": 4e-6,
    "industrial": 1e-5,
    "residential": 1e-5,
    "commercial": 1e-5,
    "educational_governmental": 1e-5,
}
# Persons a square metre of floor: 38 m2 a person at home; others live above shops.
PERSONS_PER_M2 = {
    "residential": 1 / 38,
    "commercial": 1 / 120,
    "educational_governmental": 1 / 150,
    "industrial": 1 / 600,
}
# Scattered farmsteads, persons a square metre of ground.
GROUND_PERSONS_PER_M2 = {"agricultural": 8e-5, "forest": 5e-6, "unutilised": 1e-5}
POPULATION_BY_NOISE = 0.60

Values = Float[np.ndarray, " m"]


@dataclasses.dataclass(frozen=True)
class Causes:
    """Which latents act on a variant of the economy.

    Attributes:
        prosperity: Whether prosperity acts.
        specialisation: Whether specialisation acts.
        noise: Whether the noise acts.
    """

    prosperity: bool = True
    specialisation: bool = True
    noise: bool = True


def gdp_mcny(
    blocks: Blocks, uses: Uses, built: Built, causes: Causes | None = None
) -> Values:
    """GDP of every block, million CNY."""
    causes = causes or Causes()
    area_m2 = blocks.area_m2
    value = _by_zone(FLOOR_VALUE, uses) * built.floor_area_m2(len(area_m2)) / area_m2
    change = (
        BY_PROSPERITY * causes.prosperity * uses.prosperity
        + BY_SPECIALISATION * causes.specialisation * uses.specialisation
        + BY_NOISE * causes.noise * uses.noise
    )
    city = GDP_PER_M2 * area_m2 * value**FLOOR_EXPONENT * np.exp(change)
    farms = np.exp(BY_NOISE * causes.noise * uses.noise)
    return city + _by_zone(GROUND_GDP_PER_M2, uses) * area_m2 * farms


def population(blocks: Blocks, uses: Uses, built: Built, noise: bool = True) -> Values:
    """Persons living in every block."""
    floor_m2 = built.floor_area_m2(len(uses.zone))
    persons = _by_zone(PERSONS_PER_M2, uses) * floor_m2
    persons = persons + _by_zone(GROUND_PERSONS_PER_M2, uses) * blocks.area_m2
    return persons * np.exp(POPULATION_BY_NOISE * noise * uses.population_noise)


def _by_zone(rate: dict[str, float], uses: Uses) -> Values:
    table = np.zeros(len(ZONE))
    for name, value in rate.items():
        table[ZONE[name]] = value
    return table[uses.zone]
