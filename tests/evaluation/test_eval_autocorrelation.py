"""Moran's I against the formula written out, and against its exact moments."""

import math

import numpy as np
import pytest
import shapely
from scipy import ndimage, spatial

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import autocorrelation, places

SIDE = 7


@pytest.fixture
def grid():
    """Outlines of a grid of 7 x 7 cells of 100 m, row by row."""
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    west, north = 3e5 + 100.0 * column, 3.4e6 - 100.0 * row
    return shapely.to_wkb(shapely.box(west, north - 100, west + 100, north)).tolist()


def test_centres_of_a_grid(grid):
    centre_m = places.centres_m(grid)
    assert centre_m.shape == (49, 2)
    np.testing.assert_allclose(centre_m[8] - centre_m[0], [100, -100])
    with pytest.raises(InputError, match="place of 1 of 2 regions is not known"):
        places.centres_m([grid[0], b""])


def _queen(geometry_wkb):
    """Each region beside those whose outlines share a point with its own."""
    outlines = shapely.from_wkb(geometry_wkb)
    first, second = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    first, second = first[first != second], second[first != second]
    count = np.bincount(first, minlength=len(outlines))
    return places.Weights((1 / count[first], (first, second)), (len(outlines),) * 2)


def test_queen_neighbours_of_a_grid(grid):
    weights = _queen(grid)
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    apart = np.maximum(abs(row[:, None] - row), abs(column[:, None] - column))
    touching = (apart == 1).astype(float)
    expected = touching / touching.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weights.toarray(), expected)
    alone = _queen([grid[0], grid[1], grid[48]]).toarray()
    np.testing.assert_allclose(alone, [[0, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_nearest_neighbours_also_where_regions_share_a_place():
    rng = np.random.default_rng(0)
    centre_m = rng.uniform(0, 1000, (30, 2))
    weights = places.nearest(centre_m, num_neighbours=4).toarray()
    order = np.argsort(spatial.distance.squareform(spatial.distance.pdist(centre_m)))
    for row in range(30):
        assert set(np.flatnonzero(weights[row])) == set(order[row, 1:5])
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    stacked = places.nearest(np.zeros((6, 2)), num_neighbours=2).toarray()
    np.testing.assert_allclose(stacked.sum(axis=1), 1)
    assert (np.diag(stacked) == 0).all()
    assert (places.nearest(centre_m[:3]).toarray() > 0).sum() == 6  # all others
    with pytest.raises(InputError, match="8 neighbours among 1 regions"):
        places.nearest(centre_m[:1])


def test_four_regions_by_hand():
    """A chain 1, 2, 4, 9 of mean 4: z = -3, -2, 0, 5, sum of squares 38.

    Lagged means -2, -1.5, 1.5, 0 give sum z lag = 6 + 3 + 0 + 0 = 9; S = r = 4.
    """
    weights = places.nearest(np.array([[0.0, 0], [1, 0], [3, 0], [4, 0]]))
    chain = weights.toarray() * 0
    for row, others in enumerate(([1], [0, 2], [1, 3], [2])):
        chain[row, others] = 1 / len(others)
    values = np.array([1.0, 2.0, 4.0, 9.0])
    got = autocorrelation.moran(values, places.Weights(chain))
    assert got.statistic == pytest.approx(9 / 38)
    assert got.expected == pytest.approx(-1 / 3)
    assert (got.num_regions, got.num_islands) == (4, 0)


def test_statistic_and_p_value_equal_the_formula_written_out(grid):
    rng = np.random.default_rng(1)
    weights = _queen(grid[:20] + grid[30:])
    values = rng.normal(size=(39, 3))
    dense = weights.toarray()
    z = values - values.mean(axis=0)
    cross = sum(
        dense[i, j] * z[i, c] * z[j, c]
        for i in range(39)
        for j in range(39)
        for c in range(3)
    )
    expected = 39 / dense.sum() * cross / (z**2).sum()
    got = autocorrelation.moran(values, weights)
    assert got.statistic == pytest.approx(expected)


def test_permutations_have_the_moments_of_theory(grid):
    """Mean -1 / (r - 1) and the variance under randomisation (Cliff and Ord 1981)."""
    rng = np.random.default_rng(2)
    weights = places.nearest(places.centres_m(grid), num_neighbours=5)
    z = rng.exponential(size=(49, 1))
    z -= z.mean()
    drawn = autocorrelation._permuted(z, weights, 20000) / (z**2).sum()
    w, n = weights.toarray(), 49
    s0, s1 = w.sum(), 0.5 * ((w + w.T) ** 2).sum()
    s2 = ((w.sum(axis=0) + w.sum(axis=1)) ** 2).sum()
    kurtosis = (z**4).mean() / (z**2).mean() ** 2
    first = n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * s0**2)
    second = kurtosis * ((n**2 - n) * s1 - 2 * n * s2 + 6 * s0**2)
    variance = (first - second) / ((n - 1) * (n - 2) * (n - 3) * s0**2)
    variance -= 1 / (n - 1) ** 2
    assert drawn.mean() == pytest.approx(-1 / 48, abs=4 * np.sqrt(variance / 20000))
    assert drawn.var() == pytest.approx(variance, rel=0.05)
    # The same in closed form, on the scale of the sum.
    closed = autocorrelation._deviation_over_permutations(z, weights)
    scale = s0 * (z**2).sum() / n
    assert closed / scale == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_the_closed_form_is_that_of_permutations_of_vectors_too(grid, monkeypatch):
    rng = np.random.default_rng(5)
    weights = _queen(grid)  # not symmetric, as regions at the edge have fewer
    z = rng.normal(size=(49, 3)) * (1, 2, 5)
    z -= z.mean(axis=0)
    drawn = autocorrelation._permuted(z, weights, 20000)
    closed = autocorrelation._deviation_over_permutations(z, weights)
    assert closed == pytest.approx(drawn.std(), rel=0.03)
    smooth = z + np.repeat(np.linspace(0, 2, 7), 7)[:, None]
    permuted = autocorrelation.moran(smooth, weights, num_permutations=9999)
    monkeypatch.setattr(autocorrelation, "MANY", 10)
    exact = autocorrelation.moran(smooth, weights)
    assert exact.num_permutations == 0 and exact.statistic == permuted.statistic
    assert exact.p_value == pytest.approx(permuted.p_value, rel=0.35, abs=3e-3)


def test_noise_is_not_significant_and_smooth_errors_are(grid):
    weights = _queen(grid)
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(200, SIDE**2))
    p_values = [
        autocorrelation.moran(of, weights, num_permutations=99).p_value for of in noise
    ]
    # Binomial: 200 p values below 0.1 with deviation 4.2.
    assert np.sum(np.array(p_values) <= 0.1) == pytest.approx(20, abs=13)
    smooth = ndimage.gaussian_filter(noise[0].reshape(SIDE, SIDE), 1.5).ravel()
    got = autocorrelation.moran(smooth, weights)
    assert got.statistic > 0.5 and got.p_value == 1 / 1000
    checkered = (-1.0) ** np.arange(SIDE**2)
    rook = places.nearest(places.centres_m(grid), num_neighbours=2)
    assert autocorrelation.moran(checkered, rook).statistic < -0.5


def test_what_has_no_autocorrelation_is_nan_or_an_error(grid):
    weights = _queen(grid)
    constant = autocorrelation.moran(np.full(49, 0.1), weights)
    assert math.isnan(constant.statistic) and math.isnan(constant.p_value)
    with pytest.raises(InputError, match="values of 48 regions, weights of 49"):
        autocorrelation.moran(np.zeros(48), weights)
    with pytest.raises(InputError, match="none of the 2 regions has a neighbour"):
        autocorrelation.moran(np.arange(2.0), _queen([grid[0], grid[48]]))
    with pytest.raises(InputError, match="1 of 49 regions .* row 3"):
        bad = np.arange(49.0)
        bad[3] = np.nan
        autocorrelation.moran(bad, weights)
