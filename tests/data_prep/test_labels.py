import dataclasses
import logging

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import small_city
import small_regions
from rasterio.transform import from_origin

from data_prep.files import cells
from data_prep.labels import extraction, overlay, polygons, rasters, totals
from data_prep.labels.settings import LabelSettings
from data_prep.labels.source import meaning
from mmgr_jax.errors import InputError

WEST, NORTH = small_city.WEST_M, small_city.NORTH_M
CLASSES = ("forest", "water")


def _regions(rows=6, columns=5, size_m=100.0, west=WEST, north=NORTH):
    row, column = np.indices((rows, columns)).reshape(2, -1)
    return small_regions.squares(row, column, size_m=size_m, corner_m=(west, north))


def _twice(regions):
    """Every region once more, under another name."""
    return dataclasses.replace(
        regions,
        ids=regions.ids + [f"{name} again" for name in regions.ids],
        bounds_m=np.tile(regions.bounds_m, (2, 1)),
        coverage=np.tile(regions.coverage, 2),
        disjoint=False,
    )


def _raster(folder, values, *, west=WEST, north=NORTH, size=70.0, **profile):
    path = folder / "values.tif"
    settings = dict(transform=from_origin(west, north, size, size)) | profile
    small_city.write_raster(path, values, **settings)
    return str(path)


def _extract(source, regions):
    return extraction.extract("people", source, regions, small_city.CRS)


def _weights(regions, shape, west, north, size):
    """Area of each pixel inside each region [r h w], by polygon intersection."""
    rows, columns = np.indices(shape)
    left, top = west + columns * size, north - rows * size
    pixels = shapely.box(left, top - size, left + size, top)
    outlines = regions.geometry[:, None, None]
    return shapely.area(shapely.intersection(outlines, pixels[None]))


def test_counts_are_sums_over_exact_pixel_parts(tmp_path):
    values = np.random.default_rng(0).uniform(0, 50, (12, 11)).astype(np.float32)
    path = _raster(tmp_path, values, west=WEST - 33, north=NORTH + 21)
    regions = _regions()
    found, report = _extract(LabelSettings("count", path, "persons"), regions)
    area = _weights(regions, values.shape, WEST - 33, NORTH + 21, 70.0)
    expected = (area / 70.0**2 * values).sum(axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float32
    assert report["total"] == pytest.approx(expected.sum(), rel=1e-5)
    assert report["regions without a value"] == 0
    assert report["mean covered share"] == 1.0


@pytest.mark.parametrize("kind", ["density", "scalar"])
def test_densities_are_means_weighted_by_area(tmp_path, kind):
    low = 0 if kind == "density" else -5
    values = np.random.default_rng(0).uniform(low, 50, (12, 11)).astype(np.float32)
    path = _raster(tmp_path, values, west=WEST - 33, north=NORTH + 21)
    regions = _regions()
    found, _ = _extract(LabelSettings(kind, path, "persons/km2"), regions)
    area = _weights(regions, values.shape, WEST - 33, NORTH + 21, 70.0)
    expected = (area * values).sum(axis=(1, 2)) / area.sum(axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("crs", [small_city.CRS, "EPSG:4326"])
def test_totals_are_preserved(tmp_path, crs):
    values = np.random.default_rng(1).uniform(0, 9, (7, 8)).astype(np.float32)
    if crs == small_city.CRS:
        path = _raster(tmp_path, values, west=WEST + 30, north=NORTH - 40, size=50.0)
    else:
        box = gpd.GeoSeries([shapely.box(WEST, NORTH - 500, WEST + 500, NORTH)])
        west, south, east, north = box.set_crs(small_city.CRS).to_crs(crs).total_bounds
        size = min(east - west, north - south) / 12
        shift = from_origin(west + size, north - size, size, size)
        path = _raster(tmp_path, values, transform=shift, crs=crs)
    regions = _regions(rows=24, columns=24, size_m=25.0)
    source = LabelSettings("count", path, "persons", min_known=1e-6)
    found, report = _extract(source, regions)
    assert np.nansum(found) == pytest.approx(values.sum(), rel=1e-3)
    assert report["total"] == pytest.approx(values.sum(), rel=1e-3)
    assert report["total of the source"] == pytest.approx(values.sum(dtype=float))
    assert report["outside every region"] == pytest.approx(0, abs=1e-3)


def test_what_lies_outside_and_in_regions_without_a_value_is_told(tmp_path):
    values = np.random.default_rng(1).uniform(0, 9, (4, 8)).astype(np.float32)
    path = _raster(tmp_path, values, west=WEST - 60, size=100.0)
    # The raster's first 60 m; 40 m of the second column of regions are beyond it.
    regions = _regions(rows=4, columns=2, size_m=400.0, west=WEST - 460)
    found, report = _extract(LabelSettings("count", path, "persons"), regions)
    area = _weights(regions, values.shape, WEST - 60, NORTH, 100.0) / 100.0**2
    expected = (area * values).sum(axis=(1, 2))
    assert np.isnan(found).tolist() == [True, False] + [True] * 6
    assert found[1] == pytest.approx(expected[1], rel=1e-5)
    assert report["total"] == pytest.approx(expected[1], rel=1e-5)
    assert report["outside every region"] == pytest.approx(values[:, 4:].sum())
    assert report["total in regions without a value"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(
        InputError, match=r"at most 97% of a region's area, but min_kno"
    ):
        _extract(
            LabelSettings("count", path, "persons", min_known=0.99),
            _regions(rows=1, columns=1, size_m=400.0, west=WEST - 72),
        )


def test_a_large_raster_is_summed_around_the_regions(tmp_path, monkeypatch):
    monkeypatch.setattr(rasters, "_WHOLE_PX", 10)
    monkeypatch.setattr(rasters, "_READ_PX", 12)  # several readings
    values = np.random.default_rng(2).uniform(0, 9, (12, 11)).astype(np.float32)
    path = _raster(tmp_path, values, west=WEST - 210, north=NORTH + 140)
    regions = _regions(rows=2, columns=2, size_m=160.0)
    _, report = _extract(LabelSettings("count", path, "persons"), regions)
    around = values[2:7, 3:8].sum(dtype=float)  # 320 m are 4.6 pixels
    told = report["total of the source around the regions"]
    assert told == pytest.approx(around)
    assert report["total"] + report["outside every region"] == pytest.approx(
        around, rel=1e-5
    )


def test_overlapping_regions_count_twice_and_say_so(tmp_path):
    path = _raster(tmp_path, np.ones((6, 5), np.float32), size=100.0)
    regions = _twice(_regions(rows=1, columns=2))
    _, report = _extract(LabelSettings("count", path, "persons"), regions)
    assert report["total"] == pytest.approx(4)
    assert report["outside every region"] == pytest.approx(28)
    assert report["counted more than once, as regions overlap"] == pytest.approx(2)


def test_a_total_that_is_not_preserved_is_refused():
    sums = np.array([3.0, 4.0])
    stored = sums.astype(np.float32)
    for source, overlapping in ((6.0, False), (8.0, False), (8.0, True)):
        total = totals.Total(sums, 0.0, source, overlapping)
        with pytest.raises(InputError, match="labels.people: a.tif holds [68], but"):
            totals.check("people", "a.tif", total, stored)
    told = totals.check(
        "people", "a.tif", totals.Total(sums, 0.0, 7.005, False), stored
    )
    assert told["total"] == 7


@pytest.mark.parametrize("nodata", [-9999.0, None])
def test_missing_pixels_are_not_zero(tmp_path, nodata):
    values = np.ones((6, 5), np.float32)
    values[:, 0] = np.nan if nodata is None else nodata
    values[0, 1] = values[0, 0]
    path = _raster(tmp_path, values, size=100.0, nodata=nodata)
    regions = _regions(rows=3, columns=2, size_m=200.0, west=WEST - 100)
    counts, report = _extract(LabelSettings("count", path, "persons"), regions)
    # Region (r, 0) sees column 0 alone; region (r, 1) columns 1 and 2 of two rows.
    np.testing.assert_array_equal(
        counts, np.array([np.nan, 3, np.nan, 4, np.nan, 4], np.float32)
    )
    means, _ = _extract(LabelSettings("density", path, "persons/km2"), regions)
    zero = LabelSettings("count", path, "persons", nodata="zero")
    assert _extract(zero, regions)[0].tolist() == [0, 3, 0, 4, 0, 4]
    zero = LabelSettings("density", path, "persons/km2", nodata="zero")
    expected = [0, 0.75, 0, 1, 0, 1]
    np.testing.assert_allclose(_extract(zero, regions)[0][1:], expected[1:])
    np.testing.assert_array_equal(np.isnan(means), np.isnan(counts))
    assert report["regions without a value"] == 3
    assert report["total"] == 11


def test_a_negative_count_is_refused(tmp_path):
    values = np.ones((6, 5), np.float32)
    values[2, 2] = -9999
    path = _raster(tmp_path, values, size=100.0)
    with pytest.raises(
        InputError, match=r"labels.people.*-9999.*rio edit-info --nodata"
    ):
        _extract(LabelSettings("count", path, "persons"), _regions())


def test_the_band_asked_for_is_read(tmp_path):
    values = np.stack([np.full((6, 5), value, np.float32) for value in (1, 7)])
    path = _raster(tmp_path, values, size=100.0)
    found, _ = _extract(LabelSettings("scalar", path, "1", band=2), _regions())
    assert (found == 7).all()


def _zones(folder, shapes, classes, crs=small_city.CRS):
    table = gpd.GeoDataFrame(dict(zone=classes), geometry=shapes, crs=small_city.CRS)
    path = folder / "zones.gpkg"
    table.to_crs(crs).to_file(path)
    return LabelSettings("share", str(path), column="zone", classes=CLASSES)


def _box(left, top, right, bottom):
    return shapely.box(WEST + left, NORTH - bottom, WEST + right, NORTH - top)


def test_shares_are_of_the_covered_part(tmp_path):
    source = _zones(
        tmp_path,
        [_box(0, 0, 60, 100), _box(60, 0, 80, 100), _box(100, 0, 150, 50)],
        ["forest", "water", "water"],
    )
    source = dataclasses.replace(source, min_known=0.2)
    found, report = _extract(source, _regions(rows=1, columns=3))
    # 60 m of forest and 20 m of water of 100 m; a quarter of water; nothing.
    np.testing.assert_allclose(found[:2], [[0.75, 0.25], [0.0, 1.0]], atol=1e-6)
    assert np.isnan(found[2]).all()
    assert found.dtype == np.float32
    assert report["regions without a value"] == 1
    assert report["mean covered share"] == pytest.approx((0.8 + 0.25) / 3, abs=1e-4)


def test_too_little_covered_counts_as_unknown(tmp_path):
    source = _zones(tmp_path, [_box(0, 0, 49, 100), _box(100, 0, 151, 100)], CLASSES)
    found, report = _extract(source, _regions(rows=1, columns=2))
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], [0.0, 1.0])
    assert report["mean covered share"] == 0.5


def test_uncovered_land_may_be_a_class(tmp_path):
    source = _zones(tmp_path, [_box(0, 0, 60, 100), _box(100, 0, 150, 50)], CLASSES)
    source = dataclasses.replace(source, uncovered="class:water")
    found, report = _extract(source, _regions(rows=1, columns=3))
    # The third region lies outside the file's extent: nobody knows.
    expected = [[0.6, 0.4], [0.0, 1.0], [np.nan, np.nan]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert report["mean covered share"] == pytest.approx((0.6 + 0.25) / 3, abs=1e-4)


def test_classes_of_the_file_are_mapped_to_those_of_the_config(tmp_path):
    shapes = [_box(0, 0, 50, 100), _box(50, 0, 80, 100), _box(80, 0, 100, 100)]
    table = gpd.GeoDataFrame(dict(code=[101, 102, 900]), geometry=shapes)
    path = tmp_path / "coded.gpkg"
    table.set_crs(small_city.CRS).to_file(path)
    source = LabelSettings(
        "share",
        str(path),
        column="code",
        classes=CLASSES,
        mapping=(("101", "forest"), ("102", "forest"), ("900", None)),
    )
    found, report = _extract(source, _regions(rows=1, columns=1))
    np.testing.assert_allclose(found, [[1.0, 0.0]])
    assert report["mean covered share"] == pytest.approx(0.8)
    assert report["polygons left out by the mapping"] == 1
    # Where a cell is empty, pandas reads the codes as 101.0.
    codes = cells.text(pd.Series([101.0, np.nan]))
    assert codes.tolist()[0] == "101" and pd.isna(codes[1])


def test_unclassed_and_broken_polygons_are_handled(tmp_path):
    corners = [(WEST, NORTH), (WEST + 100, NORTH - 100)]
    corners += [(WEST + 100, NORTH), (WEST, NORTH - 100)]
    bow_tie = shapely.Polygon(corners)  # crosses itself: two triangles, half the square
    source = _zones(tmp_path, [bow_tie, _box(0, 0, 50, 100)], ["water", None])
    found, report = _extract(source, _regions(rows=1, columns=1))
    np.testing.assert_allclose(found, [[0.0, 1.0]])
    assert report["mean covered share"] == pytest.approx(0.5, abs=1e-4)
    assert report["polygons repaired"] == 1


def test_overlapping_polygons_are_told(tmp_path, caplog):
    source = _zones(tmp_path, [_box(0, 0, 100, 100), _box(0, 0, 100, 100)], CLASSES)
    with caplog.at_level(logging.WARNING):
        found, report = _extract(source, _regions(rows=1, columns=1))
    np.testing.assert_allclose(found, [[0.5, 0.5]])
    assert report["regions with overlapping polygons"] == 1
    assert report["mean covered share"] == 1.0
    assert "overlap in 1 regions" in caplog.text


@pytest.mark.parametrize("crs", [small_city.CRS, "EPSG:4326"])
def test_overlay_matches_geopandas(tmp_path, crs, monkeypatch):
    monkeypatch.setattr(overlay, "_PAIRS", 7)  # several rounds
    rng = np.random.default_rng(3)
    centres = rng.uniform((WEST, NORTH - 600), (WEST + 500, NORTH), (40, 2))
    shapes = shapely.buffer(shapely.points(centres), rng.uniform(10, 90, 40))
    names = rng.choice(CLASSES, 40)
    source = _zones(tmp_path, shapes, names, crs)
    regions = _regions()
    table, _ = polygons.read("config.labels.zones", source, small_city.CRS)
    pieces = overlay.overlay(regions.geometry, table.geometry.to_numpy())
    class_of = table["zone"].map(CLASSES.index).to_numpy()
    found = np.zeros((30, 2))
    np.add.at(found, (pieces.region, class_of[pieces.polygon]), pieces.area_m2)
    outlines = gpd.GeoDataFrame(
        dict(region=np.arange(30)), geometry=regions.geometry, crs=small_city.CRS
    )
    zones = gpd.GeoDataFrame(dict(zone=names), geometry=shapes, crs=small_city.CRS)
    # One zone at a time, so that overlapping zones count as often as they occur.
    expected = np.zeros((30, 2))
    for index in range(40):
        pieces = outlines.overlay(zones.iloc[[index]], how="intersection")
        k = CLASSES.index(names[index])
        np.add.at(expected, (pieces["region"].to_numpy(), k), pieces.area.to_numpy())
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_the_manifest_entry_keeps_what_is_known():
    source = LabelSettings(
        "count", "a.tif", "persons", year=2020, source="WorldPop", licence="CC BY 4.0"
    )
    told = meaning(source)
    assert told.shape == ()
    assert (told.kind, told.unit, told.year) == ("count", "persons", 2020)
    assert (told.source, told.licence) == ("WorldPop", "CC BY 4.0")
    share = LabelSettings("share", "a.gpkg", column="zone", classes=CLASSES)
    assert meaning(share).shape == (2,)
