"""Riverside and Palm Springs by their configs, from files nobody here made."""

import os
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from configs import santa_monica, socal
from data_prep import build
from data_prep.records import runners
from data_prep.validate import content

DATA = Path(__file__).parents[3] / "shared" / "data"
SHARED = ("osm_pois_2019.csv", "osm_categories.csv", "population_cells.gpkg")
UTM_11 = "EPSG:26911"


@pytest.fixture(scope="module")
def raw():
    if not (DATA / "socal").exists():
        pytest.skip(f"{DATA / 'socal'}: no sample data beside the checkout")
    return DATA / "socal"


@pytest.fixture(scope="module")
def work(raw, tmp_path_factory):
    """A folder with the raw files where the configs look for them."""
    folder, before = tmp_path_factory.mktemp("work"), Path.cwd()
    chips = {place: raw / f"{place}_2020" for place in socal.NUM_CHIPS}
    chips["santa_monica"] = DATA / "santa_monica" / "chips"
    for place, of in chips.items():
        there = folder / "data" / place / "raw"
        there.mkdir(parents=True)
        (there / "chips").symlink_to(of)
        for name in SHARED:
            (there / name).symlink_to(raw / name)
    for path in (DATA / "santa_monica").glob("*.geojson"):
        (folder / "data" / "santa_monica" / "raw" / path.name).symlink_to(path)
    os.chdir(folder)
    yield folder
    os.chdir(before)


def _points_near(raw, geometry, buffer_m):
    table = pd.read_csv(raw / "osm_pois_2019.csv")
    points = gpd.GeoSeries.from_xy(table["lon"], table["lat"], crs=4326).to_crs(UTM_11)
    return np.array([(points.distance(one) <= buffer_m).sum() for one in geometry])


@pytest.mark.parametrize(
    "place", ["riverside", pytest.param("palm_springs", marks=pytest.mark.slow)]
)
def test_people_and_points_are_those_of_another_overlay(place, raw, work):
    config = socal.get_config(place)
    config.category_vectors.method = "random"
    found = content.read(build.build(config, run=runners.local(1)))
    assert found.errors == []
    assert len(found.num_pois) == socal.NUM_CHIPS[place]
    np.testing.assert_array_equal(
        found.num_pois, _points_near(raw, found.geometry, 300.0)
    )
    cells = gpd.read_file(raw / "population_cells.gpkg")
    cells["per_m2"] = cells["POPULATION"] / cells.area
    chips = gpd.GeoDataFrame(geometry=list(found.geometry), crs=UTM_11)
    parts = cells.overlay(chips.reset_index(), keep_geom_type=True)
    assert set(parts["city"]) == {place}
    persons = (parts["per_m2"] * parts.area).groupby(parts["index"]).sum()
    np.testing.assert_allclose(
        found.labels["population"],
        persons.reindex(chips.index, fill_value=0),
        rtol=1e-4,
    )
    assert (
        len(np.unique(found.block_id)) == {"riverside": 44, "palm_springs": 39}[place]
    )


def test_santa_monica_has_the_same_categories_by_its_variant(raw, work):
    config = santa_monica.get_config("osm_pois")
    config.category_vectors.method = "random"
    found = content.read(build.build(config, run=runners.local(1)))
    assert found.errors == [] and found.manifest.report["POIs inside"] == 356
    np.testing.assert_array_equal(
        found.num_pois, _points_near(raw, found.geometry, 150.0)
    )
    listed = pd.read_csv(raw / "osm_categories.csv")
    assert found.manifest.categories == tuple(listed["category"])
    assert set(found.manifest.labels) == {"function", "population"}
