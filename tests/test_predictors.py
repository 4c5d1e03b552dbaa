"""Heads kept from an evaluation: intervals, and regions unlike the training ones."""

import numpy as np
import pytest

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation import predictors
from mmgr_jax.evaluation.design import targets
from mmgr_jax.evaluation.design.splits import Split
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.evaluation.trials import tasks

NUM_REGIONS, NUM_BLOCKS = 400, 40
LABELS = {
    "population": Label("count", "persons"),
    "function": Label("share", "1", classes=("a", "b")),
    "use": Label("class", "1", classes=("a", "b", "c")),
}


@pytest.fixture(scope="module")
def city():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(NUM_REGIONS, 6)).astype(np.float32)
    signal = features[:, 0] + 0.3 * rng.normal(size=NUM_REGIONS)
    share = 1 / (1 + np.exp(-2 * signal))
    values = {
        "population": np.exp(3 + signal),
        "function": np.stack([share, 1 - share], axis=1),
        "use": np.digitize(signal, [-0.5, 0.5]).astype(float),
    }
    block = np.arange(NUM_REGIONS) % NUM_BLOCKS
    split = Split(block % 4, 4)
    report = tasks.evaluate(
        {"image": Features.of("image", features)},
        {name: (label, values[name]) for name, label in LABELS.items()},
        {"block": split},
        EvalSettings(protocols=("linear",), strengths=(1e-1, 10.0)),
        keep=("image",),
    )
    return features, values, block, split.fold, report


def _predictor(city, name):
    features, values, block, fold, report = city
    target = targets.check(name, LABELS[name], values[name], NUM_REGIONS)
    return predictors.of_task(
        report.tasks[name], target, "image", Features.of("f", features), block, fold
    )


def test_out_of_fold_predictions_are_those_of_the_report(city):
    features, _, _, fold, report = city
    for name in LABELS:
        said = _predictor(city, name).predict(features, fold)
        np.testing.assert_allclose(
            said.value, report.predictions[name]["image"], rtol=1e-3, atol=1e-5
        )
        assert said.unlike.mean() < 0.05


@pytest.mark.parametrize("name", ["population", "function"])
def test_intervals_hold_the_truth_of_about_nine_in_ten(city, name):
    features, values, _, fold, _ = city
    said = _predictor(city, name).predict(features, fold)
    held = (said.low <= values[name]) & (values[name] <= said.high)
    assert held.mean() == pytest.approx(predictors.LEVEL, abs=0.03)
    assert (said.low <= said.value).all() and (said.value <= said.high).all()


def test_new_regions_are_predicted_and_strange_ones_are_marked(city):
    rng = np.random.default_rng(1)
    new = rng.normal(size=(50, 6)).astype(np.float32)
    new[:5] += 20
    predictor = _predictor(city, "population")
    said = predictor.predict(new)
    assert said.unlike[:5].all() and said.unlike[5:].mean() < 0.2
    likely = np.exp(3 + new[5:, 0])
    assert np.corrcoef(np.log(said.value[5:]), np.log(likely))[0, 1] > 0.9


def test_a_strange_region_of_the_training_city_is_marked_too(city):
    """It is its own nearest neighbour, but not that of the head that predicts it."""
    features, values, block, fold, report = city
    moved = features.copy()
    moved[7] += 20
    target = targets.check(
        "population", LABELS["population"], values["population"], 400
    )
    predictor = predictors.of_task(
        report.tasks["population"],
        target,
        "image",
        Features.of("f", moved),
        block,
        fold,
    )
    assert predictor.predict(moved, fold).unlike[7]
    assert not predictor.predict(moved).unlike[7]


def test_classes_have_probabilities_and_no_interval(city):
    features, _, _, fold, _ = city
    said = _predictor(city, "use").predict(features, fold)
    assert said.value.shape == (NUM_REGIONS, 3) and np.isnan(said.low).all()
