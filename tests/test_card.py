"""Parts of a card by themselves; tests of encoders and of corpora read whole ones."""

import dataclasses
import json
import re

import pytest
import stac_schemas
import yaml
from small_records import write_records

from mmgr_jax.card import licences, lines, stac_item
from mmgr_jax.data import facts, schema
from mmgr_jax.store.exported import About

ENCODER = About(
    model={"image_encoder": {"name": "resnet50"}, "poi_encoder": {"name": "set2set"}},
    size_px=224,
    readout={"image": "pooled"},
    categories=("shop", "school"),
    category_dim=4,
    tile_size_px=256,
    tile_size_m=128.0,
    trained_on={"cities": [{"city": "a"}], "settings": {"model.x": 1, "a.Łódź": 2}},
    normalise="encoder",
    licence="CC0-1.0",
    weights="0123456789abcdef01",
)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("CC BY 4.0", ["license: cc-by-4.0"]),
        ('ours: "no"', ["license: other", 'license_name: "ours: \\"no\\""']),
        ("", ["license: unknown"]),
    ],
)
def test_a_licence_is_named_as_the_hub_knows_it(licence, expected):
    assert licences.front_matter(licence) == expected
    assert yaml.safe_load("\n".join(expected)).get("license_name", licence) == licence


@pytest.mark.parametrize(
    ("licence", "asked"),
    [
        ("ODbL-1.0", "© OpenStreetMap contributors"),
        ("CC BY-NC-SA 4.0", "no commercial use. what is derived goes under"),
        ("CC BY 4.0", "credit whoever made it"),
        ("CC0-1.0", "nothing is asked for"),
        ("CDLA-Permissive-2.0, Apache-2.0", "pass on. pass its text on with the data"),
        ("public domain, as cut CC BY 4.0", "say what was changed. nothing is asked"),
        ("Their Terms 2", "read its terms; this card does not know them"),
    ],
)
def test_what_a_licence_asks_for(licence, asked):
    city = {
        "city": "a",
        "imagery": {"source": "x", "licence": licence},
        "pois": {},
        "labels": {},
    }
    mine, unknown = licences.obligations([city])
    assert mine.startswith(f"- {licence}, x (imagery of a): ") and asked in mine
    assert unknown.startswith("- licence not recorded, POIs of a: find out")


def test_extracts_of_openstreetmap_are_known_by_their_format(tmp_path):
    manifest = schema.Manifest.load(write_records(tmp_path, rows=1, columns=3))
    for pois, source, licence in (
        ({"path": "b.osm.pbf", "format": None}, "OpenStreetMap contributors", "ODbL"),
        ({"path": "b.parquet", "format": "osm"}, "OpenStreetMap contributors", "ODbL"),
        ({"path": "b.osm.pbf", "source": "Geofabrik"}, "Geofabrik", "ODbL"),
        ({"path": "b.parquet", "format": "overture"}, None, None),
        ({"path": None}, None, None),
    ):
        built = dataclasses.replace(manifest, config={"pois": pois})
        told = facts.of_manifest(built)["pois"]
        assert told.get("source") == source
        assert (told.get("licence") or "None").startswith(str(licence))


def test_text_of_sources_stays_text():
    assert lines.cell("a|b\nc <i>") == r"a\|b c \<i\>" and lines.cell(0) == "0"


def item_of(about, folder, artifact=stac_item.SAFETENSORS, **given):
    path = folder / "stac_item.json"
    created = "2026-11-28T00:00:00Z"
    item = stac_item.item(
        about, href="./model.safetensors", artifact=artifact, created=created, **given
    )
    path.write_text(json.dumps(item), encoding="utf-8")
    return stac_schemas.check(path)


def test_an_encoder_is_an_item_as_the_extension_asks_for(tmp_path):
    """Version 1.5 of MLM: these five fields, one asset of the role `mlm:model`."""
    item = item_of(
        ENCODER,
        tmp_path,
        widths={"image": 2048, "poi": 128},
        num_parameters=7,
        beside={"README.md": "text/markdown"},
    )
    given = item.properties
    assert re.fullmatch(r"[a-zA-Z][\w.\-\s]+[a-zA-Z0-9]", given["mlm:name"])
    assert given["mlm:architecture"] == "resnet50 and set2set"
    assert given["mlm:tasks"] == ["similarity-search"]
    image, pois = given["mlm:input"]
    assert image["bands"] == ["red", "green", "blue"] and pois["bands"] == []
    assert image["input"] == {
        "shape": [-1, 256, 256, 3],
        "dim_order": ["batch", "height", "width", "bands"],
        "data_type": "uint8",
    }
    assert [one["result"]["shape"] for one in given["mlm:output"]] == [
        [-1, 2048], [-1, 128],
    ]  # fmt: skip
    assert given["mlm:total_parameters"] == 7 and given["license"] == "CC0-1.0"
    assert given["mlm:hyperparameters"] == {"model.x": 1}
    models = [one for one in item.assets.values() if "mlm:model" in one.roles]
    (model,) = models
    assert model.href == "./model.safetensors"
    assert model.extra_fields["mlm:artifact_type"] == "safetensors.numpy.save_file"
    assert item.assets["README.md"].roles == ["metadata"]
    assert "trained on a." in given["description"] and item.geometry is None


def test_of_an_encoder_that_says_little_there_is_an_item_too(tmp_path):
    about = dataclasses.replace(
        ENCODER,
        model={"image_encoder": {"name": "table"}},
        categories=(),
        tile_size_m=0.0,
        trained_on={},
        licence="",
        weights="",
    )
    given = item_of(about, tmp_path, stac_item.ORBAX).properties
    assert given["mlm:name"] == "MMGR encoder" and "license" not in given
    assert given["mlm:input"][0]["bands"] == []
    assert given["mlm:output"][0]["result"]["shape"] == [-1, -1]
    assert "mlm:hyperparameters" not in given  # of no members it is refused
