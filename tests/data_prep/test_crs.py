import numpy as np
import pyproj
import pytest

from data_prep import crs as crs_lib
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
