"""The generated city's files: declared, complete, the same for the same seed."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from exactextract import exact_extract

from configs import toy_city
from data_prep import settings as settings_lib
from data_prep import sources
from data_prep.toy_city import write
from data_prep.toy_city.categories import CATEGORIES, PLACES_PER_HA, ZONE_OF_LETTER
from data_prep.toy_city.generator import generate
from data_prep.toy_city.settings import ToyCitySettings
from data_prep.toy_city.zoning import ZONES
from mmgr_jax.errors import InputError

SIDE = 16
TILE_PX = 64


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """A city of 16 by 16 regions."""
    folder = tmp_path_factory.mktemp("toy") / "city"
    generate(ToyCitySettings(str(folder), 5, (SIDE, SIDE)))
    return folder


@pytest.fixture(scope="module")
def truth(city):
    return gpd.read_parquet(city / "truth" / "truth.parquet")


def read_all(folder):
    """The content of every file, as bytes or text."""
    content = {}
    for name in ("imagery", "population", "gdp"):
        with rasterio.open(folder / f"{name}.tif") as file:
            content[name] = file.read().tobytes()
    for name in ("pois.parquet", "truth/truth.parquet"):
        content[name] = gpd.read_parquet(folder / name).to_wkb().to_csv()
    content["zones"] = gpd.read_file(folder / "zones.gpkg").to_wkb().to_csv()
    content["facts"] = (folder / "truth" / "truth.json").read_text()
    return content


def test_same_seed_same_city_other_seed_other_city(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(ToyCitySettings(str(tmp_path / name), seed, (6, 8)))
    first, second, other = (read_all(tmp_path / name) for name in "abc")
    for name, content in first.items():
        assert content == second[name], name
        assert content != other[name], name


def test_imagery_is_a_tiled_mosaic_with_a_wedge_outside_the_regions(city, truth):
    with rasterio.open(city / "imagery.tif") as file:
        assert file.crs == "EPSG:32651" and file.nodata == 0
        assert file.res == (2.0, 2.0) and file.count == 3
        assert file.dtypes == ("uint8",) * 3
        assert file.profile["tiled"] and file.compression.name == "deflate"
        picture, bounds = file.read(), file.bounds
    west, south, east, north = truth.total_bounds
    assert (bounds.left, bounds.top) == (west, north)
    assert east < bounds.right < east + 128 and south - 128 < bounds.bottom < south
    empty = (picture == 0).all(axis=0)
    assert 0 < empty.mean() < 0.02
    assert (picture[:, ~empty] > 0).all()
    assert not empty[:, : SIDE * TILE_PX].any()


def test_regions_tile_the_square_they_are_said_to(city, truth):
    assert len(truth) == SIDE * SIDE
    assert np.allclose(truth.area, 128.0**2)
    assert np.isclose(truth.union_all().area, SIDE**2 * 128.0**2)
    first, last = truth.geometry.iloc[0].bounds, truth.geometry.iloc[-1].bounds
    assert first[0] < last[0] and first[1] > last[1]
    facts = json.loads((city / "truth" / "truth.json").read_text())
    assert facts["regions"] == [SIDE, SIDE] and facts["seed"] == 5
    assert facts["region_count"] == len(truth)
    assert facts["built_region_count"] == truth["built"].sum()
    assert facts["region_count_without_places"] == (truth["places"] == 0).sum()


@pytest.mark.parametrize("label", ["population", "gdp"])
def test_label_rasters_keep_totals_and_sum_to_the_regions(city, truth, label):
    with rasterio.open(city / f"{label}.tif") as file:
        assert file.crs == "EPSG:32651" and file.nodata == -9999
        assert file.res == (50.0, 50.0) and file.dtypes == ("float32",)
        values, corner = file.read(1), (file.bounds.left, file.bounds.top)
        assert (np.subtract(corner, truth.total_bounds[[0, 3]]) % 50 != 0).all()
    missing = values == -9999
    assert missing.any() and (values[~missing] >= 0).all()
    facts = json.loads((city / "truth" / "truth.json").read_text())
    total = values[~missing].sum(dtype=float)
    assert total == pytest.approx(facts["totals"][label], rel=1e-5)
    sums = exact_extract(city / f"{label}.tif", truth, "sum", output="pandas")["sum"]
    np.testing.assert_allclose(sums, truth[label], rtol=1e-4, atol=1e-4)


def test_zones_fill_the_mosaic_without_overlap(city, truth):
    zones = gpd.read_file(city / "zones.gpkg")
    assert zones.crs == truth.crs and set(zones["zone"]) == set(ZONES)
    assert zones.is_valid.all()
    with rasterio.open(city / "imagery.tif") as file:
        mosaic = shapely.box(*file.bounds)
    assert zones.area.sum() == pytest.approx(mosaic.area, rel=1e-3)
    assert zones.union_all().area == pytest.approx(mosaic.area, rel=1e-3)
    pairs = gpd.overlay(
        truth[["row", "column", "geometry"]], zones, keep_geom_type=True
    )
    pairs["share"] = pairs.area / 128.0**2
    shares = pairs.pivot_table("share", ["row", "column"], "zone", "sum").fillna(0)
    declared = truth.set_index(["row", "column"])
    for zone in ZONES:
        np.testing.assert_allclose(
            shares[zone], declared[f"share_{zone}"], atol=1e-6, err_msg=zone
        )


def test_places_have_two_levels_and_stand_where_they_belong(city, truth):
    pois = gpd.read_parquet(city / "pois.parquet")
    assert pois.crs == "EPSG:4326" and (pois.geom_type == "Point").all()
    assert list(pois.columns[:4]) == ["poi_id", "name", "category", "parent"]
    assert pois["poi_id"].is_unique and (pois["name"].str.len() > 3).all()
    assert pois["parent"].nunique() >= 8 and pois["category"].nunique() >= 40
    assert (pois.groupby("category")["parent"].nunique() == 1).all()
    zones = gpd.read_file(city / "zones.gpkg")
    at = gpd.sjoin(pois.to_crs(truth.crs), zones, predicate="within")
    assert len(at) > 0.999 * len(pois)
    allowed = {c.name: set(c.weight) for c in CATEGORIES}
    fits = [z in allowed[c] for z, c in zip(at["zone"], at["category"], strict=True)]
    assert np.mean(fits) > 0.999


def test_category_table_is_whole():
    assert set(PLACES_PER_HA) == set(ZONE_OF_LETTER.values())
    assert set(ZONE_OF_LETTER.values()) == set(ZONES) - {"transportation"}
    names = [category.name for category in CATEGORIES]
    assert len(set(names)) == len(names)


def test_other_sizes_pixels_and_crs(tmp_path):
    settings = ToyCitySettings(
        str(tmp_path / "city"),
        3,
        (6, 9),
        region_size_m=120.0,
        gsd_m=1.5,
        crs="EPSG:32633",
    )
    generate(settings)
    truth = gpd.read_parquet(tmp_path / "city" / "truth" / "truth.parquet")
    assert len(truth) == 54 and truth.crs == "EPSG:32633"
    with rasterio.open(tmp_path / "city" / "imagery.tif") as file:
        assert file.shape == (6 * 80 + 50, 9 * 80 + 50) and file.res == (1.5, 1.5)
    pois = gpd.read_parquet(tmp_path / "city" / "pois.parquet").to_crs(truth.crs)
    assert truth.union_all().buffer(120).contains(pois.geometry).all()


@pytest.mark.parametrize("variant", ["", "image_only", "smoke"])
def test_no_source_of_a_build_lies_in_the_truth(variant):
    settings = settings_lib.read(toy_city.get_config(variant))
    raw = settings.toy_city.out_dir
    named = set(sources.named(settings).values())
    assert named == {
        f"{raw}/{name}"
        for name in (
            *(write.IMAGERY_FILE, write.POIS_FILE, write.ZONES_FILE),
            *write.LABEL_FILES.values(),
        )
    }


# What is refused, and what an interruption leaves


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size_regions": (3, 40)}, "size_regions is .3, 40.*at least 6"),
        ({"region_size_m": 127.0}, "127.0 over toy_city.gsd_m 2.0 gives 63.5 pixels"),
        ({"gsd_m": 0.0}, "gsd_m 0.0 gives 0 pixels"),
        ({"crs": "EPSG:4326"}, "'EPSG:4326' is not a registered projected CRS"),
        ({"crs": "Shanghai"}, "'Shanghai' is unknown"),
    ],
)
def test_arguments_that_do_not_fit_are_named(tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        generate(ToyCitySettings(str(tmp_path / "city"), **wrong))
    assert not list(tmp_path.iterdir())


def test_an_earlier_city_is_replaced_with_what_lies_beside_its_files(tmp_path):
    city = tmp_path / "city"
    generate(ToyCitySettings(str(city), 0, (6, 6)))
    first = read_all(city)
    for name in ("generated.json", "imagery.tif.aux.xml", "zones.gpkg-wal"):
        (city / name).write_text("left by others")
    generate(ToyCitySettings(str(city), 1, (6, 6)))
    assert read_all(city)["imagery"] != first["imagery"]
    assert not (city / "generated.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["city"]


@pytest.mark.parametrize("name", ["thesis.tex", "imagery.tif", "generated.json"])
def test_a_folder_with_anything_else_is_refused_and_kept(tmp_path, name):
    """Whatever its files are called: no mark says that they are ours."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="out_dir .*exists, but holds no generated"):
        generate(ToyCitySettings(str(tmp_path), 2, (6, 6)))
    assert (tmp_path / name).read_text() == "mine"
    (tmp_path / "a file").write_text("mine")
    with pytest.raises(InputError, match="a file: exists, but holds no generated"):
        generate(ToyCitySettings(str(tmp_path / "a file"), 2, (6, 6)))


def test_files_of_others_in_a_generated_city_stay(tmp_path):
    city = tmp_path / "city"
    with write.new_folder(city) as folder:
        (folder / "gdp.tif").write_text("first")
    (city / "notes.txt").write_text("mine")
    (city / "gdp.tif.aux.xml").write_text("by GDAL, of the first")
    with write.new_folder(city) as folder:
        (folder / "gdp.tif").write_text("second")
    left = sorted(path.name for path in city.iterdir())
    assert left == ["gdp.tif", "notes.txt", write.folders.MARK]
    assert (city / "gdp.tif").read_text() == "second"


def test_what_killed_starts_left_is_removed_whoever_left_it(tmp_path):
    for name in (".city.partial-123", ".city.earlier-124"):  # of earlier versions
        (tmp_path / name / "truth").mkdir(parents=True)
        (tmp_path / name / "imagery.tif").write_text("half")
    (tmp_path / ".city.partial-125").mkdir()
    (tmp_path / ".city.partial-125" / "thesis.tex").write_text("mine")
    with write.new_folder(tmp_path / "city"):
        pass
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".city.earlier-124", ".city.partial-125", "city"]


@pytest.mark.parametrize("stage", ["write_imagery", "write_zones", "write_truth"])
def test_an_interruption_leaves_nothing_half_written(tmp_path, monkeypatch, stage):
    (tmp_path / "city" / "truth").mkdir(parents=True)
    (tmp_path / "city" / "truth" / "truth.json").write_text("of an earlier city")
    (tmp_path / "city" / "gdp.tif").write_text("of an earlier city")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(write, stage, stop)
    for name in ("city", "other"):
        with pytest.raises(KeyboardInterrupt):
            generate(ToyCitySettings(str(tmp_path / name), 1, (6, 6)))
    assert [path.name for path in tmp_path.iterdir()] == ["city"]
    left = sorted(path.name for path in (tmp_path / "city").iterdir())
    assert left == ["gdp.tif", "truth"]
    assert (tmp_path / "city" / "gdp.tif").read_text() == "of an earlier city"
