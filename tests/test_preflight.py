"""What is told before training; and training without labels or POIs."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import small_records

from mmgr_jax import preflight
from mmgr_jax.data import schema
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import clusters
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.geo import maps


@pytest.fixture
def config(tmp_path):
    (tmp_path / "records").mkdir()
    small_records.write_records(tmp_path / "records", rows=4, columns=6, seed=0)
    config = small_records.config_of(tmp_path / "records", tmp_path)
    config.data.batch_size = 4
    return config


def _manifest(config, **changes):
    return dataclasses.replace(schema.Manifest.load(config.records.dir), **changes)


def test_records_that_fit_are_passed_in_silence(config):
    found = preflight.findings(config, _manifest(config))
    assert (found.faults, found.warnings) == ((), ())
    assert found.after == config.after_training


def test_without_labels_nothing_is_evaluated_and_maps_are_drawn(config):
    found = preflight.findings(config, _manifest(config, labels={}))
    assert found.faults == () and found.after == ("embed",)
    assert "embeddings and a map of their clusters" in found.warnings[0]


def test_without_pois_images_alone_are_trained_on(config):
    bare = _manifest(config, max_pois=0)
    found = preflight.findings(config, bare)
    assert "--config.loss.image_weight=1.0" in found.faults[0]
    config.loss.image_weight = 1.0
    assert preflight.findings(config, bare).faults == ()


def test_too_few_pois_blocks_batches_and_labels_name_their_remedy(config):
    report = {
        "POIs inside": 0,
        "POIs dropped": {"outside every region": 70},
        "splits": {"no block split": "3 blocks. config.blocks.size_m=64 makes 12."},
        "labels": {"population": {"regions without a value": 20}},
    }
    manifest = _manifest(config, report=report)
    config.data.batch_size, config.eval.num_folds = 12, None
    found = preflight.findings(config, manifest)
    (fault,) = found.faults
    assert "config.blocks.size_m=64 makes 12" in fault
    few, pois, outside, known = found.warnings
    assert "makes 2 step(s) an epoch" in few and "Take 3 or so" in few
    assert "0 POIs for 24 regions" in pois and "poi_buffer_m" in pois
    assert "70 of 70 POIs lie outside" in outside and "datum" in outside
    assert "label population is known for 4 of 24 regions" in known
    config.data.batch_size = 100
    assert "exceeds the 24 regions" in preflight.findings(config, manifest).faults[0]
    with pytest.raises(InputError, match="before training:\n  config.data.batch_size"):
        preflight._refuse(preflight.findings(config, manifest))


def test_clusters_find_what_is_apart_whatever_the_unit():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), (40, 30, 20, 10))
    values = np.eye(4)[truth] * 1000 + rng.normal(size=(100, 4))
    values = np.concatenate([values, np.full((100, 1), 7.0)], axis=1)
    members = clusters.cluster(Features.of("x", values.astype(np.float32)))
    assert list(members) == [4, 8, 12]
    assert np.array_equal(members[4], truth)  # the largest first
    again = clusters.cluster(Features.of("x", values.astype(np.float32)))
    assert all(np.array_equal(members[k], again[k]) for k in members)
    assert set(clusters.cluster(Features.of("x", np.ones((3, 2))))[12]) == {0}


def test_the_map_of_clusters_is_a_picture(config, tmp_path):
    from mmgr_jax.data.source import RecordSource

    source = RecordSource(config.records.dir)
    wkb = [record["geometry"] for record in source.read(range(24), image=False)]
    cluster = (np.arange(24) % 4).astype(np.int32)
    path = tmp_path / "clusters.png"
    maps.cluster_map(
        path,
        geometry_wkb=wkb,
        crs=source.manifest.crs,
        members={4: cluster, 8: cluster, 12: cluster},
    )
    assert path.stat().st_size > 5_000


@pytest.mark.slow  # a build, a training and maps: half a minute
def test_a_city_of_images_alone_ends_in_a_map(tmp_path, monkeypatch):
    from configs import common, toy_city
    from data_prep import build
    from mmgr_jax.evaluation import mapping
    from mmgr_jax.train import loop

    monkeypatch.chdir(tmp_path)
    config = common.image_only(toy_city.get_config("smoke"))
    with config.labels.unlocked():
        for name in list(config.labels):
            del config.labels[name]
    config.pois.path = None
    config.train.total = "2 steps"
    build.ensure(config)
    manifest = schema.Manifest.load(config.records.dir)
    assert (manifest.max_pois, manifest.empty_share) == (0, 1.0)
    assert preflight.check(config) == ("embed",)
    loop.train(config)
    folder = mapping.embed(config)
    table = pd.read_parquet(folder / "embeddings.parquet")
    assert {"cluster_of_4", "cluster_of_8", "cluster_of_12"} <= set(table.columns)
    assert (folder / "clusters.png").stat().st_size > 5_000
