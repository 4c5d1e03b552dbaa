import hashlib
import os
import subprocess
import sys
from pathlib import Path

import forks
import numpy as np
import pytest
import shapely
import small_city
from array_record.python.array_record_data_source import ArrayRecordDataSource

from data_prep import build
from data_prep.category_embedding import plain
from data_prep.pois import graph
from data_prep.records import shards, writer
from data_prep.running import threads
from mmgr_jax.data import record_format, schema
from mmgr_jax.errors import InputError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The config of the hand-made city and its records folder."""
    config = small_city.write(tmp_path_factory.mktemp("city"))
    return config, build.build(config)


def _read(folder):
    manifest = schema.Manifest.load(folder)
    paths = [str(path) for path in manifest.shard_paths(folder)]
    source = ArrayRecordDataSource(paths)
    return [
        record_format.deserialize(source[i], manifest.layout)
        for i in range(len(source))
    ]


def _hashes(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if "array_record" in path.name or path.suffix == ".npy"
    }


def test_records_hold_what_was_made_by_hand(finished):
    found = {record["region_id"]: record for record in _read(finished[1])}
    assert list(found) == [
        f"r{row:04d}c{col:04d}" for row in range(3) for col in range(3)
    ]
    tile = small_city.TILE_PX
    pixels = np.moveaxis(small_city.pixels(), 0, -1)
    for row in range(3):
        for column in range(3):
            record = found[f"r{row:04d}c{column:04d}"]
            window = np.s_[
                row * tile : (row + 1) * tile, column * tile : (column + 1) * tile
            ]
            np.testing.assert_array_equal(record["image"], pixels[window])
            left, top = small_city.place_m(column, row)
            right, bottom = small_city.place_m(column + 1, row + 1)
            outline = shapely.from_wkb(record["geometry"])
            assert outline.equals(shapely.box(left, bottom, right, top))
            assert record["label/people"] == row * small_city.COLUMNS + column


def test_pois_of_a_region_are_offsets_from_its_centre(finished):
    found = {record["region_id"]: record for record in _read(finished[1])}
    first = found["r0000c0000"]
    # (0.25, 0.25), (0.75, 0.25), (0.5, 0.75) in regions of 32 m, east and north.
    np.testing.assert_allclose(
        first["poi/offset_m"], [[-8, 8], [8, 8], [0, -8]], atol=1e-3
    )
    assert first["poi/category"].tolist() == [0, 2, 0]  # cafe, school, cafe
    assert first["poi/edges"].tolist() == [[0, 1], [0, 2], [1, 2]]
    # The region owns its west and north edge.
    assert len(found["r0002c0001"]["poi/category"]) == 1
    assert {name: len(record["poi/category"]) for name, record in found.items()} == {
        "r0000c0000": 3, "r0000c0001": 1, "r0000c0002": 0,
        "r0001c0000": 0, "r0001c0001": 2, "r0001c0002": 0,
        "r0002c0000": 0, "r0002c0001": 1, "r0002c0002": 1,
    }  # fmt: skip


def test_edge_weights_use_the_diagonal_of_the_pois_in_regions(finished):
    first = _read(finished[1])[0]
    # From (0.25, 0.25) to (2.1, 2.1) in regions of 32 m.
    diagonal_m = np.hypot(1.85, 1.85) * small_city.TILE_M
    offset_m = np.array([[-8.0, 8.0], [8.0, 8.0], [0.0, -8.0]])
    _, expected = graph.delaunay(offset_m, diagonal_m)
    np.testing.assert_allclose(first["poi/edge_weight"], expected, rtol=1e-5)
    report = schema.Manifest.load(finished[1]).report
    assert report["POI diagonal_m"] == pytest.approx(diagonal_m, abs=0.01)


def test_labels_blocks_and_shares(finished):
    found = {record["region_id"]: record for record in _read(finished[1])}
    expected = {0: [1, 0, 0], 1: [0.5, 0.5, 0], 2: [0, 1, 0]}
    for column, shares in expected.items():
        np.testing.assert_allclose(
            found[f"r0001c{column:04d}"]["label/zones"], shares, atol=1e-5
        )
    # Block edges lie at multiples of 64 m: 500032 between columns 0 and 1, and 3449984
    # at the centres of row 0, which belong to the north.
    blocks = [int(record["block_id"]) for record in found.values()]
    assert blocks == [0, 1, 1, 2, 3, 3, 2, 3, 3]


def test_the_manifest_tells_what_the_records_hold(finished):
    config, folder = finished
    manifest = schema.Manifest.load(folder)
    assert manifest.num_regions == 9 and manifest.shard_lengths == (3, 3, 3)
    assert manifest.max_pois == 3
    assert manifest.empty_share == pytest.approx(4 / 9)
    assert manifest.categories == ("cafe", "park", "school")
    assert manifest.category_parents == ("food", "leisure", "education")
    assert manifest.labels["people"].unit == "persons"
    assert manifest.labels["zones"].classes == small_city.CLASSES
    assert manifest.report["regions dropped"]["partly covered"] == 3
    assert manifest.report["POIs dropped"]["outside every region"] == 1
    assert manifest.config["regions"]["tile_size_px"] == small_city.TILE_PX
    for path, digest in zip(
        manifest.shard_paths(folder), manifest.shard_sha256, strict=True
    ):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    source = manifest.sources["pois.path/pois.parquet"]
    raw = Path(config.pois.path).read_bytes()
    assert source["bytes"] == len(raw)
    assert source["sha256"] == hashlib.sha256(raw).hexdigest()


def test_tfds_opens_the_folder_without_tensorflow(finished):
    script = """
import sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
source = builder.as_data_source(split="all")
print(len(source), source[4]["region_id"].decode(), source[4]["image"].shape)
print(sorted(source[4]["poi"]), list(source[4]["label"]["zones"]))
print(builder.info.version, "tensorflow" in sys.modules)
"""
    result = forks.run("-c", script, finished[1])
    assert result.stdout.splitlines() == [
        "9 r0001c0001 (16, 16, 3)",
        "['category', 'edge_weight', 'edges', 'offset_m'] "
        "[np.float32(0.5), np.float32(0.5), np.float32(0.0)]",
        f"{schema.VERSION} False",
    ]


def test_the_table_is_the_one_the_config_asks_for(finished):
    config, folder = finished
    vectors = np.load(folder / schema.CATEGORY_VECTORS_FILE)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, plain.random(["cafe", "park", "school"], 64))
    recipe = schema.Manifest.load(folder).config["category_vectors"]
    assert recipe == dict(method="random", dim=64)


def test_unfit_vectors_fail_before_any_record_is_written(finished, tmp_path):
    config = finished[0].copy_and_resolve_references()
    config.records.dir = str(tmp_path / "records")
    config.category_vectors.method = "table"
    (tmp_path / "own.csv").write_text("category,u\ncafe,1\npark,2\n")
    config.category_vectors.table.path = str(tmp_path / "own.csv")
    with pytest.raises(InputError, match="no row for 1 of 3 categories: 'school'"):
        build.build(config)
    assert [path.name for path in tmp_path.iterdir()] == ["own.csv"]


def test_bytes_do_not_depend_on_process_or_threads(finished, tmp_path, monkeypatch):
    config, folder = finished
    monkeypatch.setattr(threads.cores, "count", lambda: 1)
    config = config.copy_and_resolve_references()
    config.records.dir = str(tmp_path / "one_thread")
    assert _hashes(build.build(config)) == _hashes(folder)
    script = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(build.__file__).parents[1])]}
import ast
import small_city
from data_prep import build
config = small_city.describe(ast.literal_eval(sys.argv[1]))
config.records.dir = sys.argv[2]
build.build(config)
"""
    raw = str(Path(config.pois.path).parent)
    other = tmp_path / "other_process"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", script, repr(raw), str(other)]
    subprocess.run(command, check=True, env=environment)
    assert _hashes(other) == _hashes(folder)


def test_more_shards_than_regions_are_not_made(finished, tmp_path):
    config = finished[0].copy_and_resolve_references()
    config.records.num_shards = 50
    config.records.dir = str(tmp_path / "records")
    manifest = schema.Manifest.load(build.build(config))
    assert manifest.shard_lengths == (1,) * 9


class _Stopped(Exception):
    """Stands for a kill."""


def _stop_before_shard(monkeypatch, number):
    """Makes the build stop when it starts on a shard; returns the shards begun."""
    begun = []
    whole = shards.write

    def write_shard(shard, encode):
        begun.append(shard.path.name)
        if len(begun) > number:
            shard.path.with_name(f"{shard.path.name}.tmp").write_bytes(b"half")
            raise _Stopped
        whole(shard, encode)

    monkeypatch.setattr(shards, "write", write_shard)
    return begun


def test_a_stopped_build_goes_on_with_its_finished_shards(
    finished, tmp_path, monkeypatch
):
    config = finished[0].copy_and_resolve_references()
    config.records.dir = str(tmp_path / "records")
    with monkeypatch.context() as patch:
        _stop_before_shard(patch, 2)
        with pytest.raises(_Stopped):
            build.build(config)
    assert not Path(config.records.dir).exists()
    with monkeypatch.context() as patch:
        begun = _stop_before_shard(patch, 99)
        folder = build.build(config)
    assert begun == [schema.shard_name("small_city", 2, 3)]
    assert _hashes(folder) == _hashes(finished[1])
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
    assert not list(folder.glob("*.tmp")) and not list(
        folder.glob("*array_record*.json")
    )


def test_a_damaged_finished_shard_is_written_again(finished, tmp_path, monkeypatch):
    config = finished[0].copy_and_resolve_references()
    config.records.dir = str(tmp_path / "records")
    with monkeypatch.context() as patch:
        _stop_before_shard(patch, 2)
        with pytest.raises(_Stopped):
            build.build(config)
    (partial,) = tmp_path.glob("records.partial-*")
    (partial / schema.shard_name("small_city", 0, 3)).write_bytes(b"damaged")
    assert _hashes(build.build(config)) == _hashes(finished[1])


def test_other_settings_leave_finished_records_alone_until_the_end(
    finished, tmp_path, monkeypatch
):
    config = finished[0].copy_and_resolve_references()
    config.records.dir = str(tmp_path / "records")
    folder = build.build(config)
    before = _hashes(folder)
    config.regions.min_coverage = 0.5
    with monkeypatch.context() as patch:
        _stop_before_shard(patch, 1)
        with pytest.raises(_Stopped):
            build.build(config)
    assert _hashes(folder) == before
    assert len(_read(folder)) == 9
    assert len(_read(build.build(config))) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_a_build_stopped_before_the_rename_is_put_in_place(
    finished, tmp_path, monkeypatch
):
    config = finished[0].copy_and_resolve_references()
    config.records.dir = str(tmp_path / "records")

    def stop(partial, records_dir):
        raise _Stopped

    with monkeypatch.context() as patch:
        patch.setattr(writer, "put_in_place", stop)
        with pytest.raises(_Stopped):
            build.build(config)
    with monkeypatch.context() as patch:
        begun = _stop_before_shard(patch, 0)
        folder = build.build(config)
    assert begun == [] and _hashes(folder) == _hashes(finished[1])


def test_a_folder_of_something_else_is_not_replaced(finished, tmp_path):
    config = finished[0].copy_and_resolve_references()
    config.records.dir = str(tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"exists, but holds no records"):
        build.build(config)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_is_taken(finished, tmp_path):
    config = finished[0].copy_and_resolve_references()
    config.records.dir = str(tmp_path / "records")
    Path(config.records.dir).mkdir()
    assert len(_read(build.build(config))) == 9
