"""Records and manifest: round trip, and what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from mmgr_jax.data import record_format, schema, tiles
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError


def _record(count):
    rng = np.random.default_rng(count)
    return {
        "region_id": "r0001c0002",
        "image": rng.integers(0, 256, (16, 16, 3), np.uint8),
        "poi/category": np.arange(count, dtype=np.int32),
        "poi/offset_m": rng.normal(size=(count, 2)).astype(np.float32),
        "poi/edges": np.zeros((max(count - 1, 0), 2), np.int32),
        "poi/edge_weight": rng.random(max(count - 1, 0)).astype(np.float32),
        "geometry": b"\x00\x01\xff WKB",
        "block_id": np.int32(7),
        "label/gdp": np.float32("nan"),
        "label/function": np.array([0.25, 0.75], np.float32),
    }


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_record_comes_back_as_it_went(count):
    labels = {
        "gdp": schema.Label("count", "million CNY"),
        "function": schema.Label("share", "1", ("water", "forest")),
    }
    layout = record_format.RecordLayout(16, labels, "png")
    record = _record(count)
    encoded = {**record, "image": tiles.encode(record["image"], "png")}
    decoded = record_format.deserialize(
        record_format.serialize(encoded, layout), layout
    )
    assert decoded.keys() == record.keys()
    for name, value in record.items():
        np.testing.assert_array_equal(decoded[name], value)
        assert np.shape(decoded[name]) == np.shape(value)


@pytest.mark.parametrize("image_format", tiles.FORMATS)
@pytest.mark.parametrize("count", [0, 5])
def test_tfds_writes_the_same_bytes_and_reads_the_same_values(count, image_format):
    labels = {"gdp": schema.Label("count", "million CNY")}
    layout = record_format.RecordLayout(16, labels, image_format)
    record = _record(count)
    del record["label/function"]
    stored = tiles.encode(record["image"], image_format)
    ours = record_format.serialize({**record, "image": stored}, layout)
    nested = {"label": {"gdp": record["label/gdp"]}, "poi": {}}
    for name, value in record.items():
        group, _, leaf = name.partition("/")
        nested.setdefault(group, value) if not leaf else nested[group].update(
            {leaf: value}
        )
    nested["image"] = stored
    features = layout.features()
    theirs = features.serialize_example(features.encode_example(nested))
    message = tf_example_pb2.Example.FromString(theirs)  # its map has no order
    assert ours == message.SerializeToString(deterministic=True)
    read = features.deserialize_example_np(ours)
    if image_format in ("webp", "raw"):
        assert read["image"] == stored
    else:
        decoded = record_format.deserialize(ours, layout)["image"]
        np.testing.assert_array_equal(read["image"], decoded)
    np.testing.assert_array_equal(read["poi"]["offset_m"], record["poi/offset_m"])


BEFORE = {"content": {}, "inputs_sha256": ""}
"""What a manifest of an earlier version, without seals, says of them."""


def test_manifest_comes_back_as_it_went(records_dir, tmp_path):
    manifest = schema.Manifest.load(records_dir)
    manifest.save(tmp_path)
    assert schema.Manifest.load(tmp_path) == manifest
    assert manifest.labels["function"].shape == (3,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields.update(version="0.0"), "version '0.0'"),
        (lambda fields: fields.pop("city"), "city edited since it was written"),
        (lambda fields: fields.update(extra=1), "extra edited since it was written"),
        (lambda fields: fields.update(extra=1, **BEFORE), "not a manifest"),
        (lambda fields: fields.update(num_regions=41), "num_regions edited"),
        (
            lambda fields: fields.update(num_regions=41, **BEFORE),
            "num_regions says 41 where the other fields say 40",
        ),
        (lambda fields: fields.update(categories=[*"edcba"]), "categories edited"),
        (
            lambda fields: fields["labels"]["population"].update(unit="thousands"),
            "labels edited since it was written",
        ),
        (
            lambda fields: fields["content"]["files"].update({"splits.csv": "0"}),
            "content edited since it was written",
        ),
    ],
)
def test_a_manifest_of_another_layout_is_refused(
    records_dir, tmp_path, change, message
):
    fields = json.loads((records_dir / schema.MANIFEST_FILE).read_text())
    change(fields)
    (tmp_path / schema.MANIFEST_FILE).write_text(json.dumps(fields))
    with pytest.raises(InputError, match=message):
        schema.Manifest.load(tmp_path)


def test_every_field_of_the_manifest_is_documented():
    for field in dataclasses.fields(schema.Manifest):
        assert f"{field.name}:" in schema.Manifest.__doc__


def test_source_reads_all_shards_in_order(records_dir):
    source = RecordSource(records_dir)
    ids = [source[index]["region_id"] for index in range(len(source))]
    assert ids == [
        f"r{row:04d}c{column:04d}" for row in range(5) for column in range(8)
    ]


@pytest.mark.parametrize("city", ["../elsewhere", "/etc/passwd", "a/b", ".."])
def test_no_city_names_shards_of_another_folder(records_dir, tmp_path, city):
    folder = shutil.copytree(records_dir, tmp_path / "records")
    fields = json.loads((folder / schema.MANIFEST_FILE).read_text())
    fields |= {"city": city, **BEFORE}  # a stranger can leave the seals out
    (folder / schema.MANIFEST_FILE).write_text(json.dumps(fields))
    with pytest.raises(InputError, match="cannot name the shards of this folder"):
        schema.Manifest.load(folder)
