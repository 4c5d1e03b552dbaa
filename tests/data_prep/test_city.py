"""From raw files to records for every kind of regions."""

from pathlib import Path

import geopandas as gpd
import h3
import numpy as np
import pytest
import shapely
import small_city
import small_regions
from rasterio.transform import from_origin
from small_city import place_m

from data_prep import build
from mmgr_jax.data import schema, source


@pytest.fixture
def config(tmp_path):
    return small_city.write(tmp_path)


def _records(config):
    """What a build writes: the manifest, and records by region id."""
    folder = build.build(config)
    manifest = schema.Manifest.load(folder)
    held = source.RecordSource(folder)
    records = [held[index] for index in range(len(held))]
    return manifest, {record["region_id"]: record for record in records}


def _outline(record):
    return shapely.from_wkb(record["geometry"])


def _pois_inside(outline, buffer_m=0.0):
    """Categories of the hand-made POIs in an outline, in the order of the file."""
    table = small_city.poi_table(small_city.CRS)
    near = table.geometry.distance(outline) <= buffer_m
    return sorted(table.category[near])


def _categories(manifest, record):
    return sorted(manifest.categories[index] for index in record["poi/category"])


def _raster_cells():
    """The cells of the raster of people, row by row from the north-west."""
    return [
        shapely.box(*place_m(column, row + 1), *place_m(column + 1, row))
        for row in range(small_city.ROWS)
        for column in range(small_city.COLUMNS)
    ]


def _write_zones(config, outlines, **columns):
    path = Path(config.pois.path).with_name("districts.gpkg")
    gpd.GeoDataFrame(columns, geometry=outlines, crs=small_city.CRS).to_file(path)
    config.regions.kind = "polygons"
    config.regions.polygons.path = str(path)
    config.regions.polygons.id_column = "name" if columns else None


def test_hexagons_become_records(config):
    config.regions.kind = "h3"
    config.regions.h3.resolution = 12
    config.regions.mask_outside = True
    manifest, records = _records(config)
    assert len(records) == manifest.num_regions > 9
    assert all(h3.get_resolution(cell) == 12 for cell in records)
    for record in records.values():
        outline = _outline(record)
        assert _categories(manifest, record) == _pois_inside(outline)
        # Offsets count from the middle of the tile, where the hexagon lies.
        assert np.abs(record["poi/offset_m"]).max(initial=0.0) < 16
        left, lower, right, upper = outline.bounds
        assert max(right - left, upper - lower) <= manifest.tile_size_m
        assert (record["image"][0, 0] == 0).all()
        assert (record["image"][8, 8] == 0).sum() < 3
        # Cells of the raster, 32 m wide, hold as many people as their number.
        expected = sum(
            number * outline.intersection(cell).area / small_city.TILE_M**2
            for number, cell in enumerate(_raster_cells())
        )
        assert record["label/people"] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_polygons_become_records(config):
    corners = [(0, 0), (1, 0), (1, 0.3), (0, 1)]
    slanted = shapely.Polygon([place_m(*corner) for corner in corners])
    square = shapely.box(*place_m(1, 1.97), *place_m(2, 1))
    _write_zones(config, [slanted, square], name=["north", "south"])
    manifest, records = _records(config)
    assert list(records) == ["north", "south"]
    assert _outline(records["north"]).equals(slanted)
    # Of the POIs of the first tile the cafe at (0.5, 0.75) lies below the slant; the
    # school at the corner (1, 2) of the second tile is a metre south of its polygon.
    assert _categories(manifest, records["north"]) == ["cafe", "school"]
    assert _categories(manifest, records["south"]) == ["park", "park"]
    image = np.moveaxis(small_city.pixels(), 0, -1)
    np.testing.assert_array_equal(records["north"]["image"], image[:16, :16])
    np.testing.assert_array_equal(records["south"]["image"], image[16:32, 16:32])
    # The cells of the raster hold 0 and 5 people; 0.97 of the second is the region's.
    assert records["north"]["label/people"] == 0
    assert records["south"]["label/people"] == pytest.approx(4.85, rel=1e-5)
    # The western half is forest, up to the middle of the second region.
    np.testing.assert_allclose(records["north"]["label/zones"], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(records["south"]["label/zones"], [0.5, 0.5, 0])


def test_polygons_take_the_pois_around_them(config):
    square = shapely.box(*place_m(1.0, 1.0), *place_m(1.5, 0.5))
    _write_zones(config, [square])
    config.regions.poi_buffer_m = 20.0
    manifest, records = _records(config)
    (record,) = records.values()
    assert _categories(manifest, record) == _pois_inside(square, 20.0)
    assert len(record["poi/category"]) > len(_pois_inside(square))


def test_overlapping_polygons_stay_in_one_block(config):
    """Two squares on two sides of a block's edge, and one that overlaps neither."""
    config.blocks.size_m = 32.0
    edge_m = np.ceil(small_city.WEST_M / 32) * 32
    north_m = small_city.NORTH_M
    left, right, apart = (
        shapely.box(west, north_m - 20, west + 20, north_m)
        for west in (edge_m + 32 - 14, edge_m + 32 - 4, edge_m + 64)
    )
    _write_zones(config, [left, right, apart], name=["left", "right", "apart"])
    manifest, records = _records(config)
    assert records["left"]["block_id"] == records["right"]["block_id"]
    assert records["left"]["block_id"] != records["apart"]["block_id"]
    assert manifest.report["regions noted"] == {"overlapping another": 2}


def test_a_large_polygon_is_shown_with_coarser_pixels(config):
    large = shapely.box(*place_m(0, 2), *place_m(2, 0))
    _write_zones(config, [large], name=["all"])
    config.regions.polygons.fit = "scale"
    manifest, records = _records(config)
    image = np.moveaxis(small_city.pixels(), 0, -1)[:32, :32].astype(float)
    means = image.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(records["all"]["image"], means, atol=0.51)
    assert manifest.report["regions noted"] == {"tile scaled to fit": 1}
    # People of four cells of the raster: 0, 1, 4 and 5.
    assert records["all"]["label/people"] == pytest.approx(10, rel=1e-5)


def test_chips_become_records(config):
    raw = Path(config.pois.path).parent
    for name, right, down in [("one", 0, 0), ("two", 2, 1)]:
        corner = from_origin(*place_m(right, down), 2, 2)
        image = small_regions.noise(16, 16)
        small_city.write_raster(raw / f"chip_{name}.tif", image, transform=corner)
    config.imagery.paths = (str(raw / "chip_*.tif"),)
    config.regions.kind = "chips"
    config.regions.poi_buffer_m = 8.0
    manifest, records = _records(config)
    assert list(records) == ["chip_one", "chip_two"]
    pixels = np.moveaxis(small_regions.noise(16, 16), 0, -1)
    for record in records.values():
        np.testing.assert_array_equal(record["image"], pixels)
    assert _categories(manifest, records["chip_one"]) == ["cafe", "cafe", "school"]
    # The cafe at (2.1, 2.1) is 3 m south of the second chip.
    assert _categories(manifest, records["chip_two"]) == ["cafe"]
    assert records["chip_two"]["label/people"] == pytest.approx(6, rel=1e-5)


def test_a_dry_run_tells_what_applies_to_regions(config, capsys):
    bow = shapely.Polygon([place_m(0, 0), place_m(1, 1), place_m(1, 0), place_m(0, 1)])
    _write_zones(config, [bow, shapely.box(*place_m(1, 1), *place_m(2, 0)), None])
    build.build(config, dry_run=True)
    said = capsys.readouterr().out
    assert "2 regions of 16 px = 32 m" in said
    assert "left out: 1 without geometry" in said
    assert "of the regions: 1 outline repaired" in said
