"""Parts of a card by themselves; tests of encoders and of corpora read whole ones."""

import dataclasses

import pytest
import yaml
from small_records import write_records

from mmgr_jax.card import licences, lines
from mmgr_jax.data import facts, schema


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
