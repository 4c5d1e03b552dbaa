"""What difficulties do to the generated city's picture."""

import numpy as np
import pytest
import rasterio.features
import shapely

from data_prep.toy_city import roofs, season, sensing
from data_prep.toy_city.area import make_area
from data_prep.toy_city.buildings import Footprints
from data_prep.toy_city.city import make_city
from data_prep.toy_city.settings import ToyCitySettings
from data_prep.toy_city.sun import Sun
from data_prep.toy_city.zoning import ZONE

SEED, REGIONS = 5, (6, 8)


@pytest.fixture(scope="module")
def city():
    return make_city(make_area(REGIONS, 128.0, 2.0, "EPSG:32651"), SEED)


@pytest.fixture(scope="module")
def paint(city, textures_once):
    """Paints the whole city, without its wedge, as float [h w 3]."""

    def painted(**options):
        (_, picture, _), *others = city.painter(
            ToyCitySettings("", **options)
        ).windows()
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
    draw, hazy = (
        sensing.make_sensing(
            city.area, SEED, ToyCitySettings("", haze=haze, sensor_noise=10.0)
        ).noise
        for haze in (0.0, 0.5)
    )
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
