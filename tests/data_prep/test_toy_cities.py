"""Cities of other styles: what each option changes, and how the eight of a list differ.

A style changes the picture and the POI table, and neither labels nor regions.
"""

import dataclasses
import itertools
import json
from pathlib import Path

import forks
import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.features import rasterize

from configs import toy_cities
from data_prep import build
from data_prep.toy_city import taxonomies
from data_prep.toy_city.categories import CATEGORIES
from data_prep.toy_city.generator import generate
from data_prep.toy_city.settings import LATER, STYLE, ToyCitySettings
from mmgr_jax.data import schema
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

SEED, REGIONS = 5, (6, 8)
GAIN, OFFSET = (0.8, 1.1, 1.2), (10.0, 0.0, -8.0)
STYLES = {
    "plain": {},
    "sensor": dict(palette=dict(band_gain=GAIN, band_offset=OFFSET)),
    "water": dict(palette=dict(water=(2.0, 1.0, 0.5))),
    "roofs": dict(palette=dict(roofs_rgb=((190, 60, 60),))),
    "habits": dict(poi_habits=dict(places=dict(residential=3.0, commercial=0.0))),
    "unmapped": dict(poi_habits=dict(unmapped=("Food and drink", "Bank"))),
    "survey": dict(taxonomy="survey"),
    "street map": dict(taxonomy="street_map"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, textures_once):
    """The same city in each of `STYLES`."""
    root = tmp_path_factory.mktemp("toy")
    for name, style in STYLES.items():
        given = dict(out_dir=str(root / name), seed=SEED, size_regions=REGIONS, **style)
        generate(read(ToyCitySettings, given, "toy_city"))
    return {name: root / name for name in STYLES}


def imagery(folder):
    with rasterio.open(folder / "imagery.tif") as file:
        return file.read().astype(float)


def pois(folder):
    return gpd.read_parquet(folder / "pois.parquet")


# What a style changes


@pytest.mark.parametrize("name", STYLES)
def test_truth_is_the_same_in_all_styles(folders, name):
    for file in ("population.tif", "gdp.tif"):
        plain, other = (folders[k] / file for k in ("plain", name))
        assert plain.read_bytes() == other.read_bytes(), file
    plain, other = (
        gpd.read_parquet(folders[k] / "truth/truth.parquet") for k in ("plain", name)
    )
    if name == "habits":  # there are other places, and so their number
        plain, other = plain.drop(columns="places"), other.drop(columns="places")
    assert plain.equals(other)
    facts = json.loads((folders[name] / "truth/truth.json").read_text())
    assert facts.get("style", {}).keys() == STYLES[name].keys()


def test_a_style_changes_its_own_file_alone(folders):
    picture, table = imagery(folders["plain"]), pois(folders["plain"])
    for name, style in STYLES.items():
        assert (imagery(folders[name]) != picture).any() == ("palette" in style), name
        listed = {"poi_habits", "taxonomy"} & style.keys()
        assert pois(folders[name]).equals(table) == (not listed), name


def test_a_plain_city_is_described_as_before_there_were_styles():
    plain = ToyCitySettings("city")
    fields = {field.name for field in dataclasses.fields(plain)}
    assert plain.style() == {} and plain.noted().keys() == fields - {*STYLE, *LATER}
    styled = dataclasses.replace(plain, taxonomy="survey", haze=0.2)
    assert styled.style() == {"taxonomy": "survey"}
    assert styled.difficulties() == {"haze": 0.2}
    assert styled.noted()["taxonomy"] == "survey" and "palette" not in styled.noted()


def test_a_sensor_multiplies_and_adds(folders):
    plain, seen = imagery(folders["plain"]), imagery(folders["sensor"])
    covered = (plain > 0).all(axis=0)
    for band, gain, offset in zip(range(3), GAIN, OFFSET, strict=True):
        expected = (gain * plain[band] + offset)[covered]
        inside = (expected > 10) & (expected < 245)
        error = (seen[band][covered] - expected)[inside]
        # Two roundings, and 2 levels of grain that come after the gain.
        deviation = np.sqrt((1 + gain**2) / 12 + (2 * (1 - gain)) ** 2)
        assert abs(error.mean()) < 0.05
        assert error.std() == pytest.approx(deviation, rel=0.15)


def test_a_material_changes_where_it_lies(folders):
    changed = (imagery(folders["water"]) != imagery(folders["plain"])).any(axis=0)
    zones = gpd.read_file(folders["plain"] / "zones.gpkg")
    with rasterio.open(folders["plain"] / "imagery.tif") as file:
        shape, transform = file.shape, file.transform

    def within(*names):
        chosen = zones.geometry[zones["zone"].isin(names)]
        # Outlines are drawn softly: pixels beside them are changed, too.
        return rasterize(chosen.buffer(4.0), shape, transform=transform) > 0

    assert changed[within("water")].mean() > 0.5
    assert not changed[~within("water", "green_space")].any()  # parks have ponds


def test_roofs_have_their_colours(folders):
    plain, red = imagery(folders["plain"]), imagery(folders["roofs"])
    changed = (plain != red).any(axis=0)
    mean, before = (picture[:, changed].mean(axis=1) for picture in (red, plain))
    assert 0.03 < changed.mean() < 0.5
    assert mean[0] > 2 * mean[1] and before[0] < 1.5 * before[1]


def test_habits_change_how_many_places_a_use_draws(folders):
    zones = gpd.read_file(folders["plain"] / "zones.gpkg")

    def count(name):
        points = pois(folders[name]).to_crs(zones.crs)
        return gpd.sjoin(points, zones, predicate="within")["zone"].value_counts()

    plain, other = count("plain"), count("habits")
    assert "commercial" not in other and plain["commercial"] > 50
    # 5 standard errors of the ratio of two Poisson numbers.
    ratio = other["residential"] / plain["residential"]
    error = ratio * np.sqrt(1 / other["residential"] + 1 / plain["residential"])
    assert abs(ratio - 3.0) < 5 * error


def test_what_is_not_mapped_is_missing_and_nothing_else(folders):
    plain, left = pois(folders["plain"]), pois(folders["unmapped"])
    lacking = (plain["parent"] == "Food and drink") | (plain["category"] == "Bank")
    assert lacking.sum() > 20
    assert left.equals(plain[~lacking].reset_index(drop=True))


# Taxonomies


def test_a_taxonomy_renames_and_moves_nothing(folders):
    plain = pois(folders["plain"])
    for name, taxonomy in (("survey", "survey"), ("street map", "street_map")):
        table = pois(folders[name])
        assert table.drop(columns=["category", "parent"]).equals(
            plain.drop(columns=["category", "parent"])
        )
        names = taxonomies.NAMES[taxonomy]
        for known, called in zip(plain["category"], table["category"], strict=True):
            assert called in names.get(known, (known,))
        assert (table.groupby("category")["parent"].nunique() == 1).all()
    finer = pois(folders["street map"])["category"][plain["category"] == "Restaurant"]
    assert finer.nunique() == 3  # of one plain category


def _called(taxonomy):
    """Names that all varieties of all categories have."""
    levels = taxonomies._levels(taxonomy)
    return {name for names, _ in levels for name in names}


def test_taxonomies_are_whole_and_share_a_part():
    known = {name for c in CATEGORIES for name in (c.name, c.parent)}
    for taxonomy, names in taxonomies.NAMES.items():
        assert set(names) <= known, taxonomy
    assert _called("plain") == {category.name for category in CATEGORIES}
    for one, other in itertools.combinations(taxonomies.NAMES, 2):
        first, second = _called(one), _called(other)
        assert 0.15 < len(first & second) / len(first | second) < 0.7, (one, other)
        shared = len(first & second) / min(len(first), len(second))
        assert 0.3 < shared < 0.8, (one, other)
    assert len(_called("survey")) < len(CATEGORIES) / 2
    assert len(_called("directory")) > len(CATEGORIES)


def test_unknown_names_are_refused_with_the_nearest(tmp_path):
    def settings(**habits):
        given = dict(out_dir=str(tmp_path / "city"), size_regions=(6, 6))
        return read(ToyCitySettings, given | dict(poi_habits=habits), "toy_city")

    with pytest.raises(InputError, match="has 'Banks' .did you mean 'Bank'"):
        generate(settings(unmapped=("Banks",)))
    with pytest.raises(InputError, match="has 'comercial' .did you mean 'commercial'"):
        settings(places={"comercial": 1.0})
    assert list(tmp_path.iterdir()) == []


# The eight


@pytest.fixture(scope="module")
def eight(tmp_path_factory, textures_once):
    """Every city of the list, small, and a plain one of the same seed."""
    root = tmp_path_factory.mktemp("eight")
    for name, city in toy_cities.CITIES.items():
        small = dict(out_dir=str(root / name), size_regions=REGIONS)
        generate(dataclasses.replace(city, **small))
        generate(ToyCitySettings(str(root / f"plain {name}"), city.seed, REGIONS))
    return root


def _mean_rgb(folder):
    picture = imagery(folder)
    return picture[:, (picture > 0).all(axis=0)].mean(axis=1)


@pytest.mark.slow
def test_the_eight_are_of_other_colours_and_plain_seeds_are_not(eight):
    styled = np.array([_mean_rgb(eight / name) for name in toy_cities.CITIES])
    plain = np.array([_mean_rgb(eight / f"plain {name}") for name in toy_cities.CITIES])
    for one, other in itertools.combinations(range(8), 2):
        apart = np.linalg.norm(styled[one] - styled[other])
        assert apart > 4.0, (one, other)
    assert (styled.std(axis=0) > 2.0 * plain.std(axis=0)).all()


def test_a_city_of_the_list_is_the_same_again(textures_once, tmp_path):
    for name in ("once", "again"):
        small = dict(out_dir=str(tmp_path / name), size_regions=REGIONS)
        generate(dataclasses.replace(toy_cities.CITIES["boreal"], **small))
    for file in ("imagery.tif", "pois.parquet", "gdp.tif", "truth/truth.parquet"):
        once, again = ((tmp_path / name / file) for name in ("once", "again"))
        assert once.read_bytes() == again.read_bytes(), file


def test_the_list_is_of_uneven_cities_with_configs_of_one_kind():
    sizes = [city.size_regions[0] * city.size_regions[1] for city in
             toy_cities.CITIES.values()]  # fmt: skip
    assert len(set(sizes)) == 8 and min(sizes) == 400 and max(sizes) == 900
    assert len({city.taxonomy for city in toy_cities.CITIES.values()}) == 5
    first = toy_cities.get_config("brick").to_dict()
    for name, city in toy_cities.CITIES.items():
        config = toy_cities.get_config(name)
        assert config.records.dir == f"data/toy_cities/{name}/records"
        assert config.workdir == f"runs/toy_cities/{name}"
        assert (config.city.name, config.city.crs) == (name, city.crs)
        part = config.to_dict()
        same = {key for key in first if part[key] == first[key]}
        differing = {"workdir", "city", "toy_city", "imagery", "pois", "labels"}
        assert first.keys() - same <= differing | {"records"}
        for label, wanted in first["labels"].items():
            known = part["labels"][label]
            assert known | {"path": None} == wanted | {"path": None}
    with pytest.raises(InputError, match="name one, such as .* allowed: brick, slate"):
        toy_cities.get_config()


def test_records_of_two_have_one_meaning_of_labels_and_two_lists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifests = {}
    for name in ("brick", "tropic"):
        folder = build.ensure(toy_cities.get_config(f"{name},smoke"))
        assert folder == Path(f"data/toy_cities_smoke/{name}/records")
        manifests[name] = schema.Manifest.load(folder)
    brick, tropic = manifests.values()
    assert brick.labels == tropic.labels and brick.num_regions == 64
    assert brick.labels["gdp"].unit == "million CNY"
    assert (brick.tile_size_px, brick.tile_size_m) == (64, 128.0)
    assert tropic.tile_size_m == 128.0 and tropic.crs == "EPSG:32748"
    shared = set(brick.categories) & set(tropic.categories)
    assert 3 < len(shared) < len(set(tropic.categories)) - 3


def test_the_command_refuses_an_unknown_variant_in_a_sentence():
    ended = forks.run("-m", "configs.toy_cities", "smok", jax=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: variant 'smok' is unknown (did you mean")
