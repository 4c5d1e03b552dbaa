"""What a run tells of its features while it trains."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import small_labels
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from small_records import config_of

from mmgr_jax import settings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.evaluation import inference, while_training
from mmgr_jax.evaluation.features import features
from mmgr_jax.evaluation.heads import knn
from mmgr_jax.store import checkpoint, identity
from mmgr_jax.train import loop
from mmgr_jax.train.settings import TrainSettings

LOSSES = ("loss", "loss_inter", "loss_intra")


def _rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def _looking(config):
    config.train.total, config.train.log_every = "4 steps", "3 steps"
    config.train.evaluate_every = "2 steps"
    return config


@pytest.fixture
def config(small_config):
    return _looking(small_config)


@pytest.fixture(scope="module")
def looked(records_dir, tmp_path_factory):
    """The config of a finished run that looked at its features."""
    config = _looking(config_of(records_dir, tmp_path_factory.mktemp("looked")))
    loop.train(config, while_training.Evaluator(config))
    return config


def test_a_score_is_that_of_neighbours_by_scikit_learn():
    x, hidden = small_labels.features()
    target, split = small_labels.target("scalar", hidden), small_labels.split(len(x))
    target = dataclasses.replace(target, log=False)
    truth, told = [], []
    for fold in range(split.num_folds):
        parts = split.parts(fold)
        train, chooses = parts.train & target.known, parts.validation & target.known
        scaler = StandardScaler().fit(x[train])
        near = KNeighborsRegressor(while_training.NEIGHBOURS, metric="cosine")
        near.fit(scaler.transform(x[train]), target.values[train])
        told.append(near.predict(scaler.transform(x[chooses])))
        truth.append(target.values[chooses])
    name, score = while_training._score(x, target, split)
    assert name == "r2"
    expected = r2_score(np.concatenate(truth), np.concatenate(told))
    assert score == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "metric", "better"), [("share", "l1", -1), ("class", "accuracy", 1)]
)
def test_shares_and_classes_are_scored_as_such(kind, metric, better):
    x, hidden = small_labels.features()
    target, split = small_labels.target(kind, hidden), small_labels.split(len(x))
    name, score = while_training._score(x, target, split)
    _, blind = while_training._score(np.random.default_rng(0).normal(size=x.shape),
                                     target, split)  # fmt: skip
    assert name == metric and better * (score - blind) > 0


def test_a_run_tells_it_beside_the_losses_and_learns_the_same(looked, config):
    told = _rows(Path(looked.workdir))
    config.train.evaluate_every = None
    plain = _rows(loop.train(config, while_training.Evaluator(config)))
    assert [row["step"] for row in told] == [1, 2, 3, 4]
    assert [row["step"] for row in plain] == [1, 3, 4]
    losses = {row["step"]: [row[name] for name in LOSSES] for row in told}
    assert all(losses[row["step"]] == [row[name] for name in LOSSES] for row in plain)
    names = {"validation/population_r2_log", "validation/function_l1"}
    for row in told:
        looked = {name for name in row if name.startswith("validation/")}
        assert looked == (names if row["step"] % 2 == 0 else set())
    assert not any(name.startswith("validation/") for row in plain for name in row)


def test_it_is_what_the_checkpoint_gives(looked):
    source = RecordSource(looked.records.dir)
    bundle = checkpoint.latest(looked.workdir)
    encoder = inference.load_encoder(looked, bundle, source)
    again = while_training.Evaluator(looked)(source, encoder.variables)
    told = _rows(Path(looked.workdir))[-1]
    assert again and again == {name: told[f"validation/{name}"] for name in again}


def test_of_many_regions_some_are_looked_at(config, monkeypatch):
    monkeypatch.setattr(while_training, "MOST_REGIONS", 30)
    source = RecordSource(config.records.dir)
    prepared = while_training._prepared(config, source)
    assert len(set(prepared.chosen)) == 30 < len(source)
    whole = features.read_regions(source)
    some = features.read_regions(source, prepared.chosen)
    assert some.region_ids == [whole.region_ids[i] for i in prepared.chosen]
    encoder = inference.random_encoder(config, source)
    options = dict(prepared.options, edges=encoder.reads_edges)
    every = features.extract(encoder.encode, source, **options)
    part = features.extract(encoder.encode, source, regions=prepared.chosen, **options)
    for kind, of in part.items():
        np.testing.assert_allclose(
            of.values, every[kind].values[prepared.chosen], rtol=1e-5, atol=1e-6
        )


def test_what_cannot_be_split_is_said_once_and_trained_all_the_same(
    config, monkeypatch, caplog
):
    config.eval.num_folds = 30
    assert config.train.evaluate_every
    workdir = loop.train(config, while_training.Evaluator(config))
    assert not any(
        name.startswith("validation/") for row in _rows(workdir) for name in row
    )
    assert caplog.text.count("features are not evaluated while training") == 1


def test_neighbours_are_enough_for_every_fold():
    assert while_training.NEIGHBOURS in knn.COUNTS


def test_a_restart_may_look_more_often_and_old_runs_did_not_look():
    new = {"train": dataclasses.asdict(TrainSettings())}
    old = {"train": {**new["train"]}}
    del old["train"]["evaluate_every"]
    assert identity.differing(old, new) == {"train.evaluate_every": (None, "10 epochs")}
    assert "train.evaluate_every" in identity.FREE
    with pytest.raises(Exception, match="evaluate_every=5; allowed: a string or None"):
        settings.read(TrainSettings, {"evaluate_every": 5}, "train")
