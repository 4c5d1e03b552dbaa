"""Validation chooses, then its labels teach too: heads against scikit-learn."""

import numpy as np
import pytest
import sklearn_heads
import small_labels
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from mmgr_jax.evaluation.design import grid
from mmgr_jax.evaluation.heads import linear, protocols, softmax

STRENGTHS = (1.0, 30.0, 1e3)


def _made(kind, num_features=12):
    x, hidden = small_labels.features(num_features=num_features)
    target = small_labels.target(kind, hidden)
    split = small_labels.split(len(x))
    cells = grid.cells(split, target.known, fractions=(0.2, 1.0), seeds=(0,))
    return x, target, cells


def _weight(num_features):
    return np.linspace(0.2, 2.0, num_features)


@pytest.mark.parametrize("num_features", [12, 150])
@pytest.mark.parametrize("kind", ["count", "scalar"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_ridge_is_that_of_both_parts_at_the_strength_that_was_chosen(
    kind, num_features, weighted
):
    """The scale of the target is that of the training part, which chose by it."""
    x, target, cells = _made(kind, num_features)
    weight = _weight(num_features) if weighted else None
    options = dict(strengths=STRENGTHS, weight=weight)
    fits = linear.fit(x, target, cells, refit=True, **options)
    before = linear.fit(x, target, cells, **options)
    assert fits.chosen == before.chosen
    assert kind == "scalar" or len(set(fits.chosen)) > 1
    np.testing.assert_array_equal(fits.validation_losses, before.validation_losses)
    for index in range(len(cells.cells)):
        train = cells.train[index]
        both = train | cells.validation[index]
        y, unit = target.values, 1.0
        if target.log:
            unit = np.median(y[train][y[train] > 0])
            y = np.log1p(y / unit)
        wide = x.astype(np.float64)
        z = StandardScaler().fit(wide[both]).transform(wide)
        z = z * weight if weighted else z
        told = Ridge(alpha=fits.chosen[index]).fit(z[both], y[both]).predict(z)
        if target.log:
            ceiling = 2 * target.values[train].max()
            told = np.clip(unit * np.expm1(told), 0, ceiling)
        np.testing.assert_allclose(fits.prediction[index], told, rtol=1e-4, atol=1e-8)
        assert np.abs(told - before.prediction[index]).max() > 1e-2


@pytest.mark.parametrize("num_features", [6, 60])
@pytest.mark.parametrize("kind", ["share", "class"])
def test_a_softmax_is_that_of_both_parts(kind, num_features):
    x, target, cells = _made(kind, num_features)
    fits = linear.fit(x, target, cells, strengths=STRENGTHS, refit=True)
    before = linear.fit(x, target, cells, strengths=STRENGTHS)
    assert fits.chosen == before.chosen
    for index in (0, 3, len(cells.cells) - 1):
        both = cells.train[index] | cells.validation[index]
        told = sklearn_heads.softmax(x, target.shares(), both, fits.chosen[index])
        np.testing.assert_allclose(fits.prediction[index], told, atol=1e-5)
        assert np.abs(told - before.prediction[index]).max() > 1e-2


def test_a_softmax_of_many_axes_leaves_none_out(monkeypatch):
    x, target, cells = _made("share", 60)
    monkeypatch.setattr(softmax, "MOST_AXES", 12)
    fits = linear.fit(x, target, cells, strengths=STRENGTHS, refit=True)
    both = cells.train[0] | cells.validation[0]
    own = sklearn_heads.softmax(x, target.shares(), both, fits.chosen[0])
    np.testing.assert_allclose(fits.prediction[0], own, atol=1e-5)
    monkeypatch.setattr(softmax, "MANY", 10)  # of more regions some are left out
    fewer = linear.fit(x, target, cells, strengths=STRENGTHS, refit=True)
    assert np.abs(fewer.prediction[0] - own).max() > 1e-3


def test_a_class_that_validation_alone_has_is_learnt_in_the_end():
    x, target, cells = _made("class")
    values = target.values.copy()
    index = cells.full[0]
    train, validation = cells.train[index], cells.validation[index]
    values[train & (values == 3)] = 2
    rows = np.flatnonzero(validation)
    values[rows[: len(rows) // 2]] = 3
    changed = type(target)(target.label, values, target.known, target.log)
    before, after = (
        linear.fit(x, changed, cells, strengths=(30.0,), refit=refit).prediction[index]
        for refit in (False, True)
    )
    assert before[:, 3].max() < 1e-4 < 0.05 < after[:, 3].mean()
    both = train | validation
    told = sklearn_heads.softmax(x, changed.shares(), both, 30.0)
    np.testing.assert_allclose(after, told, atol=1e-5)


@pytest.mark.parametrize("kind", ["count", "share"])
def test_the_protocol_refits_and_its_heads_say_the_same(kind):
    x, target, cells = _made(kind)
    weight = _weight(x.shape[1])
    options = dict(strengths=STRENGTHS, weight=weight, keep=(0,))
    fits = protocols.fit("linear", x, target, cells, **options)
    expected = linear.fit(x, target, cells, refit=True, **options)
    np.testing.assert_allclose(fits.prediction, expected.prediction, rtol=1e-9)
    told = fits.heads[0].predict(x)
    np.testing.assert_allclose(told, fits.prediction[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["count", "share"])
def test_no_label_of_a_tested_region_is_read(kind):
    x, target, cells = _made(kind)
    clean = linear.fit(x, target, cells, strengths=STRENGTHS, refit=True)
    index = cells.full[0]
    tested = cells.test[index] & target.known
    values = target.values.copy()
    values[tested] = np.roll(values[tested], 1, axis=0)
    shuffled = type(target)(target.label, values, target.known, target.log)
    poisoned = linear.fit(x, shuffled, cells, strengths=STRENGTHS, refit=True)
    np.testing.assert_allclose(
        clean.prediction[index], poisoned.prediction[index], rtol=1e-6
    )
