"""Evaluation and maps from a checkpoint alone."""

import dataclasses
import json
import shutil

import geopandas as gpd
import numpy as np
import pytest

from mmgr_jax import checkpoint, compare, embed, experiment, inference, train
from mmgr_jax import eval as evaluation
from mmgr_jax.data import folds, schema
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluators import features

METHODS = {"mean"} | {
    f"{encoder} {kind}"
    for encoder in ("MMGR", "random")
    for kind in ("image", "poi", "both")
}


@pytest.fixture(scope="module")
def trained(records_dir, tmp_path_factory):
    """A config whose workdir holds a short run."""
    from configs import toy_city

    config = toy_city.get_config("smoke")
    config.workdir = str(tmp_path_factory.mktemp("trained") / "run")
    config.records.dir = str(records_dir)
    config.augment.size_px, config.mesh.data = 32, 1
    config.train.total, config.eval.num_folds = "4 steps", 4
    train.train(config)
    return config


def test_eval_needs_the_model_of_the_checkpoint_and_nothing_else(trained, tmp_path):
    bundle = checkpoint.latest(trained.workdir)
    alone = tmp_path / "4"
    shutil.copytree(bundle, alone)
    shutil.rmtree(alone / "train")
    shutil.rmtree(alone / "data")
    config = trained.copy_and_resolve_references()
    config.checkpoint, config.workdir = str(alone), str(tmp_path / "elsewhere")
    report = evaluation.evaluate(config)
    result = json.loads((tmp_path / "elsewhere/eval/metrics.json").read_text())
    assert set(result["tasks"]) == {"function", "population"}
    for task in result["tasks"].values():
        assert set(task["splits"]) == {"block", "random"}
        assert set(task["splits"]["block"]) == METHODS
        assert task["num_labelled"] == task["num_regions"] == 40
    shares = report.predictions["function"]["MMGR image"]
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert (tmp_path / "elsewhere/eval/metrics.txt").read_text().startswith("function")


def test_features_do_not_depend_on_batching_or_devices(trained):
    source = experiment.open_source(trained)
    bundle = checkpoint.latest(trained.workdir)
    config = trained.copy_and_resolve_references()
    expected = evaluation.extract(
        config, inference.load_encoder(config, bundle, source), source
    )
    config.mesh.data, config.data.batch_size = 8, 24
    again = evaluation.extract(
        config, inference.load_encoder(config, bundle, source), source
    )
    for kind, values in expected.items():
        assert values.shape[0] == len(source)
        np.testing.assert_allclose(again[kind], values, rtol=1e-4, atol=1e-5)


def test_the_random_encoder_is_not_the_trained_one(trained):
    source = experiment.open_source(trained)
    random = evaluation.extract(
        trained, inference.random_encoder(trained, source), source
    )
    bundle = checkpoint.latest(trained.workdir)
    learnt = evaluation.extract(
        trained, inference.load_encoder(trained, bundle, source), source
    )
    assert not np.allclose(random["image"], learnt["image"])


def test_embed_writes_a_table_and_a_map_of_each_task(trained):
    folder = embed.embed(trained)
    table = gpd.read_parquet(folder / "embeddings.parquet")
    assert len(table) == 40 and table.crs == "EPSG:32651"
    assert table["region_id"].is_unique
    source = experiment.open_source(trained)
    bundle = checkpoint.latest(trained.workdir)
    encoder = inference.load_encoder(trained, bundle, source)
    learnt = evaluation.extract(trained, encoder, source)["image"]
    np.testing.assert_allclose(np.stack(table["embedding"]), learnt, rtol=1e-5)
    truth = [source[i]["label/population"] for i in range(40)]
    np.testing.assert_allclose(table["population_true"], truth, rtol=1e-6)
    for task in ("function", "population"):
        assert (folder / f"{task}.png").stat().st_size > 20_000
    assert not list(folder.glob("*.tmp*"))


def test_regions_without_a_place_get_a_random_split_and_no_map(
    trained, records_dir, tmp_path
):
    folder = shutil.copytree(records_dir, tmp_path / "records")
    manifest = schema.Manifest.load(folder)
    dataclasses.replace(manifest, crs="").save(folder)
    config = trained.copy_and_resolve_references()
    config.records.dir, config.checkpoint = str(folder), config.workdir
    config.workdir, config.eval.features = str(tmp_path / "run"), ("image",)
    report = evaluation.evaluate(config)
    assert set(report.to_json()["tasks"]["population"]["splits"]) == {"random"}
    with pytest.raises(InputError, match="do not say where.*config.released.centres"):
        embed.embed(config)


def _copy_records(records_dir, folder, **changed):
    shutil.copytree(records_dir, folder)
    manifest = schema.Manifest.load(folder)
    dataclasses.replace(manifest, **changed).save(folder)
    return folder


def test_stored_splits_and_buffers_decide_who_is_tested(trained, records_dir, tmp_path):
    meanings = dict(block=schema.Split(num_folds=3, buffer_m=1.0))
    folder = _copy_records(records_dir, tmp_path / "records", splits=meanings)
    source = RecordSource(folder)
    regions = features.read_regions(source)
    column = np.arange(40) % 8
    folds.write(folder, regions.region_ids, dict(block=column // 3))
    config = trained.copy_and_resolve_references()
    config.records.dir, config.eval.num_folds = str(folder), None
    split = evaluation.choose_splits(config, source, regions, ("block",))["block"]
    np.testing.assert_array_equal(split.fold, column // 3)
    # Squares of 64 m: the columns that touch a tested one take no part.
    assert set(column[split.parts(0).validation]) == {4, 5}
    config.eval.buffer_m = 65.0
    split = evaluation.choose_splits(config, source, regions, ("block",))["block"]
    assert set(column[split.parts(0).validation]) == {5}


def test_each_city_is_tested_by_the_others(trained, records_dir, tmp_path):
    labels = dict(schema.Manifest.load(records_dir).labels)
    labels["population"] = dataclasses.replace(labels["population"], unit="thousands")
    other = _copy_records(
        records_dir, tmp_path / "other", city="small", labels=labels,
        categories=tuple("abcde"),
    )  # fmt: skip
    config = trained.copy_and_resolve_references()
    config.checkpoint, config.workdir = config.workdir, str(tmp_path / "run")
    config.eval.other_records = (str(other),)
    evaluation.evaluate(config)
    result = json.loads((tmp_path / "run/eval/metrics_cities.json").read_text())
    # Units and categories differ: neither that label nor the POIs can be compared.
    assert list(result["tasks"]) == ["function"]
    methods = result["tasks"]["function"]["splits"]["city"]
    assert set(methods) == {"mean", "MMGR image", "random image"}
    assert result["tasks"]["function"]["num_regions"] == 80
    assert [len(method["folds"]) for method in methods.values()] == [2, 2, 2]
    assert result["cities"] == ["small", "small"]
    config.eval.features = ("poi",)
    with pytest.raises(InputError, match="other POI categories, .*Add 'image'"):
        evaluation.evaluate(config)


def test_a_checkpoint_of_another_model_is_refused(trained):
    config = trained.copy_and_resolve_references()
    config.model.projection_dim = 64
    with pytest.raises(InputError, match="projection_dim: 128 in the checkpoint, 64"):
        evaluation.evaluate(config)


def test_a_folder_that_is_no_checkpoint_is_refused(trained, tmp_path):
    config = trained.copy_and_resolve_references()
    (tmp_path / "4" / "model").mkdir(parents=True)
    config.checkpoint = str(tmp_path / "4")
    with pytest.raises(InputError, match="not a checkpoint of this program"):
        evaluation.evaluate(config)


def test_unknown_features_are_refused_with_those_there_are(trained):
    config = trained.copy_and_resolve_references()
    config.eval.features = ("pixels",)
    with pytest.raises(
        InputError, match="'pixels' is unknown; allowed: image, poi, bo"
    ):
        evaluation.evaluate(config)


def _write(workdir, value):
    block = {"mean": {"metrics": {m: value for m in compare.HEADLINE["other"]}}}
    task = {"label": {"kind": "count", "unit": "persons"}, "splits": {"block": block}}
    (workdir / "eval").mkdir(parents=True)
    (workdir / "eval" / "metrics.json").write_text(
        json.dumps({"tasks": {"population": task}})
    )


def test_compare_gives_mean_and_deviation_over_runs(tmp_path, capsys):
    for seed, value in enumerate((1.0, 2.0, 3.0)):
        _write(tmp_path / f"run{seed}", value)
    compare.main([str(tmp_path / "run*")])
    printed = capsys.readouterr().out
    assert "(3)" in printed and "2 ± 1" in printed


def test_compare_names_a_run_without_an_evaluation(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"metrics.json.*python -m mmgr_jax.eval"):
        compare.main([str(tmp_path / "run")])
