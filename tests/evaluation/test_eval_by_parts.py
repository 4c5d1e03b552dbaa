"""Few labels: who they are, and cross-validation against scikit-learn."""

import logging

import numpy as np
import pytest
import sklearn_heads
import small_labels
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmgr_jax.evaluation.design import grid, splits, targets
from mmgr_jax.evaluation.heads import by_parts, knn, protocols

STRENGTHS = (1e-2, 1.0, 100.0, 1e4)


def _city(kind, num_labels, *, seeds=(0, 1), num_features=12):
    x, hidden = small_labels.features(num_features=num_features)
    target = small_labels.target(kind, hidden)
    split = small_labels.split(len(x))
    return x, target, grid.few(split, target.known, num_labels=num_labels, seeds=seeds)


def _searched(estimator, options, x, target, parts):
    """GridSearchCV on the labels of a cell: the best options, told of every region."""
    rows = np.flatnonzero(parts >= 0)
    scale = targets.TargetScale.of(target.values[rows], log=target.log)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), estimator),
        options,
        cv=PredefinedSplit(parts[rows]),
        scoring="neg_mean_squared_error",
    ).fit(x[rows].astype(np.float64), scale.regressed(target.values[rows]))
    (best,) = search.best_params_.values()
    told = scale.restored(search.predict(x.astype(np.float64)))
    return best, told, -search.cv_results_["mean_test_score"]


@pytest.mark.parametrize("num_features", [6, 60])
@pytest.mark.parametrize("num_labels", [5, 10, 50])
@pytest.mark.parametrize("kind", ["count", "scalar"])
def test_a_ridge_of_few_labels_is_that_of_a_grid_search(kind, num_labels, num_features):
    x, target, cells = _city(kind, num_labels, num_features=num_features)
    fits = protocols.fit("linear", x, target, cells, strengths=STRENGTHS)
    for index in range(len(cells.cells)):
        best, told, losses = _searched(
            Ridge(), {"ridge__alpha": STRENGTHS}, x, target, cells.parts[index]
        )
        assert fits.chosen[index] == best
        np.testing.assert_allclose(fits.prediction[index], told, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(fits.validation_losses[index], losses, rtol=1e-5)
    assert len(set(fits.chosen)) > 1 or (kind, num_labels) != ("count", 10)


def test_neighbours_of_few_labels_are_those_of_a_grid_search():
    x, target, cells = _city("scalar", 25)
    counts = (1, 3, 5, 10, 20)  # 20 are left to train where 5 choose
    fits = by_parts.fit(
        lambda grid, counts, keep: knn.fit(x, target, grid, counts=counts, keep=keep),
        counts,
        cells,
    )
    for index in range(len(cells.cells)):
        best, told, losses = _searched(
            KNeighborsRegressor(metric="cosine"),
            {"kneighborsregressor__n_neighbors": counts},
            x,
            target,
            cells.parts[index],
        )
        np.testing.assert_allclose(fits.validation_losses[index], losses, rtol=1e-5)
        assert fits.chosen[index] == best
        np.testing.assert_allclose(fits.prediction[index], told, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_labels", [10, 50])
def test_a_softmax_of_few_labels_is_chosen_by_the_losses_of_all_its_parts(num_labels):
    """Parts and strengths one at a time by scikit-learn."""
    strengths = (1.0, 10.0, 100.0, 1e3)
    x, target, cells = _city("share", num_labels, seeds=(0,))
    fits = protocols.fit("linear", x, target, cells, strengths=strengths)
    shares = target.shares()
    for index, parts in enumerate(cells.parts):
        losses = np.zeros(len(strengths))
        for place, strength in enumerate(strengths):
            for part in range(5):
                train, chosen = (parts >= 0) & (parts != part), parts == part
                told = sklearn_heads.softmax(x, shares, train, strength)[chosen]
                losses[place] -= np.sum(shares[chosen] * np.log(told)) / num_labels
        best = int(np.argmin(losses))
        assert fits.chosen[index] == strengths[best]
        # The winner was fitted to the end or, for lack of rivals, roughly.
        assert fits.validation_losses[index][best] == pytest.approx(
            losses[best], rel=0.01
        )
        told = sklearn_heads.softmax(x, shares, parts >= 0, strengths[best])
        np.testing.assert_allclose(fits.prediction[index], told, atol=1e-5)


def test_labels_are_as_many_as_asked_for_and_none_is_tested_or_near():
    known = np.arange(300) % 7 != 0
    fold = np.arange(300) // 75
    near = np.stack([np.arange(299), np.arange(1, 300)], axis=1)
    split = splits.Split(fold, 4, near=near)
    small, large = (
        grid.few(split, known, num_labels=number, seeds=(3, 5)) for number in (12, 40)
    )
    for cells, number in ((small, 12), (large, 40)):
        assert [(cell.seed, cell.fold) for cell in cells.cells] == [
            (seed, fold) for seed in (3, 5) for fold in range(4)
        ]
        for index, cell in enumerate(cells.cells):
            labels = cells.train[index]
            parts = split.parts(cell.fold)
            assert labels.sum() == number and (labels <= known).all()
            assert (labels <= (parts.train | parts.validation)).all()
            np.testing.assert_array_equal(cells.test[index], parts.test)
            np.testing.assert_array_equal(labels, cells.parts[index] >= 0)
            sizes = np.bincount(cells.parts[index][labels])
            assert len(sizes) == 5 and np.ptp(sizes) <= 1
    assert (small.train <= large.train).all()  # a smaller number is among a larger
    assert (small.train[:4] != small.train[4:]).any(axis=1).all()


def test_each_part_chooses_once_and_the_others_train():
    x, target, cells = _city("count", 7)
    parts = cells.by_parts()
    assert len(parts.cells) == 5 * len(cells.cells) and parts.parts is None
    for index in range(len(cells.cells)):
        mine = range(5 * index, 5 * index + 5)
        np.testing.assert_array_equal(
            parts.validation[mine].sum(axis=0), cells.train[index]
        )
        for one in mine:
            assert not (parts.train[one] & parts.validation[one]).any()
            np.testing.assert_array_equal(
                parts.train[one] | parts.validation[one], cells.train[index]
            )
    told = protocols.fit("linear", x, target, parts, strengths=(1.0,))
    one_seed = told.out_of_fold(parts, fraction=None, seed=1)
    mean = np.reshape(told.prediction, (-1, 5, len(x))).mean(axis=1)
    for index, cell in enumerate(cells.cells):
        if cell.seed == 1:
            test = cells.test[index]
            np.testing.assert_allclose(one_seed[test], mean[index][test])


@pytest.mark.parametrize("protocol", ["linear", "knn"])
@pytest.mark.parametrize("kind", ["count", "share"])
def test_only_the_drawn_labels_are_read(protocol, kind):
    x, target, cells = _city(kind, 10, seeds=(0,))
    clean = protocols.fit(protocol, x, target, cells)
    unused = ~cells.train[2]
    values, poisoned = target.values.copy(), x.copy()
    moved = unused & target.known
    values[moved] = np.roll(values[moved], 1, axis=0)
    poisoned[unused] *= 100
    other = type(target)(target.label, values, target.known, target.log)
    dirty = protocols.fit(protocol, poisoned, other, cells)
    assert clean.chosen[2] == dirty.chosen[2]
    np.testing.assert_allclose(
        clean.prediction[2][~unused], dirty.prediction[2][~unused], rtol=1e-6
    )


@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_labels_that_are_all_alike_tell_just_that(protocol):
    """Five labels of one class, or of one number."""
    x, hidden = small_labels.features()
    target = small_labels.target("class", hidden)
    alike = np.where(target.known, 2.0, np.nan)
    one_class = type(target)(target.label, alike, target.known, False)
    cells = grid.few(small_labels.split(len(x)), target.known, num_labels=5)
    told = np.stack(protocols.fit(protocol, x, one_class, cells).prediction)
    np.testing.assert_allclose(told[:, :, 2], 1, atol=1e-3)
    number = small_labels.target("count", hidden)
    zeros = np.where(number.known, 0.0, np.nan)
    empty = type(number)(number.label, zeros, number.known, True)
    cells = grid.few(small_labels.split(len(x)), number.known, num_labels=5)
    assert not np.any(protocols.fit(protocol, x, empty, cells).prediction)


def test_a_class_that_only_one_part_has_leaves_the_choice_defined():
    x, target, cells = _city("class", 10)
    fits = protocols.fit("linear", x, target, cells)
    assert np.isfinite(fits.prediction).all()
    np.testing.assert_allclose(np.sum(fits.prediction, axis=2), 1, rtol=1e-9)
    assert np.isfinite(np.nanmin(fits.validation_losses, axis=1)).all()


def test_heads_that_are_kept_repeat_their_predictions():
    x, target, cells = _city("count", 25)
    fits = protocols.fit("linear", x, target, cells, keep=(1, 6))
    assert set(fits.heads) == {1, 6}
    for index, head in fits.heads.items():
        assert head.cell == cells.cells[index]
        assert head.setting == fits.chosen[index]
        np.testing.assert_allclose(
            head.predict(x), fits.prediction[index], rtol=1e-3, atol=1e-4
        )


def test_more_labels_than_there_are_are_left_out_aloud(caplog):
    with caplog.at_level(logging.INFO):
        assert (
            grid.few(small_labels.split(40), np.ones(40, bool), num_labels=30) is None
        )
    assert (
        "label curves end below 30 labels, because one fold has only 30" in caplog.text
    )
    assert grid.few(small_labels.split(40), np.ones(40, bool), num_labels=29)
