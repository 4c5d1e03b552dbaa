"""Features on disk: what extraction gives, once, whole, and of the right weights."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import jax
import numpy as np
import processes
import pytest
from pyarrow import parquet
from small_records import config_of, write_records

from mmgr_jax.data.source import RecordSource
from mmgr_jax.evaluation import inference, mapping, readouts, store
from mmgr_jax.evaluation.features import features
from mmgr_jax.evaluation.features.groups import Surroundings, beside
from mmgr_jax.store import checkpoint, identity
from mmgr_jax.store.bundles import Metadata

MAIN = """
import json, sys
from absl import flags
from configs import toy_city
import small_records
from mmgr_jax import cli
from mmgr_jax.devices import distributed
from mmgr_jax.evaluation import mapping, store
from pathlib import Path
records_dir, folder, port, index = json.loads(sys.argv[1])
store.SLICE = 8
config = small_records.config_of(records_dir, Path(folder))
config.distributed.update(
    coordinator=f"127.0.0.1:{port}", num_processes=2, process_id=index,
    heartbeat_timeout_s=10,
)
flags.FLAGS([sys.argv[0]])
cli._config = lambda: config
cli._call(mapping.embed_together, distributed.session)
"""


@pytest.fixture
def slices(monkeypatch):
    """Small slices, each marked at once."""
    monkeypatch.setattr(store, "SLICE", 8)
    monkeypatch.setattr(store, "_SAVE_S", 0.0)


@pytest.fixture
def encoder(small_config):
    """A random encoder of the small records, and its source."""
    source = RecordSource(small_config.records.dir)
    return inference.random_encoder(small_config, source), source


def _counting(encoder, *, breaks_after=None):
    """The encoder, and the regions of each batch that it was given."""
    seen = []

    def run(variables, batch):
        if breaks_after is not None and len(seen) == breaks_after:
            raise KeyboardInterrupt
        seen.append(batch["region_index"][batch["example_mask"]].tolist())
        return encoder.run(variables, batch)

    return dataclasses.replace(encoder, run=run), seen


def _extracted(config, encoder, source):
    return features.extract(
        encoder.encode, source, batch_size=16, num_threads=2, edges=encoder.reads_edges
    )


def _same(kept, expected):
    assert kept.keys() == expected.keys()
    for kind, made in expected.items():
        assert kept[kind].groups == made.groups
        np.testing.assert_array_equal(kept[kind].values, made.values)


def test_the_store_holds_what_extraction_gives_and_is_read_again(
    small_config, encoder, slices
):
    encoder, source = encoder
    counted, seen = _counting(encoder)
    expected = _extracted(small_config, encoder, source)
    _same(readouts.encoded(small_config, counted, source), expected)
    assert sorted(sum(seen, [])) == list(range(len(source)))
    seen.clear()
    _same(readouts.encoded(small_config, counted, source), expected)
    assert not seen
    folder = next(Path(small_config.workdir, store.FOLDER).iterdir())
    plain = np.load(folder / "image.npy", mmap_mode="r")
    np.testing.assert_array_equal(plain, expected["image"].values)


def test_what_was_cut_off_goes_on_behind_the_last_whole_slice(
    small_config, encoder, slices
):
    encoder, source = encoder
    expected = _extracted(small_config, encoder, source)
    small_config.data.batch_size = 12  # slices of 8 end within batches
    broken, _ = _counting(encoder, breaks_after=2)
    with pytest.raises(KeyboardInterrupt):
        readouts.encoded(small_config, broken, source)
    counted, seen = _counting(encoder)
    kept = readouts.encoded(small_config, counted, source)
    assert sorted(sum(seen, [])) == list(range(24, len(source)))
    for kind, made in expected.items():
        np.testing.assert_allclose(kept[kind].values, made.values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("damage", ["number", "short", "marks"])
def test_what_is_not_as_it_was_written_is_made_again(
    small_config, encoder, slices, damage
):
    encoder, source = encoder
    expected = _extracted(small_config, encoder, source)
    readouts.encoded(small_config, encoder, source)
    folder = next(Path(small_config.workdir, store.FOLDER).iterdir())
    path = folder / "poi.npy"
    if damage == "number":
        with path.open("r+b") as file:
            file.seek(-3, os.SEEK_END)
            file.write(b"\xff")
    elif damage == "short":
        os.truncate(path, path.stat().st_size - 4)
    else:
        (marks,) = folder.glob("*.done-*")
        marks.write_bytes(marks.read_bytes()[:-9])
    counted, seen = _counting(encoder)
    kept = readouts.encoded(small_config, counted, source)
    assert sorted(sum(seen, [])) == list(range(0 if damage == "marks" else 32, 40))
    for kind, made in expected.items():
        np.testing.assert_allclose(kept[kind].values, made.values, rtol=1e-5, atol=1e-6)


def test_other_weights_and_other_settings_have_stores_of_their_own(
    small_config, encoder, slices
):
    encoder, source = encoder
    readouts.encoded(small_config, encoder, source)
    folder = Path(small_config.workdir, store.FOLDER)
    small_config.seed = 7
    other = inference.random_encoder(small_config, source)
    expected = _extracted(small_config, other, source)
    _same(readouts.encoded(small_config, other, source), expected)
    assert len(list(folder.iterdir())) == 2
    small_config.model.dtype = "bfloat16"
    rounded = inference.random_encoder(small_config, source)
    readouts.encoded(small_config, rounded, source)
    assert len(list(folder.iterdir())) == 3


def test_old_stores_go_and_those_in_use_stay(tmp_path):
    used = store.Store(tmp_path, {"weights": "used"}, 3)
    for name in range(store.KEPT + 3):
        store.Store(tmp_path, {"weights": name}, 3)
    left = {json.loads(path.read_text())["weights"] for path in tmp_path.glob("*/*")}
    assert used.folder.exists() and "used" in left
    assert len(left) == store.KEPT + 2  # the newest, those of before, the one in use
    assert store.KEPT + 2 in left


def test_rings_in_slices_are_those_of_the_whole(small_config, encoder, slices):
    encoder, source = encoder
    small_config.readout.update(surroundings_m=(70.0, 140.0), groups="alike")
    city = readouts.EvaluatedCity.of(source)
    expected = Surroundings(city.centre_m, (70.0, 140.0)).added(
        beside([_extracted(small_config, encoder, source)[k] for k in ("image", "poi")])
    )
    readout = readouts.Readout(small_config, city)
    made = readout.features(readout.encoded(encoder), "both")
    assert made.groups == expected.groups
    np.testing.assert_allclose(made.values, expected.values, rtol=1e-6, atol=1e-7)
    test = np.arange(len(source)) % 3 == 0
    np.testing.assert_allclose(
        made.around_untested(test).values,
        expected.around_untested(test).values,
        rtol=1e-6,
        atol=1e-7,
    )


def _checkpoint(config):
    """A run's weights, random."""
    source = RecordSource(config.records.dir)
    encoder = inference.random_encoder(config, source)
    vectors = source.category_vectors()
    about = Metadata(config.to_dict(), source.manifest.categories, vectors.shape[1])
    checkpoint.save_model(config.workdir, jax.device_get(encoder.variables), about)
    return identity.of_weights(encoder.variables)


def test_embed_without_labels_and_heads_gives_embeddings_and_clusters(tmp_path, caplog):
    records = tmp_path / "records"
    records.mkdir()
    config = config_of(write_records(records, labels={}), tmp_path)
    config.embed.dtype = "int8"
    _checkpoint(config)
    with caplog.at_level("INFO"):
        folder = mapping.embed(config)
    assert "embeddings alone" in caplog.text
    assert {path.name for path in folder.iterdir()} == {
        "columns.csv",
        "embeddings.parquet",
        "clusters.png",
    }
    table = gpd.read_parquet(folder / "embeddings.parquet")
    clusters = [f"cluster_of_{count}" for count in (4, 8, 12)]
    assert table["embedding"][0].dtype == np.int8
    about = json.loads(
        parquet.read_schema(folder / "embeddings.parquet").metadata[b"emb"]
    )
    assert 0.8 < about["recall_of_20_nearest"] <= 1
    own = {"region_id", "lon_deg", "lat_deg", "row", "embedding", "geometry"}
    assert set(table) == own | set(clusters)
    assert len(table) == 40
    for count, name in zip((4, 8, 12), clusters, strict=True):
        assert sorted(set(table[name])) == list(range(count))


@pytest.mark.slow
def test_two_processes_write_what_one_writes(records_dir, tmp_path):
    tables = []
    for name in ("one", "two"):
        config = config_of(records_dir, tmp_path / name)
        config.embed.predictions = False
        _checkpoint(config)
        if name == "one":
            mapping.embed(config)
        else:
            _embed_by_two(config, records_dir, tmp_path / name)
        tables.append(
            gpd.read_parquet(Path(config.workdir) / "maps/embeddings.parquet")
        )
    assert tables[0]["region_id"].tolist() == tables[1]["region_id"].tolist()
    np.testing.assert_allclose(
        *(np.stack(table["embedding"]) for table in tables), rtol=1e-5, atol=1e-6
    )
    folder = next((tmp_path / "two/run" / store.FOLDER).iterdir())
    marks = [json.loads(path.read_text()) for path in folder.glob("*.done-*")]
    assert sorted(map(len, marks)) == [2, 3]  # each has made its slices, once


def _embed_by_two(config, records_dir, folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = MAIN.replace(
        "config.distributed", "config.embed.predictions = False\nconfig.distributed", 1
    )
    environment = os.environ | {
        "PYTHONPATH": f"{processes.ROOT}:{processes.ROOT / 'tests'}",
        "XLA_FLAGS": f"{processes.QUICK} {processes.devices_flag(1)}",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script,
             json.dumps([str(records_dir), str(folder), port, index])],
            env=environment, cwd=processes.ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for index in range(2)
    ]  # fmt: skip
    for process in started:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
