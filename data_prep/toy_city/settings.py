"""What `config.toy_city` says: which city is generated, and what makes it hard."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import annotated_types as at

from mmgr_jax.errors import InputError
from mmgr_jax.settings import Section

# In the south-east and high: metres of shadow a metre of height are -0.24 and 0.34.
AZIMUTH_DEG, ELEVATION_DEG = 144.8, 67.4

MIN_STRIP_M = 32.0
"""A strip of imagery is wider than what lies in it."""

_Shift = Annotated[float, at.Ge(-2000), at.Le(2000)]


@dataclasses.dataclass(frozen=True)
class ToyCitySettings(Section):
    """A city to generate; its difficulties, from `sensor_noise` on, are neutral here.

    Labels, zones and regions are the same under all difficulties.

    Attributes:
        out_dir: Folder to make. An earlier generated city there is replaced; files of
            yours beside it stay.
        seed: Another seed, another city.
        size_regions: Whole regions from north to south and from west to east. The
            first lies in the mosaic's north-west corner; the mosaic reaches a little
            further to the south and east.
        region_size_m: Side of a region in metres.
        gsd_m: Side of a pixel in metres.
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

    out_dir: str
    seed: int = 0
    size_regions: tuple[int, int] = (40, 40)
    region_size_m: float = 128.0
    gsd_m: float = 2.0
    sensor_noise: Annotated[float, at.Ge(0), at.Le(64)] = 0.0
    haze: Annotated[float, at.Ge(0), at.Le(1)] = 0.0
    season: Annotated[float, at.Ge(0), at.Le(1)] = 0.0
    season_strips_m: Annotated[float, at.Ge(0), at.Le(100_000)] = 0.0
    sun_azimuth_deg: Annotated[float, at.Ge(0), at.Le(360)] = AZIMUTH_DEG
    sun_elevation_deg: Annotated[float, at.Ge(15), at.Le(90)] = ELEVATION_DEG
    poi_shift_m: tuple[_Shift, _Shift] = (0.0, 0.0)
    poi_scatter_m: Annotated[float, at.Ge(0), at.Le(2000)] = 0.0
    poi_missing: Annotated[float, at.Ge(0), at.Le(0.99)] = 0.0

    def __post_init__(self) -> None:
        """Checks what bounds cannot say.

        Raises:
            InputError: If a difficulty has no effect.
        """
        if 0 < self.season_strips_m < MIN_STRIP_M:
            raise InputError(
                f"config.toy_city.season_strips_m={self.season_strips_m:g}; give 0 for "
                f"one date everywhere or a width of at least {MIN_STRIP_M:g} m."
            )
        if self.season_strips_m > 0 and self.season == 0:
            raise InputError(
                f"config.toy_city.season_strips_m={self.season_strips_m:g}, but "
                "config.toy_city.season is 0, so all strips would show summer; raise "
                "the season up to 1."
            )

    def difficulties(self) -> dict[str, Any]:
        """The difficulties that are not neutral."""
        fields = dataclasses.fields(self)
        first = [field.name for field in fields].index("sensor_noise")
        return {
            field.name: getattr(self, field.name)
            for field in fields[first:]
            if getattr(self, field.name) != field.default
        }
