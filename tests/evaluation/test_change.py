"""Change between two years: p values, q values, and what nuisance does not become."""

import numpy as np
import pytest
from scipy import stats
from sklearn.kernel_ridge import KernelRidge

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import change

LEVEL = 0.1


def years(seed, *, n=300, changed=0.1, season=0.0, shift=0.3):
    """Two years of regions of two kinds; `season` moves one kind alone.

    Returns features of both years and of two readings, and which regions changed.
    """
    rng = np.random.default_rng(seed)
    kind = rng.uniform(size=n) < 0.5
    base = rng.normal(size=(n, 12)) + 4 * kind[:, None] * np.eye(12)[0]
    nuisance = np.zeros(12)
    nuisance[:3] = shift * 4  # readings move these directions most
    nuisance[3:] = shift

    def reading():
        return base + rng.normal(size=base.shape) * nuisance

    later = reading() + season * np.outer(kind, np.eye(12)[4])
    moved = rng.uniform(size=n) < changed
    step = rng.normal(size=(moved.sum(), 12))
    later[moved] += 4 * step / np.linalg.norm(step, axis=1, keepdims=True)
    later = later * 1.7 + 5  # another sensor
    return reading(), later, [reading(), reading()], moved


def figures(found, moved):
    wrong = (found & ~moved).sum() / max(found.sum(), 1)
    return wrong, found[moved].mean()


@pytest.mark.parametrize("season", [0.0, 3.0])
@pytest.mark.parametrize("named", [False, True])
def test_false_discoveries_stay_within_the_rate(season, named):
    trials = []
    for seed in range(12):
        earlier, later, again, moved = years(seed, season=season)
        known = None
        if named:
            rng = np.random.default_rng(seed)
            known = np.zeros(len(moved), bool)
            known[rng.choice(np.flatnonzero(~moved), 100, replace=False)] = True
        measured = change.measure(earlier, later, again, unchanged=known)
        assert measured.null == ("named" if named else "half")
        trials.append(figures(measured.q_value <= LEVEL, moved))
    wrong, recall = np.mean(trials, axis=0)
    assert wrong <= LEVEL + 0.03  # over 12 trials
    assert recall > 0.5


def test_nothing_changed_and_nothing_is_found():
    found = []
    for seed in range(6):
        earlier, later, again, _ = years(seed, changed=0)
        found.append((change.measure(earlier, later, again).q_value <= LEVEL).sum())
    assert np.mean(found) < 1


def test_light_of_a_whole_year_is_no_change():
    earlier, later, again, _ = years(3)
    measured = change.measure(earlier, later, again)
    other = change.measure(earlier, later * [0.2] + [9.0], again)
    np.testing.assert_allclose(other.factor, measured.factor, rtol=1e-6)


def test_what_a_reading_moves_counts_less():
    """The same step is less of a change along what readings move."""
    earlier, later, again, _ = years(1, changed=0)
    along, across = later.copy(), later.copy()
    along[0, 1] += 5
    across[0, 8] += 5
    factors = [
        change.measure(earlier, part, again).factor[0] for part in (along, across)
    ]
    assert factors[0] < 0.7 * factors[1]


def test_named_pairs_are_not_tested():
    earlier, later, again, moved = years(2)
    known = np.zeros(len(moved), bool)
    known[np.flatnonzero(~moved)[:50]] = True
    measured = change.measure(earlier, later, again, unchanged=known)
    np.testing.assert_array_equal(np.isnan(measured.p_value), known)
    np.testing.assert_array_equal(np.isnan(measured.q_value), known)
    assert np.isfinite(measured.factor).all()


def test_q_values_are_those_of_scipy():
    p_value = np.random.default_rng(0).uniform(size=50) ** 2
    expected = stats.false_discovery_control(p_value, method="bh")
    np.testing.assert_allclose(change.adjusted(p_value), expected)
    holes = np.insert(p_value, [3, 20], np.nan)
    own = change.adjusted(holes)
    assert np.isnan(own[[3, 21]]).all()
    np.testing.assert_allclose(np.delete(own, [3, 21]), expected)
    assert len(change.adjusted(np.zeros(0))) == 0
    assert np.isnan(change.adjusted(np.full(3, np.nan))).all()


def test_p_values_of_named_pairs_by_hand():
    own = change.by_named(np.array([0.0, 2.0, 2.5, 9.0]), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(own, [4 / 4, 3 / 4, 2 / 4, 1 / 4])


def test_p_values_of_a_symmetric_null_are_uniform():
    values = np.random.default_rng(0).normal(size=4001)
    for own in (
        change.by_mirror(values, wider=1.0),
        change.by_readings(values, 3 + 2 * np.random.default_rng(1).normal(size=4001)),
    ):
        assert stats.kstest(own, "uniform").statistic < 0.05


def test_alike_is_kernel_ridge_out_of_fold():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4))
    y = np.stack([np.sin(x[:, 0]), x[:, 1] ** 2], axis=1)
    alike = change.Alike.of(x)
    own = alike.predict(y, 0.3)
    apart = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    gamma = 1 / np.median(apart[apart > 1e-12])
    for fold in (0, 5):
        out = alike.fold == fold
        mean = y[~out].mean(axis=0)
        ridge = KernelRidge(alpha=0.3, kernel="rbf", gamma=gamma)
        ridge.fit(x[~out], y[~out] - mean)
        np.testing.assert_allclose(own[out], mean + ridge.predict(x[out]), atol=0.02)


def test_a_tile_is_read_again_shifted_and_in_other_light():
    tile = np.zeros((1, 32, 32, 3), np.uint8)
    tile[:, :, 16:] = 200
    many = np.repeat(tile, 40, axis=0)
    rng = np.random.default_rng(0)
    own = change.read_again(many, rng, shift_px=2.0)
    assert own.dtype == np.uint8 and own.shape == many.shape
    edge = (own[:, 8:24, :, 0].mean(axis=1) > 100).argmax(axis=1)
    assert set(edge) == {14, 15, 16, 17, 18}  # to either side, by parts too
    light = own[:, 8:24, 24:, 0].mean(axis=(1, 2))
    assert 2 < light.std() < 20 and abs(light.mean() - 200) < 10
    assert (own != change.read_again(many, rng, shift_px=2.0)).any()


def test_what_cannot_be_judged_is_refused():
    earlier, later, again, _ = years(0)
    with pytest.raises(InputError, match="39 regions: at least 40"):
        change.measure(earlier[:39], later[:39], [one[:39] for one in again])
    with pytest.raises(InputError, match="stay the same when pictures are shifted"):
        change.measure(earlier, later, [again[0], again[0]])
    few = np.zeros(len(earlier), bool)
    few[:19] = True
    with pytest.raises(InputError, match="19 of the regions .* at least 20"):
        change.measure(earlier, later, again, unchanged=few)
    later[3, 2] = np.nan
    with pytest.raises(InputError, match="the later year are not finite"):
        change.measure(earlier, later, again)
