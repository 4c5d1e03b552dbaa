import h3
import numpy as np
import pyproj
import pytest
import shapely
import small_city
import small_regions
from small_regions import cut

from data_prep.regions import hexagons
from mmgr_jax.errors import InputError

# Cells of resolution 12 are 20 m across, those of 13 less than 8 m.
SIDE_PX = 48


@pytest.fixture
def imagery(tmp_path):
    path = tmp_path / "city.tif"
    small_city.write_raster(path, small_regions.noise(SIDE_PX, SIDE_PX))
    with small_regions.open_imagery(path) as imagery:
        yield imagery


def _h3(resolution=12, containment="overlap"):
    return dict(resolution=resolution, containment=containment)


def _lat_lng(x_m, y_m):
    to_degrees = pyproj.Transformer.from_crs(
        small_city.CRS, "EPSG:4326", always_xy=True
    )
    lon_deg, lat_deg = to_degrees.transform(x_m, y_m)
    return list(zip(np.ravel(lat_deg), np.ravel(lon_deg), strict=True))


def _cells_at_points():
    """The cells of points every half metre over the imagery."""
    west, north, side_m = small_city.WEST_M, small_city.NORTH_M, 2 * SIDE_PX
    steps = np.arange(0.25, side_m, 0.5)
    x_m, y_m = np.meshgrid(west + steps, north - steps)
    return {h3.latlng_to_cell(*place, 12) for place in _lat_lng(x_m, y_m)}


def test_cells_are_those_that_h3_names(imagery):
    regions = cut(imagery, kind="h3", h3=_h3(), min_coverage=1e-6)
    # A cell that reaches in by less than the steps of the points may be missing there.
    assert _cells_at_points() <= set(regions.ids)
    assert len(regions) + regions.dropped["without imagery"] <= 1.2 * len(
        _cells_at_points()
    )
    assert regions.ids == sorted(regions.ids)
    for cell, outline, centre in zip(
        regions.ids, regions.geometry, regions.centre_m, strict=True
    ):
        corners = [(lon, lat) for lat, lon in h3.cell_to_boundary(cell)]
        to_metres = pyproj.Transformer.from_crs(
            "EPSG:4326", small_city.CRS, always_xy=True
        )
        expected = shapely.Polygon(
            [to_metres.transform(lon, lat) for lon, lat in corners]
        )
        assert outline.symmetric_difference(expected).area < 1e-6
        # The tile is the square around the cell, on the pixel grid.
        assert np.hypot(*(centre - shapely.get_coordinates(outline.centroid)[0])) < 2
    corner_px = (regions.bounds_m[:, [0, 3]] - imagery.bounds_m[0:4:3]) / 2.0
    np.testing.assert_allclose(corner_px, corner_px.round(), atol=1e-6)
    sides_m = regions.bounds_m[:, 2:] - regions.bounds_m[:, :2]
    np.testing.assert_allclose(sides_m, small_city.TILE_M)
    assert (shapely.area(regions.geometry) == regions.area_m2).all()


def test_only_the_cell_must_be_covered_not_its_tile(imagery):
    covered = shapely.box(*imagery.bounds_m)
    regions = cut(imagery, kind="h3", h3=_h3(), min_coverage=1e-6)
    inside = shapely.covers(covered, regions.geometry)
    whole = cut(imagery, kind="h3", h3=_h3(), min_coverage=0.999)
    # Pixels count by their middle, so a cell that reaches out by a metre is whole.
    assert {cell for cell, i in zip(regions.ids, inside, strict=True) if i} <= set(
        whole.ids
    )
    tiles = shapely.box(*whole.bounds_m.T)
    assert not shapely.covers(covered, tiles).all()
    share = shapely.area(shapely.intersection(regions.geometry, covered))
    share /= regions.area_m2
    np.testing.assert_allclose(regions.coverage, share, atol=0.08)


def test_small_areas_have_cells_though_no_centre_lies_in_them():
    west, north = small_city.WEST_M, small_city.NORTH_M
    spots = [[west + 50 * i, north - 1, west + 50 * i + 1, north] for i in range(8)]
    overlap = hexagons.over(np.array(spots), small_city.CRS, 9, "overlap")
    center = hexagons.over(np.array(spots), small_city.CRS, 9, "center")
    places = _lat_lng(*np.array([[s[0] + 0.5, s[1] + 0.5] for s in spots]).T)
    wanted = {h3.latlng_to_cell(lat, lng, 9) for lat, lng in places}
    assert wanted <= set(map(h3.int_to_str, overlap.tolist()))
    assert len(center) == 0


def test_a_cell_larger_than_the_tile_names_what_fits(imagery):
    with pytest.raises(InputError, match="resolution is 11") as caught:
        cut(imagery, kind="h3", h3=_h3(11))
    message = str(caught.value)
    assert "tile_size_px 16 * gsd_m 2 = 32 m" in message
    assert "resolution of at least 12" in message
    fitting_px = int(message.split("tile_size_px of at least ")[1].split(",")[0])
    assert len(cut(imagery, kind="h3", h3=_h3(11), tile_size_px=fitting_px))
    with pytest.raises(InputError, match="do not fit"):
        cut(imagery, kind="h3", h3=_h3(11), tile_size_px=fitting_px - 1)


def test_no_cell_by_centre_is_explained(imagery):
    with pytest.raises(InputError, match="no cell of resolution 6 has its centre"):
        cut(imagery, kind="h3", h3=_h3(6, "center"))
