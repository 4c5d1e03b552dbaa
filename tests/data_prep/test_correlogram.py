"""The correlogram against a plain loop and a field of known range."""

import numpy as np
import pytest
from scipy import ndimage

from data_prep.splits import correlogram
from mmgr_jax.data.schema import Label

COUNT, SCALAR = Label("count", "persons"), Label("scalar", "m")


def _grid(side, step_m=100.0):
    row, column = np.indices((side, side)).reshape(2, -1)
    return np.stack([column, -row], axis=1) * step_m


def test_it_is_the_mean_product_of_pairs_in_a_bin(monkeypatch):
    monkeypatch.setattr(correlogram, "_CHUNK", 7)
    rng = np.random.default_rng(0)
    centre_m, z = rng.uniform(0, 1000, (60, 2)), rng.normal(size=(60, 2))
    z[5] = np.nan
    found = correlogram.correlation(centre_m, z, 100.0, 20)
    products = [[] for _ in range(20)]
    for i in range(60):
        for j in range(i):
            index = round(np.hypot(*(centre_m[i] - centre_m[j])) / 100) - 1
            if 0 <= index < 20 and 5 not in (i, j):
                products[index].append((z[i] * z[j]).mean())
    for value, pairs in zip(found, products, strict=True):
        if len(pairs) < 30:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(np.mean(pairs))


def test_a_smoothed_field_resembles_itself_as_far_as_it_was_smoothed():
    """White noise smoothed by a Gaussian of s correlates as exp(-d^2 / 4 s^2).

    That falls below 0.2 at d = 2 s sqrt(ln 5) = 2.537 s.
    """
    centre_m = _grid(60)
    noise = np.random.default_rng(0).normal(size=(60, 60))
    for sigma in (1.5, 3.0):
        field = ndimage.gaussian_filter(noise, sigma, mode="wrap")
        people = np.exp(3 + field / field.std()).astype(np.float32).ravel()
        found = correlogram.propose(
            centre_m, dict(people=(COUNT, people)), num_blocks=10
        )
        assert found.range_m["people"] == pytest.approx(253.7 * sigma, rel=0.15)
        assert found.size_m == round(found.range_m["people"], 1)


def test_the_label_that_reaches_furthest_decides():
    centre_m, rng = _grid(40), np.random.default_rng(1)
    noise = rng.normal(size=(2, 40, 40))
    far = ndimage.gaussian_filter(noise[0], 3, mode="wrap").ravel()
    labels = dict(near=(SCALAR, noise[1].ravel()), far=(SCALAR, far))
    found = correlogram.propose(centre_m, labels, num_blocks=10)
    assert found.range_m["near"] < 110
    assert found.size_m == pytest.approx(found.range_m["far"], abs=0.1)


def test_blocks_are_neither_too_few_nor_smaller_than_two_regions():
    centre_m = _grid(20)
    trend = dict(trend=(SCALAR, centre_m[:, 0].copy()))
    found = correlogram.propose(centre_m, trend, num_blocks=16)
    assert found.size_m == pytest.approx(1900 / 4)
    assert "would leave fewer than 16 blocks" in found.reason
    noise = np.random.default_rng(0).normal(size=400)
    found = correlogram.propose(centre_m, dict(noise=(SCALAR, noise)), num_blocks=16)
    assert found.size_m == 200
    found = correlogram.propose(centre_m, {}, num_blocks=16)
    assert (found.size_m, found.range_m) == (200, {})
    constant = dict(constant=(SCALAR, np.ones(400)), unknown=(COUNT, noise * np.nan))
    assert correlogram.propose(centre_m, constant, num_blocks=16).size_m == 200
