"""The index of many vectors beside scikit-learn, and what is found once."""

import numpy as np
import pytest
import small_labels
from sklearn.neighbors import NearestNeighbors

from mmgr_jax.evaluation.design import grid
from mmgr_jax.evaluation.heads import knn, neighbours
from mmgr_jax.evaluation.heads.head import unit_length


def _vectors(count, length, seed):
    """Along a few hidden directions, as features are."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(7).normal(size=(12, length))
    noise = 0.1 * rng.normal(size=(count, length))
    return unit_length(rng.normal(size=(count, 12)) @ directions + noise)


@pytest.mark.parametrize("length", [24, 200])  # the second along principal axes first
def test_an_index_finds_most_neighbours_and_says_how_many(length):
    among, queries = _vectors(9000, length, 0), _vectors(400, length, 1)
    nearest = neighbours.Nearest(among)
    found = nearest.find(queries, 10)
    search = NearestNeighbors(n_neighbors=10, metric="cosine").fit(among)
    expected = search.kneighbors(queries, return_distance=False)
    hits = [
        np.isin(theirs, ours).mean()
        for theirs, ours in zip(expected, found, strict=True)
    ]
    assert np.mean(hits) > 0.9
    assert nearest.recall == pytest.approx(np.mean(hits), abs=0.03)
    assert nearest.recall < 1
    # The most similar first.
    similarity = np.einsum("mf,mnf->mn", queries, among[found])
    assert (np.diff(similarity, axis=1) < 1e-6).all()


def test_the_recall_is_the_least_of_all_searches():
    among = _vectors(9000, 24, 0)
    nearest = neighbours.Nearest(among)
    nearest.find(unit_length(np.random.default_rng(3).normal(size=(300, 24))), 50)
    hard = nearest.recall
    nearest.find(among[:300], 1)
    assert nearest.recall == hard


def test_few_vectors_are_compared_with_all():
    among, queries = _vectors(300, 24, 0), _vectors(40, 24, 1)
    nearest = neighbours.Nearest(among)
    search = NearestNeighbors(n_neighbors=7, metric="cosine").fit(among)
    expected = search.kneighbors(queries, return_distance=False)
    np.testing.assert_array_equal(nearest.find(queries, 7), expected)
    assert nearest.recall == 1


def test_neighbours_are_found_once_for_all_targets(monkeypatch):
    x, hidden = small_labels.features()
    split = small_labels.split(len(x))
    targets = [small_labels.target(kind, hidden) for kind in ("count", "share")]
    known = targets[0].known & targets[1].known
    cells = grid.cells(split, known, fractions=(1.0,))
    alone = [knn.fit(x, target, cells) for target in targets]
    searches = []
    prepare = neighbours.Nearest.__init__
    monkeypatch.setattr(
        neighbours.Nearest,
        "__init__",
        lambda self, among: searches.append(len(among)) or prepare(self, among),
    )
    near = knn.Neighbourhoods()
    together = [knn.fit(x, target, cells, neighbourhoods=near) for target in targets]
    assert len(searches) == split.num_folds
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours.prediction, theirs.prediction)
