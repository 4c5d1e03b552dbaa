"""Rasters as they come: turned, packed, of several years, across 180 degrees."""

import logging

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
import small_city
import small_regions
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from data_prep.labels import check as label_checks
from data_prep.labels import extraction
from data_prep.labels.settings import LabelSettings
from mmgr_jax.errors import InputError

WEST, NORTH = small_city.WEST_M, small_city.NORTH_M
SIDE = 50.0


def _regions(rows=4, columns=5, size_m=60.0, corner_m=(WEST + 20, NORTH - 10)):
    row, column = np.indices((rows, columns)).reshape(2, -1)
    return small_regions.squares(row, column, size_m=size_m, corner_m=corner_m)


def _values(shape=(7, 8), seed=0):
    return np.random.default_rng(seed).integers(1, 90, shape).astype(np.float32)


def _raster(path, values, **profile):
    grid = dict(transform=from_origin(WEST, NORTH, SIDE, SIDE), nodata=-9999)
    return str(small_city.write_raster(path, values, **(grid | profile)))


def _source(path, kind="count", **settings):
    unit = dict(count="persons", density="persons/km2", scalar="USD")[kind]
    return LabelSettings(kind, path, unit, **settings)


def _extract(source, regions, crs=small_city.CRS):
    return extraction.extract("people", source, regions, crs)


def _problems(source, extent_deg=None):
    return label_checks.problems("people", source, extent_deg)


def _pixels(grid, shape):
    """The pixels of any grid as polygons [h w], by its corners."""
    rows, columns = np.indices(shape)
    corners = [
        grid @ (columns + right, rows + down)
        for right, down in ((0, 0), (1, 0), (1, 1), (0, 1))
    ]
    return shapely.polygons(np.moveaxis(np.array(corners), (0, 1), (2, 3)))


GRIDS = {
    "north-up": from_origin(WEST, NORTH, SIDE, SIDE),
    "south-up": Affine(SIDE, 0, WEST, 0, SIDE, NORTH - 7 * SIDE),
    "mirrored": Affine(-SIDE, 0, WEST + 8 * SIDE, 0, -SIDE, NORTH),
    "turned": Affine.translation(WEST - 60, NORTH - 70)
    @ Affine.rotation(20)
    @ Affine.scale(SIDE, -SIDE),
    "a quarter turn": Affine(0, SIDE, WEST, -SIDE, 0, NORTH),
    "sheared": Affine(SIDE, 15, WEST - 40, 4, -SIDE, NORTH),
}


@pytest.mark.parametrize("kind", ["count", "density"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_raster_lies_as_its_transform_says(tmp_path, grid, kind):
    """The oracle cuts every pixel with every region by shapely."""
    values = _values()
    path = _raster(tmp_path / "a.tif", values, transform=grid)
    regions = _regions()
    source = _source(path, kind, min_known=1e-6)
    assert not _problems(source)
    found, report = _extract(source, regions)
    pixels = _pixels(grid, values.shape)
    shared = shapely.area(
        shapely.intersection(regions.geometry[:, None, None], pixels[None])
    )
    covered = shared.sum(axis=(1, 2))
    if kind == "count":
        expected = (shared / shapely.area(pixels) * values).sum(axis=(1, 2))
        assert report["total of the source"] == values.sum()
        assert report["total"] + report["outside every region"] == pytest.approx(
            values.sum(), rel=1e-5
        )
    else:
        expected = (shared * values).sum(axis=(1, 2)) / np.where(covered, covered, 1)
    known = covered > 1e-5 * 60**2
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-5)
    assert np.isnan(found[~known]).all()
    share = np.minimum(covered / 60**2, 1).mean()
    assert report["mean covered share"] == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("kind", ["count", "density", "scalar"])
def test_packed_numbers_are_unpacked_for_values_and_checks(tmp_path, kind):
    values = _values()
    packed = ((values - 5) * 10).astype(np.int16)
    packed[0, 0] = -32768
    path = _raster(tmp_path / "a.tif", packed, nodata=-32768)
    with rasterio.open(path, "r+") as target:
        target.scales, target.offsets = (0.1,), (5.0,)
    plain = values.copy()
    plain[0, 0] = -9999
    expected, told = _extract(
        _source(_raster(tmp_path / "b.tif", plain), kind), _regions()
    )
    found, report = _extract(_source(path, kind), _regions())
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert report == pytest.approx(told, rel=1e-5)


def test_an_undeclared_fill_is_told_as_it_is_stored(tmp_path):
    packed = np.full((7, 8), 50, np.int16)
    packed[2, 2] = -9999
    path = _raster(tmp_path / "a.tif", packed, nodata=-32768)
    with rasterio.open(path, "r+") as target:
        target.scales = (0.1,)
    with pytest.raises(
        InputError, match=r"holds the count -999.9; counts are 0 or"
    ) as e:
        _extract(_source(path), _regions())
    assert f"`rio edit-info --nodata -9999 {path}`" in str(e.value)


@pytest.mark.parametrize(
    ("kind", "number", "message"),
    [
        ("density", -99999, "the density -99999; densities are 0 or more"),
        ("density", -0.5, "the density -0.5; densities are 0 or more"),
        ("density", 3.4e38, "which programs write where data is missing"),
        ("scalar", -666666666, "the scalar -666666.*which programs write"),
        ("scalar", -9999, "the scalar -9999; which programs write"),
        ("scalar", 1e20, "the scalar 1e\\+20; which programs write"),
        ("count", -1, "the count -1; counts are 0 or more"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(tmp_path, kind, number, message):
    values = _values().astype(np.float64)
    values[3, 3] = number
    path = _raster(tmp_path / "a.tif", values, nodata=None)
    with pytest.raises(InputError, match=message):
        _extract(_source(path, kind), _regions())
    table = gpd.GeoDataFrame(
        dict(value=[1.0, number]),
        geometry=[
            shapely.box(WEST, NORTH - 300, WEST + 100, NORTH),
            shapely.box(WEST + 100, NORTH - 300, WEST + 300, NORTH),
        ],
        crs=small_city.CRS,
    )
    table.to_file(tmp_path / "a.gpkg")
    source = _source(str(tmp_path / "a.gpkg"), kind, column="value")
    with pytest.raises(InputError, match=message.replace("666666.*", "666666666.*")):
        _extract(source, _regions())


def test_numbers_below_zero_are_fine_for_a_scalar_and_the_spread_is_told(tmp_path):
    values = np.linspace(-20, 30, 56).reshape(7, 8).astype(np.float32)
    found, report = _extract(
        _source(_raster(tmp_path / "a.tif", values), "scalar"), _regions()
    )
    assert report["smallest"] == found.min() < 0 < report["largest"] == found.max()
    assert report["median"] == pytest.approx(float(np.median(found)))


def test_the_largest_number_of_a_type_is_suspicious(tmp_path, caplog):
    values = _values().astype(np.uint16)
    values[2, 2] = 65535
    path = _raster(tmp_path / "a.tif", values, nodata=None)
    with caplog.at_level(logging.WARNING):
        _extract(_source(path), _regions())
    assert "holds 65535, the largest number that its type can hold" in caplog.text


def _years(path, names=("2000", "2010", "2020")):
    path = _raster(path, np.stack([_values() * k for k in (1, 2, 3)]))
    with rasterio.open(path, "r+") as target:
        for band, name in enumerate(names, 1):
            target.set_band_description(band, name)
    return path


def test_of_several_bands_one_must_be_named(tmp_path, caplog):
    path = _years(tmp_path / "a.tif")
    (problem,) = _problems(_source(path, year=2020))
    assert "allowed: 1 to 3, with numbers 1 ('2000'), 2 ('2010'), 3 ('2020')" in problem
    (problem,) = _problems(_source(path, year=2020, band=1))
    assert "Band 3 is of 2020: set config.labels.people.band=3" in problem
    assert "allowed: 1 to 3" in _problems(_source(path, band=4))[0]
    with caplog.at_level(logging.INFO):
        found, _ = _extract(_source(path, year=2020, band=3), _regions())
    assert "label people: band 3 ('2020') of" in caplog.text
    one, _ = _extract(_source(_raster(tmp_path / "b.tif", _values())), _regions())
    np.testing.assert_allclose(found, 3 * one, rtol=1e-6)


def test_the_only_band_of_another_year_is_told(tmp_path):
    path = _raster(tmp_path / "a.tif", _values())
    with rasterio.open(path, "r+") as target:
        target.set_band_description(1, "ppp_2010_1km")
    assert "named after another year" in _problems(_source(path, year=2020))[0]
    assert not _problems(_source(path, year=2020, band=1))  # who names it, knows
    assert not _problems(_source(path, year=2010))
    assert not _problems(_source(path))


def test_an_alpha_band_is_no_number(tmp_path):
    values = _values().astype(np.uint16)
    alpha = np.full_like(values, 65535)
    alpha[:, 4:] = 0
    path = _raster(
        tmp_path / "a.tif", np.stack([values, alpha]), nodata=None, alpha="YES"
    )
    with rasterio.open(path) as source:
        assert source.colorinterp[1] == ColorInterp.alpha
    regions = _regions()
    found, _ = _extract(_source(path), regions)
    east = regions.centre_m[:, 0] > WEST + 4 * SIDE
    assert np.isnan(found[east]).all() and not np.isnan(found[~east]).any()
    assert "marks as alpha" in _problems(_source(path, band=2))[0]


def test_a_unit_of_the_file_that_contradicts_the_kind_is_told(tmp_path):
    path = _raster(tmp_path / "a.tif", _values())
    with rasterio.open(path, "r+") as target:
        target.units = ("people per sq. km",)
    assert "is in 'people per sq. km', which is per area" in _problems(_source(path))[0]
    assert not _problems(_source(path, "density"))


def test_a_crs_that_says_nothing_is_refused(tmp_path):
    wkt = 'LOCAL_CS["Lambert-93",UNIT["metre",1],AXIS["E",EAST],AXIS["N",NORTH]]'
    crs = rasterio.crs.CRS.from_wkt(wkt)
    path = _raster(tmp_path / "a.tif", _values(), crs=crs)
    (problem,) = _problems(_source(path), (0.0, 0.0, 1.0, 1.0))
    assert "names the CRS 'Lambert-93' (Engineering CRS)" in problem


# ---- across 180 degrees ----

FIJI = "EPSG:32701"


@pytest.fixture
def at_180():
    """Regions on both sides of 180 degrees, and where they lie in degrees."""
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", FIJI, always_xy=True)
    x, y = to_metres.transform(180.0, -16.8)
    regions = _regions(4, 6, 200.0, (round(x) - 600.0, round(y) + 400.0))
    corners = shapely.get_coordinates(regions.geometry)
    back = pyproj.Transformer.from_crs(FIJI, "EPSG:4326", always_xy=True)
    lon, lat = back.transform(*corners.T)
    assert lon.min() < -179.9 and lon.max() > 179.9
    lon = lon % 360
    return regions, (lon.min(), lat.min(), lon.max(), lat.max())


@pytest.mark.parametrize(
    "west",
    [179.98, -180.02, 0.0, -180.0],
    ids=["beyond 180", "before -180", "0 to 360", "-180 to 180"],
)
def test_180_degrees_is_no_edge_for_labels(tmp_path, at_180, west):
    """The same grid of a quarter of a minute by four countings of longitude."""
    regions, (_, south, _, north) = at_180
    step = 1 / 240
    columns = round((360 if west in (0.0, -180.0) else 0.04) / step)
    rows = 24
    top = -16.75
    centre = (west + (np.arange(columns) + 0.5) * step) % 360
    latitude = top - (np.arange(rows) + 0.5) * step
    people = np.rint(
        1e4 * (centre[None] - 179.9).clip(0, 0.2) - 100 * (latitude[:, None] + 17)
    )
    people = people.clip(0, 5000).astype(np.float32)
    people[:, (centre < 179.9) | (centre > 180.1)] = 0
    path = str(
        small_city.write_raster(
            tmp_path / "a.tif",
            people,
            crs="EPSG:4326",
            transform=from_origin(west, top, step, step),
            nodata=-1,
        )  # fmt: skip
    )
    extent = (179.99, south, 180.01, north)
    assert not _problems(_source(path), extent)
    found, report = _extract(_source(path), regions, FIJI)
    # The oracle lays the same pixels out in metres and cuts them there.
    near = np.abs((centre - 180 + 180) % 360 - 180) < 0.02
    order = np.argsort(centre[near])
    pixels = _pixels(
        Affine(step, 0, centre[near][order][0] - step / 2, 0, -step, top),
        (rows, near.sum()),
    )
    laid = gpd.GeoSeries(pixels.ravel(), crs="EPSG:4326").to_crs(FIJI).to_numpy()
    shared = shapely.area(shapely.intersection(regions.geometry[:, None], laid[None]))
    values = people[:, near][:, order].ravel()
    expected = (shared / shapely.area(laid) * values).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert report["regions without a value"] == 0
    assert report["mean covered share"] == pytest.approx(1, abs=1e-3)
