import dataclasses
import hashlib
import json
import math
from pathlib import Path

import forks
import numpy as np
import pandas as pd
import pytest
import small_city
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder
from threadpoolctl import threadpool_limits

from data_prep import build, comparison
from data_prep.category_embedding import command, neighbours, plain, skipgram, walks
from data_prep.category_embedding import vectors as vectors_lib
from data_prep.category_embedding.settings import (
    CategoryVectorSettings,
    TableSettings,
    WalkSettings,
)
from data_prep.pois import graph
from data_prep.pois import table as pois
from data_prep.pois.settings import PoiSettings
from data_prep.toy_city import generator
from data_prep.toy_city.settings import ToyCitySettings
from mmgr_jax.data import schema
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

ROOT = Path(vectors_lib.__file__).parents[2]
LAS_VEGAS = ROOT.parent / "shared" / "data" / "las_vegas" / "pois.csv.gz"
WALKS = dict(
    length=10,
    region_size_m=None,
    region_factor=0.4,
    return_bias=1.0,
    outward_bias=1.0,
)
TABLE = dict(path=None, category_column="category", columns=())
TEXT = dict(
    model="wordllama",
    folder=None,
    template="{name}, {parent}",
    template_alone="{name}",
    phrases=None,
    names_per_category=0,
)
SETTINGS = dict(
    method="skipgram",
    dim=64,
    seed=0,
    walks=WALKS,
    table=TABLE,
    text=TEXT,
)


def _section():
    section = ConfigDict(SETTINGS)
    section.out = placeholder(str)
    section.walks.region_size_m = placeholder(float)
    section.table.path = placeholder(str)
    section.text.update(folder=placeholder(str), phrases=placeholder(str))
    return section


def _read(settings):
    return read(CategoryVectorSettings, settings, "category_vectors")


def _make(table, settings):
    return vectors_lib.make(table, _read(settings)).vectors


def _pois(seed=0, n=60, k=4, parents=("a", "a", "b", "b")):
    """POIs at random places of a square kilometre, some of them on one place."""
    rng = np.random.default_rng(seed)
    place_m = rng.uniform(0, 1000, (n, 2))
    place_m[: n // 10] = place_m[-1]
    names = tuple(f"category {index}" for index in range(k))
    category = rng.integers(0, k, n).astype(np.int32)
    return pois.PoiTable(*place_m.T.copy(), category, names, parents, {})


# ---- walks ----


def _network(edges, weights):
    edges = np.array(edges, np.int32)
    return walks.adjacency(edges, np.array(weights, float), int(edges.max()) + 1)


SQUARE_WITH_TAIL = [(0, 1), (1, 2), (0, 2), (1, 3)]


def _walked(net, category, num_walks, rng, settings):
    """Pairs met on walks drawn step by step, for each of `num_walks` from each POI."""
    weight, k = net.toarray(), int(category.max()) + 1
    counts = np.zeros((num_walks, k, k))
    for number in range(num_walks):
        for first in range(len(weight)):
            before, here = None, first
            for _ in range(settings.length - 1):
                chance = weight[here].copy()
                if before is not None:
                    chance[weight[before] == 0] *= settings.outward_bias
                    chance[before] = weight[here, before] * settings.return_bias
                before, here = here, rng.choice(len(chance), p=chance / chance.sum())
                counts[number, category[first], category[here]] += 1
    return counts


@pytest.mark.parametrize("biases", [(1.0, 1.0), (2.0, 2.0), (0.25, 3.0)])
def test_what_is_expected_is_what_walks_meet_on_average(biases):
    return_bias, outward_bias = biases
    settings = WalkSettings(5, return_bias=return_bias, outward_bias=outward_bias)
    table = _pois(n=24)
    net = walks.network(table.x_m, table.y_m, settings)
    walked = _walked(net, table.category, 300, np.random.default_rng(0), settings)
    error = walked.std(axis=0) / math.sqrt(len(walked))
    expected = walks.expected_pairs(net, table.category, 4, settings)
    assert np.all(np.abs(walked.mean(axis=0) - expected) < 4 * error)
    others = WalkSettings(5, return_bias=1 / return_bias, outward_bias=4.0)
    others = walks.expected_pairs(net, table.category, 4, others)
    assert np.any(np.abs(walked.mean(axis=0) - others) > 4 * error)  # it can tell
    assert expected.sum() == pytest.approx(24 * 4)


def test_first_steps_are_as_likely_as_their_edges_are_heavy():
    net = _network(SQUARE_WITH_TAIL, [1.0, 2.0, 5.0, 0.5])
    met = walks.expected_pairs(net, np.arange(4), 4, WalkSettings(length=2))
    np.testing.assert_allclose(met[1], np.array([1.0, 0, 2.0, 0.5]) / 3.5)
    np.testing.assert_allclose(met[3], [0, 1, 0, 0])


@pytest.mark.parametrize("biases", [(2.0, 2.0), (0.25, 3.0), (2.0, 1.0), (0.5, 0.2)])
def test_biases_favour_the_way_back_and_the_way_out(biases):
    return_bias, outward_bias = biases
    settings = WalkSettings(return_bias=return_bias, outward_bias=outward_bias)
    net = _network(SQUARE_WITH_TAIL, [1.0, 2.0, 5.0, 1.5])
    first, move, reached = walks.chances(net, settings)
    (by_1,) = np.flatnonzero((first.toarray()[0] > 0) & (reached == 1))
    # From 0 by 1: 0 is the way back, 2 a neighbour of 0, 3 none.
    found = np.bincount(reached, move.toarray()[by_1], 4)
    expected = np.array([1.0 * return_bias, 0, 2.0, 1.5 * outward_bias])
    np.testing.assert_allclose(found, expected / expected.sum())


def test_the_network_has_the_papers_weights():
    table = _pois(n=25)
    net = walks.network(table.x_m, table.y_m, WalkSettings())
    place_m = np.stack([table.x_m, table.y_m], axis=1)
    diagonal_m = math.hypot(np.ptp(table.x_m), np.ptp(table.y_m))
    edges, _ = graph.delaunay(place_m, diagonal_m)
    assert net.nnz == 2 * len(edges)
    for i, j in edges.tolist():
        d_m = math.dist(place_m[i], place_m[j])
        expected = math.log((1 + diagonal_m**1.5) / (1 + d_m**1.5))
        assert net[i, j] == net[j, i] == pytest.approx(expected, rel=1e-5)


def test_the_region_factor_makes_steps_across_rarer():
    # POI 0 in the middle of a square; two of its neighbours share its region.
    x_m, y_m = np.array([[50.0, 0, 100, 100, 0], [50.0, 0, 0, 99, 99]])
    plain_net = walks.network(x_m, y_m, WalkSettings())
    net = walks.network(x_m, y_m, WalkSettings(region_size_m=100.0, region_factor=0.4))
    factor = net.toarray()[0, 1:] / plain_net.toarray()[0, 1:]
    np.testing.assert_allclose(factor, [1, 0.4, 0.4, 1])


def test_square_regions_are_cut_at_multiples_of_their_side():
    x_m, y_m = np.array([[0.0, 99, 100, -1, 50], [0.0, 99, 0, 0, 99.9]])
    region = walks.square_regions(x_m, y_m, 100.0)
    assert region[0] == region[1] == region[4]
    assert len(set(region.tolist())) == 3


@pytest.mark.parametrize("at_once", [1 << 22, 50])
def test_counts_are_those_of_the_markov_chain(monkeypatch, at_once):
    monkeypatch.setattr(walks, "_NUMBERS_AT_ONCE", at_once)
    table, settings = _pois(n=20), WalkSettings(length=6)
    weight = walks.network(table.x_m, table.y_m, settings).toarray()
    step = weight / weight.sum(axis=1, keepdims=True)
    reached = sum(np.linalg.matrix_power(step, length) for length in range(1, 6))
    member = np.eye(4)[table.category]
    expected = 5 * member.T @ reached @ member
    assert expected.min() > 1
    counts = walks.count_pairs(table, settings)
    np.testing.assert_allclose(counts, expected, rtol=1e-12)


def test_categories_that_walks_would_hardly_meet_never_do():
    chain = pois.PoiTable(
        np.arange(12) * 10.0, np.zeros(12), np.int32([0] + [1] * 10 + [2]),
        ("a", "b", "c"), ("a", "b", "c"), {},
    )  # fmt: skip
    settings = WalkSettings(length=12)
    net = walks.network(chain.x_m, chain.y_m, settings)
    within = walks.expected_pairs(net, chain.category, 3, settings)
    assert 0 < 5 * within[0, 2] < 1 < 5 * within[0, 1]
    counts = walks.count_pairs(chain, settings)
    assert counts[0, 2] == counts[2, 0] == 0
    np.testing.assert_allclose(counts[1], 5 * within[1])


def test_pois_on_one_place_are_walked_evenly():
    net = walks.network(np.zeros(5), np.zeros(5), WalkSettings())
    assert np.all(net.data == 1)
    settings = WalkSettings(4, return_bias=2.0, outward_bias=2.0)
    two = walks.network(np.array([0.0, 1.0]), np.zeros(2), settings)
    met = walks.expected_pairs(two, np.arange(2), 2, settings)
    np.testing.assert_allclose(met, [[1, 2], [2, 1]])


# ---- loss ----

COUNTS = np.array([[4, 2, 0, 0], [1, 9, 3, 0], [0, 5, 2, 2], [1, 3, 2, 7]])


def _vectors(seed=0, k=4, d=3):
    return np.random.default_rng(seed).normal(size=(2, k, d))


def _softplus(x):
    return math.log1p(math.exp(x))


def _loss_by_loops(target, context, counts, num_negatives):
    """The mean over all pairs, each with its expected negatives."""
    total = 0.0
    for i, j in zip(*np.nonzero(counts), strict=True):
        absent = [n for n in range(len(counts)) if counts[i, n] == 0]
        absent = absent or list(range(len(counts)))
        cost = _softplus(-target[i] @ context[j])
        for n in absent:
            cost += num_negatives / len(absent) * _softplus(target[i] @ context[n])
        total += counts[i, j] * cost
    return total / counts.sum()


def test_the_loss_is_the_mean_over_the_pairs():
    target, context = _vectors()
    draws = skipgram.expected_draws(COUNTS)
    loss, _, _ = skipgram.loss_and_gradient(target, context, draws)
    assert loss == pytest.approx(_loss_by_loops(target, context, COUNTS, 5))
    zero = np.zeros_like(target)
    loss, _, _ = skipgram.loss_and_gradient(zero, zero, draws)
    assert loss == pytest.approx(6 * math.log(2))


def test_the_loss_is_what_sampling_gives_on_average():
    counts = np.rint(4 * walks.count_pairs(_pois(k=4), WalkSettings())).astype(int)
    counts[0, 2] = counts[3, 1] = counts[3, 0] = 0
    target, context = _vectors(1)
    rng = np.random.default_rng(0)
    draws = skipgram.expected_draws(counts)
    noise = draws.negative / draws.negative.sum(axis=1, keepdims=True)
    costs = []
    for i in range(4):
        for j in range(4):
            drawn = rng.choice(4, (counts[i, j], 5), p=noise[i])
            positive = np.logaddexp(0, -target[i] @ context[j])
            negative = np.logaddexp(0, context @ target[i])[drawn]
            costs.append(positive + negative.sum(axis=1))
    costs = np.concatenate(costs)
    assert len(costs) > 8000
    loss, _, _ = skipgram.loss_and_gradient(target, context, draws)
    error = costs.std() / math.sqrt(len(costs))
    assert abs(costs.mean() - loss) < 4 * error and error < 0.05 * loss


def _finite_difference(function, values):
    gradient = np.zeros_like(values)
    for index in np.ndindex(values.shape):
        moved = [values.copy(), values.copy()]
        moved[0][index] += 1e-6
        moved[1][index] -= 1e-6
        gradient[index] = (function(moved[0]) - function(moved[1])) / 2e-6
    return gradient


def test_gradients_match_finite_differences():
    target, context = _vectors()
    draws = skipgram.expected_draws(COUNTS)
    _, d_target, d_context = skipgram.loss_and_gradient(target, context, draws)

    def of_target(values):
        return skipgram.loss_and_gradient(values, context, draws)[0]

    def of_context(values):
        return skipgram.loss_and_gradient(target, values, draws)[0]

    np.testing.assert_allclose(
        d_target, _finite_difference(of_target, target), atol=1e-8
    )
    np.testing.assert_allclose(
        d_context, _finite_difference(of_context, context), atol=1e-8
    )


def test_the_hierarchy_term_is_the_double_sum():
    vectors = _vectors(k=7)[0]
    group = np.array([0, 2, 1, 0, 0, 2, 3])
    value, gradient = skipgram.hierarchy(vectors, group)
    expected = 0.0
    for i in range(7):
        for j in range(7):
            w_ij = float(group[i] == group[j])
            expected += 0.5 * w_ij * np.sum((vectors[i] - vectors[j]) ** 2)
    assert value == pytest.approx(expected)
    difference = _finite_difference(
        lambda moved: skipgram.hierarchy(moved, group)[0], vectors
    )
    np.testing.assert_allclose(gradient, difference, atol=1e-7)


def test_negatives_never_met_the_target():
    counts = COUNTS.copy()
    draws = skipgram.expected_draws(counts)
    assert np.all(draws.negative[:3][counts[:3] > 0] == 0)
    np.testing.assert_allclose(
        draws.negative[0] / draws.negative.sum(axis=1)[0], [0, 0, 0.5, 0.5]
    )
    # Target 3 met every category, so all of them are its negatives.
    np.testing.assert_allclose(draws.negative[3], 5 * draws.positive[3].sum() / 4)
    assert draws.positive.sum() == pytest.approx(1)
    assert draws.negative.sum() == pytest.approx(5)


def test_training_reaches_the_optimum_where_there_is_one():
    # With d >= k every table of scores is possible; each cell's best is log(p / n).
    counts = COUNTS + 1
    draws = skipgram.expected_draws(counts)
    assert draws.negative.min() > 0  # each met all, so negatives are uniform over all
    best, _, _ = skipgram.loss_and_gradient(
        np.log(draws.positive / draws.negative), np.eye(4), draws
    )
    target, context = skipgram.fit(
        draws,
        np.arange(4),
        0.0,
        dim=6,
        rng=np.random.default_rng(0),
        learning_rate=1e-2,
        num_steps=3000,
    )
    loss, _, _ = skipgram.loss_and_gradient(target, context, draws)
    assert best <= loss < best + 1e-4
    scores = np.log(draws.positive / draws.negative)
    np.testing.assert_allclose(target @ context.T, scores, atol=0.05)


def test_the_hierarchy_weight_is_relative_to_the_loss_of_zero_vectors():
    # Siblings 1 apart add a hundredth of (1 + 5) log 2, however many pairs.
    for group in (np.array([0, 0, 1]), np.array([0, 0, 0, 0, 1, 1])):
        k = len(group)
        vectors = np.eye(k) / math.sqrt(2)  # any two are 1 apart
        value, _ = skipgram.hierarchy(vectors, group)
        scale = skipgram._hierarchy_scale(group)
        assert scale * value == pytest.approx(0.01 * 6 * math.log(2))


def test_a_stronger_hierarchy_draws_siblings_together(monkeypatch):
    counts = walks.count_pairs(_pois(), WalkSettings())
    apart = []
    for weight in (0.0, 0.01, 1.0):
        monkeypatch.setattr(skipgram, "HIERARCHY_WEIGHT", weight)
        vectors = skipgram.train(counts, list("aabb"), dim=8, seed=0)
        apart.append(skipgram.hierarchy(vectors.astype(float), np.array([0, 0, 1, 1])))
        assert np.mean(np.sum(vectors**2, axis=1)) == pytest.approx(1, rel=1e-5)
    assert apart[0][0] > 2 * apart[1][0] > 4 * apart[2][0]


# ---- cities ----


@pytest.fixture(scope="module")
def toy_pois(tmp_path_factory):
    """POIs of a generated city of 1.5 km."""
    folder = tmp_path_factory.mktemp("toy") / "city"
    generator.generate(ToyCitySettings(str(folder), 0, (12, 12), gsd_m=8.0))
    settings = PoiSettings(
        str(folder / "pois.parquet"), crs="EPSG:4326", parent_column="parent"
    )
    return pois.read(settings, city_crs="EPSG:32651")


@pytest.fixture(scope="module")
def las_vegas():
    if not LAS_VEGAS.exists():
        pytest.skip(f"no sample of Las Vegas at {LAS_VEGAS}")
    settings = PoiSettings(
        str(LAS_VEGAS),
        crs="EPSG:4326",
        category_column="subcategory",
        parent_column="category",
        x_column="lon",
        y_column="lat",
    )
    return pois.read(settings, city_crs="EPSG:26911")


def _margins(table, counts):
    """How much closer siblings are than strangers, and how much unrelated ones."""
    with threadpool_limits(1, user_api="blas"):  # as make_vectors does
        vectors = skipgram.train(counts, table.parents, dim=64, seed=0)
    rng = np.random.default_rng(0)
    shuffled = [tuple(rng.permutation(table.parents).tolist()) for _ in range(20)]
    margins = [
        np.subtract(*neighbours.mean_cosines(parents, vectors))
        for parents in (table.parents, *shuffled)
    ]
    return margins[0], np.mean(margins[1:])


def test_siblings_of_the_toy_city_are_closer_than_strangers(toy_pois, monkeypatch):
    counts = walks.count_pairs(toy_pois, WalkSettings())
    assert _margins(toy_pois, counts)[0] > 0.15
    # The walks alone tell, too; and of unrelated parents they tell nothing.
    monkeypatch.setattr(skipgram, "HIERARCHY_WEIGHT", 0.0)
    of_siblings, of_unrelated = _margins(toy_pois, counts)
    assert of_siblings > 0.05 and abs(of_unrelated) < 0.02


def test_siblings_of_las_vegas_are_closer_than_strangers(las_vegas, monkeypatch):
    assert len(las_vegas) > 66_000 and len(las_vegas.categories) == 297
    counts = walks.count_pairs(las_vegas, WalkSettings())
    monkeypatch.setattr(skipgram, "NUM_STEPS", 250)
    assert _margins(las_vegas, counts)[0] > 0.1
    monkeypatch.setattr(skipgram, "HIERARCHY_WEIGHT", 0.0)
    of_siblings, of_unrelated = _margins(las_vegas, counts)
    assert of_siblings > 0.05 and abs(of_unrelated) < 0.02


def test_a_seed_gives_the_same_bytes_and_another_one_others(toy_pois, monkeypatch):
    monkeypatch.setattr(skipgram, "NUM_STEPS", 20)
    made = [_make(toy_pois, SETTINGS | dict(seed=seed)).tobytes() for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


# ---- other methods ----


def test_random_vectors_are_what_they_always_were():
    table = dataclasses.replace(_pois(), categories=("cafe", "park", "school"))
    made = _make(table, SETTINGS | dict(method="random"))
    # Of the first version of this program, with NumPy 2.4.
    assert hashlib.sha256(made.tobytes()).hexdigest() == (
        "5489bcc317097fb156224cb731e92c2c3d1d6b688bc1a9a7f389a4e32db19c17"
    )


def test_a_random_vector_is_the_same_in_any_company():
    many = plain.random([f"category {i}" for i in range(200)], 64)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(plain.random(["category 7"], 64)[0], many[7])
    cosine = many @ many.T - np.eye(200)
    assert np.abs(cosine).max() < 0.7  # no two alike
    assert plain.random([], 64).shape == (0, 64)


def test_one_hot_pads_with_zeros_and_lets_the_rare_share_the_last_axis():
    frequency = np.array([5, 1, 9, 3])
    np.testing.assert_array_equal(plain.onehot(frequency, 6), np.eye(6)[:4])
    np.testing.assert_array_equal(plain.onehot(frequency, 4), np.eye(4))
    np.testing.assert_array_equal(
        plain.onehot(frequency, 3), [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]]
    )
    settings = SETTINGS | dict(method="onehot", dim=8)
    made = _make(_pois(), settings)
    assert made.dtype == np.float32 and made.shape == (4, 8)


def _own_table(**changes):
    rows = dict(category=["park", " cafe ", "zoo", "school"], u=[1, 2, 3, 4.5])
    return pd.DataFrame(rows | dict(v=[-1.0, -2.0, np.nan, -4.0]) | changes)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_users_table_is_put_in_the_order_of_the_categories(tmp_path, suffix):
    path = tmp_path / f"own{suffix}"
    rows = _own_table()
    rows.to_parquet(path) if suffix == ".parquet" else rows.to_csv(path, index=False)
    names = ("cafe", "park", "school")
    found = plain.from_table(names, TableSettings(str(path)))
    np.testing.assert_array_equal(found, np.float32([[2, -2], [1, -1], [4.5, -4]]))
    chosen = TableSettings(str(path), columns=("v",))
    np.testing.assert_array_equal(plain.from_table(names, chosen)[:, 0], [-2, -1, -4])


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        (
            {},
            dict(category_column="kind"),
            r"no column 'kind'; its columns: 'category'",
        ),
        ({}, dict(columns=("u", "w")), "no column 'w'"),
        (dict(category=["park", "cafe", "zoo", "x"]), {}, "for 1 of 3 .*: 'school'"),
        (dict(category=["park", "a", "b", "c"]), {}, "2 of 3 .*: 'cafe', 'school'"),
        (
            dict(category=["park", "cafe", "park", "school"]),
            {},
            "several rows .*'park'",
        ),
        (dict(v=["1", "2", "3", "?"]), {}, "column.* 'v' hold values that are not"),
        (dict(v=[1, None, 3, 4]), {}, "'cafe' has nan in column 'v'"),
        (dict(v=[1, 2, 3, np.inf]), {}, "'school' has inf in column 'v'"),
    ],
)
def test_an_unfit_table_is_explained(tmp_path, changes, settings, message):
    path = tmp_path / "own.csv"
    _own_table(**changes).to_csv(path, index=False)
    with pytest.raises(InputError, match=message):
        chosen = TableSettings(str(path), **settings)
        plain.from_table(("cafe", "park", "school"), chosen)


def test_no_table_at_all_is_explained(tmp_path):
    for path in (None, str(tmp_path / "none.csv")):
        (told,) = plain.problems(TableSettings(path))
        assert told.startswith(f"table.path {path!r}: no such file. Wanted: CSV or P")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="broken.parquet: cannot be read"):
        plain.from_table(("cafe",), TableSettings(str(broken)))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (dict(method="word2vec"), "method='word2vec'; allowed: 'skipgram', 'random',"),
        (dict(dim=0), "dim=0; allowed: greater than or equal to 1."),
        (dict(seed=-1), "seed=-1; allowed: greater than or equal to 0."),
        (dict(walks=dict(length=1)), "walks.length=1; allowed: greater than or equ"),
        (dict(walks=dict(region_factor=0.0)), "walks.region_factor=0.0; allowed: gr"),
        (dict(walks=dict(walk_length=3)), "walks.walk_length is unknown"),
        (
            dict(walks=dict(per_poi=3)),
            "walks.per_poi was removed: vectors are",
        ),
        (
            dict(skipgram=dict(negatives="all")),
            "skipgram was removed: negatives",
        ),
    ],
)
def test_a_wrong_setting_is_named(wrong, told):
    with pytest.raises(InputError, match=f"^config.category_vectors.{told}"):
        _read(wrong)


def test_a_table_that_is_not_named_is_asked_for():
    with pytest.raises(InputError, match="table.path None: no such file. Wanted: CSV"):
        _make(_pois(), SETTINGS | dict(method="table"))


def test_too_little_to_learn_from_is_explained():
    with pytest.raises(InputError, match=r"1 category, but skip-gram needs 2 or more"):
        table = _pois(k=1, parents=("a",))
        _make(table, SETTINGS)
    with pytest.raises(InputError, match=r"1 usable POI\(s\), but a walk needs 2"):
        table = _pois(n=1, k=2, parents=("a", "a"))
        _make(table, SETTINGS)


def test_a_city_without_parents_is_learnt_from_its_walks_alone(caplog, monkeypatch):
    monkeypatch.setattr(skipgram, "NUM_STEPS", 20)
    found = _make(_pois(parents=tuple("abcd")), SETTINGS)
    assert "no two of the 4 categories share a first-level category" in caplog.text
    assert "config.pois.parent_column" in caplog.text
    monkeypatch.setattr(skipgram, "HIERARCHY_WEIGHT", 0.0)
    np.testing.assert_array_equal(found, _make(_pois(), SETTINGS))


def test_two_pois_suffice():
    table = _pois(n=2, k=2, parents=("a", "b"))
    table = dataclasses.replace(table, category=np.int32([0, 1]))
    found = _make(table, SETTINGS)
    assert found.shape == (2, 64) and np.isfinite(found).all()


def test_a_recipe_holds_what_the_method_reads(tmp_path):
    def recipe(method, **changes):
        settings = SETTINGS | dict(method=method) | changes
        return comparison.recipe(_read(settings))

    assert recipe("random") == dict(method="random", dim=64)
    assert recipe("random", seed=3) == recipe("random")
    assert recipe("onehot", dim=8) == dict(method="onehot", dim=8)
    assert set(recipe("skipgram")) == {"method", "dim", "seed", "walks"}
    path = tmp_path / "own.csv"
    path.write_text("category,u\na,1\n")
    own = TABLE | dict(path=str(path))
    first = recipe("table", table=own)
    digest = hashlib.sha256(b"category,u\na,1\n").hexdigest()
    assert first == dict(method="table", table=own, sha256=digest)
    path.unlink()
    assert recipe("table", table=own)["sha256"] is None


def test_neighbours_are_listed_by_cosine():
    names, parents = ("bar", "cafe", "park", "zoo"), ("food", "food", "out", "out")
    table = pois.PoiTable(
        np.zeros(5), np.zeros(5), np.int32([0, 0, 1, 2, 3]), names, parents, {}
    )
    vectors = np.float32([[1, 0], [0.6, 0.8], [0, 1], [0, 0]])
    lines = neighbours.describe(table, vectors, "by hand").splitlines()
    assert lines[0] == "# by hand"
    # Siblings: 0.6 and 0; strangers: 0, 0, 0.8 and 0.
    assert lines[1] == "# mean cosine: siblings 0.300, strangers 0.200"
    assert lines[4].split() == "bar food 2 cafe* 0.60 | park 0.00 | zoo 0.00".split()
    assert lines[5].split() == "cafe food 1 park 0.80 | bar* 0.60 | zoo 0.00".split()
    assert len(lines) == 8


# ---- the command ----


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The hand-made city's config with its records."""
    config = small_city.write(tmp_path_factory.mktemp("city"))
    build.build(config)
    return config


@pytest.fixture
def config(built):
    config = built.copy_and_resolve_references()
    config.category_vectors = _section()
    return config


def test_the_command_replaces_the_records_table(config):
    folder = Path(config.records.dir)
    before = json.loads((folder / schema.MANIFEST_FILE).read_text())
    for method in ("skipgram", "onehot"):
        config.category_vectors.method = method
        path = command.write(config)
        assert path == folder / schema.CATEGORY_VECTORS_FILE
        vectors = np.load(path)
        assert vectors.shape == (3, 64) and vectors.dtype == np.float32
        assert np.mean(np.sum(vectors**2, axis=1)) == pytest.approx(1, rel=1e-5)
    np.testing.assert_array_equal(vectors, np.eye(3, 64))
    text = (folder / command.NEIGHBOURS_FILE).read_text()
    assert '"method": "onehot"' in text
    cafe = text.splitlines()[4].split()
    assert cafe == "cafe food 4 park 0.00 | school 0.00".split()
    after = json.loads((folder / schema.MANIFEST_FILE).read_text())
    assert after["config"].pop("category_vectors") == dict(method="onehot", dim=64)
    del before["config"]["category_vectors"]
    hashes = after.pop("content"), before.pop("content")
    assert after == before
    names = [
        name
        for part in ("fields", "files")
        for name in hashes[0][part]
        if hashes[0][part][name] != hashes[1][part][name]
    ]
    assert names == ["config", schema.CATEGORY_VECTORS_FILE]
    assert not list(folder.glob("*.tmp"))


def test_a_failed_write_leaves_the_old_table(config, monkeypatch):
    path = command.write(config)
    before = path.read_bytes()

    def save(file, _):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(InputError, match=r"cannot be written \(disk full\)"):
        command.write(config)
    assert path.read_bytes() == before


def test_vectors_go_where_they_are_sent_without_imagery_or_records(config, tmp_path):
    config.records.dir = str(tmp_path / "none")
    config.imagery.paths = ()
    config.category_vectors.out = str(tmp_path / "new" / "own.npy")
    assert command.write(config) == tmp_path / "new" / "own.npy"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        command.NEIGHBOURS_FILE,
        "own.npy",
    ]
    config.category_vectors.out = None
    with pytest.raises(InputError, match=r"no finished records. Build them with `pyth"):
        command.write(config)
    for name in ("own.txt", schema.CATEGORY_VECTORS_FILE):
        config.category_vectors.out = str(tmp_path / name)
        with pytest.raises(InputError, match=rf"{name}'; allowed: .* ends in .npy"):
            command.write(config)


def _with_pois(config, tmp_path, table):
    config.pois.path = str(tmp_path / "pois.csv")
    config.pois.update(x_column="lon", y_column="lat")
    table.to_csv(config.pois.path, index=False)
    return config


def _rows():
    table = small_city.poi_table()
    plain_table = pd.DataFrame(table.drop(columns="geometry"))
    return plain_table.assign(lon=table.geometry.x, lat=table.geometry.y)


def test_records_of_other_categories_are_refused(config, tmp_path):
    table = _rows().replace({"category": {"park": "garden"}})
    before = (Path(config.records.dir) / schema.CATEGORY_VECTORS_FILE).read_bytes()
    with pytest.raises(InputError) as error:
        command.write(_with_pois(config, tmp_path, table))
    for text in (
        "only the records have 'park'; only the POI table has 'garden'",
        "python -m data_prep.build",
        "--config.category_vectors.out=FILE.npy",
    ):
        assert text in str(error.value)
    after = (Path(config.records.dir) / schema.CATEGORY_VECTORS_FILE).read_bytes()
    assert after == before


def test_unfit_poi_tables_are_explained(config, tmp_path):
    config.category_vectors.out = str(tmp_path / "own.npy")
    path = config.pois.path
    for changes, message in (
        (dict(path="none.csv"), "config.pois.path 'none.csv': no such file"),
        (dict(parent_column="group"), "no column 'group', which config.pois names"),
        (dict(category_column="kind"), "has no column 'kind'"),
    ):
        config.pois.update(dict(path=path, parent_column="parent") | changes)
        with pytest.raises(InputError, match=message):
            command.write(config)
    config.pois.update(category_column="category", parent_column=None)
    with pytest.raises(InputError, match="no usable POI among its 0 rows"):
        command.write(_with_pois(config, tmp_path, _rows()[:0]))
    with pytest.raises(InputError, match="1 category, but skip-gram needs"):
        only = _rows().assign(category="cafe")
        command.write(_with_pois(config, tmp_path, only))
    config.city.crs = "EPSG:4326"
    with pytest.raises(InputError, match="config.city.crs 'EPSG:4326' is in units"):
        command.write(config)
    assert not list(tmp_path.glob("*.npy"))


def _run(tmp_path, config, *arguments):
    settings = config.to_json_best_effort()
    path = tmp_path / "config.py"
    path.write_text(
        "import json\nfrom ml_collections import ConfigDict\n"
        f"def get_config():\n    return ConfigDict(json.loads({settings!r}))\n"
    )
    name = "data_prep.category_embedding"
    return forks.run("-m", name, f"--config={path}", *arguments)


def test_the_command_line_tells_the_seconds_of_each_stage(config, tmp_path):
    out = f"--config.category_vectors.out={tmp_path}/own.npy"
    config.category_vectors.out = ""
    told = _run(tmp_path, config, out)
    assert told.returncode == 0, told.stderr
    for stage in ("POIs", "network", "walks", "training", "total"):
        assert any(line.startswith(stage) for line in told.stdout.splitlines()), stage
    figures, *files = told.stdout.splitlines()[-3:]
    assert figures.startswith("3 categories, 64 numbers each; mean")
    written = [f"{tmp_path}/{name}" for name in ("own.npy", "category_neighbours.txt")]
    assert files == [f"vectors: {written[0]}", f"to look at: {written[1]}"]
    first = (tmp_path / "own.npy").read_bytes()
    quiet = _run(tmp_path, config, out, "--quiet")
    assert quiet.stdout.splitlines() == written
    assert quiet.stderr.startswith("category vectors: no two of the 3")
    assert (tmp_path / "own.npy").read_bytes() == first  # in another process
    wrong = _run(tmp_path, config, out, "--config.pois.parent_column=group")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: ")
