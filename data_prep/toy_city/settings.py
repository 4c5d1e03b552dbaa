"""What `config.toy_city` says: which city, of what look, and what makes it hard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import annotated_types as at

from data_prep.labels.settings import FUNCTION_CLASSES
from mmgr_jax.errors import InputError
from mmgr_jax.settings import Section, nearest

# In the south-east and high: metres of shadow a metre of height are -0.24 and 0.34.
AZIMUTH_DEG, ELEVATION_DEG = 144.8, 67.4

MIN_STRIP_M = 32.0
"""A strip of imagery is wider than what lies in it."""

_Shift = Annotated[float, at.Ge(-2000), at.Le(2000)]
_Registration = Annotated[float, at.Ge(-50), at.Le(50)]
_Level = Annotated[int, at.Ge(1), at.Le(255)]
_Factor = Annotated[float, at.Ge(0.25), at.Le(4)]
_Offset = Annotated[float, at.Ge(-128), at.Le(128)]
_Bands = tuple[_Factor, _Factor, _Factor]

STYLE = ("crs", "palette", "poi_habits", "taxonomy")
"""Settings by which cities differ as places do; beside them difficulties are errors."""

LATER = ("rebuilt_share", "flight", "imagery_shift_m")
"""Settings of a later year of the same city."""


@dataclasses.dataclass(frozen=True)
class PaletteSettings(Section):
    """Colours of the materials of a city, and how its sensor changes them.

    Labels, zones, regions, places and truth are the same under all palettes.

    Attributes:
        roofs_rgb: Colours of roofs, all equally common; sheds have other colours.
        vegetation: Factors on red, green and blue of all plants.
        soil: The same of bare ground: wasteland, tracks, paths, fields without crops.
        paving: The same of streets, kerbs, lots and paved yards.
        water: The same of water.
        band_gain: Factors of the light that reaches the sensor, haze included.
        band_offset: Levels of 255 that the sensor adds.
    """

    roofs_rgb: Annotated[tuple[tuple[_Level, _Level, _Level], ...], at.MinLen(1)] = (
        (150, 148, 144),
        (128, 122, 116),
        (166, 156, 140),
        (152, 112, 94),
        (134, 100, 86),
        (122, 128, 136),
        (172, 168, 160),
    )
    vegetation: _Bands = (1.0, 1.0, 1.0)
    soil: _Bands = (1.0, 1.0, 1.0)
    paving: _Bands = (1.0, 1.0, 1.0)
    water: _Bands = (1.0, 1.0, 1.0)
    band_gain: _Bands = (1.0, 1.0, 1.0)
    band_offset: tuple[_Offset, _Offset, _Offset] = (0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class PoiHabitSettings(Section):
    """How many POIs each land use has in a city, and which are in the table.

    Attributes:
        places: Class of the label function -> factor on the number of its POIs; other
            classes have 1.
        unmapped: Categories or first levels, by their names in the taxonomy "plain",
            of which the POI table holds nothing.
    """

    places: Mapping[str, Annotated[float, at.Ge(0), at.Le(10)]] = dataclasses.field(
        default_factory=dict
    )
    unmapped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks the classes.

        Raises:
            InputError: If one is unknown.
        """
        for name in self.places:
            if name not in FUNCTION_CLASSES:
                raise InputError(
                    f"config.toy_city.poi_habits.places has {name!r}"
                    f"{nearest(name, FUNCTION_CLASSES)}; allowed: "
                    f"{', '.join(FUNCTION_CLASSES)}."
                )


@dataclasses.dataclass(frozen=True)
class ToyCitySettings(Section):
    """A city to generate; the difficulties, from `sensor_noise` on, are off by default.

    Labels, zones and regions are the same under all difficulties and styles. The same
    seed with a `rebuilt_share` is the same city in a later year.

    Attributes:
        out_dir: Folder for the city. An earlier generated city there is replaced; your
            own files in it stay.
        seed: Random seed; another seed gives another city.
        size_regions: Whole regions from north to south and from west to east. The
            first lies in the mosaic's north-west corner; the mosaic reaches a little
            further to the south and east.
        region_size_m: Side of a region in metres.
        gsd_m: Side of a pixel in metres.
        crs: A registered projected CRS in metres; the city is placed in the middle of
            the area where this CRS is used.
        palette: Colours of the materials, and of the sensor.
        poi_habits: How many POIs the city has, and which are in the table.
        taxonomy: Names of the categories; see docs/toy_city.md.
        rebuilt_share: Share of the street blocks that were torn down, rebuilt or given
            another use, compared with the city without this setting. `truth.parquet`
            says how much of each region was rebuilt.
        sensor_noise: Standard deviation of white noise, in levels of 255, independent
            in each channel. It is added to the 2 levels of grain that every city has.
        haze: Mean optical depth of the haze in green light, 0 to 1.
        season: From summer (0) to late autumn (1).
        season_strips_m: Width of image strips, each with its own date between summer
            and `season`; 0: one date.
        sun_azimuth_deg: Direction of the sun, clockwise from north.
        sun_elevation_deg: Height of the sun above the horizon, 15 to 90.
        poi_shift_m: Offset of all POIs, east and north, as with a wrong datum.
        poi_scatter_m: Standard deviation of each POI's own error, to the east and to
            the north.
        poi_missing: Share of the POIs, drawn at random, that are missing from the
            table.
        flight: Another number is another flight over the same city, with other cars in
            the streets, other light and other sensor grain.
        imagery_shift_m: Offset of the imagery, east and north, by resampling, because
            two flights never fit exactly.
    """

    out_dir: str
    seed: int = 0
    size_regions: tuple[int, int] = (40, 40)
    region_size_m: float = 128.0
    gsd_m: float = 2.0
    crs: str = "EPSG:32651"
    palette: PaletteSettings = PaletteSettings()
    poi_habits: PoiHabitSettings = PoiHabitSettings()
    taxonomy: Literal["plain", "street_map", "directory", "registry", "survey"] = (
        "plain"
    )
    rebuilt_share: Annotated[float, at.Ge(0), at.Le(0.9)] = 0.0
    sensor_noise: Annotated[float, at.Ge(0), at.Le(64)] = 0.0
    haze: Annotated[float, at.Ge(0), at.Le(1)] = 0.0
    season: Annotated[float, at.Ge(0), at.Le(1)] = 0.0
    season_strips_m: Annotated[float, at.Ge(0), at.Le(100_000)] = 0.0
    sun_azimuth_deg: Annotated[float, at.Ge(0), at.Le(360)] = AZIMUTH_DEG
    sun_elevation_deg: Annotated[float, at.Ge(15), at.Le(90)] = ELEVATION_DEG
    poi_shift_m: tuple[_Shift, _Shift] = (0.0, 0.0)
    poi_scatter_m: Annotated[float, at.Ge(0), at.Le(2000)] = 0.0
    poi_missing: Annotated[float, at.Ge(0), at.Le(0.99)] = 0.0
    flight: Annotated[int, at.Ge(0)] = 0
    imagery_shift_m: tuple[_Registration, _Registration] = (0.0, 0.0)

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
        return self._changed([field.name for field in fields[first:]])

    def style(self) -> dict[str, Any]:
        """Those of `STYLE` that are not the plain city's."""
        return self._changed(STYLE)

    def noted(self) -> dict[str, Any]:
        """All settings, of `STYLE` and `LATER` those that are not the plain city's.

        So a plain city is described as it was before there were styles and years.
        """
        every = dataclasses.asdict(self)
        named = (*STYLE, *LATER)
        plain = {name: every[name] for name in every if name not in named}
        return plain | self._changed(named)

    def _changed(self, names: Iterable[str]) -> dict[str, Any]:
        """Settings other than the default, as plain values."""
        every, plain = (
            dataclasses.asdict(settings)
            for settings in (self, type(self)(self.out_dir))
        )
        return {name: every[name] for name in names if every[name] != plain[name]}
