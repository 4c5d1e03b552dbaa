"""Labels of files that nobody here made; skipped where the sample data is absent."""

import dataclasses
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import small_regions

from configs import common
from configs.santa_monica import FUNCTION_OF_LAND_USE
from data_prep.labels import check as label_checks
from data_prep.labels import extraction
from data_prep.labels.settings import LabelSettings
from mmgr_jax.settings import read

DATA = Path(__file__).parents[3] / "shared" / "data"
UTM_11, UTM_35 = "EPSG:26911", "EPSG:32635"


def _path(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path}: no sample data beside the checkout")
    return str(path)


def _grid(path, crs, size_m):
    """Square regions over the middle of a file."""
    west, south, east, north = gpd.read_file(path).to_crs(crs).total_bounds
    rows, columns = int((north - south) / size_m) - 2, int((east - west) / size_m) - 2
    row, column = np.indices((rows, columns)).reshape(2, -1)
    corner_m = (west + size_m, north - size_m)
    return small_regions.squares(row, column, size_m=size_m, corner_m=corner_m)


def _chips(folder):
    bounds_m = []
    for path in sorted(Path(folder).glob("*.tif")):
        with rasterio.open(path) as chip:
            bounds_m.append(tuple(chip.bounds))
    squares = small_regions.squares(range(len(bounds_m)), [0] * len(bounds_m))
    return dataclasses.replace(squares, bounds_m=np.array(bounds_m))


def _extract(name, settings, regions, crs):
    source = read(LabelSettings, settings, f"labels.{name}")
    assert label_checks.problems(name, source, None) == []
    return extraction.extract(name, source, regions, crs)


@pytest.mark.parametrize("of_chips", [False, True])
def test_everybody_in_santa_monica_is_counted_once(of_chips):
    path = _path("santa_monica/census2010_blocks_population.geojson")
    settings = common.count_label(path, column="pop2010", unit="persons", year=2010)
    regions = (
        _chips(_path("santa_monica/chips")) if of_chips else _grid(path, UTM_11, 300.0)
    )
    found, told = _extract("population", settings, regions, UTM_11)
    assert told["total of the source"] == 89_736
    everybody = told["total"] + told["outside every region"]
    everybody += told["total in regions without a value"]
    assert everybody == pytest.approx(89_736, rel=1e-6)
    assert np.nansum(found) == pytest.approx(told["total"], rel=1e-5)
    assert 0.01 < told["total"] / 89_736 < (0.2 if of_chips else 1)


def test_streets_of_santa_monica_are_land_without_a_class():
    path = _path("santa_monica/landuse.geojson")
    settings = common.share_label(
        path, column="LANDUSE", mapping=FUNCTION_OF_LAND_USE, year=2014
    )
    regions = _chips(_path("santa_monica/chips"))
    found, told = _extract("function", settings, regions, UTM_11)
    known = ~np.isnan(found[:, 0])
    np.testing.assert_allclose(found[known].sum(axis=1), 1, rtol=1e-5)
    assert told["regions without a value"] == (~known).sum() < 20
    assert 0.6 < told["mean covered share"] < 0.9
    assert told["polygons left out by the mapping"] == 4
    street = common.share_label(
        path,
        column="LANDUSE",
        mapping=FUNCTION_OF_LAND_USE,
        uncovered="class:transportation",
    )
    as_class, _ = _extract("function", street, regions, UTM_11)
    index = common.FUNCTION_CLASSES.index("transportation")
    uncovered = 1 - told["mean covered share"]
    assert np.nanmean(as_class[:, index]) == pytest.approx(uncovered, abs=0.05)


def test_an_unmapped_class_is_listed_with_its_count():
    path = _path("santa_monica/landuse.geojson")
    some = {
        name: kind
        for name, kind in FUNCTION_OF_LAND_USE.items()
        if "Transit" not in name
    }
    settings = common.share_label(path, column="LANDUSE", mapping=some)
    source = read(LabelSettings, settings, "labels.function")
    (problem,) = label_checks.problems("function", source, None)
    assert "2 class(es) unknown to config.labels.function.mapping" in problem
    assert "'Transit Corridor' (7), 'Transit Village' (5)" in problem


def test_the_population_grid_of_helsinki_keeps_its_total():
    path = _path("helsinki/helsinki_population_grid_2020.gpkg")
    settings = common.count_label(path, column="population", unit="persons")
    regions = _grid(path, UTM_35, 200.0)
    found, told = _extract("population", settings, regions, UTM_35)
    total = gpd.read_file(path)["population"].sum()
    assert told["total of the source"] == total
    everybody = told["total"] + told["outside every region"]
    everybody += told["total in regions without a value"]
    assert everybody == pytest.approx(total, rel=1e-6)
