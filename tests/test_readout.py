"""What is read of a region: alike in evaluation, in stored heads and on maps."""

import json
import pathlib
import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet
from small_records import config_of

from mmgr_jax.data.source import open_source
from mmgr_jax.disk import marks
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import feature_sets, inference, kept_heads, mapping, provenance
from mmgr_jax.evaluation import run as evaluation
from mmgr_jax.evaluation.design import grid, targets
from mmgr_jax.evaluation.features.groups import Features, Surroundings, beside
from mmgr_jax.evaluation.heads import by_fold
from mmgr_jax.store import checkpoint
from mmgr_jax.train import loop

RADII_M = (65.0, 130.0)  # squares of 64 m: four neighbours, then eight
TABLE = "my table"


@pytest.fixture(scope="module")
def config(records_dir, tmp_path_factory):
    """Everything that can be read, of a run of one step, and a table beside it."""
    folder = tmp_path_factory.mktemp("readout")
    config = config_of(records_dir, folder)
    config.train.total, config.optim.warmup = "1 steps", "0 steps"
    config.model.poi_encoder.counts = True
    config.readout.image, config.readout.groups = "stages", "alike"
    config.readout.surroundings_m = RADII_M[:1]
    config.eval.features, config.eval.protocols = ("all", "both"), ("linear",)
    config.eval.baselines = ("mean", "coordinates", "statistics and counts")
    config.eval.curves.methods, config.eval.splits = (), ("block",)
    config.eval.certainty.num_resamples = 20
    source = open_source(config)
    ids = [source[row]["region_id"] for row in range(len(source))]
    values = np.random.default_rng(0).normal(size=(len(ids), 3))
    table = pd.DataFrame(values[::-1], columns=list("abc")).assign(region_id=ids[::-1])
    table.to_parquet(folder / "table.parquet")
    config.eval.tables = ((TABLE, str(folder / "table.parquet")),)
    return config


@pytest.fixture(scope="module")
def city(config):
    return feature_sets.EvaluatedCity.of(open_source(config))


@pytest.fixture(scope="module")
def evaluated(config):
    """The bundle, and the report of its evaluation."""
    loop.train(config)
    return checkpoint.latest(config.workdir), evaluation.evaluate(config)


@pytest.fixture(scope="module")
def read(config, city, evaluated):
    """Kind -> features, as the checkpoint's encoder and the readout give them."""
    encoder = inference.load_encoder(config, evaluated[0], city.source)
    readout = feature_sets.Readout(config, city)
    encoded = readout.encoded(encoder)
    return {kind: readout.features(encoded, kind) for kind in ("all", "both")}


def _load(config, bundle, kind="all", **changes):
    own = config.copy_and_resolve_references()
    own.readout.update(changes)
    encoder = inference.load_encoder(config, bundle, open_source(config))
    return kept_heads.load(
        pathlib.Path(config.workdir) / "eval/heads",
        kind,
        features=provenance.features(own, encoder),
    )


def test_groups_are_stages_pois_baselines_and_what_surrounds_them(read):
    names = [name for name, _ in read["all"].groups]
    own = ["pixels", "stage 1", "stage 2", "stage 3", "POI counts", "POI set",
           "image statistics"]  # fmt: skip
    assert names == own + [f"{name} within 65 m" for name in own]
    assert [name for name, _ in read["both"].groups][:6] == own[:6]
    sizes = dict(read["both"].groups)
    assert sizes["pixels"] == 6 and sizes["POI counts"] == 6
    assert read["all"].values.shape == (40, read["all"].num_features)


def test_pixels_are_mean_and_deviation_of_the_normalised_tile(read, city):
    """Six numbers, the first group, by NumPy."""
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    rows = city.source.read(range(40), image=True)
    tiles = np.stack([row["image"] for row in rows]) / 255.0  # 32 px, as they are
    normal = (tiles - mean) / std
    expected = np.hstack([normal.mean(axis=(1, 2)), normal.std(axis=(1, 2))])
    np.testing.assert_allclose(read["all"].values[:, :6], expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["all", "both"])
def test_stored_heads_say_what_the_report_says(config, city, evaluated, read, kind):
    bundle, report = evaluated
    found = _load(config, bundle, kind).predictors
    split = evaluation.choose_splits(
        evaluation.read(config), city.source, city.regions, ("block",)
    )
    fold = split["block"].fold
    assert set(found) == {"function", "population"}
    for task, predictor in found.items():
        said = predictor.predict(read[kind].values, fold).value
        expected = report.predictions[task][f"MMGR {kind}"]
        np.testing.assert_allclose(said, expected, rtol=1e-3, atol=1e-5)


def test_maps_show_the_same_features_and_predictions(config, evaluated, read):
    _, report = evaluated
    again = config.copy_and_resolve_references()
    again.embed.features = again.embed.predict_from = "all"
    path = mapping.embed(again) / "embeddings.parquet"
    table = gpd.read_parquet(path).sort_values("row", ignore_index=True)
    np.testing.assert_allclose(
        np.stack(table["embedding"]), read["all"].values, rtol=1e-4, atol=1e-5
    )
    said = report.predictions["population"]["MMGR all"]
    np.testing.assert_allclose(table["population_pred"], said, rtol=1e-3)
    told = json.loads(parquet.read_schema(path).metadata[b"emb"])
    assert told["groups"] == [list(group) for group in read["all"].groups]
    assert told["readout"]["surroundings_m"] == [65.0]
    assert set(told["sources"]) == {"imagery", "pois", "labels"}
    assert set(told["sources"]["labels"]) == {"function", "population"}
    assert {"source", "licence", "year"} <= set(told["sources"]["imagery"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "pooled"}, "readout.image: 'stages' there, 'pooled' here"),
        ({"groups": "columns"}, "readout.groups: 'alike' there, 'columns' here"),
        (
            {"surroundings_m": RADII_M},
            r"readout.surroundings_m: \[65.0\] there, \[65.0, 130.0\] here",
        ),
    ],
)
def test_heads_of_another_readout_are_refused(config, evaluated, changes, message):
    with pytest.raises(InputError, match=message) as error:
        _load(config, evaluated[0], **changes)
    assert str(error.value).count("there,") == 1 and "\n" not in str(error.value)


def test_maps_of_another_readout_are_refused(config, evaluated):
    other = config.copy_and_resolve_references()
    other.embed.features, other.readout.groups = "all", "columns"
    other.embed.heads = str(pathlib.Path(config.workdir) / "eval/heads")
    with pytest.raises(InputError, match="groups: 'alike' there, 'columns' here"):
        mapping.embed(other)


def test_heads_of_before_are_told_from_those_that_know_their_weights(
    config, evaluated, tmp_path
):
    path = pathlib.Path(config.workdir) / "eval/heads"
    folder = shutil.copytree(path, tmp_path / "heads")
    about = json.loads((folder / "about.json").read_text())
    features = about.pop("features")
    assert features["readout.surroundings_m"] == [65.0] and about.pop("sealed")
    (folder / "about.json").write_text(json.dumps(about))
    (folder / marks.MARK).unlink()
    with pytest.raises(InputError, match="earlier version.*place .*Evaluate again"):
        kept_heads.load(folder, "all", features=features)


def test_tables_and_baselines_are_read_with_the_same_surroundings(config, city):
    own = config.copy_and_resolve_references()
    own.readout.surroundings_m = RADII_M
    sets = feature_sets.gather(own, evaluation.read(own), {}, city)
    surroundings = Surroundings(city.centre_m, RADII_M)
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    expected = surroundings.added(Features.of(TABLE, values))
    found = sets.methods[TABLE]
    assert found.groups == expected.groups and len(found.groups) == 3
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    assert "the regions within 130 m" in sets.about[TABLE]
    readout = feature_sets.Readout(own, city)
    parts = [readout.plain(name) for name in ("image statistics", "poi counts")]
    together = surroundings.added(beside(parts))
    both = sets.methods["statistics and counts"]
    assert both.groups == together.groups
    np.testing.assert_allclose(both.values, together.values, rtol=1e-6)
    assert len(sets.methods["coordinates"].groups) == 1  # a place has no surroundings
    assert sets.methods["mean"] is None
    own.readout.groups = "columns"
    plain = feature_sets.gather(own, evaluation.read(own), {}, city).methods[TABLE]
    assert plain.groups == (("features", 9),)
    np.testing.assert_array_equal(plain.values, found.values)


def test_the_table_is_a_method_of_the_report(evaluated):
    task = evaluated[1].tasks["population"]
    assert TABLE in task.main and len(task.main) == 6


@pytest.mark.parametrize("name", ["mean", "MMGR", "random", "statistics and counts"])
def test_names_that_are_taken_are_refused(config, city, name):
    own = config.copy_and_resolve_references()
    own.eval.tables = ((name, config.eval.tables[0][1]),)
    match = f"tables: the name '{name}' is in use; give another"
    with pytest.raises(InputError, match=match):
        feature_sets.gather(own, evaluation.read(own), {}, city)


@pytest.mark.parametrize("groups", ["columns", "alike"])
def test_nobody_trains_on_what_a_tested_region_looks_like(config, city, groups):
    """Tested regions are given other features: the heads do not change."""
    own = config.copy_and_resolve_references()
    own.readout.surroundings_m, own.readout.groups = RADII_M, groups
    readout = feature_sets.Readout(own, city)
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(len(city.source), 3)).astype(np.float32)
    split = evaluation.choose_splits(
        evaluation.read(own), city.source, city.regions, ("block",)
    )
    labels = evaluation.labelled(city.source, city.regions)
    for name in ("population", "function"):
        target = targets.check(name, *labels[name], len(plain))
        cells = grid.cells(split["block"], target.known, fractions=(1.0,))
        for place, cell in enumerate(cells.cells):
            other = plain.copy()
            other[cells.test[place]] = rng.normal(
                5.0, 9.0, (cells.test[place].sum(), 3)
            )
            before, after = (
                by_fold.fit(
                    "linear", readout.around(Features.of("a", of)), target, cells,
                    strengths=(0.1, 10.0), keep=(place,),
                ).heads[place]
                for of in (plain, other)
            )  # fmt: skip
            assert before.cell == after.cell == cell
            for key, weights in before.weights.items():
                np.testing.assert_allclose(after.weights[key], weights, rtol=1e-6)
