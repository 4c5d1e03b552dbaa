"""Eight generated cities for one model: they differ as real ones do.

Name one: `configs/toy_cities.py:slate`, and behind it variants of configs/toy_city.py,
if any (`configs/toy_cities.py:slate,smoke`). All are trained on as the toy city is.
This builds the records of all of them, in `data/toy_cities/NAME/records`, where they
are not there yet:

    python -m configs.toy_cities

They differ in seed, size and place on Earth; in the colours of roofs, plants, soil and
streets, the sensor, the season and the sun; in how many places a use of land draws, and
which categories are mapped; and in what the categories are called. Labels have the same
names, units and classes in all. docs/toy_city.md has a table and a picture.
"""

import argparse
import dataclasses
import sys

from ml_collections import ConfigDict

from configs import common, toy_city
from data_prep.toy_city.settings import (
    PaletteSettings,
    PoiHabitSettings,
    ToyCitySettings,
)
from mmgr_jax.errors import InputError

CITIES = {
    "brick": ToyCitySettings(
        "",
        seed=101,
        size_regions=(20, 20),
        crs="EPSG:32633",
        palette=PaletteSettings(
            roofs_rgb=((168, 98, 70), (182, 116, 84), (150, 88, 66), (170, 158, 140)),
            vegetation=(1.05, 0.95, 0.8),
            soil=(1.12, 1.0, 0.85),
            paving=(1.12, 1.08, 1.0),
        ),
        poi_habits=PoiHabitSettings({"commercial": 1.3, "green_space": 1.5}),
        taxonomy="street_map",
        sun_azimuth_deg=160.0,
        sun_elevation_deg=58.0,
    ),
    "slate": ToyCitySettings(
        "",
        seed=102,
        size_regions=(18, 30),
        crs="EPSG:32630",
        palette=PaletteSettings(
            roofs_rgb=((94, 98, 108), (112, 114, 122), (128, 96, 84), (104, 92, 90)),
            vegetation=(0.8, 1.05, 0.75),
            soil=(0.85, 0.82, 0.8),
            paving=(0.88, 0.9, 0.93),
            band_gain=(0.95, 1.0, 1.06),
        ),
        poi_habits=PoiHabitSettings(
            {"residential": 0.8, "green_space": 2.0},
            unmapped=("Snack stall", "Pawn shop", "Industry"),
        ),
        taxonomy="street_map",
        haze=0.12,
        season=0.35,
        sun_elevation_deg=46.0,
        poi_missing=0.1,
    ),
    "desert": ToyCitySettings(
        "",
        seed=103,
        size_regions=(24, 24),
        crs="EPSG:32638",
        palette=PaletteSettings(
            roofs_rgb=(
                (190, 172, 142),
                (178, 158, 126),
                (184, 178, 164),
                (166, 142, 112),
            ),
            vegetation=(1.3, 1.15, 1.1),
            soil=(1.16, 1.08, 0.98),
            paving=(1.18, 1.1, 1.0),
            water=(1.1, 1.25, 1.1),
            band_gain=(1.05, 1.0, 0.94),
        ),
        poi_habits=PoiHabitSettings(
            {"residential": 0.5, "green_space": 0.3, "industrial": 1.4},
            unmapped=("Bar", "Bus stop", "Metro entrance", "Countryside"),
        ),
        taxonomy="registry",
        sun_elevation_deg=74.0,
    ),
    "tropic": ToyCitySettings(
        "",
        seed=104,
        size_regions=(30, 30),
        crs="EPSG:32748",
        palette=PaletteSettings(
            roofs_rgb=((158, 94, 70), (176, 176, 174), (124, 82, 66), (98, 124, 150)),
            vegetation=(0.82, 1.08, 0.72),
            soil=(1.05, 0.8, 0.64),
            paving=(1.08, 0.96, 0.86),
            water=(1.7, 1.25, 0.85),
            band_offset=(4.0, 6.0, 10.0),
        ),
        poi_habits=PoiHabitSettings(
            {"residential": 1.5, "educational_governmental": 0.6},
            unmapped=("Companies", "Park", "Cash machine", "Residences"),
        ),
        taxonomy="survey",
        sun_azimuth_deg=40.0,
        sun_elevation_deg=80.0,
        poi_scatter_m=12.0,
    ),
    "harbour": ToyCitySettings(
        "",
        seed=105,
        size_regions=(22, 34),
        crs="EPSG:32650",
        palette=PaletteSettings(
            band_gain=(0.93, 1.0, 1.07), band_offset=(-5.0, 0.0, 5.0)
        ),
        poi_habits=PoiHabitSettings({"commercial": 1.6, "residential": 1.2}),
        taxonomy="directory",
        haze=0.2,
    ),
    "boreal": ToyCitySettings(
        "",
        seed=106,
        size_regions=(20, 26),
        crs="EPSG:32635",
        palette=PaletteSettings(
            roofs_rgb=((84, 78, 76), (110, 70, 62), (120, 116, 112), (70, 84, 78)),
            vegetation=(0.72, 0.85, 0.82),
            soil=(0.8, 0.78, 0.78),
            paving=(0.82, 0.84, 0.88),
            water=(0.6, 0.62, 0.7),
        ),
        poi_habits=PoiHabitSettings(
            {"commercial": 0.6, "residential": 0.6, "forest": 2.0},
            unmapped=("Car park", "Community centre"),
        ),
        taxonomy="registry",
        season=0.9,
        sun_azimuth_deg=175.0,
        sun_elevation_deg=30.0,
    ),
    "steppe": ToyCitySettings(
        "",
        seed=107,
        size_regions=(28, 24),
        crs="EPSG:32645",
        palette=PaletteSettings(
            roofs_rgb=((96, 126, 158), (104, 138, 116), (176, 172, 166), (146, 84, 74)),
            vegetation=(1.12, 1.02, 0.94),
            soil=(1.08, 1.04, 1.0),
        ),
        poi_habits=PoiHabitSettings(
            {"commercial": 0.8, "agricultural": 2.0}, unmapped=("Culture and leisure",)
        ),
        season=0.6,
        season_strips_m=400.0,
        poi_missing=0.25,
    ),
    "monsoon": ToyCitySettings(
        "",
        seed=108,
        size_regions=(26, 32),
        crs="EPSG:32643",
        palette=PaletteSettings(
            roofs_rgb=(
                (188, 184, 176),
                (164, 160, 154),
                (142, 138, 134),
                (150, 126, 108),
            ),
            vegetation=(0.95, 1.12, 0.8),
            soil=(1.05, 0.88, 0.72),
            paving=(1.04, 1.0, 0.92),
            water=(1.5, 1.2, 0.9),
            band_gain=(0.88, 0.9, 0.92),
        ),
        poi_habits=PoiHabitSettings(
            {"commercial": 1.2, "residential": 1.4, "industrial": 0.5},
            unmapped=("Finance", "Estate agent"),
        ),
        taxonomy="directory",
        haze=0.35,
        sensor_noise=2.0,
    ),
}
"""Name -> the city; where its files go follows from the name."""


def get_config(variant: str | None = None) -> ConfigDict:
    """One of the cities of `CITIES`.

    Raises:
        InputError: If `variant` begins with none of them.
    """
    first, _, others = (variant or "").partition(",")
    name = common.parse_variant(first, tuple(CITIES))
    if not name:
        raise InputError(
            "configs/toy_cities.py has several cities; name one, such as "
            f"--config=configs/toy_cities.py:brick; allowed: {', '.join(CITIES)}."
        )
    names = common.parse_variants(others, toy_city.VARIANTS)
    folder = f"toy_cities{'_smoke' if 'smoke' in names else ''}/{name}"
    city = dataclasses.replace(CITIES[name], out_dir=f"data/{folder}/raw")
    return toy_city.generated(name, folder, city, names)


def main(variants: str = "") -> None:
    """Builds what is missing of the records of all cities.

    Args:
        variants: What would stand behind the name of a city, such as "smoke".
    """
    from data_prep import build  # a config loads nothing heavy

    for name in CITIES:
        folder = build.ensure(get_config(f"{name},{variants}"))
        print(f"{folder}: complete", flush=True)


def command() -> None:
    """Entry point of `python -m configs.toy_cities`."""
    parser = argparse.ArgumentParser(
        "python -m configs.toy_cities",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("variants", nargs="?", default="", help="such as smoke")
    try:
        main(parser.parse_args().variants)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    command()
