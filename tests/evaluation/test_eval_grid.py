"""The grid of heads against scikit-learn, one head at a time, and its subsets."""

import logging

import numpy as np
import pytest
import sklearn_heads
import small_labels

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design import grid, splits, targets
from mmgr_jax.evaluation.heads import linear, subsets

STRENGTHS = (1e-2, 1.0, 100.0, 1e4)
FRACTIONS = (0.05, 0.2, 1.0)


def _cells(target, *, fractions=FRACTIONS, seeds=(0, 1)):
    split = small_labels.split(len(target.known))
    return grid.cells(split, target.known, fractions=fractions, seeds=seeds)


@pytest.mark.parametrize("num_features", [6, 60])
@pytest.mark.parametrize("kind", ["count", "scalar"])
def test_every_ridge_of_the_grid_is_that_of_scikit_learn(kind, num_features):
    """Subsets of 6 to 110 regions, with fewer regions than features and with more."""
    x, hidden = small_labels.features(num_features=num_features)
    target = small_labels.target(kind, hidden)
    cells = _cells(target)
    fits = linear.fit(x, target, cells, strengths=STRENGTHS)
    assert len(cells.cells) == 4 * (2 + 2 + 1)
    for index in range(len(cells.cells)):
        told, strength = sklearn_heads.ridge(
            x, target.values, cells.train[index], cells.validation[index], STRENGTHS,
            log=target.log,
        )  # fmt: skip
        assert fits.chosen[index] == strength
        np.testing.assert_allclose(fits.prediction[index], told, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("num_features", [6, 60])
@pytest.mark.parametrize("kind", ["share", "class"])
def test_softmaxes_of_the_grid_are_those_of_scikit_learn(kind, num_features):
    x, hidden = small_labels.features(num_features=num_features)
    target = small_labels.target(kind, hidden)
    cells = _cells(target)
    fits = linear.fit(x, target, cells, strengths=STRENGTHS)
    np.testing.assert_allclose(np.sum(fits.prediction, axis=2), 1, rtol=1e-9)
    for index in range(0, len(cells.cells), 3):
        if fits.chosen[index] < 1:
            continue  # nearly separable: neither side ends at the same place
        told = sklearn_heads.softmax(
            x, target.shares(), cells.train[index], fits.chosen[index]
        )
        np.testing.assert_allclose(fits.prediction[index], told, atol=1e-4)


def test_the_strength_of_a_softmax_is_the_one_that_validates_best():
    """Against scikit-learn for every strength of a few cells."""
    x, hidden = small_labels.features(num_features=20)
    target = small_labels.target("share", hidden)
    cells = _cells(target, fractions=(0.2, 1.0), seeds=(0,))
    fits = linear.fit(x, target, cells, strengths=STRENGTHS)
    for index in (0, 5):
        validation = cells.validation[index]
        truth = target.values[validation]
        losses = []
        for strength in STRENGTHS:
            told = sklearn_heads.softmax(
                x, target.shares(), cells.train[index], strength
            )[validation]
            losses.append(-np.mean(np.sum(truth * np.log(told + 1e-12), axis=1)))
        assert fits.chosen[index] == STRENGTHS[int(np.argmin(losses))]
        assert np.nanmin(fits.validation_losses[index]) == pytest.approx(
            min(losses), rel=1e-4
        )


@pytest.mark.parametrize("kind", ["count", "share"])
def test_only_labels_of_the_two_parts_are_read(kind):
    x, hidden = small_labels.features()
    target = small_labels.target(kind, hidden)
    cells = _cells(target, seeds=(0,))
    clean = linear.fit(x, target, cells, strengths=STRENGTHS)
    index = cells.where(fraction=0.2)[0]
    unused = ~(cells.train[index] | cells.validation[index])
    values = target.values.copy()
    values[unused & target.known] = np.roll(values[unused & target.known], 1, axis=0)
    poisoned_x = x.copy()
    poisoned_x[unused] *= 100
    shuffled = type(target)(target.label, values, target.known, target.log)
    poisoned = linear.fit(poisoned_x, shuffled, cells, strengths=STRENGTHS)
    assert clean.chosen[index] == poisoned.chosen[index]
    np.testing.assert_allclose(
        clean.prediction[index][~unused],
        poisoned.prediction[index][~unused],
        rtol=1e-6,
    )


@pytest.mark.parametrize("kind", ["count", "share"])
def test_constant_features_say_nothing(kind):
    x, hidden = small_labels.features()
    target = small_labels.target(kind, hidden)
    cells = _cells(target, fractions=(0.2, 1.0), seeds=(0,))
    padded = np.concatenate([x, np.full((len(x), 3), 7, np.float32)], axis=1)
    # The last is constant in the training part of the first cell alone.
    padded[~cells.train[0], -1] = 1e5
    plain, more = (
        linear.fit(of, target, cells, strengths=STRENGTHS).prediction[0]
        for of in (x, padded)
    )
    np.testing.assert_allclose(plain, more, rtol=1e-4, atol=1e-6)


def test_the_unit_of_a_target_does_not_matter():
    """Persons or thousands of persons; zeros have no say in the scale."""
    x, hidden = small_labels.features()
    target = small_labels.target("count", hidden)
    values = np.where(np.arange(len(x)) % 7 == 0, 0.0, target.values)
    persons, thousands = (
        linear.fit(
            x,
            type(target)(target.label, values / unit, target.known, target.log),
            _cells(target),
            strengths=STRENGTHS,
        )
        for unit in (1, 1000)
    )
    assert persons.chosen == thousands.chosen
    np.testing.assert_allclose(
        1000 * np.stack(thousands.prediction), np.stack(persons.prediction)
    )


def test_numbers_on_a_log_scale_are_not_extrapolated_exponentially():
    x, hidden = small_labels.features()
    target = small_labels.target("count", hidden)
    cells = _cells(target, fractions=(1.0,))
    far = ~(cells.train[0] | cells.validation[0])
    x[far] = 50 + 100 * (x[far] - 50)
    fits = linear.fit(x, target, cells, strengths=(1e-2,))
    most = targets.MAX_GROWTH * target.values[cells.train[0]].max()
    assert fits.prediction[0].min() == 0
    assert fits.prediction[0].max() == pytest.approx(most)


def test_features_without_any_variation_predict_the_training_mean():
    _, hidden = small_labels.features()
    constant = np.ones((len(hidden), 5), np.float32)
    target = small_labels.target("share", hidden)
    cells = _cells(target, seeds=(0,))
    fits = linear.fit(constant, target, cells, strengths=STRENGTHS)
    for index, train in enumerate(cells.train):
        mean = target.values[train].mean(axis=0)
        np.testing.assert_allclose(fits.prediction[index][0], mean, atol=1e-4)


def test_a_class_that_training_never_saw_is_told_as_next_to_nothing():
    x, hidden = small_labels.features()
    target = small_labels.target("share", hidden)
    values = np.where([1, 0, 0, 0], 0, target.values + 0.01)
    values /= values.sum(axis=1, keepdims=True)
    target = type(target)(target.label, values, target.known, target.log)
    fits = linear.fit(x, target, _cells(target), strengths=STRENGTHS)
    assert np.isfinite(fits.prediction).all()
    assert np.stack(fits.prediction)[:, :, 0].max() < 1e-3


def test_subsets_are_nested_over_fractions_and_shrink_both_parts():
    known = np.arange(300) % 7 != 0
    split = small_labels.split(300)
    cells = grid.cells(split, known, fractions=(0.1, 0.2, 0.5, 1.0), seeds=(3, 5))
    for seed in (3, 5):
        for role in (cells.train, cells.validation):
            for small, large in ((0.1, 0.2), (0.2, 0.5), (0.5, 1.0)):
                inner = role[cells.where(fraction=small, seed=seed)]
                outer = role[cells.where(fraction=large, seed=seed)]
                assert (inner <= outer).all()
                assert (inner.sum(axis=1) < outer.sum(axis=1)).all()
                assert inner.any(axis=1).all()
    a, b = (cells.train[cells.where(fraction=0.2, seed=seed)] for seed in (3, 5))
    assert (a != b).any(axis=1).all()
    for index, cell in enumerate(cells.cells):
        part = split.parts(cell.fold)
        assert (cells.train[index] <= (part.train & known)).all()
        assert (cells.test[index] == part.test).all()
        expected = int((part.train & known).sum() * cell.fraction + 1e-9)
        assert cells.train[index].sum() == expected


def test_all_labels_are_one_cell_a_fold_and_answer_to_every_seed():
    cells = grid.cells(
        small_labels.split(100), np.ones(100, bool), fractions=(0.5, 1.0), seeds=(0, 1)
    )
    assert [cells.cells[index].fold for index in cells.full] == [0, 1, 2, 3]
    assert cells.where(fraction=1.0, seed=1) == list(cells.full)
    assert len(cells.where(fraction=0.5, seed=1)) == 4


def test_fractions_that_buy_too_little_are_left_out_aloud(caplog):
    with caplog.at_level(logging.INFO):
        cells = grid.cells(small_labels.split(92), np.ones(92, bool), seeds=(0,))
    assert sorted({cell.fraction for cell in cells.cells}) == [0.2, 0.5, 1.0]
    assert "0.01, 0.02, 0.05, 0.1 are left out" in caplog.text


@pytest.mark.parametrize("fractions", [(), (0.0,), (1.5, 1.0), (0.01,)])
def test_bad_fractions_are_refused(fractions):
    with pytest.raises(InputError, match="fractions"):
        grid.cells(small_labels.split(92), np.ones(92, bool), fractions=fractions)


def test_a_head_to_keep_learns_from_everybody_but_those_who_choose():
    known = np.arange(80) % 5 != 0
    near = np.array([[0, 1]])
    split = splits.Split(np.arange(80) % 4, 4, near=near)
    cells = grid.whole(split, known)
    assert not cells.test.any()
    np.testing.assert_array_equal(cells.validation[0], known & (split.fold == 0))
    np.testing.assert_array_equal(cells.train[0], known & (split.fold != 0))


def test_chunks_hold_every_cell_once_and_similar_sizes():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 900, 40)
    masks = np.arange(1000) < sizes[:, None]
    parts = subsets.chunks(masks, 2**20)
    assert sorted(sum(parts, [])) == list(range(40))
    for part in parts:
        within = np.maximum(sizes[part], subsets.SMALLEST)
        assert within.max() <= 2 * within.min()
        assert len(part) * within.max() * 2**20 <= subsets.CHUNK_BYTES or len(part) == 1


def test_roomy_sizes_are_few_and_hardly_larger():
    sizes = np.arange(1, 5000)
    roomy = np.array([subsets.roomy(int(size)) for size in sizes])
    assert (roomy >= sizes).all() and (np.diff(roomy) >= 0).all()
    assert (roomy[64:] < sizes[64:] * 1.125).all()
    assert len(set(roomy)) < 60
    assert [subsets.roomy(size) for size in (1, 64, 65, 192, 2048)] == [
        64, 64, 72, 192, 2048,
    ]  # fmt: skip
