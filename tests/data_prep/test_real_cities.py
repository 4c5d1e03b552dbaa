"""Cities from files that nobody here made, by their configs; skipped without data."""

import collections
import hashlib
import os
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import small_city
from array_record.python.array_record_data_source import ArrayRecordDataSource
from rasterio.transform import from_origin

from configs import helsinki, santa_monica
from data_prep import build
from data_prep.category_embedding import command as vector_command
from data_prep.pois import table as pois
from data_prep.pois.settings import PoiSettings
from data_prep.records import runners
from data_prep.validate import content
from mmgr_jax.data import record_format, schema

DATA = Path(__file__).parents[3] / "shared" / "data"
UTM_11 = "EPSG:26911"


def _raw(city):
    folder = DATA / city
    if not folder.exists():
        pytest.skip(f"{folder}: no sample data beside the checkout")
    return folder


def _link(city, to):
    """The raw files of a city where its config looks for them, under a folder."""
    raw = to / "data" / city / "raw"
    raw.mkdir(parents=True)
    for path in _raw(city).iterdir():
        (raw / path.name).symlink_to(path)
    return raw


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The folder the commands run in; configs name paths relative to it."""
    folder, before = tmp_path_factory.mktemp("work"), Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def built(work):
    """Records of Santa Monica by its config, from raw files."""
    _link("santa_monica", work)
    return build.build(santa_monica.get_config(), run=runners.local(1))


@pytest.fixture(scope="module")
def found(built):
    return content.read(built)


def _records(folder):
    manifest = schema.Manifest.load(folder)
    layout = manifest.layout
    for path in manifest.shard_paths(folder):
        source = ArrayRecordDataSource([str(path)])
        for index in range(len(source)):
            yield record_format.deserialize(source[index], layout)


def _hashes(folder):
    """What holds content: manifests name times and folders."""
    kept = {".npy", ".csv"}
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.suffix in kept or "array_record" in path.name
    }


def test_every_record_of_santa_monica_is_fit(found):
    assert found.errors == []
    assert len(found.num_pois) == found.manifest.num_regions == 92
    assert found.manifest.report["regions dropped"] == {
        "without imagery": 0, "partly covered": 0, "blank": 0,
    }  # fmt: skip
    assert len(np.unique(found.block_id)) == 23


def test_tiles_are_the_chips_pixel_by_pixel(built):
    for record in _records(built):
        chip = DATA / "santa_monica" / "chips" / f"{record['region_id']}.tif"
        with rasterio.open(chip) as source:
            pixels, bounds = source.read(), source.bounds
        np.testing.assert_array_equal(record["image"], np.moveaxis(pixels, 0, -1))
        outline = shapely.from_wkb(record["geometry"])
        np.testing.assert_allclose(outline.bounds, bounds, atol=1e-6)


def test_everybody_of_santa_monica_is_inside_outside_or_unknown(found):
    told = found.manifest.report["labels"]["population"]
    inside = np.nansum(found.labels["population"], dtype=float)
    unknown = told["total in regions without a value"]
    everybody = inside + told["outside every region"] + unknown
    assert everybody == pytest.approx(89_736, rel=1e-3)
    assert told["total of the source"] == 89_736
    # Blocks shared out by area, by an overlay of another library.
    blocks = gpd.read_file(
        DATA / "santa_monica" / "census2010_blocks_population.geojson"
    ).to_crs(UTM_11)
    blocks["per_m2"] = blocks["pop2010"] / blocks.area
    chips = gpd.GeoDataFrame(geometry=list(found.geometry), crs=UTM_11)
    parts = blocks.overlay(chips.reset_index(), keep_geom_type=True)
    persons = (parts["per_m2"] * parts.area).groupby(parts["index"]).sum()
    known = np.flatnonzero(~np.isnan(found.labels["population"]))
    expected = persons.reindex(known, fill_value=0)
    np.testing.assert_allclose(
        found.labels["population"][known], expected, rtol=1e-4, atol=1e-3
    )


def test_land_use_shares_are_of_the_parcels(found):
    shares, told = found.labels["function"], found.manifest.report["labels"]["function"]
    known = ~np.isnan(shares[:, 0])
    assert told["regions without a value"] == (~known).sum() == 2
    np.testing.assert_allclose(shares[known].sum(axis=1), 1, rtol=1e-5)
    parcels = gpd.read_file(DATA / "santa_monica" / "landuse.geojson").to_crs(UTM_11)
    assert set(parcels["LANDUSE"]) == set(santa_monica.FUNCTION_OF_LAND_USE)
    parcels["kind"] = parcels["LANDUSE"].map(santa_monica.FUNCTION_OF_LAND_USE)
    chips = gpd.GeoDataFrame(geometry=list(found.geometry), crs=UTM_11)
    parts = parcels.overlay(chips.reset_index(), keep_geom_type=True)
    area_m2 = parts.area.groupby([parts["index"], parts["kind"]]).sum().unstack()
    area_m2 = area_m2.reindex(index=chips.index, columns=santa_monica.CLASSES).fillna(0)
    covered = area_m2.sum(axis=1) / chips.area
    assert told["mean covered share"] == pytest.approx(covered.mean(), abs=1e-3)
    assert 0.70 < told["mean covered share"] < 0.71  # streets are land without a class
    expected = area_m2.div(area_m2.sum(axis=1), axis=0)[known]
    np.testing.assert_allclose(shares[known], expected, atol=2e-3)


def test_399_pois_lie_within_150_m_of_a_chip(built, found):
    points = gpd.read_file(DATA / "santa_monica" / "pois.geojson").to_crs(UTM_11)
    away_m = np.stack([points.distance(chip) for chip in found.geometry])
    near = np.nonzero(away_m <= 150)
    assert found.manifest.report["POIs inside"] == len(set(near[1])) == 399
    counts = np.bincount(near[0], minlength=92)
    np.testing.assert_array_equal(found.num_pois, counts)
    names = found.manifest.categories
    for region, record in enumerate(_records(built)):
        stored = collections.Counter(names[i] for i in record["poi/category"])
        expected = points["category"].iloc[near[1][near[0] == region]]
        assert stored == collections.Counter(expected), record["region_id"]


@pytest.mark.slow
def test_one_worker_writes_what_two_write(built, work):
    config = santa_monica.get_config()
    config.records.dir = "data/santa_monica/by_two"
    by_two = build.build(config, run=runners.local(2))
    hashes = _hashes(built)
    assert len(hashes) >= 4 and _hashes(by_two) == hashes


@pytest.mark.parametrize(
    ("category", "parent", "count", "categories", "parents"),
    [("category", "type", 78_268, 63, 7), ("subcategory", "category", 66_217, 297, 33)],
)
def test_venues_of_las_vegas_by_two_levels_of_their_taxonomy(
    category, parent, count, categories, parents
):
    path = _raw("las_vegas") / "pois.csv.gz"
    settings = PoiSettings(
        path=str(path),
        crs="EPSG:4326",
        category_column=category,
        parent_column=parent,
        x_column="lon",
        y_column="lat",
    )
    table = pois.read(settings, city_crs=UTM_11)
    rows = pd.read_csv(path)
    assert len(table) == count == rows[category].notna().sum()
    assert table.dropped["missing category"] == len(rows) - count
    assert (len(table.categories), len(set(table.parents))) == (categories, parents)
    stored = pd.Series(table.categories)[table.category].value_counts()
    expected = rows[category].value_counts()
    assert stored.sort_index().to_dict() == expected.sort_index().to_dict()


@pytest.fixture(scope="module")
def in_helsinki(work):
    """Its config, with noise for the imagery that the sample lacks."""
    raw = _link("helsinki", work)
    (raw / "imagery").mkdir()
    cells = gpd.read_file(raw / "helsinki_population_grid_2020.gpkg").to_crs(3067)
    west, south, east, north = np.round(cells.total_bounds)
    rng = np.random.default_rng(0)
    shape = (3, int(north - south) // 4, int(east - west) // 4)
    small_city.write_raster(
        raw / "imagery" / "noise.tif",
        rng.integers(1, 256, shape, np.uint8),
        crs="EPSG:3067",
        transform=from_origin(west, north, 4, 4),
    )
    config = helsinki.get_config("runlocal")
    config.category_vectors.method = "random"
    return config


def test_helsinki_from_openstreetmap_and_a_population_grid(in_helsinki):
    found = content.read(build.build(in_helsinki, run=runners.local(1)))
    assert found.errors == []
    assert found.manifest.num_regions == len(found.num_pois) > 100
    told = found.manifest.report["labels"]["population"]
    inside = np.nansum(found.labels["population"], dtype=float)
    everybody = inside + told["outside every region"]
    everybody += told["total in regions without a value"]
    assert everybody == pytest.approx(71_724, rel=1e-3)
    assert inside > 0.8 * everybody
    assert found.num_pois.sum() == found.manifest.report["POIs inside"] > 1000
    categories = set(found.manifest.categories)
    assert {"amenity/restaurant", "amenity/school"} <= categories


def test_category_vectors_of_helsinki_need_no_imagery(in_helsinki):
    config = in_helsinki.copy_and_resolve_references()
    config.imagery.paths = ("data/helsinki/raw/none/*.tif",)
    config.category_vectors.out = "data/helsinki/vectors.npy"
    path = vector_command.write(config)
    vectors = np.load(path)
    assert vectors.shape[1] == 64 and len(vectors) > 100
    neighbours = path.with_name(vector_command.NEIGHBOURS_FILE).read_text()
    assert "amenity/restaurant" in neighbours
