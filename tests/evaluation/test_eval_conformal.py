"""Conformal intervals: coverage of new blocks, and quantiles against their formulae."""

import math

import numpy as np
import pytest
from scipy import ndimage, stats

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import conformal, metrics

SIDE, BLOCK = 40, 4  # regions along a side of the city and of a block


def _city(rng, reach):
    """Features [r 4], a number whose errors vary over the city, and blocks.

    Fields that reach `reach` regions far; one of them no feature knows.
    """
    fields = ndimage.gaussian_filter(
        rng.normal(size=(5, SIDE, SIDE)), (0, reach, reach)
    )
    fields = fields.reshape(5, -1) / fields.std(axis=(1, 2))[:, None]
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    block = row // BLOCK * (SIDE // BLOCK) + column // BLOCK
    known = fields[:4].T
    errors = fields[4] * np.exp(0.3 * known[:, 2])
    number = known[:, 0] + 0.5 * known[:, 1] ** 2 + errors
    features = known + 0.3 * rng.normal(size=known.shape)
    return features, number, block


def _coverage_of_new_blocks(rng, *, num_blocks, reach, level):
    """Heads by cross-validation over some blocks; their mean on all other blocks."""
    features, number, block = _city(rng, reach)
    order = rng.permutation(block.max() + 1)
    ours = np.isin(block, order[:num_blocks])
    fold = np.argsort(order)[block] % 5
    x = np.concatenate([np.ones((len(number), 1)), features], axis=1)
    out_of_fold, heads = np.zeros(len(number)), []
    for tested in range(5):
        train = ours & (fold != tested)
        heads.append(np.linalg.lstsq(x[train], number[train], rcond=None)[0])
        out_of_fold[fold == tested] = x[fold == tested] @ heads[-1]
    scores = conformal.number_scores(number[ours], out_of_fold[ours])
    radius = conformal.radius(scores, block[ours], level=level)
    low, high = conformal.number_interval(x @ np.mean(heads, axis=0), radius)
    inside = (low <= number) & (number <= high)
    said = conformal.held_out_coverage(scores, block[ours], fold[ours], level=level)
    return inside[~ours].mean(), said.by_block


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("reach", [0.5, 3.0])
def test_new_blocks_are_covered_within_three_points(reach, level):
    rng = np.random.default_rng(0)
    settings = dict(num_blocks=20, reach=reach, level=level)
    found = [_coverage_of_new_blocks(rng, **settings) for _ in range(100)]
    truly, said = np.mean(found, axis=0)
    assert truly == pytest.approx(level, abs=0.03)
    assert said == pytest.approx(level, abs=0.03)  # what the city says of itself


def test_independent_regions_give_the_quantile_of_split_conformal():
    scores = np.random.default_rng(1).exponential(size=199)
    rank = math.ceil(0.9 * (1 + 1 / 199) * 199)  # of r = 199 blocks of one region
    got = conformal.radius(scores, np.arange(199), level=0.9)
    assert got == np.sort(scores)[rank - 1]


def test_blocks_that_err_alike_count_as_one_region_each():
    of_block = np.random.default_rng(2).exponential(size=30)
    scores, block = np.repeat(of_block, 7), np.repeat(np.arange(30), 7)
    assert conformal.effective_number(scores, block) == pytest.approx(30)
    rank = math.ceil(0.9 * (1 + 1 / 30) * 30)
    assert conformal.radius(scores, block, level=0.9) == np.sort(of_block)[rank - 1]
    # A ninth block stays below the largest of eight with 8 / 9 at most: no promise.
    assert conformal.radius(scores[:56], block[:56], level=0.9) == math.inf
    assert conformal.radius(scores[:63], block[:63], level=0.9) == of_block[:9].max()
    assert conformal.radius(scores[:7], block[:7]) == math.inf


def test_effective_number_is_that_of_analysis_of_variance():
    """F = between / within of SciPy; rho = (F - 1) / (F - 1 + m) for equal blocks."""
    rng = np.random.default_rng(3)
    groups = rng.normal(size=(25, 1)) + rng.normal(size=(25, 8))
    f = stats.f_oneway(*groups).statistic
    rho = (f - 1) / (f - 1 + 8)
    got = conformal.effective_number(groups.ravel(), np.repeat(np.arange(25), 8))
    assert got == pytest.approx(200 / (1 + 7 * rho))
    noise = rng.normal(size=4000)
    assert conformal.effective_number(noise, np.arange(4000) // 8) > 3000
    assert conformal.effective_number(np.ones(9), np.arange(9) // 3) == 9


def test_each_block_weighs_the_same_however_large():
    scores = np.concatenate([np.full(1000, 9.0), np.linspace(0, 1, 99)])
    block = np.concatenate([np.full(1000, -5), np.arange(99)])
    assert conformal.radius(scores, block, level=0.5) < 1


def test_intervals_on_a_log_scale_are_in_the_unit_of_the_label():
    rng = np.random.default_rng(4)
    truth = rng.lognormal(6, 1.5, 400)
    prediction = truth * rng.lognormal(0, 0.4, 400)
    scale = metrics.median_positive(truth)
    scores = conformal.number_scores(truth, prediction, log_scale=scale)
    np.testing.assert_allclose(
        scores, np.abs(np.log((prediction + scale) / (truth + scale)))
    )
    radius = conformal.radius(scores, np.arange(400) // 4)
    low, high = conformal.number_interval(prediction, radius, log_scale=scale)
    inside = (low <= truth) & (truth <= high)
    np.testing.assert_array_equal(inside, scores <= radius)
    assert low.min() >= 0 and np.corrcoef(high - low, prediction)[0, 1] > 0.9
    zero = conformal.number_interval(np.zeros(1), 1.0, log_scale=scale)
    assert zero[0] == [0] and zero[1] == pytest.approx(scale * (math.e - 1))
    unknown = conformal.number_interval(prediction, math.inf, log_scale=scale)
    assert (unknown[0] == 0).all() and np.isinf(unknown[1]).all()


def test_bands_of_shares():
    rng = np.random.default_rng(5)
    prediction = rng.dirichlet([1, 2, 8], 600)
    truth = np.stack([rng.dirichlet(60 * of + 0.01) for of in prediction])
    block = np.arange(600) // 6
    radii = conformal.radius(conformal.number_scores(truth, prediction), block)
    low, high = conformal.share_bands(prediction, radii)
    assert low.min() >= 0 and high.max() <= 1
    held = ((low <= truth) & (truth <= high)).mean(axis=0)
    np.testing.assert_allclose(held, 0.9, atol=0.02)


def test_the_true_class_is_no_more_surprising_than_the_radius():
    rng = np.random.default_rng(6)
    probability = rng.dirichlet(np.ones(5), 500)
    truth = np.array([rng.choice(5, p=of) for of in probability])
    scores = metrics.surprise(truth, probability)
    radius = conformal.radius(scores, np.arange(500) // 5)
    assert (scores <= radius).mean() == pytest.approx(0.9, abs=0.02)


def test_held_out_coverage_is_a_loop_over_folds():
    rng = np.random.default_rng(7)
    block = rng.integers(0, 40, 300)
    fold, scores = block % 4, rng.exponential(size=300) * (1 + block % 3)
    got = conformal.held_out_coverage(scores, block, fold, level=0.8)
    held = np.zeros(300)
    for tested in range(4):
        rest = fold != tested
        limit = conformal.radius(scores[rest], block[rest], level=0.8)
        held[~rest] = scores[~rest] <= limit
    assert got.by_region == pytest.approx(held.mean())
    by_block = [held[block == name].mean() for name in np.unique(block)]
    assert got.by_block == pytest.approx(np.mean(by_block))
    assert (got.num_blocks, got.num_regions) == (len(by_block), 300)
    nothing = conformal.held_out_coverage(scores[:4], fold[:4], np.arange(4))
    assert math.isnan(nothing.by_block) and math.isnan(nothing.by_region)


def test_what_cannot_be_calibrated_is_named():
    scores, block = np.ones(10), np.arange(10)
    for level in (0.0, 1.0, 90.0):
        with pytest.raises(InputError, match=f"level {level}"):
            conformal.radius(scores, block, level=level)
    with pytest.raises(InputError, match="of 0 regions in blocks of 0"):
        conformal.radius(scores[:0], block[:0])
    scores[3] = np.nan
    with pytest.raises(InputError, match="1 of 10 regions .* row 3"):
        conformal.radius(scores, block)
    with pytest.raises(InputError, match="two folds .* there are 1"):
        conformal.held_out_coverage(np.ones(10), block, np.zeros(10, int))
