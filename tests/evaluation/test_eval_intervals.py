"""Block bootstrap against the metrics of every resample, and against formulae."""

import math

import numpy as np
import pytest
from scipy import stats

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation.certainty import intervals, metrics
from mmgr_jax.evaluation.design import targets
from mmgr_jax.evaluation.settings import CertaintySettings
from mmgr_jax.evaluation.trials import scores

BLOCKS = np.repeat(np.arange(12) * 7, np.arange(1, 13))  # 1 to 12 regions each


@pytest.fixture
def draws():
    return intervals.draw(BLOCKS, num=40, seed=3)


def _numbers(rng):
    truth = np.round(rng.lognormal(2, 1, len(BLOCKS)))  # ties, zeros
    truth[:5] = 0
    return truth, np.round(truth * rng.lognormal(0, 0.6, len(BLOCKS)) + 0.5)


def _same_in_every_resample(samples, metric, draws):
    for index in range(len(draws.counts)):
        expected = metric(draws.rows(index))
        for name, value in expected.items():
            assert samples[name][index] == pytest.approx(value, rel=1e-9, nan_ok=True)
    assert samples.keys() == expected.keys()


def test_draws_hold_whole_blocks(draws):
    assert (draws.counts.sum(axis=1) == 12).all()
    rows = draws.rows(0)
    for block in np.unique(BLOCKS):
        times = np.bincount(rows, minlength=len(BLOCKS))[block == BLOCKS]
        assert np.ptp(times) == 0
    sums = draws.sums(np.arange(len(BLOCKS), dtype=float)[:, None])
    assert sums[0, 0] == rows.sum()


def test_numbers_equal_the_metric_of_every_resample(draws):
    truth, prediction = _numbers(np.random.default_rng(0))
    scale = metrics.median_positive(truth)
    _same_in_every_resample(
        intervals.scalar(truth, prediction, draws),
        lambda rows: metrics.scalar(truth[rows], prediction[rows], log_scale=scale),
        draws,
    )


def test_numbers_in_chunks_are_the_same(draws, monkeypatch):
    truth, prediction = _numbers(np.random.default_rng(0))
    whole = intervals.scalar(truth, prediction, draws)["spearman"]
    monkeypatch.setattr(intervals, "CHUNK", 3 * len(truth))
    parts = intervals.scalar(truth, prediction, draws)["spearman"]
    np.testing.assert_allclose(parts, whole)


def test_shares_and_classes_equal_the_metric_of_every_resample(draws):
    rng = np.random.default_rng(1)
    truth, prediction = rng.dirichlet(np.ones(4), (2, len(BLOCKS)))
    _same_in_every_resample(
        intervals.shares(truth, prediction, draws),
        lambda rows: metrics.shares(truth[rows], prediction[rows]),
        draws,
    )
    label = np.where(BLOCKS == 7, 3, rng.integers(0, 3, len(BLOCKS)))  # 3 is rare
    _same_in_every_resample(
        intervals.classes(label, prediction, draws),
        lambda rows: metrics.classes(label[rows], prediction[rows]),
        draws,
    )


def test_any_metric_can_be_repeated(draws):
    truth, prediction = _numbers(np.random.default_rng(0))
    mae = intervals.repeat(
        lambda rows: float(np.mean(np.abs(truth[rows] - prediction[rows]))), draws
    )
    fast = intervals.scalar(truth, prediction, draws)["mae"]
    np.testing.assert_allclose(mae, fast)


def test_interval_of_a_mean_is_the_analytic_one():
    """Equal blocks: normal limits from the deviation of the block means."""
    rng = np.random.default_rng(4)
    of_block = rng.normal(10.0, 1.0, 400)
    error = np.repeat(of_block, 5) + rng.normal(0, 0.1, 2000)
    draws = intervals.draw(np.repeat(np.arange(400), 5), num=4000)
    samples = intervals.scalar(np.zeros(2000), error, draws)["mae"]
    got = intervals.interval(float(error.mean()), samples)
    means = error.reshape(400, 5).mean(axis=1)
    half = stats.norm.ppf(0.975) * means.std() / np.sqrt(400)
    assert got.low == pytest.approx(error.mean() - half, abs=0.05 * half)
    assert got.high == pytest.approx(error.mean() + half, abs=0.05 * half)
    independent = stats.norm.ppf(0.975) * error.std() / np.sqrt(2000)
    assert half > 2 * independent  # what resampling regions would have claimed


@pytest.mark.parametrize("num_blocks", [6, 15])
def test_few_blocks_widen_the_interval_to_that_of_student(num_blocks):
    """Block means drawn evenly from a normal distribution: the t interval is exact."""
    quantiles = (np.arange(num_blocks) + 0.5) / num_blocks
    of_block = 50 + stats.norm.ppf(quantiles)
    draws = intervals.draw(np.arange(num_blocks), num=20000)
    samples = intervals.scalar(np.zeros(num_blocks), of_block, draws)["mae"]
    got = intervals.interval(50.0, samples, num_blocks=draws.num_blocks)
    plain = intervals.interval(50.0, samples)
    expected = stats.t.interval(0.95, num_blocks - 1, loc=50, scale=stats.sem(of_block))
    half, plain_half, exact = (
        (high - low) / 2
        for low, high in ((got.low, got.high), (plain.low, plain.high), expected)
    )
    assert abs(half - exact) < 0.5 * (exact - plain_half)
    assert intervals.widened(0.95, 10**6) == pytest.approx(0.95, abs=1e-6)
    assert math.isnan(intervals.interval(50.0, samples, num_blocks=1).low)


def test_a_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(5)
    block = np.repeat(np.arange(50), 4)
    hard = np.repeat(rng.uniform(1, 10, 50), 4)  # places err alike for both methods
    draws = intervals.draw(block)
    truth = np.zeros(200)
    better, worse = hard, hard + rng.uniform(0.1, 0.3, 200)
    values = [float(np.mean(of)) for of in (better, worse)]
    samples = [intervals.scalar(truth, of, draws)["mae"] for of in (better, worse)]
    alone = intervals.interval(values[0], samples[0])
    assert alone.low < values[1] < alone.high
    pairs = list(zip(values, samples, strict=True))
    paired = intervals.difference("mae", *pairs)
    assert paired.excludes_zero and paired.low > 0  # less error is better
    assert paired.estimate == pytest.approx(values[1] - values[0])
    assert intervals.difference("r2", *pairs).high < 0


def test_what_cannot_vary_has_no_interval():
    draws = intervals.draw(np.zeros(5, int), num=10)
    samples = intervals.scalar(np.arange(5.0), np.ones(5), draws)
    got = intervals.interval(1.0, samples["mae"])
    assert math.isnan(got.low) and not got.excludes_zero
    assert np.isnan(samples["spearman"]).all()  # a constant prediction ranks nothing
    constant = intervals.scalar(np.full(5, 0.1), np.arange(5.0), draws)["r2"]
    assert np.isnan(constant).all()


def _shared(rng, num_draws, num_blocks, *, of_draw, of_block):
    """Errors [s r] around 10 that draws of the labels and blocks move."""
    return (
        10
        + of_draw * rng.normal(size=(num_draws, 1))
        + of_block * np.repeat(rng.normal(size=num_blocks), 2)
    )


def _judge(num_blocks, num_resamples=400):
    block = np.repeat(np.arange(num_blocks), 2)
    truth = np.zeros(len(block))
    target = targets.Target(Label("scalar", "1"), truth, truth == 0, log=False)
    certainty = scores.Certainty(block, CertaintySettings(num_resamples=num_resamples))
    return scores.Judge(target, block, certainty)


def test_every_resample_is_of_one_draw_and_all_of_its_blocks():
    judge, rng = _judge(6, num_resamples=20), np.random.default_rng(0)
    predictions = list(rng.normal(size=(3, 12)))
    samples = judge.resampled(predictions)
    alone = [judge.resampled([of]) for of in predictions]
    for name, values in samples.items():
        for index, value in enumerate(values):
            expected = alone[index % 3][name][index]
            assert value == pytest.approx(expected, nan_ok=True)
    assert len(judge.resampled(predictions * 10)["mae"]) == 20  # more draws than that


@pytest.mark.parametrize(("of_draw", "of_block"), [(1.0, 0.2), (0.3, 2.0), (1.0, 2.0)])
def test_intervals_over_draws_and_blocks_hold_what_another_draw_would_give(
    of_draw, of_block
):
    """A fresh draw against the mean of all blocks there could be, in 200 cities."""
    judge, rng = _judge(20), np.random.default_rng(7)
    held, held_mean = [], []
    for _ in range(200):
        errors = _shared(rng, 10, 20, of_draw=of_draw, of_block=of_block)
        samples = judge.resampled(list(errors))["mae"]
        found = intervals.interval(float(errors.mean()), samples, num_blocks=20)
        held.append(found.low < 10 + of_draw * rng.normal() < found.high)
        held_mean.append(found.low < 10 < found.high)
    # Ten draws do not show the tails of draws: below 95 % where these rule. The mean
    # over all draws varies less than any of them.
    assert 0.8 < np.mean(held) < 0.98
    assert np.mean(held_mean) > 0.94


def test_differences_over_draws_are_paired():
    """What a draw of labels does to both methods cancels; `positive` counts wins."""
    judge, rng = _judge(20), np.random.default_rng(3)
    theirs = _shared(rng, 10, 20, of_draw=2.0, of_block=2.0)
    ours = theirs - 0.2 + 0.1 * rng.normal(size=theirs.shape)
    pairs = [
        (float(of.mean()), judge.resampled(list(of))["mae"]) for of in (ours, theirs)
    ]
    found = intervals.difference("mae", *pairs, num_blocks=20)
    assert found.estimate == pytest.approx(pairs[1][0] - pairs[0][0])
    assert found.low > 0 and found.positive == 1
    back = intervals.difference("mae", *pairs[::-1], num_blocks=20)
    assert back.positive == 0 and back.high < 0
    alone = intervals.interval(*pairs[0], num_blocks=20)
    assert alone.low < pairs[1][0] < alone.high


def test_spread_over_seeds():
    got = intervals.spread([1.0, 2.0, 4.0])
    assert got.mean == pytest.approx(7 / 3)
    assert got.deviation == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert (got.lowest, got.highest, got.count) == (1.0, 4.0, 3)
    assert math.isnan(intervals.spread([1.0]).deviation)
