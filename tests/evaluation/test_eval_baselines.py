"""Baselines against scikit-learn and loops, on the records of a small city."""

import numpy as np
import pytest
from scipy import stats
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import PolynomialFeatures

from configs import common
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import feature_sets
from mmgr_jax.evaluation.certainty import places
from mmgr_jax.evaluation.features import baselines, features, tile_statistics


@pytest.fixture(scope="module")
def inputs(records_dir):
    source = RecordSource(records_dir)
    outlines = features.read_regions(source).geometry_wkb
    return baselines.Inputs(source, places.centres_m(outlines))


@pytest.fixture
def tiles():
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (3, 11, 14, 3)).astype(np.uint8)
    tiles[1] = tiles[1] // 16 * 16  # ties
    tiles[2] = 7
    return tiles


def test_every_baseline_gives_features_of_every_region_or_is_a_rule(inputs):
    without = set()
    for name, baseline in baselines.BASELINES.items():
        assert baseline.sentence
        if baseline.features is None:
            without.add(name)
            continue
        found = baseline.features(inputs)
        assert found.values.dtype == np.float32
        assert len(found.values) == len(inputs.source)
        assert np.isfinite(found.values).all()
        assert found.num_features == sum(size for _, size in found.groups)
    assert without == {
        "mean", "neighbour average", "random encoder", "statistics and counts"
    }  # fmt: skip


def test_parts_of_a_baseline_stand_side_by_side(inputs):
    config = common.base("x", "EPSG:32651")
    city = feature_sets.EvaluatedCity.of(inputs.source)
    readout = feature_sets.Readout(config, city)
    names = ("statistics and counts", "image statistics", "poi counts")
    both, *parts = (readout.plain(name) for name in names)
    expected = np.hstack([part.values for part in parts])
    np.testing.assert_array_equal(both.values, expected)
    sizes = [part.num_features for part in parts]
    assert both.groups == (("image statistics", sizes[0]), ("POI counts", sizes[1]))
    assert sizes == [len(tile_statistics.NAMES), 6]  # five categories and all of them


def test_tf_idf_equals_scikit_learn(inputs):
    counts = baselines.category_counts(inputs.source)
    assert counts.sum() == sum(len(r["poi/category"]) for r in inputs.source)
    assert (counts.sum(axis=1) == 0).any()  # some regions have no POI
    expected = TfidfTransformer().fit_transform(counts).toarray()
    np.testing.assert_allclose(baselines.tf_idf(counts), expected, atol=1e-6)
    logs = baselines.log_counts(counts)
    np.testing.assert_allclose(logs[:, -1], np.log1p(counts.sum(axis=1)))


def test_coordinates_are_a_polynomial(inputs):
    centre_m = inputs.centre_m
    span = np.ptp(centre_m, axis=0).max() / 2
    scaled = (centre_m - (centre_m.max(axis=0) + centre_m.min(axis=0)) / 2) / span
    expected = PolynomialFeatures(3, include_bias=False).fit_transform(scaled)
    got = baselines.trend_surface(centre_m)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert np.isfinite(baselines.trend_surface(centre_m[:1])).all()


@pytest.mark.parametrize("shape", [(), (3,)])
def test_neighbour_average_equals_scikit_learn_and_reads_no_test_label(shape):
    rng = np.random.default_rng(1)
    centre_m = rng.uniform(0, 1e4, (150, 2))
    field = np.sin(centre_m / 2e3).sum(axis=1)
    target = field.reshape(-1, *[1] * len(shape)) + rng.normal(0, 0.5, (150, *shape))
    role = rng.integers(0, 3, 150)
    train, validation, test = (role == of for of in range(3))
    target[test] = np.nan
    got, chosen = baselines.neighbour_average(
        centre_m, target, train=train, validation=validation
    )
    errors = {}
    for count in baselines.NEIGHBOUR_COUNTS:
        oracle = KNeighborsRegressor(count).fit(centre_m[train], target[train])
        errors[count] = np.abs(
            oracle.predict(centre_m[validation]) - target[validation]
        ).mean()
    assert chosen == min(errors, key=errors.get) and 1 < chosen < 32
    oracle = KNeighborsRegressor(chosen).fit(centre_m[train], target[train])
    np.testing.assert_allclose(got, oracle.predict(centre_m))

    few = np.zeros(150, bool)
    few[:3] = True
    target[:3], target[3:] = 1.0, 5.0
    alone, count = baselines.neighbour_average(
        centre_m, target, train=few, validation=~few
    )
    assert count <= 3 and np.allclose(alone, 1.0)
    with pytest.raises(InputError, match="no validation region .* among 150"):
        baselines.neighbour_average(centre_m, target, train=few, validation=few & ~few)


def test_image_statistics_equal_loops(tiles):
    got = tile_statistics.image_statistics(tiles)
    assert got.shape == (3, len(tile_statistics.NAMES)) and np.isfinite(got).all()
    for tile, values in zip(tiles[:2], got[:2], strict=True):
        named = dict(zip(tile_statistics.NAMES, values, strict=True))
        expected = _colour_loops(tile) | _texture_loops(tile)
        assert set(expected) == set(named)
        for name, value in expected.items():
            assert named[name] == pytest.approx(value, abs=2e-5), name
    flat = dict(zip(tile_statistics.NAMES, got[2], strict=True))
    assert flat["deviation r"] == flat["mean gradient across 1 px"] == 0
    assert flat["binary pattern 8"] == flat["histogram g 0"] == 1


def test_tiles_in_batches_are_the_same(inputs, monkeypatch):
    whole = baselines.statistics_of_tiles(inputs.source)
    monkeypatch.setattr(baselines, "BATCH", 7)
    np.testing.assert_array_equal(baselines.statistics_of_tiles(inputs.source), whole)
    with pytest.raises(InputError, match="tiles of 7 x 32 pixels"):
        tile_statistics.image_statistics(np.zeros((2, 7, 32, 3), np.uint8))


def _colour_loops(tile):
    pixels = tile.reshape(-1, 3).astype(np.float64) / 255
    found = {}
    for index, c in enumerate("rgb"):
        values = pixels[:, index]
        found[f"mean {c}"] = values.mean()
        found[f"deviation {c}"] = values.std()
        found[f"skewness {c}"] = stats.skew(values)
        shares = np.histogram(tile[..., index], bins=8, range=(0, 256))[0]
        for bin, share in enumerate(shares / len(pixels)):
            found[f"histogram {c} {bin}"] = share
    for one, other in ("rg", "rb", "gb"):
        pair = pixels[:, "rgb".index(one)], pixels[:, "rgb".index(other)]
        found[f"correlation {one}{other}"] = stats.pearsonr(*pair).statistic
    green = [(2 * g - r - b) / (r + g + b) if r + g + b else 0 for r, g, b in pixels]
    found |= {"mean greenness": np.mean(green), "deviation of greenness": np.std(green)}
    return found


def _texture_loops(tile):
    grey = tile.astype(int) @ np.array([299, 587, 114])
    found = {}
    for px in (1, 2, 4):
        rows, columns = grey.shape[0] // px, grey.shape[1] // px
        mean = np.array(
            [
                [
                    grey[i * px : (i + 1) * px, j * px : (j + 1) * px].mean() / 255e3
                    for j in range(columns)
                ]
                for i in range(rows)
            ]
        )
        steps = [
            (mean[i, j + 1] - mean[i, j], mean[i + 1, j] - mean[i, j])
            for i in range(rows - 1)
            for j in range(columns - 1)
        ]
        across, down = np.array(steps).T
        found[f"mean gradient across {px} px"] = np.abs(across).mean()
        found[f"mean gradient down {px} px"] = np.abs(down).mean()
        found[f"gradient deviation {px} px"] = np.sqrt(across**2 + down**2).std()
    around = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    counts = np.zeros(10)
    for i in range(1, grey.shape[0] - 1):
        for j in range(1, grey.shape[1] - 1):
            lighter = [grey[i + di, j + dj] >= grey[i, j] for di, dj in around]
            changes = sum(lighter[k] != lighter[k - 1] for k in range(8))
            counts[sum(lighter) if changes <= 2 else 9] += 1
    for pattern, share in enumerate(counts / counts.sum()):
        found[f"binary pattern {pattern}"] = share
    return found


def test_neighbours_that_chose_are_averaged_too():
    """The count is chosen by training labels alone; then all labels are averaged."""
    rng = np.random.default_rng(3)
    centre_m, values = rng.uniform(0, 1000, (60, 2)), rng.normal(size=60)
    role = rng.permutation(60) % 3
    train, validation = role == 0, role == 1
    told, count = feature_sets.neighbour_average(centre_m, values, train, validation)
    _, chosen = baselines.neighbour_average(
        centre_m, values, train=train, validation=validation
    )
    assert count == chosen
    both = np.flatnonzero(train | validation)
    apart = np.linalg.norm(centre_m[:, None] - centre_m[both], axis=-1)
    nearest = both[np.argsort(apart, axis=1)[:, : int(count)]]
    np.testing.assert_allclose(told, values[nearest].mean(axis=1))
