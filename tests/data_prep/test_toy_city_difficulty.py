"""Difficulties of the generated city: neutral ones change nothing, others one thing.

The truth is the same under all of them, and each does what its name says.
"""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio

from configs import toy_city
from data_prep.toy_city.area import make_area
from data_prep.toy_city.city import make_city
from data_prep.toy_city.difficulty import listed
from data_prep.toy_city.generator import generate
from data_prep.toy_city.settings import ToyCitySettings
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

SEED, REGIONS = 5, (6, 8)
NEUTRAL = dict(
    sensor_noise=0.0,
    haze=0.0,
    season=0.0,
    season_strips_m=0.0,
    sun_azimuth_deg=144.8,
    sun_elevation_deg=67.4,
    poi_shift_m=(0.0, 0.0),
    poi_scatter_m=0.0,
    poi_missing=0.0,
)
# Mean and deviation of red, green and blue; POIs and their middle (longitude,
# latitude): written by the generator as it was before it had options.
BEFORE_PICTURE = (105.3363, 112.3142, 87.7141, 44.7774, 37.2705, 37.2437)
BEFORE_POIS, BEFORE_MIDDLE_DEG = 378, (122.99897077310315, 42.00002985751793)
HARD = {
    "neutral": NEUTRAL,
    "noise and shift": dict(sensor_noise=8.0, poi_shift_m=(40.0, -25.0)),
    "haze and scatter": dict(haze=0.5, poi_scatter_m=30.0),
    "season and missing": dict(season=1.0, season_strips_m=90.0, poi_missing=0.4),
    "sun": dict(sun_azimuth_deg=220.0, sun_elevation_deg=30.0),
    "all": dict(
        sensor_noise=8.0,
        haze=0.5,
        season=1.0,
        season_strips_m=90.0,
        sun_azimuth_deg=220.0,
        sun_elevation_deg=30.0,
        poi_shift_m=(40.0, -25.0),
        poi_scatter_m=30.0,
        poi_missing=0.4,
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, textures_once):
    """The same city without options and under each of `HARD`."""
    root = tmp_path_factory.mktemp("toy")
    for name, options in {"plain": {}, **HARD}.items():
        generate(ToyCitySettings(str(root / name), SEED, REGIONS, **options))
    return {name: root / name for name in ("plain", *HARD)}


def imagery(folder):
    with rasterio.open(folder / "imagery.tif") as file:
        return file.read()


def pois(folder):
    return gpd.read_parquet(folder / "pois.parquet")


def errors_m(listed, true):
    """How far listed POIs lie from where they are, by poi_id, east and north."""
    listed, true = (
        table.to_crs("EPSG:32651").set_index("poi_id") for table in (listed, true)
    )
    true = true.loc[listed.index]
    assert (listed[["name", "category", "parent"]]).equals(true[listed.columns[:3]])
    offset = {
        axis: getattr(listed.geometry, axis) - getattr(true.geometry, axis)
        for axis in "xy"
    }
    return pd.DataFrame(offset)


# Files


def test_neutral_options_write_the_same_bytes(folders):
    names = [p.relative_to(folders["plain"]) for p in folders["plain"].rglob("*.*")]
    assert len(names) == 8  # the mark of the folder's owner among them
    for name in names:
        plain, neutral = (folders[k] / name for k in ("plain", "neutral"))
        if name.suffix == ".gpkg":  # holds the time of writing
            assert gpd.read_file(plain).equals(gpd.read_file(neutral))
        else:
            assert plain.read_bytes() == neutral.read_bytes(), name


def test_the_city_is_that_of_before_there_were_options(folders):
    """Figures of the version before; another stream of numbers would change them."""
    picture = imagery(folders["plain"]).astype(float)
    found = [*picture.mean(axis=(1, 2)), *picture.std(axis=(1, 2))]
    np.testing.assert_allclose(found, BEFORE_PICTURE, atol=0.002)
    points = pois(folders["plain"])
    assert len(points) == BEFORE_POIS
    middle = points.geometry.x.mean(), points.geometry.y.mean()
    np.testing.assert_allclose(middle, BEFORE_MIDDLE_DEG, atol=1e-7)


@pytest.mark.parametrize("name", HARD)
def test_truth_is_the_same_under_all_difficulties(folders, name):
    for file in ("population.tif", "gdp.tif", "truth/truth.parquet"):
        plain, hard = (folders[k] / file for k in ("plain", name))
        assert plain.read_bytes() == hard.read_bytes(), file
    zones = [gpd.read_file(folders[k] / "zones.gpkg") for k in ("plain", name)]
    assert zones[0].equals(zones[1])
    facts = [
        json.loads((folders[k] / "truth/truth.json").read_text())
        for k in ("plain", name)
    ]
    told = facts[1].pop("difficulties", {})
    assert facts[0] == facts[1]
    changed = {} if name == "neutral" else HARD[name]
    assert told == json.loads(json.dumps(changed))


def test_an_option_changes_its_own_file_alone(folders):
    plain = imagery(folders["plain"]), pois(folders["plain"])
    for name, options in HARD.items():
        hidden = any(key.startswith("poi") for key in options) and name != "neutral"
        seen = name != "neutral"
        assert (imagery(folders[name]) != plain[0]).any() == seen, name
        assert (not pois(folders[name]).equals(plain[1])) == hidden, name
        empty = (imagery(folders[name]) == 0).all(axis=0)
        np.testing.assert_array_equal(empty, (plain[0] == 0).all(axis=0))
        assert (imagery(folders[name])[:, ~empty] > 0).all()


# POIs


def test_a_shift_moves_all_pois_alike(folders):
    error = errors_m(pois(folders["noise and shift"]), pois(folders["plain"]))
    np.testing.assert_allclose(error - [40.0, -25.0], 0, atol=1e-3)


def test_scatter_has_its_deviation_and_no_direction(folders):
    error = errors_m(pois(folders["haze and scatter"]), pois(folders["plain"]))
    # 5 standard errors of a mean and of a deviation.
    off = 5 * 30.0 / np.sqrt(len(error))
    assert (error.mean().abs() < off).all()
    assert ((error.std() - 30.0).abs() < off).all()
    assert abs(np.corrcoef(error.T)[0, 1]) < 5 / np.sqrt(len(error))


def test_a_share_is_missing_and_those_left_keep_their_ids(folders):
    left, true = pois(folders["season and missing"]), pois(folders["plain"])
    share = 1 - len(left) / len(true)
    assert share == pytest.approx(0.4, abs=5 * np.sqrt(0.24 / len(true)))
    assert (errors_m(left, true).abs() < 1e-6).all(axis=None)
    assert not left["poi_id"].equals(true["poi_id"].iloc[: len(left)])


def test_each_poi_option_draws_the_same_whatever_the_others(folders):
    true, everything = pois(folders["plain"]), pois(folders["all"])
    assert list(everything["poi_id"]) == list(
        pois(folders["season and missing"])["poi_id"]
    )
    scatter = errors_m(pois(folders["haze and scatter"]), true)
    error = errors_m(everything, true)
    expected = scatter.loc[error.index] + [40.0, -25.0]
    np.testing.assert_allclose(error, expected, atol=1e-3)


def test_a_larger_share_lacks_all_that_a_smaller_one_lacks():
    city = make_city(make_area(REGIONS, 128.0, 2.0, "EPSG:32651"), SEED)
    few, many = (
        set(listed(city.places, ToyCitySettings("", poi_missing=share), SEED).poi_id)
        for share in (0.6, 0.2)
    )
    assert few < many < set(city.places.poi_id)


# Settings


def test_the_config_names_every_option_at_its_neutral_value():
    settings = toy_city.get_config().toy_city.to_dict()
    assert {name: settings[name] for name in NEUTRAL} == NEUTRAL
    assert ToyCitySettings("", **NEUTRAL).difficulties() == {}
    one = ToyCitySettings("", seed=3, haze=0.1).difficulties()
    assert one == {"haze": 0.1}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"haze": 1.5}, "toy_city.haze=1.5; allowed: less than or equal to 1"),
        ({"haze": float("nan")}, "toy_city.haze=nan; allowed: a finite number"),
        (
            {"sun_elevation_deg": 5.0},
            "sun_elevation_deg=5.0; allowed: greater than or equal to 15",
        ),
        ({"poi_shift_m": (40.0,)}, "poi_shift_m=.40.0,.; allowed: tuple"),
        ({"poi_shift_m": (9e9, 0.0)}, "allowed: less than or equal to 2000"),
        ({"poi_missing": 1.0}, "poi_missing=1.0; allowed: less"),
        ({"season": 1.0, "season_strips_m": 3.0}, "at least 32 m"),
        ({"season_strips_m": 500.0}, "season is 0, so all strips would show summer"),
    ],
)
def test_values_out_of_bounds_are_named(wrong, message):
    with pytest.raises(InputError, match=message):
        read(ToyCitySettings, dict(out_dir="city") | wrong, "toy_city")


def test_an_option_that_nobody_reads_is_an_error():
    with pytest.raises(InputError, match="config.toy_city.fog is unknown"):
        read(ToyCitySettings, dict(out_dir="city", fog=1.0), "toy_city")
