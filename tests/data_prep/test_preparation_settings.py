"""All settings of data preparation: read once, and compared with those of records."""

import dataclasses
import json
import typing

import pytest

from configs import common, released_sample, toy_city
from data_prep import comparison
from data_prep import settings as settings_lib
from data_prep.category_embedding.settings import (
    READS,
    CategoryVectorSettings,
    TextSettings,
)
from data_prep.files import crs
from data_prep.pois.settings import OsmSettings, PoiSettings
from data_prep.pois.sources import osm_readers
from data_prep.records.settings import RecordSettings
from data_prep.toy_city.settings import LATER, STYLE
from mmgr_jax.data import texts, tiles
from mmgr_jax.errors import InputError


@pytest.mark.parametrize(
    ("kind", "field", "known"),
    [
        (RecordSettings, "image_format", tiles.FORMATS),
        (PoiSettings, "datum", crs.DATUMS),
        (OsmSettings, "reader", osm_readers.READERS),
        (TextSettings, "model", texts.MODELS),
        (CategoryVectorSettings, "method", READS),
    ],
)
def test_what_may_be_chosen_is_what_is_there(kind, field, known):
    choices = typing.get_args(typing.get_type_hints(kind)[field])
    assert set(choices) == set(known)


def test_a_base_config_holds_the_defaults():
    config = common.base("x", crs="EPSG:32651")
    settings = settings_lib.read(config)
    city = settings_lib.CitySettings("x", "EPSG:32651")
    records = RecordSettings(dir="data/x/records")
    assert settings == settings_lib.PreparationSettings(city, records=records)


def test_the_first_wrong_key_is_told_wherever_it_stands():
    config = common.base("x", crs="EPSG:32651")
    config.labels.people = dict(kind="count")
    with pytest.raises(InputError, match="config.labels.people lacks path; give a va"):
        settings_lib.read(config)
    config.labels.people.path = "a.tif"
    settings_lib.read(config)
    with pytest.raises(InputError, match="config.regions.polygons.fit='crop'; allowed"):
        config.regions.polygons.fit = "crop"


def _of_manifest(config, names):
    """What a manifest said of a config's sections before they were dataclasses."""
    sections = {
        name: json.loads(json.dumps(config[name].to_dict() if config[name] else None))
        for name in names
    }
    del sections["records"]["dir"]
    return sections


def test_what_a_manifest_keeps_of_a_build_is_what_it_always_was():
    config = toy_city.get_config("smoke")
    settings = settings_lib.read(config)
    names = "city toy_city imagery pois labels regions blocks records".split()
    wanted = _of_manifest(config, names)
    for name in (*STYLE, *LATER):  # of a plain city it says nothing, as before
        del wanted["toy_city"][name]
    wanted["category_vectors"] = dict(method="random", dim=64)
    assert comparison.comparable(settings) == wanted
    assert comparison.differing(wanted, settings) == []
    changed = dataclasses.replace(settings, toy_city=None)
    assert comparison.differing(wanted, changed) == ["toy_city"]
    config.toy_city.taxonomy = "survey"
    changed = settings_lib.read(config)
    assert comparison.differing(wanted, changed) == ["toy_city.taxonomy"]


def test_what_a_manifest_keeps_of_an_import_is_what_it_always_was():
    config = released_sample.get_config()
    settings = settings_lib.read(config)
    wanted = _of_manifest(config, ("city", "released_sample", "records"))
    assert comparison.comparable(settings) == wanted
    del wanted["released_sample"]["population"]["licence"]
    found = comparison.differing(wanted, settings)
    assert found == ["released_sample.population.licence"]


def test_settings_that_a_label_did_not_name_had_their_defaults():
    config = common.base("x", crs="EPSG:32651")
    config.labels.people = dict(kind="count", path="a.tif", unit="persons")
    built = comparison.comparable(settings_lib.read(config))
    built["labels"]["people"] = config.labels.people.to_dict()
    assert comparison.differing(built, settings_lib.read(config)) == []
    config.labels.people.min_known = 0.4
    found = comparison.differing(built, settings_lib.read(config))
    assert found == ["labels.people.min_known"]


def test_records_of_before_do_not_say_where_imagery_and_pois_come_from():
    config = toy_city.get_config("smoke")
    settings = settings_lib.read(config)
    before = comparison.comparable(settings)
    for section in ("imagery", "pois"):
        for name in ("source", "licence", "year", "sensor"):
            before[section].pop(name, None)
    assert comparison.differing(before, settings) == []
    config.imagery.licence = "CC BY 4.0"
    changed = settings_lib.read(config)
    assert comparison.differing(before, changed) == []
    built = comparison.comparable(settings)  # which said it
    assert comparison.differing(built, changed) == ["imagery.licence"]
