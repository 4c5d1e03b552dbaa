"""What to label next: the choices of brute force, whatever the sizes."""

import numpy as np
import pytest

from mmgr_jax import label_next
from tests.explore.node import NodeError


def make_rows(n=40, d=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    return (x * [3, 1, 1, 0.5, 0.2, 0][:d]).astype(np.float32)


def scaled(x, city, weights=None):
    """Rows as the rules see them."""
    rows = x.astype(float) - x[city].astype(float).mean(axis=0)
    rows = rows if weights is None else rows * weights
    return rows / np.sqrt(np.mean(np.sum(rows[city] ** 2, axis=1)))


def variances(rows, labelled, asked, noise):
    """Predictive variances of a Gaussian process, by inversion."""
    covariance = 1 + rows @ rows.T
    if not len(labelled):
        return np.diag(covariance)[asked]
    own = covariance[np.ix_(labelled, labelled)] + noise * np.eye(len(labelled))
    cross = covariance[np.ix_(labelled, asked)]
    return np.diag(covariance)[asked] - np.sum(
        cross * np.linalg.solve(own, cross), axis=0
    )


def ask(node, x, rule, **given):
    given = {"candidates": list(range(len(x))), "count": 5, **given}
    return node("suggest", "suggest", {"x": x, "d": x.shape[1], "rule": rule, **given})


@pytest.mark.parametrize("labelled", [[], [3], [0, 7, 7 + 1, 21]])
@pytest.mark.parametrize("weights", [None, [0.5, 2, 1, 1, 1, 1]])
def test_each_choice_lowers_the_variance_most(node, labelled, weights):
    x, noise = make_rows(), 0.2
    city = [i for i in range(len(x)) if i not in labelled]
    rows = scaled(x, city, weights)
    given = {"noise": noise, "labelled": labelled}
    given |= {} if weights is None else {"weights": weights}
    found = ask(node, x, "reduction", **given)["regions"]
    known = list(labelled)
    for choice in found:
        after = {
            i: variances(rows, [*known, i], city, noise).mean()
            for i in city
            if i not in known
        }
        assert after[choice] <= min(after.values()) * (1 + 1e-6)
        known.append(choice)


@pytest.mark.parametrize("labelled", [[], [0, 7, 21]])
def test_python_chooses_as_the_page(node, labelled):
    x = make_rows()
    x = ((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)).astype(np.float32)
    chosen = ask(node, x, "reduction", labelled=labelled, count=8)["regions"]
    assert label_next(x, labelled, count=8).tolist() == chosen


def test_the_score_is_what_the_variance_falls_by(node):
    x = make_rows()
    city = list(range(len(x)))
    rows = scaled(x, city)
    found = ask(node, x, "reduction", noise=0.5, count=3)
    before = variances(rows, [], city, 0.5).mean()
    for place, score in enumerate(found["score"], start=1):
        after = variances(rows, found["regions"][:place], city, 0.5).mean()
        assert before - after == pytest.approx(score, rel=1e-4)
        before = after


def test_the_largest_variance_is_taken(node):
    x = make_rows()
    city = [i for i in range(len(x)) if i != 5]
    rows = scaled(x, city)
    found = ask(node, x, "variance", noise=0.1, labelled=[5])["regions"]
    known = [5]
    for choice in found:
        open_ = [i for i in city if i not in known]
        spread = variances(rows, known, open_, 0.1) / 1
        ratio = spread / (spread + 0.1)
        assert ratio[open_.index(choice)] == pytest.approx(ratio.max(), rel=1e-6)
        known.append(choice)


def test_the_farthest_is_taken(node):
    x = make_rows()
    found = ask(node, x, "spread", labelled=[2])["regions"]
    known = [2]
    for choice in found:
        apart = np.linalg.norm(x[:, None] - x[known], axis=2).min(axis=1)
        assert apart[choice] == pytest.approx(apart.max(), rel=1e-5)
        known.append(choice)


def test_the_middles_of_clusters_are_taken_one_each(node):
    rng = np.random.default_rng(1)
    centres = 20 * rng.normal(size=(4, 6))
    sizes = [20, 12, 8, 5]
    x = np.concatenate(
        [c + 0.1 * rng.normal(size=(s, 6)) for c, s in zip(centres, sizes, strict=True)]
    ).astype(np.float32)
    cluster = np.repeat(np.arange(4), sizes)
    best = 0
    for seed in range(5):  # k-means may end elsewhere
        found = ask(node, x, "typical", count=4, seed=seed)["regions"]
        best = max(best, len(set(cluster[found])))
        assert len(set(found)) == 4
    assert best == 4


@pytest.mark.parametrize(
    "rule", ["reduction", "variance", "spread", "seeded", "typical", "random"]
)
@pytest.mark.parametrize(
    ("candidates", "labelled", "count", "wanted"),
    [
        ([], [], 3, 0),
        ([4], [], 3, 1),
        ([4, 5], [4], 3, 1),
        ([4, 5], [4, 5], 3, 0),
        (range(10), [1], 0, 0),
        (range(10), [], 10, 10),
        (range(10), [30, 31], 20, 10),
    ],
)
def test_as_many_as_there_are_none_twice_none_labelled(
    node, rule, candidates, labelled, count, wanted
):
    found = ask(
        node, make_rows(), rule, candidates=list(candidates), labelled=labelled,
        count=count,
    )["regions"]  # fmt: skip
    assert len(found) == len(set(found)) == wanted
    assert set(found) <= set(candidates) - set(labelled)


@pytest.mark.parametrize(
    "rule", ["reduction", "variance", "spread", "seeded", "typical"]
)
def test_regions_that_are_all_alike_are_told_apart_by_number(node, rule):
    found = ask(node, np.ones((12, 3), np.float32), rule)["regions"]
    assert len(set(found)) == 5


@pytest.mark.parametrize("rule", ["seeded", "typical", "random"])
def test_a_seed_repeats(node, rule):
    x = make_rows()
    once, again, other = (
        ask(node, x, rule, seed=seed)["regions"] for seed in (3, 3, 4)
    )
    assert once == again
    assert rule == "typical" or once != other


def test_draws_are_even(node):
    x = make_rows(10, 3)
    counts = np.zeros(10)
    for seed in range(400):
        counts[ask(node, x, "random", seed=seed, count=3)["regions"]] += 1
    # 400 draws of 3 of 10: 120 each, deviation about 9.
    assert np.abs(counts - 120).max() < 40


def test_an_unknown_rule_is_refused(node):
    with pytest.raises(NodeError, match="best is none of"):
        ask(node, make_rows(), "best")
