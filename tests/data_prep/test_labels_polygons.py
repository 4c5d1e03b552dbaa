"""Numbers of polygons: counts spread by area, means weighted by area."""

import dataclasses

import geopandas as gpd
import numpy as np
import pytest
import shapely
import small_city
from test_labels import NORTH, WEST, _box, _extract, _regions

from data_prep.labels.settings import LabelSettings
from data_prep.labels.source import meaning
from mmgr_jax.errors import InputError


def _blocks(folder, shapes, values, kind="count", unit="persons", **given):
    table = gpd.GeoDataFrame(dict(people=values), geometry=shapes, crs=small_city.CRS)
    path = folder / "blocks.gpkg"
    table.to_file(path)
    return LabelSettings(kind, str(path), unit, column="people", **given)


def _cells(rng, count):
    """Polygons that partition a square of 600 m: a Voronoi diagram."""
    seeds = rng.uniform((WEST - 50, NORTH - 550), (WEST + 550, NORTH + 50), (count, 2))
    square = shapely.box(WEST - 50, NORTH - 550, WEST + 550, NORTH + 50)
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(seeds)))
    return shapely.intersection(cells, square)


def test_counts_are_spread_over_the_area_of_their_polygons(tmp_path):
    rng = np.random.default_rng(0)
    shapes = _cells(rng, 40)
    values = rng.integers(0, 90, len(shapes))
    regions = _regions(rows=4, columns=5)
    found, report = _extract(_blocks(tmp_path, shapes, values), regions)
    expected = [
        sum(
            value * shape.intersection(outline).area / shape.area
            for value, shape in zip(values, shapes, strict=True)
        )
        for outline in regions.geometry
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert report["total"] == pytest.approx(sum(expected), rel=1e-6)
    assert report["total of the source"] == values.sum()
    outside = report["outside every region"]
    assert report["total"] + outside == pytest.approx(values.sum(), rel=1e-9)


def test_every_person_is_counted_where_regions_cover_all(tmp_path):
    rng = np.random.default_rng(1)
    shapes = _cells(rng, 30)
    values = rng.integers(0, 90, len(shapes))
    regions = _regions(rows=6, columns=6, west=WEST - 50, north=NORTH + 50)
    found, report = _extract(_blocks(tmp_path, shapes, values), regions)
    assert found.sum() == pytest.approx(values.sum(), rel=1e-6)
    assert report["outside every region"] == pytest.approx(0, abs=1e-6)


def test_densities_are_means_weighted_by_area(tmp_path):
    shapes = [_box(0, 0, 30, 100), _box(30, 0, 100, 100), _box(100, 0, 160, 100)]
    source = _blocks(tmp_path, shapes, [10.0, 20.0, 7.0], "density", "persons/km2")
    found, _ = _extract(source, _regions(rows=1, columns=3))
    np.testing.assert_allclose(found, [17.0, 7.0, np.nan])
    zero = dataclasses.replace(source, nodata="zero")
    # Inside the extent of the file, 160 m, land without a polygon counts as zero.
    found, _ = _extract(zero, _regions(rows=1, columns=3))
    np.testing.assert_allclose(found, [17.0, 7.0, np.nan])
    apart = _blocks(tmp_path, shapes[:1] + shapes[2:], [10.0, 7.0], "scalar", "m",
                    nodata="zero")  # fmt: skip
    found, _ = _extract(apart, _regions(rows=1, columns=2))
    np.testing.assert_allclose(found, [3.0, 7.0])


def test_a_missing_count_is_unknown_or_zero(tmp_path):
    shapes = [_box(0, 0, 60, 100), _box(60, 0, 100, 100), _box(100, 0, 200, 100)]
    source = _blocks(tmp_path, shapes, [np.nan, 8.0, 9.0])
    regions = _regions(rows=1, columns=2)
    found, report = _extract(source, regions)
    np.testing.assert_array_equal(found, np.float32([np.nan, 9.0]))
    assert report["total in regions without a value"] == pytest.approx(8.0)
    found, _ = _extract(dataclasses.replace(source, nodata="zero"), regions)
    np.testing.assert_allclose(found, [8.0, 9.0])


def test_overlapping_blocks_do_not_break_the_total(tmp_path):
    source = _blocks(tmp_path, [_box(0, 0, 100, 100)] * 2, [5, 6])
    found, _ = _extract(source, _regions(rows=1, columns=1))
    assert found.tolist() == [11.0]


def test_a_negative_count_is_refused(tmp_path):
    source = _blocks(tmp_path, [_box(0, 0, 100, 100)], [-4])
    with pytest.raises(
        InputError, match="labels.people: .*'people', holds the count -4"
    ):
        _extract(source, _regions())


def test_a_file_elsewhere_is_refused(tmp_path):
    source = _blocks(tmp_path, [_box(9000, 0, 9100, 100)], [4])
    with pytest.raises(
        InputError, match="at most 0% of a region.s area, .*covers the regions"
    ):
        _extract(source, _regions())


def test_a_class_is_that_of_most_land(tmp_path):
    rng = np.random.default_rng(5)
    names = np.array(["park", "town", "mill"])
    said = rng.choice(names, 60)
    source = _blocks(
        tmp_path, _cells(rng, 60), said, "class", "1", classes=tuple(names.tolist())
    )
    shares, _ = _extract(
        dataclasses.replace(source, kind="share"), _regions(rows=5, columns=5)
    )
    found, report = _extract(source, _regions(rows=5, columns=5))
    known = ~np.isnan(shares[:, 0])
    np.testing.assert_array_equal(found[known], shares[known].argmax(axis=1))
    assert np.isnan(found[~known]).all()
    assert report["regions without a value"] == (~known).sum()
    assert len(set(found[known])) == 3
    told = meaning(source)
    assert (told.kind, told.classes, told.shape) == (
        "class", ("park", "town", "mill"), (),
    )  # fmt: skip
    assert told.rule.startswith("the class of most land")
