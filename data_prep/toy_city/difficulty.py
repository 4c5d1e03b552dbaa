"""What makes a generated city harder to read: haze, seasons, misplaced POIs.

Every option has a neutral value, and a city with all of them neutral is the city
without options. No option touches blocks, buildings or labels: the truth is the same
under all. Each draws from a random stream of its own, so that one switched on changes
nothing in what the others do.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from data_prep.toy_city.area import random_stream
from data_prep.toy_city.places import Places
from data_prep.toy_city.sun import AZIMUTH_DEG, ELEVATION_DEG
from mmgr_jax.errors import InputError

# The least and the most that an option may be.
BOUNDS = {
    "sensor_noise": (0.0, 64.0),
    "haze": (0.0, 1.0),
    "season": (0.0, 1.0),
    "season_strips_m": (0.0, 100_000.0),
    "sun_azimuth_deg": (0.0, 360.0),
    "sun_elevation_deg": (15.0, 90.0),
    "poi_shift_m": (-2000.0, 2000.0),
    "poi_scatter_m": (0.0, 2000.0),
    "poi_missing": (0.0, 0.99),
}
# A strip of imagery is wider than what lies in it.
MIN_STRIP_M = 32.0


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """The options; the values given here are neutral.

    Attributes:
        sensor_noise: Deviation of white noise, in levels of 255, in every channel
            on its own. It comes on top of the 2 levels of grain that every city has.
        haze: Mean optical depth of the haze in green light, 0 to 1.
        season: From summer (0) to late autumn (1).
        season_strips_m: Width of image strips, each taken at a date of its own between
            summer and `season`; 0 for one date.
        sun_azimuth_deg: Where the sun stands, clockwise from north.
        sun_elevation_deg: Its height above the horizon, 15 to 90.
        poi_shift_m: Offset of all POIs, east and north, as by a mistaken datum.
        poi_scatter_m: Deviation of every POI's own error, east and north alike.
        poi_missing: Share of the POIs that the table lacks, drawn at random.
    """

    sensor_noise: float = 0.0
    haze: float = 0.0
    season: float = 0.0
    season_strips_m: float = 0.0
    sun_azimuth_deg: float = AZIMUTH_DEG
    sun_elevation_deg: float = ELEVATION_DEG
    poi_shift_m: tuple[float, ...] = (0.0, 0.0)
    poi_scatter_m: float = 0.0
    poi_missing: float = 0.0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: If one lies outside its bounds, or has no effect.
        """
        for name, (low, high) in BOUNDS.items():
            _check_bounds(name, getattr(self, name), low, high)
        if 0 < self.season_strips_m < MIN_STRIP_M:
            raise InputError(
                f"toy_city.season_strips_m is {self.season_strips_m:g}; give 0 for one "
                f"date everywhere or a width of at least {MIN_STRIP_M:g} m."
            )
        if self.season_strips_m > 0 and self.season == 0:
            raise InputError(
                f"toy_city.season_strips_m is {self.season_strips_m:g} but "
                "toy_city.season is 0, so all strips would show summer; raise the "
                "season up to 1."
            )

    def changed(self) -> dict[str, Any]:
        """The options that are not neutral."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


def _check_bounds(name: str, value: Any, low: float, high: float) -> None:
    pair = name == "poi_shift_m"
    numbers = value if isinstance(value, tuple) else (value,)
    fits = len(numbers) == 1 + pair and all(
        isinstance(number, int | float) and low <= number <= high for number in numbers
    )
    if not fits:
        what = "two numbers, east and north," if pair else "a number"
        raise InputError(
            f"toy_city.{name} is {value!r}; give {what} from {low:g} to {high:g}."
        )


def listed(places: Places, difficulty: Difficulty, seed: int) -> Places:
    """The places as the POI table lists them: some missing, the others misplaced.

    Args:
        places: All places, where they are.
        difficulty: The options.
        seed: Seed of the city.
    """
    count = len(places.block)
    drawn = random_stream(seed, "poi missing").uniform(size=count)
    error = random_stream(seed, "poi scatter").standard_normal((count, 2))
    points = places.points + np.array(difficulty.poi_shift_m, float)
    points = points + difficulty.poi_scatter_m * error
    found = np.flatnonzero(drawn >= difficulty.poi_missing)
    return Places(
        points[found],
        places.category[found],
        places.block[found],
        [places.name[index] for index in found],
        [places.poi_id[index] for index in found],
    )
