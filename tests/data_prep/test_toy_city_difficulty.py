"""Difficulties of the generated city: neutral ones change nothing, others one thing.

The truth is the same under all of them, and each does what its name says.
"""

import dataclasses
import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.features
import shapely

from configs import toy_city
from data_prep.toy_city import generate, roofs, season, sensing
from data_prep.toy_city.area import make_area
from data_prep.toy_city.buildings import Footprints
from data_prep.toy_city.city import make_city
from data_prep.toy_city.difficulty import BOUNDS, Difficulty
from data_prep.toy_city.sun import Sun
from data_prep.toy_city.zoning import ZONE
from mmgr_jax.errors import InputError

SEED, REGIONS = 5, (6, 8)
# Mean and deviation of red, green and blue; POIs and their middle (longitude,
# latitude): written by the generator as it was before it had options.
BEFORE_PICTURE = (105.3363, 112.3142, 87.7141, 44.7774, 37.2705, 37.2437)
BEFORE_POIS, BEFORE_MIDDLE_DEG = 378, (122.99897077310315, 42.00002985751793)
HARD = {
    "neutral": dataclasses.asdict(Difficulty()),
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
def folders(tmp_path_factory):
    """The same city without options and under each of `HARD`."""
    root = tmp_path_factory.mktemp("toy")
    for name, options in {"plain": {}, **HARD}.items():
        generate(root / name, seed=SEED, size_regions=REGIONS, **options)
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
    assert len(names) == 7
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


# Picture


@pytest.fixture(scope="module")
def city():
    return make_city(make_area(REGIONS, 128.0, 2.0, "EPSG:32651"), SEED)


@pytest.fixture(scope="module")
def paint(city):
    """Paints the whole city, without its wedge, as float [h w 3]."""

    def painted(**options):
        (_, picture, _), *others = city.painter(Difficulty(**options)).windows()
        assert not others
        rows, columns = (n * 64 for n in REGIONS)
        return picture[:rows, :columns].astype(float)

    return painted


@pytest.fixture(scope="module")
def plain(paint):
    return paint()


@pytest.fixture(scope="module")
def autumn(paint):
    return paint(season=1.0)


def inside(city, polygons, like):
    """Pixels inside polygons of local metres, 3 m from their edges."""
    shrunk = shapely.buffer(polygons, -3.0)
    shapes = shrunk[~shapely.is_empty(shrunk)]
    transform = rasterio.transform.from_origin(0, city.area.size_m[1], 2.0, 2.0)
    return rasterio.features.geometry_mask(
        shapes, like.shape[:2], transform, invert=True
    )


def test_sensor_noise_is_white_in_every_channel(paint, plain):
    middle = ((plain > 60) & (plain < 195)).all(axis=-1)
    noise = paint(sensor_noise=10.0) - plain
    flat = noise[middle]
    assert np.allclose(flat.std(axis=0), 10.0, rtol=0.02)
    assert np.abs(flat.mean(axis=0)).max() < 0.1
    assert np.abs(np.corrcoef(flat.T)[np.triu_indices(3, 1)]).max() < 0.02
    for pair in ((noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1])):
        a, b = (side.ravel() for side in pair)
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.02


def test_noise_is_another_in_every_window_and_the_same_with_haze(city):
    draw = sensing.make_sensing(city.area, SEED, 0.0, 10.0).noise
    hazy = sensing.make_sensing(city.area, SEED, 0.5, 10.0).noise
    first, shape = draw((0, 0), (40, 40, 3)), (40, 40, 3)
    np.testing.assert_array_equal(first, draw((0, 0), shape))
    np.testing.assert_array_equal(first, hazy((0, 0), shape))
    for corner in ((0, 1024), (1024, 0)):
        other = draw(corner, shape)
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.1


def test_haze_dims_by_beer_and_lambert_and_adds_its_own_light(paint, plain):
    """Depths read from the two pictures alone, by log(1 / t) = depth."""
    hazy = paint(haze=0.5)
    veil = np.array(sensing.AIRLIGHT_RGB)
    dark = (plain < 120).all(axis=-1)
    left = (veil - hazy[dark]) / (veil - plain[dark])
    depth = -np.log(np.clip(left, 0.05, 2.0))
    red, green, blue = depth.mean(axis=0)
    assert green == pytest.approx(0.5, rel=0.25)  # the mean over any ground is 0.5
    assert red / green == pytest.approx((550 / 650) ** 1.3, rel=0.03)
    assert blue / green == pytest.approx((550 / 470) ** 1.3, rel=0.03)
    assert hazy.std() < 0.75 * plain.std() and hazy.mean() > plain.mean() + 20


def test_haze_is_uneven_and_smooth(paint, plain):
    dark = plain[..., 1] < 150
    left = (204.0 - paint(haze=0.5)[..., 1]) / np.where(dark, 204.0 - plain[..., 1], 1)
    blocks = np.where(dark, left, np.nan).reshape(24, 16, 32, 16)
    coarse = np.nanmedian(blocks, axis=(1, 3))
    assert coarse.std() > 0.05
    for a, b in ((coarse[1:], coarse[:-1]), (coarse[:, 1:], coarse[:, :-1])):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95


def test_season_turns_what_grows_and_nothing_else(city, plain, autumn):
    def greenness(picture):
        return (2 * picture[..., 1] - picture[..., 0] - picture[..., 2]).mean()

    def zone(name):
        blocks = city.layout.blocks.polygon[city.uses.zone == ZONE[name]]
        return inside(city, blocks, plain)

    roof = inside(city, city.built.roofs.polygon, plain)
    assert roof.sum() > 5000
    np.testing.assert_array_equal(autumn[roof], plain[roof])
    for name in ("water", "industrial", "unutilised"):  # some with single trees
        same = (autumn == plain).all(axis=-1)[zone(name)]
        assert len(same) > 500 and same.mean() > 0.9, name
    for name in ("forest", "green_space"):
        assert greenness(autumn[zone(name)]) < 0.6 * greenness(plain[zone(name)]), name
    yards = inside(city, city.layout.blocks.polygon[city.uses.built], plain) & ~roof
    changed = np.abs(autumn[yards] - plain[yards]).mean()
    assert 3 < changed < 15


def test_season_is_a_matter_of_degree(paint, plain, autumn):
    half, whole = paint(season=0.5), (autumn > 1) & (autumn < 255)
    np.testing.assert_allclose(half[whole], ((plain + autumn) / 2)[whole], atol=1.01)


def test_strips_have_dates_of_their_own(city, paint, plain, autumn):
    striped = paint(season=1.0, season_strips_m=200.0)
    dates = season.make_dates(city.area, SEED, 1.0, 200.0)
    east_m = (np.arange(plain.shape[1]) + 0.5) * 2.0
    north_m = city.area.size_m[1] - (np.arange(plain.shape[0]) + 0.5) * 2.0
    date = dates(east_m[None], north_m[:, None])
    loud = (np.abs(autumn - plain) > 30) & (autumn > 1) & (autumn < 255)
    assert loud.sum() > 10_000
    read = (striped - plain)[loud] / (autumn - plain)[loud]
    np.testing.assert_allclose(read, date[loud.nonzero()[:2]], atol=0.05)
    # A row crosses strips of 200 m over the cosine of at most 10.3 degrees.
    ends = np.flatnonzero(np.diff(date[0]))
    assert len(ends) >= 4
    width_m = np.diff(ends) * 2.0
    assert (width_m >= 198).all() and (width_m <= 206).all()
    assert date.min() >= 0 and date.max() <= 1 and np.ptp(date[0]) > 0.2


@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg", "east_m", "north_m"),
    [
        (90.0, 45.0, -1.0, 0.0),
        (180.0, 30.0, 0.0, 1.732),
        (270.0, 60.0, 0.577, 0.0),
        (0.0, 45.0, 0.0, -1.0),
        (135.0, 90.0, 0.0, 0.0),
    ],
)
def test_shadows_lie_opposite_to_the_sun(azimuth_deg, elevation_deg, east_m, north_m):
    sun = Sun(azimuth_deg, elevation_deg)
    np.testing.assert_allclose(sun.shadow_per_m, [east_m, north_m], atol=1e-9)
    house = Footprints(
        np.array([[[0, 0], [20, 0], [20, 10], [0, 10]]], float),
        np.array([0]),
        np.array([5.0]),
    )
    shadow = roofs.shadows(house, sun).polygon[0]
    reach = 15.0 * np.array([east_m, north_m])
    bounds = [*np.minimum(0, reach), *np.maximum(0, reach) + [20, 10]]
    np.testing.assert_allclose(shadow.bounds, bounds, atol=1e-9)
    # A box swept by a vector covers itself and two slanted bands.
    area_m2 = 200 + 10 * abs(reach[0]) + 20 * abs(reach[1])
    assert shadow.area == pytest.approx(area_m2)


def test_the_default_sun_leaves_offsets_as_they_are():
    sun = Sun()
    assert sun.shadow_per_m.tolist() == [-0.24, 0.34] and sun.stretch == 1.0
    assert sun.turned(np.array([-1.6, 2.0])).tolist() == [-1.6, 2.0]


def test_trees_shadows_turn_and_lengthen_with_the_sun():
    middle, radius_m = np.array([[100.0, 200.0]]), np.array([3.0])
    # From the default azimuth clockwise to 234.8, north-west becomes north-east.
    sun = Sun(234.8, 30.0)
    shadow = sun.crown_shadows(middle, radius_m, np.array([-1.6, 2.0]))[0]
    reach = np.array([2.0, 1.6]) * np.tan(np.radians(67.4)) / np.tan(np.radians(30))
    far = middle[0] + reach
    assert shadow.distance(shapely.Point(far)) == 0
    assert shadow.bounds[2] == pytest.approx(far[0] + 3.0 * np.cos(np.pi / 8))
    assert shadow.covers(shapely.Point(middle[0] + [2.0, 1.6]).buffer(2.5))


def test_a_low_sun_darkens_the_ground(paint, plain, city):
    low = paint(sun_elevation_deg=25.0)
    ground = ~inside(city, city.built.roofs.polygon, plain)
    shares = [(p.mean(axis=-1) < 70)[ground].mean() for p in (plain, low)]
    assert shares[1] > 1.3 * shares[0]


# Settings


def test_the_config_names_every_option_at_its_neutral_value():
    settings = toy_city.get_config().toy_city.to_dict()
    neutral = dataclasses.asdict(Difficulty())
    assert {name: settings[name] for name in neutral} == neutral
    assert set(BOUNDS) == set(neutral)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"haze": 1.5}, "toy_city.haze is 1.5; give a number from 0 to 1"),
        ({"haze": float("nan")}, "toy_city.haze is nan"),
        ({"sun_elevation_deg": 5.0}, "sun_elevation_deg is 5.0.*from 15 to 90"),
        ({"poi_shift_m": (40.0,)}, "poi_shift_m is .40.0,.; give two numbers, east"),
        ({"poi_shift_m": (9e9, 0.0)}, "from -2000 to 2000"),
        ({"poi_missing": 1.0}, "poi_missing is 1.0"),
        ({"season": 1.0, "season_strips_m": 3.0}, "at least 32 m"),
        ({"season_strips_m": 500.0}, "season is 0, so all strips would show summer"),
    ],
)
def test_values_out_of_bounds_are_named(tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        generate(tmp_path / "city", seed=0, size_regions=(6, 6), **wrong)
    assert not list(tmp_path.iterdir())


def test_an_option_that_nobody_reads_is_an_error(tmp_path):
    with pytest.raises(TypeError, match="fog"):
        generate(tmp_path / "city", seed=0, fog=1.0)
