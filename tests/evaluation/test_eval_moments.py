"""Sums over pieces of subsets, beside NumPy's own."""

import numpy as np
import pytest

from mmgr_jax.evaluation.heads import moments, subsets


@pytest.fixture(params=[True, False], ids=["held", "read"])
def table(request, monkeypatch):
    """Features far from 0, of which one is constant; in slices of a few rows."""
    rng = np.random.default_rng(0)
    x = (1e4 + rng.normal(size=(200, 6))).astype(np.float32)
    x[:, 3] = 7
    x[0, 3] = 1e5  # an outlier that no subset holds
    monkeypatch.setattr(subsets, "SLICE_BYTES", 8 * 6 * 17)
    return subsets.FeatureRows(x, np.full(200, request.param)), x.astype(np.float64)


@pytest.mark.parametrize("few", [True, False])
def test_moments_of_overlapping_subsets_are_those_of_numpy(table, few, monkeypatch):
    """Put together of shared pieces, and each by itself where pieces are too many."""
    table, x = table
    fold = np.arange(200) % 4
    masks = np.stack([(fold != tested) & (np.arange(200) > 0) for tested in range(4)])
    if not few:
        monkeypatch.setattr(subsets, "CHUNK_BYTES", 1)
    sums = moments.Sums(table, masks)
    for number, mask in enumerate(masks):
        part = sums.of(number)
        assert part.count == mask.sum()
        np.testing.assert_allclose(part.mean, x[mask].mean(axis=0), rtol=1e-12)
        expected = np.cov(x[mask].T, bias=True) * mask.sum()
        np.testing.assert_allclose(part.scatter, expected, rtol=1e-7, atol=1e-7)
        inverse = part.inverse(None)
        assert inverse[3] == 0
        varying = np.arange(6) != 3
        deviation = x[mask].std(axis=0)
        np.testing.assert_allclose(inverse[varying], 1 / deviation[varying], rtol=1e-7)
    values = np.where(masks, np.random.default_rng(1).normal(size=masks.shape), 0).T
    values -= np.where(masks.T, values.sum(axis=0) / masks.sum(axis=1), 0)
    np.testing.assert_allclose(
        sums.products(values), x.T @ values, rtol=1e-6, atol=1e-6
    )
