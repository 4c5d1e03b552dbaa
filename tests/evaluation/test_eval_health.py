"""Embedding health and retrieval against SciPy, scikit-learn and loops."""

import tracemalloc

import numpy as np
import pytest
from scipy import linalg, stats
from scipy.spatial import distance as scipy_distance
from sklearn import preprocessing
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import checks, distances
from mmgr_jax.evaluation.features import health, retrieval


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    scale = np.geomspace(1, 1e-3, 24)
    return (rng.normal(size=(60, 24)) * scale + 3).astype(np.float32)


@pytest.mark.parametrize("rows", [60, 15])  # tall, and fewer regions than features
def test_effective_rank_is_that_of_the_singular_values(vectors, rows):
    x = vectors[:rows].astype(np.float64)
    singular = linalg.svdvals(x - x.mean(axis=0))
    expected = np.exp(stats.entropy(singular))
    assert health.effective_rank(vectors[:rows]) == pytest.approx(expected, rel=1e-5)
    singular = PCA(svd_solver="full").fit(x).singular_values_
    expected = np.exp(stats.entropy(singular))
    assert health.effective_rank(vectors[:rows]) == pytest.approx(expected, rel=1e-5)


def test_effective_rank_of_known_shapes():
    rng = np.random.default_rng(1)
    line = np.outer(rng.normal(size=50), rng.normal(size=8)) + 100
    assert health.effective_rank(line) == pytest.approx(1, abs=1e-3)
    corners = np.concatenate([np.eye(6), -np.eye(6)])
    assert health.effective_rank(corners) == pytest.approx(6)
    point = np.full((50, 8), 0.1, np.float32)
    assert health.effective_rank(point) == 0
    assert health.constant_share(np.concatenate([point, line], axis=1)) == 0.5


def test_uniformity_and_alignment_equal_their_definition(vectors):
    x = preprocessing.normalize(vectors.astype(np.float64))
    pairs = scipy_distance.pdist(x, "sqeuclidean")
    expected = np.log(np.mean(np.exp(-2 * pairs)))
    assert health.uniformity(vectors) == pytest.approx(expected, abs=1e-6)
    rng = np.random.default_rng(2)
    moved = (vectors + rng.normal(size=vectors.shape)).astype(np.float32)
    y = preprocessing.normalize(moved.astype(np.float64))
    expected = np.mean(np.sum((x - y) ** 2, axis=1))
    assert health.alignment(vectors, moved) == pytest.approx(expected, abs=1e-6)
    assert health.alignment(vectors, -vectors) == pytest.approx(4)
    assert health.uniformity(np.ones((9, 4))) == pytest.approx(0, abs=1e-6)
    even = rng.normal(size=(3000, 512))  # two unit vectors are at 2 from each other
    assert health.uniformity(even, most=500) == pytest.approx(-4, abs=0.05)


def test_blocks_of_rows_give_the_same(vectors, monkeypatch):
    other = vectors[:, ::-1].copy()
    rank = retrieval.ranks(vectors, other)
    whole = health.uniformity(vectors), health.neighbour_overlap(vectors, other)
    monkeypatch.setattr(distances, "CHUNK", 7 * 60)
    assert health.uniformity(vectors) == pytest.approx(whole[0])
    assert health.neighbour_overlap(vectors, other) == whole[1]
    np.testing.assert_array_equal(retrieval.ranks(vectors, other), rank)


def test_overlap_of_neighbours_agrees_with_scikit_learn(vectors):
    rng = np.random.default_rng(3)
    other = (vectors @ rng.normal(size=(24, 6))).astype(np.float32)
    near = [
        NearestNeighbors(n_neighbors=5, metric="cosine").fit(of).kneighbors()[1]
        for of in (vectors.astype(np.float64), other.astype(np.float64))
    ]
    expected = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(*near, strict=True)])
    got = health.neighbour_overlap(vectors, other, num_neighbours=5)
    assert got.share == pytest.approx(expected)
    assert got.by_chance == 5 / 59
    same = health.neighbour_overlap(vectors, 2 * vectors, num_neighbours=5, most=20)
    assert same.share == 1
    noise = rng.normal(size=(2, 800, 8))
    chance = health.neighbour_overlap(*noise, num_neighbours=40)
    assert chance.share == pytest.approx(chance.by_chance, rel=0.1)


def test_ranks_of_retrieval_equal_sorting():
    rng = np.random.default_rng(4)
    query = rng.normal(size=(80, 16)).astype(np.float32)
    gallery = (query + 1.5 * rng.normal(size=query.shape)).astype(np.float32)
    similarity = 1 - scipy_distance.cdist(query, gallery, "cosine")
    expected = [
        1 + int(np.flatnonzero(np.argsort(-row) == index)[0])
        for index, row in enumerate(similarity)
    ]
    np.testing.assert_array_equal(retrieval.ranks(query, gallery), expected)
    got = retrieval.both_ways(query, gallery)
    there, back = got["image to poi"], got["poi to image"]
    assert there.median_rank == np.median(expected)
    for depth in (1, 5, 10):
        assert there.recall[depth] == np.mean(np.array(expected) <= depth)
    assert back == retrieval.retrieve(gallery, query) != there
    perfect = retrieval.retrieve(query, 3 * query)
    assert (perfect.recall[1], perfect.median_rank, perfect.num_regions) == (1, 1, 80)


def test_memory_grows_with_the_regions_and_not_with_their_pairs(monkeypatch):
    monkeypatch.setattr(distances, "CHUNK", 50_000)
    rng = np.random.default_rng(6)
    peaks = []
    for count in (1000, 2000):
        z = rng.normal(size=(count, 8)).astype(np.float32)
        tracemalloc.start()
        retrieval.retrieve(z, z)
        health.neighbour_overlap(z, z, most=count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.5 * peaks[0]
    assert peaks[1] < 2000**2  # a byte a pair


def test_ties_count_against_the_encoder():
    collapsed = np.random.default_rng(5).normal(size=(1, 33)) * np.ones((50, 1))
    got = retrieval.retrieve(collapsed, collapsed)
    assert got.recall == {1: 0, 5: 0, 10: 0} and got.median_rank == 50
    twins = np.repeat(np.eye(4), 2, axis=0)
    np.testing.assert_array_equal(retrieval.ranks(twins, twins), np.full(8, 2))


def test_spaces_that_cannot_be_compared_are_named(vectors):
    with pytest.raises(InputError, match=r"shapes \(60, 24\) and \(60, 5\)"):
        health.alignment(vectors, vectors[:, :5])
    with pytest.raises(InputError, match=r"shapes \(60, 24\) and \(59, 24\)"):
        retrieval.ranks(vectors, vectors[1:])
    with pytest.raises(InputError, match="60 nearest neighbours among 60 regions"):
        health.neighbour_overlap(vectors, vectors, num_neighbours=60)
    bad = vectors.copy()
    bad[4, 2] = np.nan
    for measure in (health.effective_rank, health.uniformity):
        with pytest.raises(InputError, match="1 of 60 regions .* first in row 4"):
            measure(bad)
    with pytest.raises(InputError, match="gallery: 1 of 60 regions"):
        retrieval.ranks(vectors, bad)
    with pytest.raises(InputError, match="of 1 regions"):
        health.effective_rank(vectors[:1])


def test_a_sample_of_many_asks_among_all(monkeypatch):
    """The drawn queries keep the places that they have when everybody asks."""
    rng = np.random.default_rng(4)
    z_poi = rng.normal(size=(300, 8))
    z_image = z_poi + rng.normal(size=z_poi.shape)
    places = retrieval.ranks(z_image, z_poi)
    monkeypatch.setattr(retrieval, "MOST_QUERIES", 50)
    drawn = checks.drawn(300, 50)
    np.testing.assert_array_equal(retrieval.ranks(z_image, z_poi), places[drawn])
    told = retrieval.retrieve(z_image, z_poi)
    assert (told.num_regions, told.num_queries) == (300, 50)
