"""The dissimilarity index against the paper's steps written out, and in its use."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial import distance

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import applicability, distances


@pytest.fixture
def training():
    """Features of 120 regions with an outlier and a constant, and their folds."""
    rng = np.random.default_rng(0)
    features = rng.normal([5, -2, 0, 7], [3, 0.1, 1, 0], (120, 4)).astype(np.float32)
    features[17, 2] = 30.0
    return features, np.arange(120) // 10 % 4


@pytest.mark.parametrize("weight", [None, np.array([1.0, 0.0, 3.0, 1.0])])
def test_index_and_threshold_equal_the_steps_of_the_paper(training, weight):
    features, fold = training
    fitted = applicability.fit(features, fold, weight=weight)
    varying = features[:, :3].astype(np.float64)
    mean, deviation = varying.mean(axis=0), varying.std(axis=0)
    scale = (1 if weight is None else weight[:3]) / deviation
    x = (varying - mean) * scale
    mean_distance = distance.pdist(x).mean()
    apart = distance.squareform(distance.pdist(x))
    apart[fold[:, None] == fold] = np.inf
    index = apart.min(axis=1) / mean_distance
    lower, upper = np.quantile(index, [0.25, 0.75])
    threshold = index[index <= upper + 1.5 * (upper - lower)].max()
    assert fitted.mean_distance == pytest.approx(mean_distance, rel=1e-5)
    assert fitted.threshold == pytest.approx(threshold, rel=1e-3)
    assert fitted.threshold < index[17]  # the outlier does not set it

    new = np.random.default_rng(1).normal([5, -2, 0, 7], 2, (50, 4)).astype(np.float32)
    expected = distance.cdist((new[:, :3] - mean) * scale, x).min(axis=1)
    got = fitted.index(new)
    np.testing.assert_allclose(got, expected / mean_distance, rtol=1e-3)
    np.testing.assert_array_equal(fitted.outside(new), got > fitted.threshold)


def test_regions_like_the_training_ones_are_inside_and_others_outside():
    rng = np.random.default_rng(2)
    spread = rng.normal(size=(16, 256))
    city = (rng.normal(size=(900, 16)) @ spread).astype(np.float32)
    fitted = applicability.fit(city[:600], np.arange(600) // 30 % 5)
    assert fitted.outside(city[600:]).mean() < 0.05
    elsewhere = city[600:] + 10 * spread[0].astype(np.float32)  # 10 deviations off
    assert fitted.outside(elsewhere).mean() > 0.95
    assert fitted.index(city[:5]) == pytest.approx(0, abs=2e-3)


def test_blocks_of_rows_and_saved_arrays_give_the_same(training, monkeypatch):
    features, fold = training
    whole = applicability.fit(features, fold)
    saved = applicability.Applicability(**dataclasses.asdict(whole))
    monkeypatch.setattr(distances, "CHUNK", 7 * 120)
    parts = applicability.fit(features, fold)
    assert parts.threshold == pytest.approx(whole.threshold, rel=1e-6)
    np.testing.assert_allclose(parts.index(features), saved.index(features), atol=1e-3)
    drawn = applicability.fit(features, fold, most=60)
    assert drawn.mean_distance == pytest.approx(whole.mean_distance, rel=0.3)


def test_what_cannot_be_compared_is_named(training):
    features, fold = training
    with pytest.raises(InputError, match="3 features from training regions with 4"):
        applicability.fit(features, fold).index(features[:, :3])
    with pytest.raises(InputError, match="two folds .* there are 1"):
        applicability.fit(features, fold * 0)
    with pytest.raises(InputError, match="all 120 training regions have the same"):
        applicability.fit(features * 0 + 1, fold)
    features[3, 1] = np.nan
    with pytest.raises(InputError, match="1 of 120 regions .* row 3"):
        applicability.fit(features, fold)
