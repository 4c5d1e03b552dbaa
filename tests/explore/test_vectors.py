"""What a page computes with: standardised, few enough, a byte a number."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import StandardScaler

from mmgr_jax.evaluation.features.groups import Features, beside
from mmgr_jax.explore import vectors


def _features(number=300, widths=(20, 5), seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(number, 6))
    return beside(
        [
            Features.of(
                f"group {index}",
                (hidden @ rng.normal(size=(6, width)) * 10.0**index + 100).astype("f4"),
            )
            for index, width in enumerate(widths)
        ]
    )


def test_standardised_as_scikit_learn_does_and_constants_are_zero():
    own = _features()
    constant = Features.of("constant", np.full((300, 1), 7.0, np.float32))
    features = beside([own, constant])
    rows = vectors.Standardised.of(features).rows(np.arange(300))
    expected = StandardScaler().fit_transform(own.values.astype(np.float64))
    np.testing.assert_allclose(rows[:, :-1], expected, atol=1e-5)
    assert not rows[:, -1].any()


def test_components_are_those_of_scikit_learn():
    exact = vectors.Standardised.of(_features(widths=(12,)))
    rows = exact.rows(np.arange(300))
    axes, kept = exact.components(3)
    expected = PCA(3).fit(rows)
    np.testing.assert_allclose(
        np.abs((axes * expected.components_.T).sum(axis=0)), 1, atol=1e-6
    )
    assert kept == pytest.approx(expected.explained_variance_ratio_.sum(), abs=1e-6)


def test_a_byte_a_number_is_half_a_step_off_at_most():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 40)) * 10.0 ** rng.integers(-6, 6, (50, 1))
    values[3] = 0
    whole, scale = vectors.quantised(values)
    back = whole.astype(np.float64) * scale[:, None]
    assert (np.abs(back - values) <= scale[:, None] * 0.5001).all()
    assert scale[3] == 0 and whole.max() == 127 and whole.dtype == np.int8
    empty, none = vectors.quantised(np.zeros((0, 4)))
    assert empty.shape == (0, 4) and none.shape == (0,)


def test_recall_is_that_of_plain_sorting_and_falls_where_numbers_are_coarse():
    features = _features(number=150)
    exact = vectors.Standardised.of(features)
    weighted = exact.rows(np.arange(150)) * exact.weights
    whole, _ = vectors.quantised(exact.rows(np.arange(150)))
    coarse = np.round(whole / 90).astype(np.int8)
    for numbers in (whole, coarse):
        near = []
        for rows in (weighted, numbers * exact.weights):
            cosine = cosine_similarity(rows)
            np.fill_diagonal(cosine, -2)
            near.append(np.argsort(-cosine, axis=1)[:, :20])
        shares = [len(set(a) & set(b)) / 20 for a, b in zip(*near, strict=True)]
        measured = vectors.recall(exact, numbers, exact.weights)
        assert measured == pytest.approx(np.mean(shares), abs=0.005)
    assert measured < 0.8 < 0.95 < vectors.recall(exact, whole, exact.weights)


def test_many_columns_become_components_and_near_ones_stay_near(monkeypatch):
    features = _features(number=200, widths=(60, 40))
    assert vectors.of(features).groups == (("group 0", 60), ("group 1", 40))
    monkeypatch.setattr(vectors, "MOST_BYTES", 200 * 10)
    monkeypatch.setattr(vectors, "LEAST_NUMBERS", 8)
    held = vectors.of(features)  # six directions are all that there is
    assert held.numbers.shape == (200, 10) and held.groups == (("components", 10),)
    assert held.explained == pytest.approx(1, abs=1e-6)
    assert held.recall > 0.95


def test_one_region_and_two_have_a_page_too():
    for number in (1, 2):
        held = vectors.of(_features(number=number))
        assert held.numbers.shape[0] == number and held.recall == 1


def test_colours_follow_the_components():
    rows = np.zeros((5, 3))
    rows[:, 0] = np.linspace(-1, 1, 5)
    colours = vectors.as_colours(rows).astype(int)
    assert (np.diff(colours.sum(axis=1)) > 0).all()
    # The others do not differ, so nothing has a hue; a grey of lightness 0.65 is
    # 0.65 ** 3 in linear light, 0.2746, and 143 of 255 by the curve of sRGB.
    assert np.abs(colours - colours.mean(axis=1, keepdims=True)).max() <= 1
    np.testing.assert_allclose(colours[2], 143, atol=1)
    assert vectors.as_colours(np.zeros((3, 1))).shape == (3, 3)
