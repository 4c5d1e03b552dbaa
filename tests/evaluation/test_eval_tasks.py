"""The evaluation as a whole: out-of-fold, pooled, honest, and its errors."""

import dataclasses
import json
import math

import numpy as np
import pytest
import sklearn_heads
from scipy import ndimage
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import metrics
from mmgr_jax.evaluation.design import grid, targets
from mmgr_jax.evaluation.design.splits import Split
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import protocols
from mmgr_jax.evaluation.settings import (
    CertaintySettings,
    CurveSettings,
    EvalSettings,
)
from mmgr_jax.evaluation.trials import curves, scores, tasks
from mmgr_jax.report import report as report_lib
from mmgr_jax.report import report_json

SIDE = 18
NUM_REGIONS = SIDE * SIDE
SETTINGS = dict(strengths=(1e-1, 10.0, 1e3))
ASKED = ("tasks", "protocols", "seed", "strengths")
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
        methods=dict(
            mean=None, image=Features.of("image", features.astype(np.float32))
        ),
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


def _json(report):
    return report_json.report_json(report, references={"image": ["mean"]})


def _evaluate(city, **changed):
    given = {name: city[name] for name in ("methods", "labels", "given_splits")}
    given |= {name: changed.pop(name) for name in list(changed) if name in given}
    asked = {name: changed.pop(name) for name in list(changed) if name in ASKED}
    settings = EvalSettings(**dict(SETTINGS, protocols=("linear",)) | asked)
    return tasks.evaluate(**given, eval_settings=settings, **changed)


def test_every_region_is_predicted_by_the_heads_that_did_not_see_it(city, report):
    """One fold by scikit-learn: the three others choose the strength, then teach.

    For numbers each of them chooses once, for shares the fold after the tested one.
    """
    features = city["methods"]["image"].values
    fold = city["given_splits"]["block"].fold
    for name in ("population", "function"):
        target = city["labels"][name][1].astype(np.float64)
        known = np.isfinite(target.reshape(NUM_REGIONS, -1)).all(axis=1)
        both = known & (fold != 1)
        result = report.tasks[name].results["block"]["linear"]["image"]
        if name == "population":
            wide, unit = features.astype(np.float64), np.median(target[both])
            search = GridSearchCV(
                make_pipeline(StandardScaler(), Ridge()),
                {"ridge__alpha": SETTINGS["strengths"]},
                scoring="neg_mean_squared_error",
                cv=PredefinedSplit(fold[both]),
            ).fit(wide[both], np.log1p(target[both] / unit))
            assert result.chosen[1] == search.best_params_["ridge__alpha"]
            told = unit * np.expm1(search.predict(wide))
            told = np.clip(told, 0, 2 * target[both].max())
        else:
            told = sklearn_heads.softmax(features, target, both, result.chosen[1])
        np.testing.assert_allclose(
            result.prediction[fold == 1], told[fold == 1], rtol=1e-3
        )
        assert np.isfinite(report.predictions[name]["image"]).all()


def test_metrics_are_pooled_over_labelled_regions(city, report):
    truth = city["labels"]["population"][1]
    known = np.isfinite(truth)
    task = report.tasks["population"]
    assert (task.num_regions, task.num_labelled) == (NUM_REGIONS, NUM_REGIONS - 3)
    predicted = report.predictions["population"]["image"]
    pooled = task.results["block"]["linear"]["image"].metrics
    r2 = sklearn_metrics.r2_score(truth[known], predicted[known])
    assert pooled["r2"] == pytest.approx(r2)

    fold = city["given_splits"]["block"].fold
    result = task.results["block"]["linear"]["image"]
    by_fold = [
        metrics.scalar(truth[known & (fold == f)].astype(float), predicted[rows])["mae"]
        for f in range(4)
        for rows in [known & (fold == f)]
    ]
    assert [values["mae"] for values in result.fold_metrics] == pytest.approx(by_fold)
    assert result.spread("mae") == pytest.approx(np.std(by_fold, ddof=1))


def test_features_that_know_the_truth_beat_the_mean_that_scores_zero(report):
    for name, metric in (("population", "r2"), ("function", "kl")):
        results = report.tasks[name].main
        better = metrics.improvement(
            metric, results["image"].metrics[metric], results["mean"].metrics[metric]
        )
        assert better > 0.1
    mean = report.tasks["population"].results["block"]["linear"]["mean"]
    assert -0.2 < mean.metrics["r2"] <= 0
    assert math.isnan(mean.metrics["spearman"])
    assert mean.chosen == ()


def test_an_unlabelled_region_changes_no_head(city, report):
    """Its own label is NaN, and it is predicted all the same."""
    function = report.predictions["function"]["image"]
    np.testing.assert_allclose(function.sum(axis=1), 1)
    features = city["methods"]["image"].values.copy()
    features[7] = 3.0
    moved = _evaluate(
        city, methods=dict(image=Features.of("image", features)), tasks=("function",)
    )
    changed = np.abs(moved.predictions["function"]["image"] - function).max(axis=1)
    assert np.flatnonzero(changed > 1e-6).tolist() == [7]


def test_the_optimism_gap_exposes_features_that_only_know_the_place(city):
    """One column per region's neighbourhood: splendid at random, useless by block."""
    near = ((city["place"][:, None] - city["place"][None]) ** 2).sum(axis=-1)
    place = np.exp(-near / 2).astype(np.float32)
    report = _evaluate(
        city, methods=dict(place=Features.of("place", place)), tasks=("population",)
    )
    task = report.tasks["population"]
    gap = task.gap("place")["r2_log"]
    random, block = (
        task.results[kind]["linear"]["place"].metrics["r2_log"]
        for kind in ("random", "block")
    )
    assert gap == pytest.approx(random - block)
    assert gap > 0.2


def test_the_unit_of_a_label_changes_nothing_but_the_unit(city, report):
    label, persons = city["labels"]["population"]
    thousands = _evaluate(city, labels=dict(population=(label, persons / 1000)))
    for kind in ("block", "random"):
        ours = thousands.tasks["population"].results[kind]["linear"]["image"]
        expected = report.tasks["population"].results[kind]["linear"]["image"]
        assert ours.chosen == expected.chosen
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
    assert task.heads["linear"] == "ridge"
    assert task.results["block"]["linear"]["image"].prediction.min() < 0
    assert task.results["block"]["linear"]["image"].metrics["r2"] > 0.5


def test_the_table_shows_methods_metrics_splits_and_the_best(report):
    table = report_lib.table(report)
    assert (
        "population (count, persons, 2020): ridge on log(1 + value / median)" in table
    )
    assert "function (3 area shares): softmax" in table
    assert "321 of 324 regions have a label; 4 folds" in table
    block, random, gap = table.split("\n\nfunction")[0].split("\n\n")[1:]
    assert block.startswith("  block split") and random.startswith("  random split")
    assert gap.startswith("  optimism gap")
    image = report.tasks["population"].results["block"]["linear"]["image"]
    row = next(line for line in block.splitlines() if line.startswith("  image"))
    assert f"*{image.metrics['r2']:.3f} ±{image.spread('r2'):.2f}" in row
    mean = next(line for line in block.splitlines() if line.startswith("  mean"))
    assert "*" not in mean and mean.rstrip().endswith(" -")
    assert max(map(len, table.splitlines())) <= 100


def test_no_name_acts_on_a_terminal_or_forges_a_line(report):
    name = "population\x1b[2J\nnone (count, persons)"
    tasks = {name: report.tasks["population"]}
    table = report_lib.table(dataclasses.replace(report, tasks=tasks))
    assert table.startswith("population\\x1b[2J\\x0anone (count, persons) (count")


def test_json_holds_the_same_numbers_and_no_nan(report):
    text = json.dumps(_json(report), allow_nan=False)
    task = json.loads(text)["tasks"]["population"]
    result = report.tasks["population"].results["random"]["linear"]["image"]
    stored = task["splits"]["random"]["linear"]["image"]
    assert stored["metrics"] == result.metrics
    assert len(stored["folds"]) == len(stored["chosen"]) == 4
    assert task["splits"]["block"]["linear"]["mean"]["metrics"]["spearman"] is None
    gap = report.tasks["population"].gap("image")
    assert task["optimism_gap"]["linear"]["image"] == gap
    assert task["label"]["unit"] == "persons"


def test_one_split_kind_has_no_gap(city):
    random = dict(random=city["given_splits"]["random"])
    report = _evaluate(city, tasks=("population",), given_splits=random)
    assert list(report.predictions) == ["population"]
    assert report.tasks["population"].gap("image") is None
    assert "optimism" not in report_lib.table(report)
    assert _json(report)["tasks"]["population"]["optimism_gap"] == {}


def test_the_same_call_gives_the_same_report(city, report):
    assert _json(_evaluate(city)) == _json(report)


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
    features = city["methods"]["image"].values.copy()
    features[[11, 12], 3] = np.nan
    with pytest.raises(InputError, match=r"'image' .* 2 of 324 regions, .* row 11"):
        _evaluate(city, methods=dict(image=Features.of("image", features)))
    with pytest.raises(InputError, match=r"one row for each of the 324 regions"):
        _evaluate(city, methods=dict(image=Features.of("image", features[1:])))


def test_an_empty_list_of_methods_is_an_error(city):
    with pytest.raises(InputError, match="methods is empty"):
        _evaluate(city, methods={})


def test_splits_of_several_sizes_are_told_apart(city):
    cities = Split(
        np.arange(NUM_REGIONS) % 2, 2, chooses=np.arange(NUM_REGIONS) % 5 < 1
    )
    chosen = dict(block=city["given_splits"]["block"], city=cities)
    report = _evaluate(city, tasks=("population",), given_splits=chosen)
    table = report_lib.table(report)
    assert "; 4 (block), 2 (city) folds, each tested once" in table
    assert "leave one city out (trained on all the others)" in table
    assert _json(report)["num_folds"] == {"block": 4, "city": 2}
    stored = _json(report)["tasks"]["population"]["splits"]["city"]["linear"]["image"]
    assert len(stored["folds"]) == 2


# ---- certainty, other protocols, curves, classes


@pytest.fixture(scope="module")
def certain(city):
    row, column = city["place"].T.astype(int)
    certainty = scores.Certainty(
        block=row // 3 * 6 + column // 3,
        settings=CertaintySettings(num_resamples=200),
        centre_m=100.0 * city["place"],
        covered=("image",),
    )
    return _evaluate(
        city, certainty=certainty, protocols=("linear", "knn"), keep=("image",)
    )


def test_intervals_hold_the_estimate_and_differences_are_paired(city, certain, report):
    task = certain.tasks["population"]
    image, mean = task.main["image"], task.main["mean"]
    assert image.metrics == pytest.approx(
        report.tasks["population"].main["image"].metrics, nan_ok=True
    )
    for name, interval in image.intervals.items():
        assert interval.low < image.metrics[name] < interval.high, name
    found = task.difference("image", "mean")["r2_log"]
    assert found.estimate == pytest.approx(
        image.metrics["r2_log"] - mean.metrics["r2_log"]
    )
    assert found.excludes_zero and found.low > 0
    back = task.difference("mean", "image")["r2_log"]
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    # An error is better the smaller it is: the sign is that of the improvement.
    assert task.difference("image", "mean")["rmse"].estimate > 0


def test_residuals_of_the_mean_are_more_alike_than_those_of_features(certain):
    for task in certain.tasks.values():
        moran = {name: result.moran for name, result in task.main.items()}
        assert moran["mean"].statistic > moran["image"].statistic
        assert moran["mean"].p_value == pytest.approx(1 / 1000)


def test_other_protocols_and_splits_have_metrics_alone(certain):
    task = certain.tasks["function"]
    assert set(task.results["block"]) == {"linear", "knn"}
    assert set(task.results["random"]) == {"linear"}
    for split, protocol in (("block", "knn"), ("random", "linear")):
        result = task.results[split][protocol]["image"]
        assert not result.intervals and result.moran is None
        assert result.metrics["l1"] < task.main["mean"].metrics["l1"]


def test_conformal_intervals_hold_about_as_promised(certain):
    """One city of 36 blocks: some points off, as the module says of such cities."""
    for task in certain.tasks.values():
        for coverage in task.coverage["image"]:
            assert abs(coverage.by_block - coverage.level) < 0.08


def test_kept_heads_predict_what_the_report_says(city, certain):
    features = city["methods"]["image"].values
    fold = city["given_splits"]["block"].fold
    for name, task in certain.tasks.items():
        kept = task.kept["image"]
        assert set(kept) == {grid.NO_FOLD, 0, 1, 2, 3}
        assert all(head.cell.fold == tested for tested, head in kept.items())
        whole = kept[grid.NO_FOLD]
        assert whole.label_name == name and whole.split == "block"
        for tested in range(4):
            head, rows = kept[tested], fold == tested
            np.testing.assert_allclose(
                head.predict(features[rows]),
                task.main["image"].prediction[rows],
                rtol=1e-4,
                atol=1e-6,
            )


def test_everything_is_json_and_in_the_tables(city, certain):
    references = {"image": ["mean"]}
    text = json.dumps(
        report_json.report_json(certain, references=references), allow_nan=False
    )
    task = json.loads(text)["tasks"]["population"]
    low, high = task["splits"]["block"]["linear"]["image"]["intervals"]["r2_log"]
    assert low < task["splits"]["block"]["linear"]["image"]["metrics"]["r2_log"] < high
    (difference,) = task["differences"]
    assert difference["metrics"]["r2_log"][1] > 0
    assert [level["level"] for level in task["coverage"]["image"]] == [0.5, 0.8, 0.9]
    table = report_lib.table(certain, references=references)
    assert "95 % of r2_log" in table and "r2_log by other heads" in table
    assert (
        "r2_log of image minus that of the method in the row (above 0: image" in table
    )
    assert " better" in table.split("above 0: image is better)")[1]


def test_regions_keep_truth_and_predictions_in_few_digits(city, certain):
    values = {name: of for name, (_, of) in city["labels"].items()}
    found = report_json.regions_json(
        certain,
        values,
        region_ids=[f"r{i}" for i in range(NUM_REGIONS)],
        centre_m=city["place"].astype(float),
        side_m=1.0,
        block=np.arange(NUM_REGIONS),
        methods=("image",),
    )
    population = found["tasks"]["population"]
    assert population["truth"][0] is None and population["truth"][1] > 0
    said = certain.predictions["population"]["image"]
    np.testing.assert_allclose(population["predictions"]["image"], said, rtol=1e-4)
    assert found["tasks"]["function"]["truth"][7] == [None] * 3


def test_a_rule_sees_the_labels_of_its_round_and_no_other(city):
    seen = []

    def rule(values, train, validation):
        seen.append((train, validation))
        assert np.isfinite(values[train | validation]).all()
        return np.full(values.shape, values[train | validation].mean()), None

    found = _evaluate(
        city, methods=dict(rule=rule, mean=None), tasks=("population",),
        given_splits=dict(block=city["given_splits"]["block"]),
    )  # fmt: skip
    task = found.tasks["population"]
    np.testing.assert_allclose(
        task.main["rule"].prediction, task.main["mean"].prediction
    )
    fold = city["given_splits"]["block"].fold
    for tested, (train, validation) in enumerate(seen):
        assert not (train & validation).any()
        assert not ((train | validation) & (fold == tested)).any()


def test_curves_end_where_all_labels_are_and_rise_towards_it(city, report):
    options = CurveSettings(
        methods=("image", "mean"), num_labels=(), fractions=(0.1, 0.3, 1.0)
    )
    found = _evaluate(city, tasks=("population",), label_curves=options)
    points = found.tasks["population"].curves["image"]
    assert [point.fraction for point in points] == [0.1, 0.3, 1.0]
    full = report.tasks["population"].main["image"].metrics["r2_log"]
    last = points[-1].metrics["r2_log"]
    assert last.mean == pytest.approx(full, rel=1e-4) and last.count == 1
    means = [point.metrics["r2_log"].mean for point in points]
    assert means[0] < min(means[1:])
    assert points[0].metrics["r2_log"].deviation > 0
    # Three of four folds train or choose; three regions have no label.
    assert points[-1].num_labels == pytest.approx(321 * 3 / 4, abs=1)
    assert points[0].num_labels == pytest.approx(points[-1].num_labels / 10, abs=2)


def test_fractions_are_fitted_as_ever_beside_numbers(city):
    split = city["given_splits"]["block"]
    target = targets.check("function", *city["labels"]["function"], NUM_REGIONS)
    options = CurveSettings(
        methods=("image",), num_labels=(10,), fractions=(0.1, 0.3, 1.0), num_seeds=2
    )
    (few, number), (parts, fractions) = curves.grids(split, options, target.known)
    every = grid.cells(split, target.known, fractions=(0.1, 0.3, 1.0), seeds=(0, 1))
    fewer = every.of([i for i, cell in enumerate(every.cells) if cell.fraction < 1])
    assert number == (None,) and fractions == (0.1, 0.3)
    assert parts.cells == fewer.cells
    np.testing.assert_array_equal(parts.train, fewer.train)
    np.testing.assert_array_equal(parts.validation, fewer.validation)
    assert parts.parts is None and few.parts is not None
    only = CurveSettings(methods=("image",), num_labels=(), fractions=(1.0,))
    assert curves.grids(split, only, target.known) == []


def test_curves_of_few_labels_have_intervals_and_paired_differences(city):
    row, column = city["place"].T.astype(int)
    certainty = scores.Certainty(
        row // 3 * 6 + column // 3, CertaintySettings(num_resamples=60)
    )
    seen = []

    def rule(values, train, validation):
        seen.append((train, validation))
        return np.full(values.shape, values[train | validation].mean()), None

    options = CurveSettings(
        methods=("image", "mean", "rule"), num_labels=(10, 30, 300), num_draws=4
    )
    found = _evaluate(
        city, methods=dict(city["methods"], rule=rule), tasks=("population",),
        certainty=certainty, label_curves=options,
        given_splits=dict(block=city["given_splits"]["block"]),
    )  # fmt: skip
    task = found.tasks["population"]
    points = task.curves["image"]
    # Of 243 labels a head may see, 300 cannot be drawn.
    assert [point.fraction for point in points] == [None, None, 1.0]
    assert [point.num_labels for point in points[:2]] == [10, 30]
    assert [point.metrics["r2_log"].count for point in points] == [4, 2, 1]
    for point in points:
        interval = point.intervals["r2_log"]
        assert interval.low < point.metrics["r2_log"].mean < interval.high
    full = task.main["image"]
    assert points[-1].intervals["mae"] == full.intervals["mae"]
    assert len(points[0].samples["mae"]) == len(full.samples["mae"]) == 60
    # What does not choose from a list: heads of every part, ten labels in all.
    fold = city["given_splits"]["block"].fold
    few = [(t, v) for t, v in seen if (t | v).sum() == 10]
    assert len(few) == 4 * 4 * 5 and all((t.sum(), v.sum()) == (8, 2) for t, v in few)
    assert all(len(set(fold[t | v])) <= 3 for t, v in few)
    # The mean of the parts' means is the mean of the ten labels.
    assert (
        task.curves["rule"][0].metrics["mae"] == task.curves["mean"][0].metrics["mae"]
    )
    difference = task.curve_difference("image", "mean", 30)["r2_log"]
    assert difference.low > 0 and difference.positive == 1
    assert difference.estimate == pytest.approx(
        points[1].metrics["r2_log"].mean - task.curves["mean"][1].metrics["r2_log"].mean
    )
    assert task.curve_difference("image", "mean", 31) is None
    assert task.curve_difference("image", "absent", 30) is None
    report = report_json.report_json(found, references={"image": ["mean"]})
    told = json.loads(json.dumps(report, allow_nan=False))["tasks"]["population"]
    assert [one["num_labels"] for one in told["curve_differences"][:2]] == [10, 30]
    stored = told["curve_differences"][1]
    assert stored["metrics"]["r2_log"][0] == difference.estimate
    assert stored["better"]["r2_log"] == 1 and stored["reference"] == "mean"
    low, high = told["curves"]["image"][0]["intervals"]["r2_log"]
    assert low < told["curves"]["image"][0]["metrics"]["r2_log"]["mean"] < high
    assert told["differences"][0]["better"]["r2_log"] == 1


def test_a_point_of_few_labels_is_the_mean_over_draws_of_heads_fitted_apart(city):
    """The whole way of one point, by protocols and metrics alone."""
    options = CurveSettings(methods=("image",), num_labels=(10,), num_draws=2)
    split = city["given_splits"]["block"]
    found = _evaluate(
        city, tasks=("function",), label_curves=options, given_splits=dict(block=split)
    )
    (few, _) = found.tasks["function"].curves["image"]
    target = targets.check("function", *city["labels"]["function"], NUM_REGIONS)
    values = []
    for seed in range(2):
        cells = grid.few(split, target.known, num_labels=10, seeds=(seed,))
        fits = protocols.fit(
            "linear", city["methods"]["image"].values, target, cells, **SETTINGS
        )
        told = fits.out_of_fold(cells, fraction=None, seed=seed)
        shares = metrics.shares(target.values[target.known], told[target.known])
        values.append(shares["l1"])
    assert few.metrics["l1"].mean == pytest.approx(np.mean(values))
    assert few.metrics["l1"].highest == pytest.approx(max(values))
    assert few.intervals == {} and few.samples == {}  # none was asked for


def test_classes_have_probabilities_and_their_own_metrics(city):
    shares = city["labels"]["function"][1]
    known = np.isfinite(shares).all(axis=1)
    largest = np.where(known, np.nan_to_num(shares).argmax(axis=1), np.nan)
    label = Label("class", "1", classes=("water", "forest", "residential"))
    found = _evaluate(
        city, labels=dict(use=(label, largest.astype(np.float32))),
        certainty=scores.Certainty(
            np.arange(NUM_REGIONS) // 9, CertaintySettings(num_resamples=50),
            covered=("image",),
        ),
    )  # fmt: skip
    task = found.tasks["use"]
    assert task.headline == "macro_f1" and task.heads["linear"] == "softmax"
    np.testing.assert_allclose(task.main["image"].prediction.sum(axis=1), 1)
    accuracy = task.main["image"].metrics["accuracy"]
    expected = np.mean(
        task.main["image"].prediction[known].argmax(axis=1) == largest[known]
    )
    assert accuracy == pytest.approx(expected) and accuracy > 0.5
    assert task.main["mean"].metrics["accuracy"] < accuracy
    f1 = sklearn_metrics.f1_score(
        largest[known],
        task.main["image"].prediction[known].argmax(axis=1),
        average=None,
    )
    np.testing.assert_allclose(task.classes["image"]["f1"], f1)
