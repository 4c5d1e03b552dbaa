"""Heads against scikit-learn's ridge and logistic regression."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mmgr_jax.evaluators import heads

STRENGTHS = (1e-2, 1.0, 100.0, 1e4)


@pytest.fixture(autouse=True)
def _one_thread():
    """As `tasks.evaluate` does: thread pools cost more than they give at this size."""
    with threadpool_limits(1, user_api="blas"):
        yield


def _regions(num_features, num_regions=300, num_classes=4, seed=0):
    """Features, a heavy-tailed number, shares with zeros, and three parts."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(num_regions, 4))
    features = hidden @ rng.normal(size=(4, num_features)) * 3 + 50
    features += rng.normal(size=features.shape) * rng.uniform(0.1, 5, num_features)
    number = np.exp(2 + hidden[:, 0] + 0.3 * rng.normal(size=num_regions))
    shares = np.exp(2 * hidden @ rng.normal(size=(4, num_classes)))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[shares < 0.05] = 0
    shares /= shares.sum(axis=1, keepdims=True)
    part = rng.integers(0, 3, num_regions)
    return features.astype(np.float32), number, shares, part == 0, part == 1


def _scaled(features, train):
    return StandardScaler().fit(features[train]).transform(features)


@pytest.mark.parametrize("num_features", [8, 150])
@pytest.mark.parametrize("log", [True, False])
def test_ridge_agrees_with_scikit_learn(num_features, log):
    """150 features for 100 training regions: more columns than rows."""
    features, number, _, train, validation = _regions(num_features)
    fit = heads.ridge(
        heads.basis(features, train),
        number,
        validation=validation,
        strengths=STRENGTHS,
        log=log,
    )
    x, y = _scaled(features.astype(np.float64), train), number
    scale = np.median(number[train])  # all are positive
    y = np.log1p(y / scale) if log else y
    oracle = [Ridge(alpha=s).fit(x[train], y[train]).predict(x) for s in STRENGTHS]
    losses = [np.mean((p - y)[validation] ** 2) for p in oracle]
    np.testing.assert_allclose(fit.validation_losses, losses, rtol=1e-5)
    assert fit.strength == STRENGTHS[int(np.argmin(losses))]
    expected = oracle[int(np.argmin(losses))]
    if log:
        ceiling = heads.MAX_GROWTH * number[train].max()
        expected = np.clip(scale * np.expm1(expected), 0, ceiling)
    np.testing.assert_allclose(fit.prediction, expected, rtol=1e-4)


def test_the_unit_of_a_target_does_not_matter():
    """Persons or thousands of persons."""
    features, number, _, train, validation = _regions(8)
    number[::7] = 0  # zeros have no say in the scale
    basis = heads.basis(features, train)
    settings = dict(validation=validation, strengths=STRENGTHS)
    persons = heads.ridge(basis, number, **settings)
    thousands = heads.ridge(basis, number / 1000, **settings)
    assert thousands.strength == persons.strength
    np.testing.assert_allclose(thousands.validation_losses, persons.validation_losses)
    np.testing.assert_allclose(1000 * thousands.prediction, persons.prediction)


def test_a_target_of_zeros_is_predicted_as_zero():
    features, number, _, train, validation = _regions(8)
    fit = heads.ridge(
        heads.basis(features, train),
        np.zeros_like(number),
        validation=validation,
        strengths=STRENGTHS,
    )
    np.testing.assert_array_equal(fit.prediction, 0)


@pytest.mark.parametrize("num_features", [8, 150])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_softmax_agrees_with_scikit_learn_on_weighted_copies(
    num_features, strength, monkeypatch
):
    """A soft target is k copies of the region, one a class, weighted by the shares."""
    monkeypatch.setattr(heads, "GRADIENT_TOLERANCE", 1e-7)
    monkeypatch.setattr(heads, "MAX_ITERATIONS", 10_000)
    features, _, shares, train, validation = _regions(num_features)
    fit = heads.softmax(
        heads.basis(features, train),
        shares,
        validation=validation,
        strengths=(strength,),
    )
    x, k = _scaled(features.astype(np.float64), train), shares.shape[1]
    oracle = LogisticRegression(C=1 / strength, tol=1e-9, max_iter=100_000).fit(
        np.repeat(x[train], k, axis=0),
        np.tile(np.arange(k), train.sum()),
        sample_weight=shares[train].ravel(),
    )
    np.testing.assert_allclose(fit.prediction, oracle.predict_proba(x), atol=1e-4)
    np.testing.assert_allclose(fit.prediction.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("num_features", [8, 150])
def test_softmax_stops_close_enough_to_the_optimum(num_features, monkeypatch):
    features, _, shares, train, validation = _regions(num_features)
    basis = heads.basis(features, train)
    settings = dict(validation=validation, strengths=(1.0, 10.0, 100.0, 1e3))
    shipped = heads.softmax(basis, shares, **settings)
    monkeypatch.setattr(heads, "GRADIENT_TOLERANCE", 1e-7)
    monkeypatch.setattr(heads, "ROUGH_TOLERANCE", 1e-7)
    exact = heads.softmax(basis, shares, **settings)
    assert shipped.strength == exact.strength
    np.testing.assert_allclose(shipped.prediction, exact.prediction, atol=5e-4)


def test_softmax_tries_the_path_until_it_overfits():
    features, _, shares, train, validation = _regions(150)
    basis = heads.basis(features, train)
    strengths = (1e-4, 1e-3, *STRENGTHS)
    path = heads.softmax(basis, shares, validation=validation, strengths=strengths)
    losses = np.array(path.validation_losses)
    best = int(np.nanargmin(losses))
    assert path.strength == strengths[best]
    assert np.isnan(losses[: best - heads.PATIENCE]).all()
    assert np.isfinite(losses[best - heads.PATIENCE :]).all()
    alone = heads.softmax(
        basis, shares, validation=validation, strengths=(path.strength,)
    )
    np.testing.assert_allclose(path.prediction, alone.prediction, atol=2e-3)


def test_a_rough_first_pass_chooses_what_exact_fits_would(monkeypatch):
    """So rough that it stops where it starts and sees no difference in strengths."""
    features, _, shares, train, validation = _regions(8)
    basis = heads.basis(features, train)
    settings = dict(validation=validation, strengths=(4.0, 2.0, 1.0, 0.5))
    monkeypatch.setattr(heads, "PATIENCE", 9)
    exact = heads.softmax(basis, shares, **settings)
    monkeypatch.setattr(heads, "ROUGH_TOLERANCE", 1e9)
    rough = heads.softmax(basis, shares, **settings)
    assert rough.strength == exact.strength
    np.testing.assert_allclose(rough.validation_losses, exact.validation_losses, 1e-3)
    np.testing.assert_allclose(rough.prediction, exact.prediction, atol=5e-4)


def test_softmax_with_a_class_that_training_never_saw():
    features, _, shares, train, validation = _regions(8)
    shares = np.where(train[:, None] * [1, 0, 0, 0], 0, shares + 0.01)
    shares /= shares.sum(axis=1, keepdims=True)
    fit = heads.softmax(
        heads.basis(features, train),
        shares,
        validation=validation,
        strengths=STRENGTHS,
    )
    assert np.isfinite(fit.prediction).all()
    assert fit.prediction[:, 0].max() < 0.02


@pytest.mark.parametrize("head", ["ridge", "softmax"])
def test_only_the_two_parts_are_read(head):
    """Features and targets of tested regions must not move anything."""
    features, number, shares, train, validation = _regions(8)
    test = ~train & ~validation
    target = number if head == "ridge" else shares
    fits = []
    for poison in (False, True):
        x, y = features.copy(), target.copy()
        if poison:
            x[test], y[test] = 1e6, np.nan
        fits.append(
            getattr(heads, head)(
                heads.basis(x, train), y, validation=validation, strengths=STRENGTHS
            )
        )
    clean, poisoned = fits
    assert clean.strength == poisoned.strength
    np.testing.assert_allclose(
        clean.prediction[~test], poisoned.prediction[~test], rtol=1e-9
    )
    assert np.isfinite(poisoned.prediction).all()


def test_ridge_does_not_extrapolate_exponentially():
    features, number, _, train, validation = _regions(8)
    far = ~train & ~validation
    features[far] *= 100
    fit = heads.ridge(
        heads.basis(features, train), number, validation=validation, strengths=[1e-2]
    )
    assert fit.prediction.max() <= heads.MAX_GROWTH * number[train].max() * (1 + 1e-9)
    assert fit.prediction.min() >= 0


def test_features_that_training_never_saw_vary_are_ignored():
    features, number, _, train, validation = _regions(8)
    dead = np.where(train, 0.3, 1e5).astype(np.float32)[:, None]
    plain, padded = (
        heads.ridge(
            heads.basis(x, train), number, validation=validation, strengths=STRENGTHS
        )
        for x in (features, np.concatenate([features, dead], axis=1))
    )
    np.testing.assert_allclose(plain.prediction, padded.prediction)


def test_features_without_any_variation_predict_the_training_mean():
    _, number, shares, train, validation = _regions(8)
    basis = heads.basis(np.ones((300, 5), np.float32), train)
    fit = heads.ridge(
        basis, number, validation=validation, strengths=STRENGTHS, log=False
    )
    np.testing.assert_allclose(fit.prediction, number[train].mean())
    fit = heads.softmax(basis, shares, validation=validation, strengths=STRENGTHS)
    np.testing.assert_allclose(fit.prediction, heads.mean(shares, train), atol=1e-4)


def test_no_seed_leaves_a_head_dead():
    """The released head ends in a ReLU and is 0 everywhere for some seeds."""
    for seed in range(60):
        features, number, _, train, validation = _regions(12, num_regions=90, seed=seed)
        fit = heads.ridge(
            heads.basis(features, train),
            number,
            validation=validation,
            strengths=STRENGTHS,
            log=True,
        )
        tested = ~(train | validation)
        predicted = fit.prediction[tested]
        assert np.corrcoef(np.log1p(predicted), np.log1p(number[tested]))[0, 1] > 0.5


def test_the_mean_is_arithmetic_and_of_the_training_part():
    target = np.array([1.0, 3.0, np.nan])
    predicted = heads.mean(target, np.array([True, True, False]))
    np.testing.assert_array_equal(predicted, [2.0, 2.0, 2.0])
