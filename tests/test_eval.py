"""Evaluation and maps from a checkpoint alone."""

import copy
import dataclasses
import hashlib
import json
import pathlib
import random
import re
import shutil

import geopandas as gpd
import jax
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import shapely.affinity
import stac_schemas
from PIL import Image
from pyarrow import parquet
from small_records import write_records

import mmgr_jax
from mmgr_jax import compare
from mmgr_jax.data import folds, schema
from mmgr_jax.data.schema import Label
from mmgr_jax.data.source import RecordSource, open_source
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import (
    drawing,
    feature_sets,
    inference,
    kept_heads,
    mapped_city,
    mapping,
    predictors,
    provenance,
)
from mmgr_jax.evaluation import run as evaluation
from mmgr_jax.evaluation.certainty import metrics
from mmgr_jax.evaluation.features import features
from mmgr_jax.explore import city as explored
from mmgr_jax.explore import command, readings
from mmgr_jax.report import report_file
from mmgr_jax.store import checkpoint
from mmgr_jax.train import loop

BASELINES = {
    "mean", "coordinates", "neighbour average", "poi counts", "poi tf-idf",
    "image statistics", "statistics and counts",
}  # fmt: skip
METHODS = BASELINES | {
    f"{encoder} {kind}"
    for encoder in ("MMGR", "random")
    for kind in ("image", "poi", "both")
}


def in_order(folder):
    """The table of embeddings, its rows in the order of the records."""
    table = gpd.read_parquet(folder / "embeddings.parquet")
    return table.sort_values("row", ignore_index=True)


def _copy_records(records_dir, folder, **changed):
    shutil.copytree(records_dir, folder)
    manifest = schema.Manifest.load(folder)
    dataclasses.replace(manifest, **changed).save(folder)
    return folder


@pytest.fixture(scope="module")
def trained(records_dir, tmp_path_factory):
    """A config whose workdir holds a short run."""
    from configs import toy_city

    config = toy_city.get_config("smoke")
    config.workdir = str(tmp_path_factory.mktemp("trained") / "run")
    config.records.dir = str(records_dir)
    config.augment.size_px, config.mesh.data = 32, 1
    config.train.total, config.eval.num_folds = "4 steps", 4
    config.readout = dict(image="pooled", surroundings_m=(), groups="columns")
    config.embed.features = "image"
    config.eval.features = ("image", "poi", "both")
    config.eval.certainty.num_resamples = 20
    config.eval.curves.fractions, config.eval.curves.num_seeds = (0.5, 1.0), 2
    config.eval.curves.num_labels, config.eval.curves.num_draws = (10,), 2
    config.eval.curves.methods = ("MMGR image", "mean")
    loop.train(config)
    return config


def trained_records(config):
    return pathlib.Path(config.records.dir)


def encoded(config, encoder, source):
    """Kind -> what the encoder gives of every region."""
    readout = feature_sets.Readout(config, feature_sets.EvaluatedCity.of(source))
    return {kind: of.values for kind, of in readout.encoded(encoder).items()}


def test_eval_needs_the_model_of_the_checkpoint_and_nothing_else(trained, tmp_path):
    bundle = checkpoint.latest(trained.workdir)
    alone = tmp_path / "4"
    shutil.copytree(bundle, alone)
    shutil.rmtree(alone / "train")
    shutil.rmtree(alone / "data")
    config = trained.copy_and_resolve_references()
    config.checkpoint, config.workdir = str(alone), str(tmp_path / "elsewhere")
    report = evaluation.evaluate(config)
    folder = tmp_path / "elsewhere/eval"
    result = json.loads((folder / "report.json").read_text())
    assert set(result["tasks"]) == {"function", "population"}
    for task in result["tasks"].values():
        assert set(task["splits"]) == {"block", "random"}
        assert set(task["splits"]["block"]) == {"linear", "knn"}
        assert set(task["splits"]["block"]["linear"]) == METHODS
        assert task["num_labelled"] == task["num_regions"] == 40
        assert set(task["coverage"]) == {"MMGR image", "MMGR poi", "MMGR both"}
        compared = {(d["method"], d["reference"]) for d in task["differences"]}
        assert len(compared) == 3 * (len(METHODS) - 1)
    assert set(result["methods"]) == METHODS
    assert set(result["health"]) == {"MMGR", "random"}
    assert set(result["retrieval"]) == {"MMGR: image to poi", "MMGR: poi to image"}
    hashes = result["data"]["hashes"]
    manifest = (trained_records(config) / "manifest.json").read_bytes()
    assert hashes["manifest.json"] == hashlib.sha256(manifest).hexdigest()
    assert result["versions"]["mmgr-jax"] and result["config"]["eval"]["seed"] == 0
    assert "MMGR both" in (folder / "report.html").read_text()
    shares = report.predictions["function"]["MMGR image"]
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert (tmp_path / "elsewhere/eval/metrics.txt").read_text().startswith("function")


def test_features_do_not_depend_on_batching_or_devices(trained, tmp_path):
    source = open_source(trained)
    bundle = checkpoint.latest(trained.workdir)
    config = trained.copy_and_resolve_references()
    expected = encoded(config, inference.load_encoder(config, bundle, source), source)
    config.mesh.data, config.data.batch_size = 8, 24
    config.workdir = str(tmp_path)  # nothing is kept there
    again = encoded(config, inference.load_encoder(config, bundle, source), source)
    for kind, values in expected.items():
        assert values.shape[0] == len(source)
        np.testing.assert_allclose(again[kind], values, rtol=1e-4, atol=1e-5)


def test_the_random_encoder_is_not_the_trained_one(trained):
    source = open_source(trained)
    random = encoded(trained, inference.random_encoder(trained, source), source)
    bundle = checkpoint.latest(trained.workdir)
    learnt = encoded(trained, inference.load_encoder(trained, bundle, source), source)
    assert not np.allclose(random["image"], learnt["image"])


def test_embed_writes_a_table_and_a_map_of_each_task(trained):
    config = trained.copy_and_resolve_references()
    config.embed.formats = ("gpkg", "cog", "pmtiles", "stac", "projector")
    folder = mapping.embed(config)
    rows = parquet.read_table(folder / "embeddings.parquet")["row"].to_pylist()
    assert sorted(rows) == list(range(40)) != rows  # by place, along a curve
    table = in_order(folder)
    assert len(table) == 40 and table.crs == "EPSG:32651"
    assert table["region_id"].is_unique
    source = open_source(trained)
    bundle = checkpoint.latest(trained.workdir)
    encoder = inference.load_encoder(trained, bundle, source)
    learnt = encoded(trained, encoder, source)["image"]
    np.testing.assert_allclose(np.stack(table["embedding"]), learnt, rtol=1e-5)
    truth = [source[i]["label/population"] for i in range(40)]
    np.testing.assert_allclose(table["population_true"], truth, rtol=1e-6)
    for task in ("function", "population"):
        assert (folder / f"{task}.png").stat().st_size > 20_000
        assert table[f"{task}_unlike"].dtype == bool
    assert (table["population_low"] <= table["population_pred"]).all()
    assert (table["population_pred"] <= table["population_high"]).all()
    assert (table["function_low_forest"] <= table["function_pred_forest"]).all()
    assert not list(folder.glob("*.tmp*"))
    described = pd.read_csv(folder / "columns.csv")
    assert described["name"].tolist() == [
        *table.columns[:-1], "bbox", "geometry",
    ]  # fmt: skip

    layer = gpd.read_file(folder / "regions.gpkg", layer="regions")
    assert layer["region_id"].tolist() == table["region_id"].tolist()
    assert layer["function_known_class"].tolist() == list(table["function_true_class"])
    assert (folder / "styles/function_predicted_class.qml").exists()
    assert (folder / "regions.pmtiles").read_bytes()[:8] == b"PMTiles\3"
    with rasterio.open(folder / "population.tif") as image:
        places = table.centroid.get_coordinates().to_numpy()
        sampled = np.stack([*image.sample(places)])
    np.testing.assert_array_equal(sampled[:, 1], table["population_pred"])

    (item,) = stac_schemas.check(folder / "collection.json").get_items()
    for asset in item.assets.values():
        assert pathlib.Path(asset.get_absolute_href()).exists()
    assert "uncertainty" in item.assets["population.tif"].roles
    model = stac_schemas.check(folder / "encoder.json").assets["model"]
    assert pathlib.Path(model.get_absolute_href()) == pathlib.Path(bundle).resolve()
    vectors = np.loadtxt(folder / "projector/tensors.tsv", delimiter="\t")
    np.testing.assert_allclose(vectors, learnt, rtol=1e-4, atol=1e-5)
    known = pd.read_csv(folder / "projector/metadata.tsv", sep="\t")
    assert known["region_id"].tolist() == table["region_id"].tolist()
    tile = np.asarray(Image.open(folder / "projector/sprite.png"))[:64, :64]
    np.testing.assert_allclose(
        tile.mean(axis=(0, 1)), source[0]["image"].mean(axis=(0, 1)), atol=1
    )


def test_a_grid_is_asked_for_before_anything_is_encoded(trained, monkeypatch):
    config = trained.copy_and_resolve_references()
    config.embed.formats = ("cog",)
    read = feature_sets.EvaluatedCity.of

    def rotated(source):
        city = read(source)
        outlines = shapely.from_wkb(city.regions.geometry_wkb)
        turned = [shapely.affinity.rotate(outline, 30) for outline in outlines]
        regions = dataclasses.replace(
            city.regions, geometry_wkb=[shapely.to_wkb(one) for one in turned]
        )
        return dataclasses.replace(city, regions=regions)

    def encode(*_, **__):
        raise AssertionError("encoded")

    monkeypatch.setattr(feature_sets.EvaluatedCity, "of", rotated)
    monkeypatch.setattr(inference, "load_encoder", encode)
    with pytest.raises(InputError, match="regions are not a grid of equal rectangles"):
        mapping.embed(config)


def test_explore_shows_what_embed_writes(trained, tmp_path, monkeypatch):
    gathered = []
    gather = explored.gather
    monkeypatch.setattr(
        explored,
        "gather",
        lambda *given: gathered.append(gather(*given)) or gathered[-1],
    )
    before = tmp_path / "before"
    before.mkdir()
    write_records(before, light=lambda tile: tile // 2)
    out = str(tmp_path / "new" / "city.html")
    path = command.explore(trained, out, str(before))
    text = path.read_text(encoding="utf-8")
    assert 'id="basemap-before"' in text
    table = gpd.read_parquet(tmp_path / "new" / "city_change.parquet")
    assert table["change_factor"].notna().all()
    assert table["change_p_value"].between(0, 1).all()
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert re.findall(r'(?:src|href)="([^"]*)"', text.split("<script")[0]) == []

    (own,) = gathered
    embedded = in_order(mapping.embed(trained))
    assert own.region_ids == embedded["region_id"].tolist()
    assert own.region_ids == table["region_id"].tolist()
    rows = np.stack(embedded["embedding"].to_numpy())
    np.testing.assert_allclose(own.features.values, rows, rtol=1e-6)
    task = own.tasks["population"]
    for column, values in [
        ("population_true", task.truth),
        ("population_pred", task.prediction.value),
        ("population_low", task.prediction.low),
        ("population_high", task.prediction.high),
        ("population_unlike", task.prediction.unlike),
    ]:
        expected = embedded[column].to_numpy(float)
        np.testing.assert_allclose(np.asarray(values, float), expected, rtol=1e-4)

    source = RecordSource(trained.records.dir)
    for region in (0, 7, 21):
        record = source[region]
        wanted = np.bincount(record["poi/category"], minlength=5)
        part = slice(own.pois.start[region], own.pois.start[region + 1])
        counted = np.zeros(5, int)
        counted[own.pois.category[part]] = own.pois.count[part]
        np.testing.assert_array_equal(counted, wanted)
        assert own.pois.total[region] == wanted.sum()
    assert [rows.shape for rows in own.projections] == 2 * [own.projections[0].shape]
    assert own.poi_weights["c"] == 5


def test_predictions_without_parts_are_those_of_what_is_left(trained, monkeypatch):
    """The door for other programs embeds the same tiles and sets on its own way."""
    config = copy.deepcopy(trained)
    config.embed.predict_from = "both"
    kept = []
    gather = mapped_city.gather
    monkeypatch.setattr(
        explored.mapped_city,
        "gather",
        lambda *given: kept.append(gather(*given)) or kept[-1],
    )
    own = explored.gather(config, occluded="ids:r0001c0002,r0003c0003")
    (mapped,) = kept
    lost, heads = own.occlusion, mapped.heads
    assert [own.region_ids[i] for i in lost.region] == ["r0001c0002", "r0003c0003"]
    encoder, source = mmgr_jax.load(trained.workdir), RecordSource(config.records.dir)
    names = source.manifest.categories

    def predicted(task, region, tile, category):
        tiles = encoder.embed_tiles(tile[None])
        sets = encoder.embed_pois([[names[index] for index in category]])
        both = np.concatenate([tiles, sets], axis=1)
        return heads.predictors[task].predict(both, heads.fold[[region]]).value[0]

    for place, region in enumerate(lost.region.tolist()):
        record = source[region]
        tile, category = record["image"], record["poi/category"]
        for task, losses in lost.tasks.items():
            whole = np.ravel(predicted(task, region, tile, category))
            shown = int(np.argmax(whole))
            assert shown == losses.shown[place]
            for cell in (0, 6, 15):
                painted = readings.without_cell(tile, cell)
                left = np.ravel(predicted(task, region, painted, category))
                wanted = whole[shown] - left[shown]
                found = losses.by_cell[place].ravel()[cell]
                assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4 * whole[shown])
            for at in range(lost.start[place], lost.start[place + 1]):
                rest = category[category != lost.category[at]]
                left = np.ravel(predicted(task, region, tile, rest))
                wanted = whole[shown] - left[shown]
                found = losses.by_category[at]
                assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4 * whole[shown])
        assert lost.start[place + 1] - lost.start[place] == len(np.unique(category))
    value = own.tasks["population"].prediction.value
    parts = own.tasks["population"].parts
    total = parts.baseline + parts.by_group.sum(axis=1)
    restored = parts.units * np.expm1(np.maximum(total, 0))
    inside = restored <= value.max()
    np.testing.assert_allclose(restored[inside], value[inside], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", ["../../../escaped", "a/b", "..", "x" * 300])
def test_no_name_of_a_task_leaves_its_folder(trained, tmp_path, monkeypatch, task):
    from mmgr_jax.geo import maps

    drawn = []
    for draw in ("task_map", "certainty_map"):
        monkeypatch.setattr(maps, draw, lambda path, **_: drawn.append(path))
    said = predictors.Prediction(*np.zeros((3, 2)), np.zeros(2, bool))
    label = Label("count", "persons")
    city = feature_sets.EvaluatedCity.of(open_source(trained))
    folder = tmp_path / "in" / "maps"
    drawing.task(folder, city, task, label, np.zeros(2), said)
    heads = [kept_heads._place(folder, task, kind) for kind in ("both", "../image")]
    assert len({*drawn, *heads}) == 4
    for path in (*drawn, *heads):
        assert path.resolve().is_relative_to(folder.resolve()) and len(path.name) < 200
        assert path.parent in (folder, heads[0].parent)


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """A config whose workdir holds an evaluation of the short run, and its report."""
    config = trained.copy_and_resolve_references()
    config.checkpoint = config.workdir
    config.workdir = str(tmp_path_factory.mktemp("evaluated") / "run")
    config.eval.features, config.eval.baselines = ("image",), ("mean",)
    config.eval.curves.methods, config.eval.protocols = (), ("linear",)
    return config, evaluation.evaluate(config)


def test_embed_predicts_with_the_heads_of_the_evaluation(trained, evaluated, tmp_path):
    config, report = evaluated
    assert kept_heads.exists(pathlib.Path(config.workdir) / "eval/heads")
    stored = in_order(mapping.embed(config))
    said = report.predictions["population"]["MMGR image"]
    np.testing.assert_allclose(stored["population_pred"], said, rtol=1e-4)
    shares = report.predictions["function"]["MMGR image"]
    np.testing.assert_allclose(
        stored["function_pred_forest"], shares[:, 0], rtol=1e-3, atol=1e-5
    )
    # Heads trained on the spot are the same ones.
    alone = config.copy_and_resolve_references()
    alone.workdir = str(tmp_path / "run")
    now = in_order(mapping.embed(alone))
    for column in ("population_pred", "population_low", "population_high"):
        np.testing.assert_allclose(stored[column], now[column], rtol=1e-4)
    assert (stored["population_unlike"] == now["population_unlike"]).all()


def test_heads_know_which_features_to_map(evaluated, tmp_path):
    """And those of an earlier version say that they do not."""
    config, _ = evaluated
    heads = pathlib.Path(config.workdir) / "eval/heads"
    about = json.loads((heads / "about.json").read_text())
    assert about["best"] == {"function": "image", "population": "image"}
    found = kept_heads.load(heads, kept_heads.BEST, features=about["features"])
    assert found.kinds == about.pop("best")
    folder = shutil.copytree(heads, tmp_path / "heads")
    del about["sealed"]
    (folder / "about.json").write_text(json.dumps(about))
    (folder / kept_heads.marks.MARK).unlink()
    with pytest.raises(InputError, match="which features predict 'function' best"):
        kept_heads.load(folder, kept_heads.BEST, features=about["features"])
    kept_heads.load(folder, "image", features=about["features"])


def test_a_map_says_its_features_and_its_score():
    truth = np.array([1.0, 2.0, 4.0, np.nan])
    value = np.array([1.0, 2.5, 5.0, 7.0])
    first, second, third = drawing.about(
        Label("count", "persons"), "both", truth, value, chosen=True, split="block",
        out_of_fold=True,
    )  # fmt: skip
    assert first == (
        "Predicted from imagery and points of interest (POIs) (MMGR both), chosen by "
        "their scores on the other folds."
    )
    assert second.startswith("Out-of-fold: the model that predicts a region saw no ")
    scale = metrics.median_positive(truth[:3])
    score = metrics.scalar(truth[:3], value[:3], log_scale=scale)["r2_log"]
    assert third == (
        f"Score: R² of logarithms {score:.3f}; half of the regions are off by less "
        "than 0.5 persons."
    )
    shares = np.array([[1.0, 0.0], [0.5, 0.5]])
    _, *lines = drawing.about(
        Label("share", "1", classes=("a", "b")), "image", shares, shares[::-1],
        chosen=False, split="", out_of_fold=False,
    )  # fmt: skip
    assert lines == [
        "The heads have learnt from other regions.",
        "Score: L1 distance 1.000.",
    ]


@pytest.fixture(scope="module")
def other_weights(trained, tmp_path_factory):
    """A checkpoint of the same run whose weights are others."""
    bundle = checkpoint.latest(trained.workdir)
    arrays = jax.tree.map(lambda leaf: 1.5 * leaf, checkpoint.load_arrays(bundle))
    folder = tmp_path_factory.mktemp("other") / "run"
    return checkpoint.save_model(folder, arrays, checkpoint.load_metadata(bundle))


def test_heads_of_other_weights_are_refused_and_of_a_copy_taken(
    trained, evaluated, other_weights, tmp_path
):
    config = evaluated[0].copy_and_resolve_references()
    config.embed.heads = str(pathlib.Path(config.workdir) / "eval/heads")
    config.embed.predict_from, config.workdir = "both", str(tmp_path / "run")
    with pytest.raises(InputError, match="no head predicts .* from features 'both'"):
        mapping.embed(config)
    config.embed.predict_from, config.checkpoint = "best", str(other_weights)
    with pytest.raises(
        InputError, match=r"read features of other weights .* than this"
    ):
        mapping.embed(config)
    source = open_source(config)
    copy = shutil.copytree(checkpoint.latest(trained.workdir), tmp_path / "4")
    encoder = inference.load_encoder(config, copy, source)
    moved = shutil.copytree(config.embed.heads, tmp_path / "heads")
    made_by = provenance.features(config, encoder)
    found = kept_heads.load(pathlib.Path(moved), "image", features=made_by)
    assert set(found.predictors) == {"function", "population"}
    changed = made_by | {"model.dtype": "bfloat16", "augment.size_px": 64}
    with pytest.raises(
        InputError, match=r"size_px: 32 there, 64 here; model.dtype: 'float32' there"
    ):
        kept_heads.load(pathlib.Path(moved), "image", features=changed)


def test_maps_of_new_weights_beside_old_heads_are_of_heads_trained_anew(
    evaluated, other_weights, tmp_path, caplog
):
    """As where a run's checkpoints were removed and it was trained again."""
    config = evaluated[0].copy_and_resolve_references()
    config.checkpoint = str(other_weights)
    tables = []
    for name in ("old heads", "none"):
        config.workdir = str(tmp_path / name)
        if name == "old heads":
            old = pathlib.Path(evaluated[0].workdir) / "eval"
            shutil.copytree(old, tmp_path / name / "eval")
        with caplog.at_level("WARNING"):
            folder = mapping.embed(config)
        tables.append(in_order(folder))
    assert "read features of other weights" in caplog.text
    assert caplog.text.count("They are trained now, for these maps alone") == 1
    np.testing.assert_allclose(
        tables[0]["population_pred"], tables[1]["population_pred"], rtol=1e-4
    )


def test_a_flipped_bit_in_any_file_of_heads_is_noticed(evaluated, tmp_path):
    config, _ = evaluated
    rng = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    source = pathlib.Path(config.workdir) / "eval/heads"
    features = json.loads((source / "about.json").read_text())["features"]
    heads = pathlib.Path(shutil.copytree(source, tmp_path / "heads"))
    paths = [p for p in heads.rglob("*") if p.is_file() and p.stat().st_size]
    assert len(paths) > 10
    for path in paths:
        before = path.read_bytes()
        content = bytearray(before)
        content[place := rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        with pytest.raises(InputError, match="these heads are damaged"):
            kept_heads.load(heads, "image", features=features)
            pytest.fail(f"seed {seed}: byte {place} of {path}")
        path.write_bytes(before)
    kept_heads.load(heads, "image", features=features)


def test_heads_that_cannot_be_read_now_are_not_called_damaged(evaluated, monkeypatch):
    config, _ = evaluated
    heads = pathlib.Path(config.workdir) / "eval/heads"
    features = json.loads((heads / "about.json").read_text())["features"]

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(kept_heads.marks.checksums, "of", refuse)
    with pytest.raises(InputError, match="cannot be read .Permission denied"):
        kept_heads.load(heads, "image", features=features)


def test_heads_know_the_regions_they_have_seen(evaluated, records_dir, tmp_path):
    """By their outlines: in records that were built again, and not in another city."""
    config, _ = evaluated
    heads = pathlib.Path(config.workdir) / "eval/heads"
    city = feature_sets.EvaluatedCity.of(RecordSource(records_dir))
    about = json.loads((heads / "about.json").read_text())
    assert not pathlib.Path(about["checkpoint"]).is_absolute()
    found = kept_heads.load(heads, "image", features=about["features"])
    split = evaluation.choose_splits(
        evaluation.read(config), city.source, city.regions, ("block",)
    )
    np.testing.assert_array_equal(found.fold_of(city), split["block"].fold)
    grown = tmp_path / "grown"
    grown.mkdir()
    larger = feature_sets.EvaluatedCity.of(RecordSource(write_records(grown, rows=6)))
    fold = found.fold_of(larger)
    np.testing.assert_array_equal(fold[:40], split["block"].fold)
    assert (fold[40:] == predictors.UNSEEN).all() and len(fold) == 48
    with pytest.raises(InputError, match=r"as they were before the records .*regions"):
        found.refuse_stale(larger, heads)
    elsewhere = _copy_records(records_dir, tmp_path / "elsewhere", crs="EPSG:32650")
    other = feature_sets.EvaluatedCity.of(RecordSource(elsewhere))
    assert found.fold_of(other) is None
    found.refuse_stale(other, heads)


def test_a_report_states_what_the_weights_were_trained_with(
    trained, evaluated, tmp_path, caplog
):
    config = evaluated[0].copy_and_resolve_references()
    config.workdir = str(tmp_path / "run")
    config.loss.temperature, config.optim.learning_rate = 0.05, 0.5
    config.eval.tasks = ("population",)
    with caplog.at_level("WARNING"):
        evaluation.evaluate(config)
    path = tmp_path / "run/eval/report.json"
    told = report_file.read(path)
    assert told["config"]["loss"]["temperature"] == trained.loss.temperature != 0.05
    assert told["config"]["eval"]["tasks"] == ["population"]
    assert told["differences"] == [
        f"The checkpoint was trained with loss.temperature={trained.loss.temperature};"
        " the config says 0.05.",
        "The checkpoint was trained with optim.learning_rate="
        f"{trained.optim.learning_rate}; the config says 0.5.",
    ]
    assert caplog.text.count("The checkpoint was trained with") == 2
    assert told["history"][0]["step"] == 0
    assert told["made_by"]["weights"] == told["encoders"]["MMGR"]["weights"]
    assert told["trained_on"]["records"] == told["data"]["identity"]
    text = path.read_text()
    path.write_text(text.replace('"num_regions": 40', '"num_regions": 41', 1))
    with pytest.raises(InputError, match="edited or damaged since it was written"):
        report_file.read(path)


def test_heads_predict_a_city_without_labels(trained, evaluated, records_dir, tmp_path):
    """Regions that the heads have not learnt from: one head predicts them all."""
    config = evaluated[0].copy_and_resolve_references()
    config.embed.heads = str(pathlib.Path(config.workdir) / "eval/heads")
    other = _copy_records(records_dir, tmp_path / "other", crs="EPSG:32650")
    config.records.dir, config.workdir = str(other), str(tmp_path / "elsewhere")
    table = in_order(mapping.embed(config))
    about = json.loads((pathlib.Path(config.embed.heads) / "about.json").read_text())
    found = kept_heads.load(
        pathlib.Path(config.embed.heads), "image", features=about["features"]
    )
    said = found.predictors["population"].predict(np.stack(table["embedding"]))
    np.testing.assert_allclose(table["population_pred"], said.value, rtol=1e-4)
    # The very tiles that the heads were trained on are like them.
    assert not table["population_unlike"].any()


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
    assert set(report.tasks["population"].results) == {"random"}
    told = json.loads((tmp_path / "run/eval/report.json").read_text())
    assert told["regions"] is None
    assert "coordinates" not in told["methods"] and "mean" in told["methods"]
    assert (
        "do not say where these regions lie"
        in (tmp_path / "run/eval/report.html").read_text()
    )
    with pytest.raises(InputError, match="do not say where.*nothing to map"):
        mapping.embed(config)


def test_stored_splits_and_buffers_decide_who_is_tested(trained, records_dir, tmp_path):
    meanings = dict(block=schema.SplitColumn(num_folds=3, buffer_m=1.0))
    folder = _copy_records(records_dir, tmp_path / "records", splits=meanings)
    source = RecordSource(folder)
    regions = features.read_regions(source)
    column = np.arange(40) % 8
    folds.write(folder, regions.region_ids, dict(block=column // 3))
    config = trained.copy_and_resolve_references()
    config.records.dir, config.eval.num_folds = str(folder), None
    split = evaluation.choose_splits(
        evaluation.read(config), source, regions, ("block",)
    )["block"]
    np.testing.assert_array_equal(split.fold, column // 3)
    # Squares of 64 m: the columns that touch a tested one take no part.
    assert set(column[split.parts(0).validation]) == {4, 5}
    config.eval.buffer_m = 65.0
    split = evaluation.choose_splits(
        evaluation.read(config), source, regions, ("block",)
    )["block"]
    assert set(column[split.parts(0).validation]) == {5}


@pytest.mark.slow
def test_each_city_is_tested_by_the_others(trained, records_dir, tmp_path, caplog):
    caplog.set_level("INFO")
    labels = dict(schema.Manifest.load(records_dir).labels)
    labels["population"] = dataclasses.replace(labels["population"], unit="thousands")
    other = _copy_records(
        records_dir, tmp_path / "other", city="small", labels=labels,
        categories=tuple("abcde"),
    )  # fmt: skip
    config = trained.copy_and_resolve_references()
    config.checkpoint, config.workdir = config.workdir, str(tmp_path / "run")
    config.eval.other_records = (str(other),)
    ids = [record["region_id"] for record in RecordSource(records_dir)]
    path = tmp_path / "table.parquet"
    pd.DataFrame(dict(region_id=ids, a=np.arange(40.0))).to_parquet(path)
    config.eval.tables = (("table", str(path)),)
    evaluation.evaluate(config)
    report = json.loads((tmp_path / "run/eval/report.json").read_text())
    result = report["cities"]
    own = report["tasks"]["function"]["splits"]["block"]["linear"]
    assert "table" in own  # and not below: regions of other cities have the same ids
    # Units differ: that label is not compared. POIs are, by the names of categories.
    assert list(result["tasks"]) == ["function"]
    methods = result["tasks"]["function"]["splits"]["city"]["linear"]
    assert set(methods) == {
        *(f"{name} {kind}" for name in ("MMGR", "random")
          for kind in ("image", "poi", "both")),
        "mean", "image statistics", "poi counts", "statistics and counts",
    }  # fmt: skip
    assert "5 of 5 POI categories, 100 % of its POIs, are in no other" in caplog.text
    assert result["tasks"]["function"]["num_regions"] == 80
    assert all(len(method["folds"]) == 2 for method in methods.values())
    assert result["names"] == ["small", "small"]
    # Two copies of one city: each tests the other as well as the other tests it, and
    # on the diagonal stands what the city's own blocks give.
    matrix = np.array(result["transfer"]["function"]["MMGR image"])
    assert matrix.shape == (2, 2) and np.isfinite(matrix).all()
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-4)
    np.testing.assert_allclose(
        matrix[0, 0], own["MMGR image"]["metrics"]["l1"], rtol=1e-4
    )


def test_other_checkpoints_stand_beside_under_their_names(trained, tmp_path):
    """The same checkpoint by other names gives the same numbers, to the last digit."""
    config = trained.copy_and_resolve_references()
    config.checkpoint, config.workdir = config.workdir, str(tmp_path / "run")
    config.eval.features, config.eval.baselines = ("image",), ("mean",)
    config.eval.tasks, config.eval.protocols = ("population",), ("linear",)
    config.eval.checkpoints = (("older", trained.workdir),)
    config.eval.imported = trained.workdir
    config.model.dtype = "float32"
    main = evaluation.evaluate(config).tasks["population"].main
    assert list(main) == ["MMGR image", "older image", "imported image", "mean"]
    assert main["older image"].metrics == main["MMGR image"].metrics
    assert main["imported image"].metrics == main["MMGR image"].metrics
    config.eval.checkpoints = (("MMGR", trained.workdir),)
    with pytest.raises(InputError, match="'MMGR' is in use"):
        evaluation.evaluate(config)


@pytest.mark.slow
def test_encoders_can_be_tuned_as_a_whole(trained, tmp_path):
    config = trained.copy_and_resolve_references()
    config.checkpoint, config.workdir = config.workdir, str(tmp_path / "run")
    config.eval.features, config.eval.baselines = ("image", "poi"), ("mean",)
    config.eval.protocols, config.eval.tasks = ("linear", "finetune"), ("population",)
    config.eval.splits, config.eval.finetune.max_epochs = ("block",), 2
    task = evaluation.evaluate(config).tasks["population"]
    tuned = task.results["block"]["finetune"]
    assert list(tuned) == ["MMGR image", "mean"]  # no image, nothing to tune
    assert tuned["mean"].metrics["rmse"] == task.main["mean"].metrics["rmse"]
    assert all(0 <= epoch <= 2 for epoch in tuned["MMGR image"].chosen)
    assert "whole image encoder" in (tmp_path / "run/eval/report.html").read_text()


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


def _write(workdir, value):
    linear = {"mean": {"metrics": {m: value for m in compare.HEADLINE["other"]}}}
    task = {
        "label": {"kind": "count", "unit": "persons"},
        "splits": {"block": {"linear": linear}},
    }
    (workdir / "eval").mkdir(parents=True)
    (workdir / "eval" / "report.json").write_text(
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
    with pytest.raises(InputError, match=r"report.json.*python -m mmgr_jax.eval"):
        compare.main([str(tmp_path / "run")])


def test_compare_takes_no_mean_over_different_records(tmp_path, capsys):
    _write(tmp_path / "a1", 1.0)
    _write(tmp_path / "b1", 2.0)
    for name, labels in (("a1", "x"), ("b1", "y")):
        path = tmp_path / name / "eval" / "report.json"
        told = json.loads(path.read_text())
        told["data"] = {"identity": dict(inputs="i", labels=labels, splits="s")}
        path.write_text(report_file.text(told))
    with pytest.raises(InputError, match=r"b1: evaluated on other .*a1 \(labels\)"):
        compare.main([str(tmp_path / "*1")])
    compare.main([str(tmp_path / "a1"), str(tmp_path / "b1")])
    assert "b1: evaluated on other records than the first group (labels)" in (
        capsys.readouterr().out
    )


def test_compare_puts_no_other_split_or_task_beside_the_first(tmp_path, capsys):
    """The first split of one report may be the random one of another."""
    for name in ("first", "random", "without"):
        _write(tmp_path / name, 1.5)
        path = tmp_path / name / "eval/report.json"
        told = json.loads(path.read_text())
        (task,) = told["tasks"].values()
        if name == "random":
            task["splits"] = {"random": next(iter(task["splits"].values()))}
        elif name == "without":
            told["tasks"] = {}
        told.pop("sha256", None)
        path.write_text(report_file.text(told))
    compare.main([str(tmp_path / name) for name in ("first", "random", "without")])
    printed = capsys.readouterr().out
    assert printed.count("1.5") == len(compare.HEADLINE["other"])
    for name in ("random", "without"):
        assert f"{name}: no such evaluation" in printed


@pytest.mark.parametrize("text", ["{}", "[]", '{"tasks": 3}', "[" * 100_000, "", "{"])
def test_compare_names_a_file_that_is_no_report(tmp_path, text):
    (tmp_path / "run/eval").mkdir(parents=True)
    (tmp_path / "run/eval/report.json").write_text(text)
    with pytest.raises(InputError, match=r"report.json: no report of an evaluation"):
        compare.main([str(tmp_path / "run")])
