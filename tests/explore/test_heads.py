"""Heads in the browser: equal to Python's, scikit-learn's and heads fitted anew."""

import dataclasses

import numpy as np
import pytest
from sklearn import linear_model

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation.certainty import conformal
from mmgr_jax.evaluation.design.grid import Cell, Grid
from mmgr_jax.evaluation.design.targets import Target, TargetScale
from mmgr_jax.evaluation.heads import protocols
from mmgr_jax.evaluation.settings import EvalSettings
from tests.explore.node import NodeError

STRENGTHS = EvalSettings().strengths


@dataclasses.dataclass
class City:
    """Regions with features, some of them labelled."""

    x: np.ndarray
    rows: np.ndarray
    blocks: np.ndarray
    number: np.ndarray
    classes: np.ndarray
    k: int

    def given(self, **more):
        return {
            "x": self.x,
            "d": self.x.shape[1],
            "rows": self.rows,
            "blocks": self.blocks,
            **more,
        }


def make_city(num_labels, num_features, *, n=300, k=4, side=5, seed=0):
    """Correlated features, one constant; numbers and classes that follow them."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, 12)) @ rng.normal(size=(12, num_features))
    x = (mixed + rng.normal(size=(n, num_features))).astype(np.float32)
    x[:, num_features // 2] = 3.25
    latent = (x - x.mean(axis=0)) @ rng.normal(size=num_features)
    latent = latent / latent.std() + 0.4 * rng.normal(size=n)
    classes = np.digitize(latent, np.quantile(latent, np.arange(1, k) / k))
    rows = rng.choice(n, num_labels, replace=False).astype(np.int32)
    blocks = (np.arange(n) // side).astype(np.int32)
    return City(x, rows, blocks, 50 * np.exp(1.5 * latent), classes.astype(np.int32), k)


def python_head(city, target, strengths, parts=None, weight=None):
    """Python's predictions of every region, and the strength it takes."""
    mask = np.zeros(len(city.x), bool)
    mask[city.rows] = True
    part = None
    if parts is not None:
        part = np.full((1, len(mask)), -1, np.int16)
        part[0, city.rows] = parts
    nobody = np.zeros_like(mask)[None]
    validation = mask[None] if parts is None else nobody
    grid = Grid((Cell(-1, 1.0, 0),), mask[None], validation, ~mask[None], part)
    if parts is None:  # what trains is all there is: as the last step of `by_parts`
        fits = protocols.linear.fit(
            city.x, target, grid, strengths=[float(s) for s in strengths], weight=weight
        )
    else:
        fits = protocols.fit("linear", city.x, target, grid, strengths=strengths)
    return fits.prediction[0], fits.chosen[0]


def numbers_of(city):
    label = Label(kind="count", unit="persons")
    return Target(label, city.number, np.ones(len(city.x), bool), log=True)


def classes_of(city):
    label = Label(kind="class", unit="1", classes=tuple("abcdefgh"[: city.k]))
    return Target(
        label, city.classes.astype(float), np.ones(len(city.x), bool), log=False
    )


SIZES = [(5, 24), (23, 24), (24, 24), (25, 24), (60, 24), (20, 96), (1, 7), (2, 300)]


@pytest.mark.parametrize(("num_labels", "num_features"), SIZES)
def test_numbers_are_those_of_pythons_head(node, num_labels, num_features):
    city = make_city(num_labels, num_features)
    given = city.given(values=city.number[city.rows])
    head = node("heads", "fitNumbers", given)
    found = node("heads", "predictNumbers", head, city.x, len(city.x))
    wanted, _ = python_head(city, numbers_of(city), (head["strength"],))
    scale = np.median(city.number)
    np.testing.assert_allclose(
        np.log1p(found["value"] / scale), np.log1p(wanted / scale), atol=1e-6
    )


def test_groups_that_weigh_alike_are_those_of_pythons_head(node):
    city = make_city(30, 40)
    weight = np.repeat([2.5, 0.25], 20)
    given = city.given(values=city.number[city.rows], weights=weight)
    head = node("heads", "fitNumbers", given)
    found = node("heads", "predictNumbers", head, city.x, len(city.x))
    wanted, _ = python_head(city, numbers_of(city), (head["strength"],), weight=weight)
    np.testing.assert_allclose(found["value"], wanted, rtol=1e-5)


@pytest.mark.parametrize(("num_labels", "num_features"), [(12, 24), (60, 24), (40, 96)])
@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e4])
def test_classes_are_those_of_pythons_head(node, num_labels, num_features, strength):
    city = make_city(num_labels, num_features)
    given = city.given(classes=city.classes[city.rows], k=city.k)
    head = node("heads", "fitClasses", {**given, "strengths": [strength]})
    found = node("heads", "predictClasses", head, city.x, len(city.x))
    wanted, _ = python_head(city, classes_of(city), (strength,))
    probability = found["probability"].reshape(wanted.shape)
    np.testing.assert_allclose(probability, wanted, atol=1e-4)
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-6)


def test_of_more_labels_than_python_compares_by_both_say_the_same(node):
    city = make_city(410, 430, n=450)
    given = city.given(classes=city.classes[city.rows], k=city.k, strengths=[3.0])
    head = node("heads", "fitClasses", given)
    found = node("heads", "predictClasses", head, city.x, len(city.x))
    wanted, _ = python_head(city, classes_of(city), (3.0,))
    probability = found["probability"].reshape(wanted.shape)
    np.testing.assert_allclose(probability, wanted, atol=1e-4)


def standardised(city):
    part = city.x[city.rows].astype(np.float64)
    deviation = part.std(axis=0)
    varies = deviation > 1e-6 * np.abs(part.mean(axis=0))
    return (part - part.mean(axis=0)) / np.where(varies, deviation, np.inf)


@pytest.mark.parametrize(("num_labels", "num_features"), [(15, 24), (60, 24)])
def test_classes_are_those_of_scikit_learn(node, num_labels, num_features):
    city = make_city(num_labels, num_features)
    truth = city.classes[city.rows]
    given = city.given(classes=truth, k=city.k, strengths=[10.0])
    head = node("heads", "fitClasses", given)
    model = linear_model.LogisticRegression(C=0.1, tol=1e-10, max_iter=5000)
    model.fit(standardised(city), truth)
    found = node("heads", "predictClasses", head, city.x, len(city.x))
    mine = found["probability"].reshape(-1, city.k)[city.rows]
    wanted = model.predict_proba(standardised(city))
    np.testing.assert_allclose(mine[:, model.classes_], wanted, atol=1e-5)


@pytest.mark.parametrize(("num_labels", "num_features"), SIZES[:6])
def test_the_penalty_is_that_of_scikit_learn_where_blocks_are_single(
    node, num_labels, num_features
):
    city = make_city(num_labels, num_features)
    values = city.number[city.rows]
    alone = np.arange(len(city.x), dtype=np.int32)
    head = node("heads", "fitNumbers", city.given(values=values) | {"blocks": alone})
    y = TargetScale.of(values, log=True).regressed(values)
    model = linear_model.RidgeCV(alphas=STRENGTHS, store_cv_results=True)
    model.fit(standardised(city), y)
    np.testing.assert_allclose(
        head["losses"], model.cv_results_.mean(axis=0), rtol=1e-5
    )
    assert head["strength"] == pytest.approx(model.alpha_)


@pytest.mark.parametrize(("num_labels", "num_features"), [(30, 24), (60, 24), (30, 96)])
def test_left_out_blocks_are_those_of_heads_fitted_anew(node, num_labels, num_features):
    city = make_city(num_labels, num_features, n=120, side=10)
    values, block = city.number[city.rows], city.blocks[city.rows]
    assert np.bincount(block).max() > 1
    head = node("heads", "fitNumbers", city.given(values=values))
    scale = TargetScale.of(values, log=True)
    z, y = standardised(city), scale.regressed(values)
    wanted = np.empty(num_labels)
    for number in np.unique(block):
        held = block == number
        model = linear_model.Ridge(alpha=head["strength"]).fit(z[~held], y[~held])
        wanted[held] = scale.restored(model.predict(z[held]))
    np.testing.assert_allclose(head["left"], wanted, rtol=1e-5)


def test_python_takes_the_same_penalty_where_it_leaves_out_the_same_parts(node):
    agreed = 0
    for seed in range(4):
        city = make_city(30, 24, seed=seed)
        parts = np.arange(30, dtype=np.int32) % 5
        given = city.given(classes=city.classes[city.rows], k=city.k, parts=parts)
        head = node("heads", "fitClasses", given)
        _, chosen = python_head(city, classes_of(city), STRENGTHS, parts)
        agreed += chosen == pytest.approx(head["strength"])
    # Python standardises each part by itself, the page once.
    assert agreed >= 3


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("num_blocks", [1, 3, 12, 40])
def test_the_radius_is_that_of_the_evaluation(node, num_blocks, level):
    rng = np.random.default_rng(num_blocks)
    block = rng.integers(num_blocks, size=60).astype(np.int32)
    scores = np.round(rng.gamma(2, size=60) + block, 1)
    wanted = conformal.radius(scores, block, level=level)
    assert node("doubt", "radius", scores, block, level) == pytest.approx(wanted)


def test_intervals_are_those_of_the_evaluation(node):
    city = make_city(40, 24)
    values = city.number[city.rows]
    head = node("heads", "fitNumbers", city.given(values=values))
    found = node("heads", "predictNumbers", head, city.x, len(city.x))
    unit = head["scale"]["unit"]
    scores = conformal.number_scores(values, head["left"], log_scale=unit)
    radius = conformal.radius(scores, city.blocks[city.rows])
    assert head["why"] == ""
    low, high = conformal.number_interval(found["value"], radius, log_scale=unit)
    np.testing.assert_allclose(found["low"], low, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["high"], high, rtol=1e-4)


def test_sets_of_classes_hold_the_truth_about_as_often_as_they_say(node):
    held = []
    for seed in range(12):
        city = make_city(60, 24, n=600, seed=seed)
        given = city.given(classes=city.classes[city.rows], k=city.k)
        head = node("heads", "fitClasses", given)
        found = node("heads", "predictClasses", head, city.x, len(city.x))
        sets = found["inSet"].reshape(-1, city.k)
        others = np.setdiff1d(np.arange(len(city.x)), city.rows)
        held.append(sets[others, city.classes[others]].mean())
        np.testing.assert_array_equal(found["setSize"], sets.sum(axis=1))
    assert 0.87 < np.mean(held) < 0.95


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (range(4), "few labels"),
        (range(5), "one block"),
        (range(0, 35, 5), "few blocks"),
    ],
)
def test_doubt_that_cannot_be_told_says_why(node, rows, why):
    city = make_city(10, 24)
    city.rows = np.array(rows, np.int32)
    head = node("heads", "fitNumbers", city.given(values=city.number[city.rows]))
    found = node("heads", "predictNumbers", head, city.x, 3)
    assert head["why"] == why
    assert np.isposinf(found["high"]).all() and (found["low"] == 0).all()
    given = city.given(classes=city.classes[city.rows], k=city.k)
    head = node("heads", "fitClasses", given)
    assert head["why"] == why and head["temperature"] == 1
    assert node("heads", "predictClasses", head, city.x, 3)["inSet"].all()


def test_one_class_alone_is_told_everywhere(node):
    city = make_city(9, 24)
    given = city.given(classes=[2] * 9, k=4)
    head = node("heads", "fitClasses", given)
    found = node("heads", "predictClasses", head, city.x, len(city.x))
    probability = found["probability"].reshape(-1, 4)
    assert (found["best"] == 2).all() and probability[:, 2].min() > 0.999


def test_equal_numbers_equal_features_and_duplicates(node):
    city = make_city(12, 24)
    head = node("heads", "fitNumbers", city.given(values=[7.0] * 12))
    found = node("heads", "predictNumbers", head, city.x, len(city.x))
    np.testing.assert_allclose(found["value"], 7.0, rtol=1e-6)

    city.x[city.rows] = 1.5  # nothing to learn from
    values = city.number[city.rows]
    head = node("heads", "fitNumbers", city.given(values=values))
    assert not head["kernel"].any()
    wanted, _ = python_head(city, numbers_of(city), (1.0,))
    found = node("heads", "predictNumbers", head, city.x, len(city.x))
    np.testing.assert_allclose(found["value"], wanted, rtol=1e-6)

    city = make_city(12, 40)
    city.x[city.rows[6:]] = city.x[city.rows[:6]]
    given = city.given(classes=city.classes[city.rows], k=4, strengths=[0.1])
    head = node("heads", "fitClasses", given)
    wanted, _ = python_head(city, classes_of(city), (0.1,))
    found = node("heads", "predictClasses", head, city.x, len(city.x))
    np.testing.assert_allclose(found["probability"].reshape(-1, 4), wanted, atol=1e-4)


def test_negative_numbers_are_regressed_as_they_are(node):
    city = make_city(40, 24)
    values = city.number - 400
    head = node("heads", "fitNumbers", city.given(values=values[city.rows]))
    found = node("heads", "predictNumbers", head, city.x, len(city.x))
    label = Label(kind="scalar", unit="1")
    target = Target(label, values, np.ones(len(values), bool), log=False)
    wanted, _ = python_head(city, target, (head["strength"],))
    np.testing.assert_allclose(found["value"], wanted, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_labels_that_are_none_are_refused(node, values):
    city = make_city(len(values), 24)
    with pytest.raises(NodeError, match="label"):
        node("heads", "fitNumbers", city.given(values=values))


@pytest.mark.parametrize("classes", [[], [4], [-1], [0.5]])
def test_classes_that_are_none_are_refused(node, classes):
    city = make_city(len(classes), 24)
    with pytest.raises(NodeError, match="label"):
        node("heads", "fitClasses", city.given(classes=classes, k=4))
