"""What to label next: the least variance of another's Gaussian process."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct

from mmgr_jax import InputError, label_next
from mmgr_jax.evaluation.design import next_labels


def make_features(n=40, d=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5


def mean_variance(rows, known, asked, noise):
    """Of scikit-learn's process with the kernel 1 + x y, whatever the labels say."""
    kernel = DotProduct(sigma_0=1.0, sigma_0_bounds="fixed")
    process = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None)
    if len(known):
        process.fit(rows[known], np.zeros(len(known)))
    return np.square(process.predict(rows[asked], return_std=True)[1]).mean()


@pytest.mark.parametrize("labelled", [[], [3], [21, 0, 7, 7]])
def test_each_choice_lowers_the_variance_most(labelled):
    features, noise = make_features(), 0.2
    free = [row for row in range(len(features)) if row not in labelled]
    rows = (features - features.mean(axis=0)) / features.std(axis=0)
    rows = rows - rows[free].mean(axis=0)
    rows = rows / np.sqrt(np.square(rows[free]).sum(axis=1).mean())
    chosen = label_next(features, labelled, count=4, noise=noise)
    assert len(set(chosen.tolist()) - set(labelled)) == 4
    known = list(dict.fromkeys(labelled))
    for choice in chosen:
        left = {
            row: mean_variance(rows, [*known, row], free, noise)
            for row in free
            if row not in known
        }
        assert left[choice] <= min(left.values()) * (1 + 1e-9)
        known.append(choice)


@pytest.mark.parametrize(
    ("n", "labelled", "count", "wanted"),
    [(0, [], 3, 0), (1, [], 3, 1), (2, [0], 3, 1), (2, [0, 1], 3, 0), (9, [1], 0, 0)],
)
def test_as_many_as_there_are(n, labelled, count, wanted):
    chosen = label_next(make_features(n), labelled, count=count)
    assert len(chosen) == len(set(chosen.tolist())) == wanted
    assert not set(chosen.tolist()) & set(labelled)


def test_regions_that_are_alike_are_taken_once_each():
    assert len(set(label_next(np.ones((12, 3)), count=5).tolist())) == 5


def test_of_many_some_are_drawn_and_a_seed_repeats(monkeypatch):
    monkeypatch.setattr(next_labels, "MOST_LOOKED_AT", 10)
    features = make_features(60)
    once, again, other = (
        label_next(features, [5], count=10, seed=seed).tolist() for seed in (1, 1, 2)
    )
    assert once == again and set(once) != set(other) and 5 not in once


@pytest.mark.parametrize(
    ("features", "given", "sentence"),
    [
        (np.ones(3), {}, r"shape \(3,\)"),
        (np.full((3, 2), np.nan), {}, "finite"),
        (np.ones((3, 2)), {"labelled": [3]}, "row 3; allowed: 0 to 2"),
        (np.ones((3, 2)), {"labelled": [-1]}, "row -1"),
        (np.ones((3, 2)), {"count": -1}, "count=-1"),
        (np.ones((3, 2)), {"noise": 0.0}, "noise=0.0"),
    ],
)
def test_what_is_wrong_is_refused(features, given, sentence):
    with pytest.raises(InputError, match=sentence):
        label_next(features, **given)
