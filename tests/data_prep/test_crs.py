import numpy as np
import pyproj
import pytest

from data_prep.files import crs as crs_lib
from data_prep.pois import places
from mmgr_jax.errors import InputError

# Every tenth of a degree of a box around China.
LON_DEG, LAT_DEG = (
    axis.ravel() for axis in np.meshgrid(np.arange(73, 136, 0.1), np.arange(3, 54, 0.1))
)


def _ground_m(lon, lat, other_lon, other_lat):
    return pyproj.Geod(ellps="WGS84").inv(lon, lat, other_lon, other_lat)[2]


@pytest.mark.parametrize("datum", ["gcj02", "bd09"])
def test_all_of_china_comes_back_within_half_a_metre(datum):
    shifted = crs_lib.wgs84_to_gcj02(LON_DEG, LAT_DEG)
    if datum == "bd09":
        shifted = crs_lib.gcj02_to_bd09(*shifted)
    back = crs_lib.to_wgs84(*shifted, datum)
    assert _ground_m(LON_DEG, LAT_DEG, *back).max() < 0.5
    # What would be wrong if it were not undone.
    moved_m = _ground_m(LON_DEG, LAT_DEG, *shifted)
    assert np.median(moved_m) > (300 if datum == "gcj02" else 700)


def test_a_datum_that_is_not_declared_is_not_undone():
    kept = crs_lib.to_wgs84(LON_DEG, LAT_DEG, "wgs84")
    np.testing.assert_array_equal(kept, (LON_DEG, LAT_DEG))


def test_wgs84_is_told_by_its_axes_in_either_order():
    assert crs_lib.same("OGC:CRS84", "EPSG:4326")
    assert not crs_lib.same("EPSG:4326", "EPSG:4490")


def test_an_unknown_crs_is_explained():
    with pytest.raises(InputError, match=r"CRS 'EPSG:0' is unknown.*epsg.io"):
        crs_lib.parse("EPSG:0")


def test_transform_agrees_with_utm_by_hand():
    # On the central meridian of a UTM zone the easting is 500 km.
    x_m, y_m = crs_lib.transform(
        np.array([123.0]), np.array([0.0]), "EPSG:4326", "EPSG:32651"
    )
    np.testing.assert_allclose((x_m[0], y_m[0]), (500_000, 0), atol=1e-6)


def test_boxes_and_longitudes_follow_on_across_180_degrees():
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32701", always_xy=True)
    x, y = to_metres.transform(180.0, -16.8)
    box = (x - 1000, y - 1000, x + 1000, y + 1000)
    west, south, east, north = crs_lib.transform_bounds(box, "EPSG:32701", "EPSG:4326")
    assert 179.98 < west < 180 < east < 180.02 and -16.82 < south < north < -16.78
    near = crs_lib.near_deg(np.array([-179.9, 179.9, 0.1, 540.0]), 180.0)
    np.testing.assert_allclose(near, [180.1, 179.9, 0.1, 180.0])


def test_a_system_that_lies_nowhere_is_told_from_one_that_does():
    local = 'LOCAL_CS["RGF93 v1 / Lambert-93",UNIT["metre",1],AXIS["E",EAST]]'
    undefined = pyproj.CRS("EPSG:4326").to_wkt().replace("WGS 84", "Undefined SRS", 1)
    for other in (local, undefined, "EPSG:5703", "EPSG:4978"):
        assert "does not say where on Earth" in crs_lib.unusable(other), other
    for fine in ("EPSG:2154", "EPSG:4326", "EPSG:25833+7837", "+proj=utm +zone=33"):
        assert crs_lib.unusable(fine) is None
    with pytest.raises(InputError, match="no coordinate can be transformed from"):
        crs_lib.transform(np.zeros(1), np.zeros(1), local, "EPSG:32633")


def test_longitudes_of_pois_count_from_either_side():
    lat = np.array([-16.8, -16.8])
    ours = places.to_metres(
        np.array([-179.99, 179.98]), lat, "EPSG:4326", "wgs84", "EPSG:32701"
    )
    theirs = places.to_metres(
        np.array([180.01, 179.98]), lat, "EPSG:4326", "wgs84", "EPSG:32701"
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    on_ground_m = _ground_m(179.98, -16.8, -179.99, -16.8)
    assert np.hypot(*np.ptp(ours, axis=1)) == pytest.approx(on_ground_m, rel=2e-3)
