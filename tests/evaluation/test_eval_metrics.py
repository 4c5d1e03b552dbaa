"""Metrics against scikit-learn, SciPy and plain transcriptions."""

import math

import numpy as np
import pytest
from scipy import spatial, stats
from sklearn import metrics as sklearn_metrics

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import metrics


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    truth = rng.lognormal(3, 1.5, 200)
    truth[:7] = truth[7]  # ties
    return truth, truth * rng.lognormal(0, 0.5, 200)


@pytest.fixture
def distributions():
    rng = np.random.default_rng(1)
    truth = rng.dirichlet(np.full(5, 0.5), 60)
    truth[:20, :2] = 0
    truth /= truth.sum(axis=1, keepdims=True)
    return truth, rng.dirichlet(np.ones(5), 60)


def test_scalar_agrees_with_scikit_learn_and_scipy(numbers):
    truth, prediction = numbers
    ours = metrics.scalar(truth, prediction)
    scale = np.median(truth)  # all are positive
    log_truth, log_prediction = np.log1p(truth / scale), np.log1p(prediction / scale)
    assert ours == pytest.approx(
        {
            "mae": sklearn_metrics.mean_absolute_error(truth, prediction),
            "rmse": sklearn_metrics.root_mean_squared_error(truth, prediction),
            "r2": sklearn_metrics.r2_score(truth, prediction),
            "spearman": stats.spearmanr(truth, prediction).statistic,
            "mape": sklearn_metrics.mean_absolute_percentage_error(truth, prediction),
            "r2_log": sklearn_metrics.r2_score(log_truth, log_prediction),
            "rmse_log": sklearn_metrics.root_mean_squared_error(
                log_truth, log_prediction
            ),
            "mae_log": sklearn_metrics.mean_absolute_error(log_truth, log_prediction),
        }
    )


def test_relative_metrics_do_not_depend_on_the_unit(numbers):
    truth, prediction = numbers
    truth[:50] = 0  # not part of the median
    persons = metrics.scalar(truth, prediction)
    thousands = metrics.scalar(truth / 1000, prediction / 1000)
    for name in ("r2", "r2_log", "spearman"):
        assert thousands[name] == pytest.approx(persons[name], rel=1e-9)
    for name in ("mae", "rmse"):
        assert 1000 * thousands[name] == pytest.approx(persons[name], rel=1e-9)


def test_the_scale_of_logarithms_can_be_that_of_the_whole_city(numbers):
    truth, prediction = numbers
    scale = metrics.median_positive(truth)
    assert scale == np.median(truth)
    part = metrics.scalar(truth[:50], prediction[:50], log_scale=scale)["r2_log"]
    expected = sklearn_metrics.r2_score(
        np.log1p(truth[:50] / scale), np.log1p(prediction[:50] / scale)
    )
    assert part == pytest.approx(expected)
    assert part != metrics.scalar(truth[:50], prediction[:50])["r2_log"]
    assert metrics.median_positive(np.array([0.0, -3.0])) == 1


def test_scalar_keeps_its_precision_for_float32(numbers):
    truth, prediction = (values.astype(np.float32) for values in numbers)
    single = metrics.scalar(truth, prediction)
    double = metrics.scalar(truth.astype(np.float64), prediction.astype(np.float64))
    assert single == double


def test_undefined_scalars_are_nan():
    constant, varied = np.full(4, 0.1), np.array([0.0, 1.0, 2.0, 3.0])
    assert math.isnan(metrics.scalar(constant, varied)["r2"])
    assert math.isnan(metrics.scalar(constant, varied)["spearman"])
    assert math.isnan(metrics.scalar(varied, constant)["spearman"])
    assert math.isnan(metrics.scalar(varied - 5, varied)["r2_log"])


def test_shares_agree_with_scipy_region_by_region(distributions):
    truth, prediction = distributions
    pairs = list(zip(truth, prediction, strict=True))
    distance = spatial.distance
    oracle = {
        "l1": np.mean([distance.cityblock(t, p) for t, p in pairs]),
        "kl": np.mean([stats.entropy(t, p) for t, p in pairs]),
        "cosine": np.mean([1 - distance.cosine(t, p) for t, p in pairs]),
        "chebyshev": np.mean([distance.chebyshev(t, p) for t, p in pairs]),
        "canberra": np.mean([distance.canberra(t, p) for t, p in pairs]),
    }
    assert metrics.shares(truth, prediction) == pytest.approx(oracle, rel=1e-6)


def test_perfect_and_disjoint_shares():
    truth = np.eye(3)
    perfect = metrics.shares(truth, truth)
    assert perfect == dict(l1=0, kl=0, cosine=1, chebyshev=0, canberra=0)
    disjoint = metrics.shares(truth, np.roll(truth, 1, axis=1))
    # KL: the one share of 1 meets a prediction of 0, taken as EPSILON.
    assert disjoint["kl"] == pytest.approx(-math.log(metrics.EPSILON))
    assert (disjoint["l1"], disjoint["cosine"], disjoint["canberra"]) == (2, 0, 2)


def test_kl_goes_from_truth_to_prediction():
    truth, prediction = np.array([[0.5, 0.5, 0.0]]), np.array([[0.25, 0.25, 0.5]])
    # 2 * 0.5 log(0.5 / 0.25); the class that is not there costs nothing.
    assert metrics.shares(truth, prediction)["kl"] == pytest.approx(math.log(2))
    assert metrics.kl(truth, prediction) == pytest.approx([math.log(2)])


def test_a_zero_prediction_has_no_direction():
    truth, prediction = np.array([[0.5, 0.5]]), np.zeros((1, 2))
    assert metrics.shares(truth, prediction)["cosine"] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(distributions, bad):
    truth, prediction = distributions
    prediction[3, 1] = bad
    with pytest.raises(InputError, match=r"prediction: 1 of 60 regions .* row 3"):
        metrics.shares(truth, prediction)
    with pytest.raises(InputError, match=r"truth: 1 of 60 regions"):
        metrics.scalar(prediction[:, 1], truth[:, 1])


def test_no_region_is_an_error():
    with pytest.raises(InputError, match="0 regions"):
        metrics.scalar(np.zeros(0), np.zeros(0))


def test_improvement_knows_which_way_is_up():
    assert metrics.improvement("r2", 0.7, 0.5) == pytest.approx(0.2)
    assert metrics.improvement("mae", 0.7, 0.5) == pytest.approx(-0.2)


def test_mape_leaves_out_empty_regions_and_needs_a_zero():
    truth, prediction = np.array([0.0, 2.0, 4.0]), np.array([5.0, 1.0, 6.0])
    assert metrics.scalar(truth, prediction)["mape"] == pytest.approx(0.5)
    assert math.isnan(metrics.scalar(truth - 1, prediction)["mape"])
    assert math.isnan(metrics.scalar(0 * truth, prediction)["mape"])


def test_classes_agree_with_scikit_learn():
    rng = np.random.default_rng(2)
    probability = rng.dirichlet(np.ones(6), 200)
    probability[:, 5] = 0.0  # neither true nor predicted: no part of macro F1
    probability /= probability.sum(axis=1, keepdims=True)
    truth = rng.integers(0, 4, 200)  # class 4 is predicted, never true
    predicted = probability.argmax(axis=1)
    assert metrics.classes(truth, probability) == pytest.approx(
        {
            "accuracy": sklearn_metrics.accuracy_score(truth, predicted),
            "macro_f1": sklearn_metrics.f1_score(truth, predicted, average="macro"),
            "log_loss": sklearn_metrics.log_loss(truth, probability, labels=range(6)),
        },
        rel=1e-6,
    )


def test_an_impossible_class_is_refused():
    with pytest.raises(InputError, match="classes 0 to 3.* of 3"):
        metrics.classes(np.array([0, 3]), np.full((2, 3), 1 / 3))
