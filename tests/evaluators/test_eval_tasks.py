"""The evaluation as a whole: out-of-fold, pooled, honest, and its errors."""

import json
import math

import numpy as np
import pytest
from scipy import ndimage
from sklearn import metrics as sklearn_metrics

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluators import heads, metrics, tasks
from mmgr_jax.evaluators.splits import Split

SIDE = 18
NUM_REGIONS = SIDE * SIDE
SETTINGS = dict(strengths=(1e-1, 10.0, 1e3))
POPULATION = Label("count", "persons", year=2020)
FUNCTION = Label("share", "1", classes=("water", "forest", "residential"))


@pytest.fixture(scope="module")
def city():
    """A grid whose features know part of the truth; three regions have no label."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4, SIDE, SIDE))
    hidden = np.stack([ndimage.gaussian_filter(n, 2).ravel() for n in noise], axis=1)
    hidden /= hidden.std(axis=0)
    features = hidden @ rng.normal(size=(4, 12)) + rng.normal(size=(NUM_REGIONS, 12))
    population = np.exp(3 + hidden[:, 0]).astype(np.float32)
    population[[0, 5, 100]] = np.nan
    function = np.exp(hidden[:, :3] * 2)
    function /= function.sum(axis=1, keepdims=True)
    function[7] = np.nan
    row, column = np.divmod(np.arange(NUM_REGIONS), SIDE)
    return dict(
        methods=dict(mean=None, image=features.astype(np.float32)),
        labels=dict(
            population=(POPULATION, population),
            function=(FUNCTION, function.astype(np.float32)),
        ),
        given_splits=dict(
            block=Split((row // 3 * 6 + column // 3) % 4, 4),
            random=Split(rng.permutation(NUM_REGIONS) % 4, 4),
        ),
        place=np.stack([row, column], axis=1).astype(np.float32),
    )


@pytest.fixture(scope="module")
def report(city):
    return _evaluate(city)


def _evaluate(city, **changed):
    given = {name: city[name] for name in ("methods", "labels", "given_splits")}
    given |= {name: changed.pop(name) for name in list(changed) if name in given}
    return tasks.evaluate(**given, **{**SETTINGS, **changed})


def test_every_region_is_predicted_by_the_heads_that_did_not_see_it(city, report):
    """Transcription of one fold: basis, head and strength from the other folds."""
    features = city["methods"]["image"]
    fold = city["given_splits"]["block"].fold
    for name, head in (("population", heads.ridge), ("function", heads.softmax)):
        target = city["labels"][name][1].astype(np.float64)
        known = np.isfinite(target.reshape(NUM_REGIONS, -1)).all(axis=1)
        train = known & ((fold == 0) | (fold == 3))  # fold 1 tests, fold 2 chooses
        fit = head(
            heads.basis(features, train),
            target,
            validation=known & (fold == 2),
            strengths=SETTINGS["strengths"],
        )
        result = report.tasks[name].results["block"]["image"]
        np.testing.assert_allclose(
            result.prediction[fold == 1], fit.prediction[fold == 1], rtol=1e-6
        )
        assert result.strengths[1] == fit.strength
        assert np.isfinite(report.predictions[name]["image"]).all()


def test_metrics_are_pooled_over_labelled_regions(city, report):
    truth = city["labels"]["population"][1]
    known = np.isfinite(truth)
    task = report.tasks["population"]
    assert (task.num_regions, task.num_labelled) == (NUM_REGIONS, NUM_REGIONS - 3)
    predicted = report.predictions["population"]["image"]
    pooled = task.results["block"]["image"].metrics
    r2 = sklearn_metrics.r2_score(truth[known], predicted[known])
    assert pooled["r2"] == pytest.approx(r2)

    fold = city["given_splits"]["block"].fold
    result = task.results["block"]["image"]
    by_fold = [
        metrics.scalar(truth[known & (fold == f)].astype(float), predicted[rows])["mae"]
        for f in range(4)
        for rows in [known & (fold == f)]
    ]
    assert [values["mae"] for values in result.fold_metrics] == pytest.approx(by_fold)
    assert result.spread("mae") == pytest.approx(np.std(by_fold, ddof=1))


def test_features_that_know_the_truth_beat_the_mean_that_scores_zero(report):
    for name, metric in (("population", "r2"), ("function", "kl")):
        results = report.tasks[name].results["block"]
        better = metrics.improvement(
            metric, results["image"].metrics[metric], results["mean"].metrics[metric]
        )
        assert better > 0.1
    mean = report.tasks["population"].results["block"]["mean"]
    assert -0.2 < mean.metrics["r2"] <= 0
    assert math.isnan(mean.metrics["spearman"])
    assert mean.strengths == ()


def test_an_unlabelled_region_changes_no_head(city, report):
    """Its own label is NaN, and it is predicted all the same."""
    function = report.predictions["function"]["image"]
    np.testing.assert_allclose(function.sum(axis=1), 1)
    features = city["methods"]["image"].copy()
    features[7] = 3.0
    moved = _evaluate(city, methods=dict(image=features), tasks=("function",))
    changed = np.abs(moved.predictions["function"]["image"] - function).max(axis=1)
    assert np.flatnonzero(changed > 1e-6).tolist() == [7]


def test_the_optimism_gap_exposes_features_that_only_know_the_place(city):
    """One column per region's neighbourhood: splendid at random, useless by block."""
    near = ((city["place"][:, None] - city["place"][None]) ** 2).sum(axis=-1)
    place = np.exp(-near / 2).astype(np.float32)
    report = _evaluate(city, methods=dict(place=place), tasks=("population",))
    task = report.tasks["population"]
    gap = task.gap("place")["r2_log"]
    random, block = (
        task.results[kind]["place"].metrics["r2_log"] for kind in ("random", "block")
    )
    assert gap == pytest.approx(random - block)
    assert gap > 0.2


def test_the_unit_of_a_label_changes_nothing_but_the_unit(city, report):
    label, persons = city["labels"]["population"]
    thousands = _evaluate(city, labels=dict(population=(label, persons / 1000)))
    for kind in ("block", "random"):
        ours = thousands.tasks["population"].results[kind]["image"]
        expected = report.tasks["population"].results[kind]["image"]
        assert ours.strengths == expected.strengths
        np.testing.assert_allclose(
            1000 * ours.prediction, expected.prediction, rtol=1e-4
        )
        for measured, wanted in (
            (ours.metrics, expected.metrics),
            *zip(ours.fold_metrics, expected.fold_metrics, strict=True),
        ):
            for name, value in wanted.items():
                unit = 1000 if name in ("mae", "rmse") else 1
                assert unit * measured[name] == pytest.approx(value, rel=1e-4)


def test_a_scalar_with_negative_values_keeps_its_own_scale(city):
    change = np.log(city["labels"]["population"][1]) - 3
    report = _evaluate(city, labels=dict(change=(Label("scalar", "K"), change)))
    task = report.tasks["change"]
    assert task.head == "ridge"
    assert task.results["block"]["image"].prediction.min() < 0
    assert task.results["block"]["image"].metrics["r2"] > 0.5


def test_the_table_shows_methods_metrics_splits_and_the_best(report):
    table = report.table()
    assert (
        "population (count, persons, 2020): ridge on log(1 + value / median)" in table
    )
    assert "function (3 area shares): softmax" in table
    assert "321 of 324 regions have a label; 4 folds" in table
    block, random, gap = table.split("\n\nfunction")[0].split("\n\n")[1:]
    assert block.startswith("  block split") and random.startswith("  random split")
    assert gap.startswith("  optimism gap")
    image = report.tasks["population"].results["block"]["image"]
    row = next(line for line in block.splitlines() if line.startswith("  image"))
    assert f"*{image.metrics['r2']:.3f} ±{image.spread('r2'):.2f}" in row
    mean = next(line for line in block.splitlines() if line.startswith("  mean"))
    assert "*" not in mean and " - " in mean
    assert max(map(len, table.splitlines())) <= 100


def test_json_holds_the_same_numbers_and_no_nan(report):
    text = json.dumps(report.to_json(), allow_nan=False)
    task = json.loads(text)["tasks"]["population"]
    result = report.tasks["population"].results["random"]["image"]
    stored = task["splits"]["random"]["image"]
    assert stored["metrics"] == result.metrics
    assert len(stored["folds"]) == len(stored["strengths"]) == 4
    assert task["splits"]["block"]["mean"]["metrics"]["spearman"] is None
    gap = report.tasks["population"].gap("image")
    assert task["optimism_gap"]["image"] == gap
    assert task["label"]["unit"] == "persons"


def test_one_split_kind_has_no_gap(city):
    random = dict(random=city["given_splits"]["random"])
    report = _evaluate(city, tasks=("population",), given_splits=random)
    assert list(report.predictions) == ["population"]
    assert report.tasks["population"].gap("image") is None
    assert "optimism" not in report.table()
    assert report.to_json()["tasks"]["population"]["optimism_gap"] == {}


def test_the_same_call_gives_the_same_report(city, report):
    assert _evaluate(city).to_json() == report.to_json()


def _relabelled(city, name, change):
    label, values = city["labels"][name]
    return {name: (label, change(values.copy()))}


def _with(index, value):
    def change(values):
        values[index] = value
        return values

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("population", _with(slice(None), np.nan), "none of the 324 regions has a kn"),
        ("population", _with(9, -1), r"-1 in row 9, but a count cannot be negative"),
        ("population", lambda v: v[:-1], r"shape \(323,\) for 324 regions of kind"),
        ("function", _with((3, 0), 1.5), "shares of 1 regions do not sum to one, fir"),
        ("function", lambda v: v[:, :2], r"expected \(324, 3\)"),
        ("population", _with(slice(60, None), np.nan), "no validation region with a "),
    ],
)
def test_labels_that_cannot_be_learnt_are_named(city, name, change, message):
    with pytest.raises(InputError, match=message) as caught:
        rows = dict(block=Split(np.arange(NUM_REGIONS) // SIDE, SIDE))
        _evaluate(city, labels=_relabelled(city, name, change), given_splits=rows)
    assert str(caught.value).startswith(f"label/{name}: ")


def test_an_unknown_task_lists_the_labels(city):
    with pytest.raises(InputError, match=r"'gdp'; the labels .* function, population"):
        _evaluate(city, tasks=("gdp", "population"))
    with pytest.raises(InputError, match="no label to evaluate"):
        _evaluate(city, labels={})


def test_a_region_without_features_is_an_error_not_a_smaller_sample(city):
    features = city["methods"]["image"].copy()
    features[[11, 12], 3] = np.nan
    with pytest.raises(InputError, match=r"'image' .* 2 of 324 regions, .* row 11"):
        _evaluate(city, methods=dict(image=features))
    with pytest.raises(InputError, match=r"one row for each of the 324 regions"):
        _evaluate(city, methods=dict(image=features[1:]))


@pytest.mark.parametrize("strengths", [(), (0.0, 1.0)])
def test_strengths_must_be_positive(city, strengths):
    with pytest.raises(InputError, match=r"config\.eval\.strengths"):
        _evaluate(city, strengths=strengths)


def test_an_empty_list_of_methods_is_an_error(city):
    with pytest.raises(InputError, match="methods is empty"):
        _evaluate(city, methods={})


def test_splits_of_several_sizes_are_told_apart(city):
    cities = Split(
        np.arange(NUM_REGIONS) % 2, 2, chooses=np.arange(NUM_REGIONS) % 5 < 1
    )
    chosen = dict(block=city["given_splits"]["block"], city=cities)
    report = _evaluate(city, tasks=("population",), given_splits=chosen)
    table = report.table()
    assert "; 4 (block), 2 (city) folds, each tested once" in table
    assert "leave one city out (trained on all the others)" in table
    assert report.to_json()["num_folds"] == {"block": 4, "city": 2}
    stored = report.to_json()["tasks"]["population"]["splits"]["city"]["image"]
    assert len(stored["folds"]) == 2
