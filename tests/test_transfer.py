"""Encoders and heads of some cities in another: who sees what, and by which formula."""

import json

import numpy as np
import pytest
import small_records
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from mmgr_jax.data.corpus import Renumbered
from mmgr_jax.data.schema import Label
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design import grid, splits, targets
from mmgr_jax.evaluation.features import baselines
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads.jobs import Job
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.evaluation.transfer import encoders, heads, library, study
from mmgr_jax.evaluation.transfer.settings import TransferSettings
from mmgr_jax.report import transfer_table
from mmgr_jax.transfer import command as transfer

NAMES = ["alba", "bree", "cori", "dover"]
PLAIN = Label("scalar", "m")
SHARES = Label("share", "1", ("a", "b", "c"))


# ---- who sees what ----


def test_the_tested_city_is_in_no_encoder_that_is_called_unseen():
    for city in NAMES:
        roles = encoders.roles(NAMES, city, (1, 2, 3))
        assert roles[encoders.ALL].cities == tuple(NAMES)
        assert roles[encoders.UNSEEN].cities == tuple(n for n in NAMES if n != city)
        assert roles[encoders.OWN].cities == (city,)
        one, two = roles["1 other city"].cities, roles["2 other cities"].cities
        assert set(one) < set(two) and city not in two and len(two) == 2
        assert "3 other cities" not in roles  # that is the unseen one


def test_every_encoder_is_trained_once_and_cities_teach_alike():
    trained = encoders.to_train(NAMES, NAMES, (1, 2))
    assert len({one.folder for one in trained}) == len(trained) == 1 + 4 + 4 + 4
    pairs = [one.cities for one in trained if len(one.cities) == 2]
    assert [sum(name in pair for pair in pairs) for name in NAMES] == [2] * 4


@pytest.mark.parametrize(
    ("names", "tested", "match"),
    [(NAMES[:1], NAMES[:1], "needs at least two"), (NAMES, ["oslo"], "names 'oslo'")],
)
def test_a_study_without_cities_to_leave_out_is_refused(names, tested, match):
    with pytest.raises(InputError, match=match):
        encoders.to_train(names, tested, (1,))


# ---- heads of other cities ----


def _cities(rng, sizes, num_features=6, weights=None):
    weights = rng.normal(size=num_features) if weights is None else weights
    features = [rng.normal(size=(size, num_features)) for size in sizes]
    values = [x @ weights + rng.normal(0, 0.5, len(x)) for x in features]
    return [Features.of("x", x.astype(np.float32)) for x in features], values


def _grid(sizes, known, is_number=True):
    fold = np.concatenate([np.arange(size) % 3 for size in sizes])
    return heads.grid_of_others(sizes, fold, known, is_number=is_number)


@pytest.mark.parametrize("is_number", [True, False])
@pytest.mark.parametrize("sizes", [(30, 20, 25), (30, 25)])
def test_no_label_of_the_tested_city_teaches_or_chooses(sizes, is_number):
    known = np.random.default_rng(0).random(sum(sizes)) < 0.8
    cells = _grid(sizes, known, is_number)
    tested = np.arange(sum(sizes)) >= sum(sizes[:-1])
    labels = cells.train | cells.validation
    assert not labels[0, tested].any() and (cells.test[0] == tested).all()
    assert (labels[0] == known & ~tested).all()
    if is_number:
        assert cells.parts is not None
        groups = 3 if len(sizes) == 2 else len(sizes) - 1  # folds, or cities
        assert len(set(cells.parts[0][known & ~tested])) == groups
        assert (cells.parts[0][tested] == -1).all()
    else:
        assert cells.train.any() and cells.validation.any()


def test_a_head_of_other_cities_is_the_ridge_regression_of_all_of_them():
    rng = np.random.default_rng(1)
    sizes = (40, 30, 25)
    features, values = _cities(rng, sizes)
    joined = library.side_by_side(features, by_city=True)
    target = targets.check("x", PLAIN, np.concatenate(values), sum(sizes))
    cells = _grid(sizes, target.known)
    fits = Job("linear", joined, target, cells, EvalSettings(strengths=(3.0,))).fit()
    x = [StandardScaler().fit_transform(one.values) for one in features]
    scaler = StandardScaler().fit(np.concatenate(x[:-1]))
    ridge = Ridge(alpha=3.0)
    ridge.fit(scaler.transform(np.concatenate(x[:-1])), np.concatenate(values[:-1]))
    expected = ridge.predict(scaler.transform(x[-1]))
    np.testing.assert_allclose(fits.prediction[0], expected, rtol=1e-4, atol=1e-4)


def test_standardised_by_city_a_gain_and_an_offset_of_a_city_are_gone():
    rng = np.random.default_rng(2)
    features, _ = _cities(rng, (30, 20))
    moved = [features[0], Features.of("x", features[1].values * 1.7 + 4)]
    both = [library.side_by_side(each, by_city=True) for each in (features, moved)]
    np.testing.assert_allclose(both[0].values, both[1].values, atol=2e-6)
    apart = [library.side_by_side(each, by_city=False) for each in (features, moved)]
    assert np.abs(apart[0].values - apart[1].values).max() > 1


# ---- few labels of the tested city ----


def _added(x, target, before, strength, num_labels, seed=0):
    split = splits.Split(np.arange(len(x)) % 4, 4)
    cells = grid.few(split, target.known, num_labels=num_labels, seeds=(seed,))
    assert cells is not None
    missed, cells = heads.Missed(target, before), cells.predicting()
    settings = EvalSettings(strengths=(strength,))
    fits = [
        Job("linear", Features.of("x", x), part, cells, settings).fit()
        for part in missed.targets()
    ]
    return cells, missed.added(cells, fits, seed=seed)


def test_few_labels_draw_a_head_from_that_of_the_others_as_biased_regularisation_does():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 5)).astype(np.float32)
    others = rng.normal(size=5)
    values = x @ (others + 0.3 * rng.normal(size=5)) + 2.0
    target = targets.check("x", PLAIN, values, 60)
    before = x.astype(np.float64) @ others
    cells, found = _added(x, target, before, 2.0, 12)
    expected = np.full(60, np.nan)
    for cell in range(len(cells.cells)):
        seen = cells.train[cell] | cells.validation[cell]
        mean, deviation = x[seen].mean(axis=0), x[seen].std(axis=0)
        z = (x - mean) / deviation
        # |Zw + c - y|^2 + strength' |w - w0|^2, w0 the others' weights on the same z;
        # the targets are standardised, which leaves the penalty as it is.
        design = np.concatenate([z[seen], np.ones((seen.sum(), 1))], axis=1)
        start = np.append(others * deviation, 0.0)
        penalty = np.diag([2.0] * 5 + [0.0])
        left = values[seen] - design @ start
        weights = start + np.linalg.solve(design.T @ design + penalty, design.T @ left)
        tested = cells.test[cell]
        whole = np.concatenate([z, np.ones((60, 1))], axis=1)
        # `before` has its own intercept, which c takes up
        expected[tested] = (whole @ weights)[tested]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_with_a_penalty_without_end_shares_stay_those_of_the_others():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 5)).astype(np.float32)
    before = rng.dirichlet(np.ones(3), size=60)
    target = targets.check("x", SHARES, before, 60)  # nothing is missed
    _, found = _added(x, target, before, 1e9, 12)
    np.testing.assert_allclose(found, before, atol=1e-6)
    truth = rng.dirichlet(np.ones(3), size=60)
    _, found = _added(x, targets.check("x", SHARES, truth, 60), before, 1.0, 12)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found >= 0).all()


def test_labels_that_are_not_drawn_change_no_adapted_prediction():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 5)).astype(np.float32)
    values = rng.lognormal(3, size=60)
    label, before = Label("count", "persons"), rng.lognormal(3, size=60)
    cells, first = _added(x, targets.check("x", label, values, 60), before, 1.0, 12)
    undrawn = ~(cells.train | cells.validation).any(axis=0)
    other = np.where(undrawn, values * 50, values)
    _, second = _added(x, targets.check("x", label, other, 60), before, 1.0, 12)
    np.testing.assert_array_equal(first, second)
    assert undrawn.any() and (first >= 0).all()


# ---- labels and categories of several cities ----


def _labels(unit="persons", year=2020):
    return {"population": (Label("count", unit, year=year), np.array([1.0, 2.0]))}


def _targets(second, **settings):
    labelled = {"alba": _labels(), "bree": second}
    return study.shared_targets(labelled, TransferSettings(**settings), EvalSettings())


def test_a_declared_factor_converts_a_unit():
    made = _targets(_labels("thousand"), factors=(("bree", "population", 1000.0),))
    np.testing.assert_array_equal(made["population"]["bree"].values, [1000.0, 2000.0])
    with pytest.raises(InputError, match="no label has the same name"):
        _targets(_labels("thousand"))
    with pytest.raises(InputError, match="names label 'gdp' of 'bree'"):
        _targets(_labels(), factors=(("bree", "gdp", 2.0),))


def test_another_year_is_another_label_unless_it_is_declared_the_same():
    with pytest.raises(InputError, match="classes and year in all cities"):
        _targets(_labels(year=2010))
    assert set(_targets(_labels(year=2010), years="any")) == {"population"}


def test_pois_are_counted_by_name_in_every_city(records_dir):
    source = RecordSource(records_dir)
    names = ("shop", "pier", "park", "bank", "school", "cafe")
    city = Renumbered(source, dict.fromkeys(names, ""))
    own = baselines.category_counts(source)
    counts = baselines.category_counts(city)
    for place, name in enumerate(source.manifest.categories):
        np.testing.assert_array_equal(counts[:, names.index(name)], own[:, place])
    assert not counts[:, names.index("pier")].any()
    assert city.identity["categories"] != source.identity["categories"]
    assert city.identity["inputs"] == source.identity["inputs"]


@pytest.mark.parametrize(
    "headline, best, says",
    [("r2_log", -0.2, True), ("r2", 0.1, False), ("l1", -1, False)],
)
def test_labels_that_nobody_can_use_are_called_so(headline, best, says):
    others = {"never seen image": {"mean": best}, "mean": {"mean": best - 1}}
    label = {"headline": headline, "results": {transfer_table.OTHERS: others}}
    assert ("of no use" in transfer_table.useless(label)) == says


# ---- the whole command ----


@pytest.mark.slow  # four encoders are trained and compiled
def test_a_city_left_out_is_tested_and_nothing_is_trained_twice(tmp_path, caplog):
    caplog.set_level("INFO")
    from configs import transfer as transfer_config

    lists = (small_records.CATEGORIES, ("bakery", "cafe", "shop", "park", "pier"))
    for seed, name in enumerate(NAMES[:3]):
        folder = tmp_path / name / "records"
        folder.mkdir(parents=True)
        categories = lists[seed % 2]
        small_records.write_records(folder, seed=seed, city=name, categories=categories)
    config = small_records.config_of(tmp_path / "alba/records", tmp_path)
    study_config = transfer_config.get_config("toy_cities,smoke")
    config.transfer, config.loss = study_config.transfer, study_config.loss
    config.corpus.records = (str(tmp_path / "*/records"),)
    config.corpus.categories = "by_name"
    config.data.batch_size, config.train.total = 8, "2 steps"
    config.transfer.tested, config.transfer.num_cities = ("bree",), (1,)
    config.transfer.num_labels, config.transfer.num_draws = (6,), 2
    config.eval.features, config.eval.certainty.num_resamples = ("image", "both"), 20
    transfer.run(config)
    content = json.loads((tmp_path / "run/transfer.json").read_text())
    assert content["encoders"]["without_bree"] == ["alba", "cori"]
    population = content["labels"]["population"]
    others, own = population["results"].values()
    assert {"never seen both", "1 other city image", "statistics and counts",
            "random image", "mean"} <= set(others)  # fmt: skip
    assert "own city both" in own and "own city both" not in others
    assert np.shape(population["matrix"]["never seen both"]) == (3, 1)
    text = (tmp_path / "run/transfer.txt").read_text()
    assert "never seen both - all cities both, other cities" in text
    page = (tmp_path / "run/transfer.html").read_text()
    assert "in a city that it has never seen" in page
    caplog.clear()
    transfer.run(config)
    again = json.loads((tmp_path / "run/transfer.json").read_text())
    assert again["labels"] == content["labels"]
    trained = [one for one in caplog.messages if "already trained" in one]
    assert len(trained) == len(content["encoders"]) == 4
