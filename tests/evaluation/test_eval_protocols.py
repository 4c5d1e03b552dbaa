"""The protocols: each learns something, predicts everybody, and its head repeats it."""

import itertools

import numpy as np
import pytest
import small_labels
from sklearn.neighbors import KNeighborsRegressor

from mmgr_jax import settings
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import metrics
from mmgr_jax.evaluation.design import grid
from mmgr_jax.evaluation.heads import knn, mlp, neighbours, protocols, released
from mmgr_jax.evaluation.settings import EvalSettings

KINDS = ("count", "scalar", "share", "class")


def _fit(protocol, kind, **options):
    x, hidden = small_labels.features()
    target = small_labels.target(kind, hidden)
    split = small_labels.split(len(x))
    cells = grid.cells(split, target.known, fractions=(0.2, 1.0), seeds=(0, 1))
    return x, target, cells, protocols.fit(protocol, x, target, cells, **options)


def _error(target, prediction):
    rows = target.known
    if target.is_number:
        return metrics.scalar(target.values[rows], prediction[rows])["mae"]
    truth = target.shares()[rows]
    return metrics.shares(truth, prediction[rows])["kl"]


def _mean(target, cells):
    told = np.zeros((len(target.known), target.num_outputs))
    truth = target.values[:, None] if target.is_number else target.shares()
    for index in cells.full:
        told[cells.test[index]] = truth[cells.train[index]].mean(axis=0)
    return told[:, 0] if target.is_number else told


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        *itertools.product(("linear", "knn"), KINDS),
        ("mlp", "count"),
        ("mlp", "class"),
        pytest.param("mlp", "scalar", marks=pytest.mark.slow),
        pytest.param("mlp", "share", marks=pytest.mark.slow),
    ],
)
def test_each_learns_something_and_its_heads_say_the_same(protocol, kind):
    x, target, cells, fits = _fit(protocol, kind, keep=(0, 8))
    assert len(fits.prediction) == len(cells.cells) == len(fits.chosen)
    assert np.isfinite(fits.prediction).all()
    told = fits.out_of_fold(cells)
    assert np.isfinite(told).all()
    assert _error(target, told) < 0.8 * _error(target, _mean(target, cells))
    if not target.is_number:
        np.testing.assert_allclose(told.sum(axis=1), 1, rtol=1e-5)
    assert set(fits.heads) == {0, 8}
    for index, head in fits.heads.items():
        assert head.cell == cells.cells[index]
        assert head.setting == fits.chosen[index]
        np.testing.assert_allclose(
            head.predict(x), fits.prediction[index], rtol=1e-3, atol=1e-4
        )


def test_more_labels_help():
    _, target, cells, fits = _fit("linear", "count")
    few = fits.out_of_fold(cells, fraction=0.2, seed=1)
    assert _error(target, fits.out_of_fold(cells)) < _error(target, few)


def test_neighbours_are_those_of_scikit_learn():
    x, target, cells, fits = _fit("knn", "scalar")
    for index in cells.full:
        train = cells.train[index]
        z = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
        oracle = KNeighborsRegressor(int(fits.chosen[index]), metric="cosine")
        told = oracle.fit(z[train], target.values[train]).predict(z)
        np.testing.assert_allclose(fits.prediction[index], told, rtol=1e-4, atol=1e-5)
    assert set(fits.chosen) <= {float(count) for count in (*knn.COUNTS, 27)}


def test_the_stop_of_mlp_is_where_validation_was_best():
    """Without it the labels of a few regions are learnt by heart."""
    _, _, cells, fits = _fit("mlp", "count")
    assert max(fits.chosen) < mlp.MAX_STEPS
    assert len({fits.chosen[index] for index in cells.where(fraction=0.2)}) > 1


def test_the_released_rate_slips_back():
    rates = [float(released.rate(np.int32(epoch))) for epoch in range(released.EPOCHS)]
    slow = [epoch for epoch, rate in enumerate(rates) if rate < 0.01]
    assert slow == [20, 30]
    assert rates[0] == rates[39] == pytest.approx(5e-2)


def test_the_released_head_predicts_raw_numbers_and_may_die():
    """Features of different regions are alike, as those of a ResNet are."""
    x, hidden = small_labels.features()
    target = small_labels.target("count", hidden)
    split = small_labels.split(len(x))
    cells = grid.cells(split, target.known, fractions=(0.5, 1.0), seeds=tuple(range(4)))
    fits = released.fit(x / 50, target, cells, keep=(0,), hidden=64)
    predicted = np.stack(fits.prediction)
    assert (predicted >= 0).all()
    dead = (predicted == 0).all(axis=1)
    assert 0 < dead.sum() < len(dead)
    errors = [_error(target, of) for of in predicted[~dead]]
    assert np.median(errors) < _error(target, _mean(target, cells))
    np.testing.assert_allclose(
        fits.heads[0].predict(x / 50), fits.prediction[0], rtol=1e-4, atol=1e-4
    )


def test_no_seed_leaves_a_head_dead():
    """Sixty draws of the weights where the released head dies now and then."""
    x, hidden = small_labels.features()
    target = small_labels.target("count", hidden)
    split = small_labels.split(len(x))
    cells = grid.cells(split, target.known, fractions=(0.5,), seeds=tuple(range(15)))
    fits = mlp.fit(x / 50, target, cells, hidden=64)
    assert len(fits.prediction) == 60
    for index, told in enumerate(fits.prediction):
        mean = np.full(len(told), target.values[cells.train[index]].mean())
        assert _error(target, told) < _error(target, mean)


def test_the_nearest_come_first_and_of_equals_the_first_row():
    rng = np.random.default_rng(0)
    everyone = rng.integers(-2, 3, (40, 3)).astype(float)
    among = rng.integers(-2, 3, (30, 3)).astype(float)
    expected = np.argsort(-(everyone @ among.T), axis=1, kind="stable")
    for most in (1, 7, 30):
        found = neighbours.Nearest(among).find(everyone, most)
        np.testing.assert_array_equal(found, expected[:, :most])


def test_the_released_head_is_for_numbers_alone():
    with pytest.raises(InputError, match="'released'.*'share'"):
        _fit("released", "share")


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InputError, match=r"eval.protocols=.*'svm'.*'linear', 'mlp'"):
        settings.read(EvalSettings, {"protocols": ("linear", "svm")}, "eval")


def test_a_head_refuses_other_features():
    x, *_, fits = _fit("linear", "count", keep=(0,))
    with pytest.raises(InputError, match="reads 12 features"):
        fits.heads[0].predict(x[:, :5])
