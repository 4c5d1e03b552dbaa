"""Features in groups, and what surrounds a region, against loops and scikit-learn."""

import numpy as np
import pytest
import small_labels
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design import grid as grid_lib
from mmgr_jax.evaluation.features import groups
from mmgr_jax.evaluation.features.groups import Features, Surroundings
from mmgr_jax.evaluation.heads import jobs, linear, mlp
from mmgr_jax.evaluation.settings import EvalSettings

SIZES = (400, 4, 36)


@pytest.fixture
def centre_m():
    """Regions 50 m apart with a gap, two at one place, one far from all others."""
    row, column = np.divmod(np.arange(36), 6)
    regular = np.stack([50.0 * column, -50.0 * row], axis=1)[row != 3]
    placed = np.concatenate([regular, regular[:1], [[5e3, 5e3]]])
    return 3e5 + placed[np.random.default_rng(0).permutation(len(placed))]


def test_groups_weigh_alike_and_as_much_as_columns_do():
    grouped = Features(
        (np.zeros((1, sum(SIZES)), np.float32),), tuple(zip("abc", SIZES, strict=True))
    )
    weights = grouped.weights()
    assert weights.shape == (440,)
    assert np.sum(weights**2) == pytest.approx(440)
    parts = np.split(weights**2, np.cumsum(SIZES)[:-1])
    np.testing.assert_allclose([part.sum() for part in parts], 440 / 3)
    np.testing.assert_allclose([np.ptp(part) for part in parts], 0)
    alone = Features.of("all", grouped.values)
    np.testing.assert_array_equal(alone.weights(), np.ones(440))
    assert alone.num_features == 440


def test_features_are_put_beside_and_below_with_their_names():
    one = Features.of("one", np.ones((2, 3)))
    two = Features.of("two", np.zeros((2, 1))).renamed("{} there")
    both = groups.beside([one, two])
    assert both.groups == (("one", 3), ("two there", 1))
    np.testing.assert_array_equal(both.values, [[1, 1, 1, 0]] * 2)
    assert groups.beside([one]) is one
    stacked = groups.below([both, both])
    assert stacked.groups == both.groups and stacked.values.shape == (4, 4)


def _labelled(sizes):
    x, hidden = small_labels.features(num_features=sum(sizes))
    grouped = Features((x,), tuple((f"g{size}", size) for size in sizes))
    target = small_labels.target("scalar", hidden)
    split = small_labels.split(len(x))
    return grouped, target, grid_lib.cells(split, target.known)


@pytest.mark.parametrize("sizes", [(40, 3, 9), (300, 2)])
def test_a_ridge_of_groups_is_that_of_scikit_learn_on_divided_columns(sizes):
    """Each standardised column over the root of its group's length.

    The penalty is then that of so many columns in so many groups: it is divided by
    their ratio. With fewer regions than columns and with more.
    """
    grouped, target, cells = _labelled(sizes)
    strengths = (10.0,)
    fits = linear.fit(
        grouped.values, target, cells, strengths=strengths, weight=grouped.weights()
    )
    divisor = np.sqrt(np.repeat(sizes, sizes))
    ratio = sum(sizes) / len(sizes)
    for index in cells.full:
        train = cells.train[index]
        z = StandardScaler().fit(grouped.values[train]).transform(grouped.values)
        oracle = Ridge(alpha=strengths[0] / ratio)
        oracle.fit(z[train] / divisor, target.values[train])
        np.testing.assert_allclose(
            fits.prediction[index], oracle.predict(z / divisor), rtol=1e-4, atol=1e-5
        )
    plain = linear.fit(grouped.values, target, cells, strengths=strengths)
    assert np.abs(np.subtract(plain.prediction, fits.prediction)).max() > 0.05


@pytest.mark.parametrize(("protocol", "ratio"), [("linear", 2.0), ("knn", 1.0)])
def test_jobs_hand_the_weights_of_groups_to_heads(protocol, ratio):
    """A group whose columns are there three times says what it said once.

    The strength is that of all columns: twice as many, so twice the strength.
    """
    grouped, target, cells = _labelled((6, 6))
    repeated = np.concatenate([grouped.values[:, :6], *[grouped.values[:, 6:]] * 3], 1)
    thrice = Features((repeated,), (("g", 6), ("h", 18)))
    alone = Features.of("louder", repeated)
    twice, once = (
        EvalSettings(strengths=(strength,)) for strength in (10.0 * ratio, 10.0)
    )
    alike, louder, once = jobs.fit_all(
        [
            jobs.Job(protocol, features, target, cells, settings)
            for features, settings in ((thrice, twice), (alone, twice), (grouped, once))
        ]
    )
    np.testing.assert_allclose(alike.prediction, once.prediction, rtol=1e-4)
    assert np.abs(np.subtract(louder.prediction, alike.prediction)).max() > 1e-3


def test_two_layers_are_given_weights_too():
    """A group of weight 0 is not heard; weights of 1 change nothing."""
    grouped, target, cells = _labelled((6, 6))
    cells = cells.of([0])
    noise = grouped.values.copy()
    noise[:, 6:] = np.random.default_rng(0).normal(size=(len(noise), 6))
    weight = np.repeat([1.0, 0.0], 6)
    deaf, deaf_too, hearing, plain = (
        mlp.fit(of, target, cells, weight=weight, hidden=8).prediction
        for of, weight in (
            (grouped.values, weight),
            (noise, weight),
            (grouped.values, np.ones(12)),
            (grouped.values, None),
        )
    )
    np.testing.assert_allclose(deaf, deaf_too, rtol=1e-5)
    np.testing.assert_array_equal(hearing, plain)
    assert np.abs(np.subtract(deaf, hearing)).max() > 1e-3


def _loop(centre_m, values, radii_m):
    """Ring by ring, region by region, pair by pair."""
    found, low = [values], 0.0
    for high in radii_m:
        ring = np.empty_like(values)
        for i in range(len(values)):
            around = [
                values[j]
                for j in range(len(values))
                if j != i
                and np.hypot(*(centre_m[i] - centre_m[j])) <= high
                and (low == 0 or np.hypot(*(centre_m[i] - centre_m[j])) > low)
            ]
            ring[i] = np.mean(around, axis=0) if around else values[i]
        found.append(ring)
        low = high
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize(
    "radii_m", [(50.0,), (50.0, 100.0, 260.0), (10.0, 49.0), (1e5,)]
)
def test_surroundings_are_means_of_rings(centre_m, radii_m):
    """At 50 m neighbours lie on the edge of the ring, which is the inner one's."""
    values = np.random.default_rng(1).normal(3, 2, (len(centre_m), 5))
    own = Features((values.astype(np.float32),), (("a", 2), ("b", 3)))
    found = Surroundings(centre_m, radii_m).added(own)
    assert found.values.dtype == np.float32
    expected = _loop(centre_m, own.values.astype(np.float64), radii_m)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-6)
    rings = [(f"{name} within {radius:g} m", size)
             for radius in radii_m for name, size in own.groups]  # fmt: skip
    assert found.groups == (*own.groups, *rings)


@pytest.mark.parametrize("radii_m", [(60.0,), (50.0, 150.0)])
def test_tested_regions_surround_the_tested_alone(centre_m, radii_m):
    rng = np.random.default_rng(5)
    own = Features.of("a", rng.normal(size=(len(centre_m), 3)).astype(np.float32))
    found = Surroundings(centre_m, radii_m).added(own)
    test = rng.random(len(centre_m)) < 0.4
    untested = found.around_untested(test).values
    assert untested.dtype == np.float32
    np.testing.assert_allclose(untested[test], found.values[test], rtol=1e-5, atol=1e-6)
    expected = _loop(centre_m[~test], own.values[~test].astype(np.float64), radii_m)
    np.testing.assert_allclose(untested[~test], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        found.around_untested(np.zeros_like(test)).values, found.values
    )


def test_a_region_without_neighbours_is_surrounded_by_its_like(centre_m):
    alone = int(np.argmax(centre_m[:, 0]))
    values = np.random.default_rng(2).normal(size=(len(centre_m), 3))
    own = Features.of("a", values.astype(np.float32))
    found = Surroundings(centre_m, (60.0, 120.0)).added(own).values
    np.testing.assert_array_equal(found[alone], np.tile(own.values[alone], 3))


def test_the_order_of_regions_does_not_matter(centre_m):
    values = np.random.default_rng(3).normal(size=(len(centre_m), 4))
    own = Features.of("a", values.astype(np.float32))
    order = np.random.default_rng(4).permutation(len(centre_m))
    found = Surroundings(centre_m, (50.0, 150.0)).added(own).values
    moved = Surroundings(centre_m[order], (50.0, 150.0)).added(
        Features.of("a", own.values[order])
    )
    np.testing.assert_allclose(moved.values, found[order], rtol=1e-6, atol=1e-7)


def test_without_radii_features_stay_as_they_are_and_need_no_place():
    own = Features.of("a", np.ones((3, 2), np.float32))
    assert Surroundings(None, ()).added(own) is own


@pytest.mark.parametrize("radii_m", [(0.0,), (-5.0,), (200.0, 200.0), (400.0, 200.0)])
def test_radii_that_do_not_grow_are_refused(centre_m, radii_m):
    with pytest.raises(InputError, match=r"surroundings_m=\(.*growing radii") as error:
        Surroundings(centre_m, radii_m)
    assert str(radii_m) in str(error.value) and "\n" not in str(error.value)


def test_places_nobody_knows_are_refused():
    with pytest.raises(InputError, match=r"surroundings_m: .* do not say where") as why:
        Surroundings(None, (200.0,))
    assert "Set it to ()" in str(why.value) and "\n" not in str(why.value)
