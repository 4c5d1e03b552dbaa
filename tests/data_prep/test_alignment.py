"""The alignment doctor: what it finds, and what it leaves open."""

import numpy as np
import pytest

from data_prep.alignment import doctor, ground
from data_prep.validate import page

SIDE_PX, GSD_M = 700, 4.0
WEST_M, NORTH_M = 300_000.0, 3_500_000.0


@pytest.fixture(scope="module")
def town():
    """Bright roofs on dull ground, and a POI on each roof."""
    rng = np.random.default_rng(0)
    tile = rng.integers(60, 100, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    corner = rng.integers(0, SIDE_PX - 5, (1500, 2))
    for row, column in corner:
        tile[row : row + 5, column : column + 5] = rng.integers(150, 250, 3)
    valid = np.ones((SIDE_PX, SIDE_PX), bool)
    statistics = ground._statistics(tile, valid, GSD_M)
    seen = ground.Ground(statistics, valid, WEST_M, NORTH_M, GSD_M)
    middle = (corner + 2.5) * GSD_M
    return seen, np.column_stack([WEST_M + middle[:, 1], NORTH_M - middle[:, 0]])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(doctor, "REACH_M", 240.0)
    monkeypatch.setattr(doctor, "_MOST_POIS", 500)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (-26.0, 15.0), (120.0, -201.0)])
def test_a_shift_is_found_and_none_where_there_is_none(town, shift):
    seen, points = town
    measured = doctor.compare(seen, points + np.array(shift), {})
    assert measured.shift_m is not None
    np.testing.assert_allclose(measured.shift_m, np.negative(shift), atol=5)
    assert measured.is_shifted == any(shift)
    assert measured.datum is None
    words = "fit the imagery best moved" if any(shift) else "where they are"
    assert words in measured.sentence()


@pytest.mark.parametrize("datum", ["gcj02", "bd09"])  # further than what is tried
def test_a_datum_that_explains_the_shift_is_named(town, datum):
    seen, points = town
    official = doctor.datums(points, "EPSG:32651", "wgs84")
    assert set(official) == {"gcj02", "bd09"}
    measured = doctor.compare(seen, points - official[datum], official)
    assert measured.datum == datum
    assert f"Set config.pois.datum='{datum}'" in measured.sentence()
    html = page.alignment_page("<b>town</b>", measured)
    assert "data:image/png" in html and "<b>town" not in html


def test_points_anywhere_or_few_of_them_are_left_open(town):
    seen, points = town
    low, high = points.min(axis=0), points.max(axis=0)
    anywhere = np.random.default_rng(1).uniform(low, high, points.shape)
    assert doctor.compare(seen, anywhere, {}).shift_m is None
    few = doctor.compare(seen, points[: doctor.LEAST_POIS - 1], {})
    assert few.shift_m is None and not few.is_shifted
    assert "199 POIs lie on imagery" in few.sentence()


@pytest.mark.parametrize("declared", ["wgs84", "gcj02", "bd09"])
def test_declaring_another_datum_moves_a_point_as_the_doctor_says(declared):
    from data_prep.pois import places

    lon, lat = np.array([121.47]), np.array([31.23])
    place = {
        datum: np.concatenate(
            places.to_metres(lon, lat, "EPSG:4326", datum, "EPSG:32651")
        )
        for datum in ("wgs84", "gcj02", "bd09")
    }
    moved = doctor.datums(place[declared][None], "EPSG:32651", declared)
    for datum, shift in moved.items():
        np.testing.assert_allclose(shift, place[datum] - place[declared], atol=0.5)
    assert set(moved) == set(place) - {declared}


def test_outside_china_no_datum_is_offered():
    assert doctor.datums(np.array([[5e5, 4e6]]), "EPSG:26911", "wgs84") == {}


def test_of_a_wide_city_the_piece_with_most_pois_is_looked_at():
    points = np.random.default_rng(0).uniform(0, 1000, (50, 2)) + (14_000, 2_000)
    west, north = ground._busiest(points, (0.0, 0.0, 20_000.0, 9_000.0), 6_000.0)
    inside = (points[:, 0] >= west) & (points[:, 0] < west + 6_000)
    assert (inside & (points[:, 1] <= north) & (points[:, 1] > north - 6_000)).all()
