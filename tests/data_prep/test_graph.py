import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay

from data_prep.pois import graph

DIAGONAL_M = 5_000.0


def _delaunay(points):
    return graph.delaunay(np.asarray(points, float).reshape(-1, 2), DIAGONAL_M)


def _components(edges, n):
    ones = np.ones(len(edges))
    matrix = coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(n, n))
    return connected_components(matrix, directed=False)[0]


def test_edges_are_those_of_the_triangulation():
    points = np.random.default_rng(0).uniform(0, 224, (60, 2))
    edges, _ = _delaunay(points)
    expected = {
        tuple(sorted((int(a), int(b))))
        for simplex in Delaunay(points).simplices
        for a, b in zip(simplex, np.roll(simplex, 1), strict=True)
    }
    assert [tuple(edge) for edge in edges.tolist()] == sorted(expected)
    assert edges.dtype == np.int32


def test_weights_follow_the_formula():
    points = np.random.default_rng(1).uniform(0, 224, (30, 2))
    edges, weights = _delaunay(points)
    # Huang et al. (2022): log((1 + D^1.5) / (1 + d^1.5)).
    for (i, j), weight in zip(edges, weights, strict=True):
        d = np.hypot(*(points[i] - points[j]))
        expected = np.log((1 + DIAGONAL_M**1.5) / (1 + d**1.5))
        assert weight == pytest.approx(expected, rel=1e-6)
    assert weights.dtype == np.float32


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_points_have_no_edge(n):
    edges, weights = _delaunay(np.zeros((n, 2)))
    assert edges.shape == (0, 2) and weights.shape == (0,)


def test_two_points_have_one_edge():
    edges, weights = _delaunay([[0, 0], [3, 4]])
    assert edges.tolist() == [[0, 1]]
    expected = np.log((1 + DIAGONAL_M**1.5) / (1 + 5**1.5))
    assert weights[0] == pytest.approx(expected, rel=1e-6)


def test_points_on_a_line_form_a_chain():
    along = np.array([5.0, 0.0, 9.0, 2.0])
    edges, _ = _delaunay(np.stack([along, 3 * along + 7], axis=1))
    # In order along the line: 1 (0), 3 (2), 0 (5), 2 (9).
    assert edges.tolist() == [[0, 2], [0, 3], [1, 3]]


def test_points_at_one_place_hang_on_the_first():
    edges, weights = _delaunay([[1, 1], [8, 2], [1, 1], [4, 9], [1, 1]])
    assert edges.tolist() == [[0, 1], [0, 2], [0, 3], [0, 4], [1, 3]]
    zero_length = np.log1p(DIAGONAL_M**1.5)
    assert weights[[1, 3]] == pytest.approx([zero_length] * 2, rel=1e-6)


def test_all_points_at_one_place_form_a_star():
    edges, _ = _delaunay(np.full((4, 2), 3.0))
    assert edges.tolist() == [[0, 1], [0, 2], [0, 3]]


@pytest.mark.parametrize("seed", range(30))
def test_awkward_sets_are_connected_and_planar(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    points = rng.integers(0, int(rng.integers(1, 8)), (n, 2)).astype(float)
    points += rng.choice([0.0, 1e-13, 1e-7], (n, 2)) * rng.standard_normal((n, 2))
    points += rng.choice([0.0, 1e6])  # far from the origin, as metres of a CRS are
    edges, weights = _delaunay(points)
    assert _components(edges, n) == 1
    assert (edges[:, 0] < edges[:, 1]).all()
    assert len(np.unique(edges, axis=0)) == len(edges) <= max(3 * n - 6, n - 1, 1)
    assert np.isfinite(weights).all() and (weights > 0).all()
