"""The POI encoder in the browser says of a set what the model says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgr_jax.explore import poi_weights
from mmgr_jax.typing import PoiSets
from tests import small_model
from tests.explore.node import as_map

SETS = ([3, 3, 3, 7, 19], [5], [], list(range(20)) + [4] * 9)
SLOTS = 32


def pois(sets=SETS):
    """Four sets, padded."""
    mask = np.arange(SLOTS) < np.array([len(s) for s in sets])[:, None]
    category = np.array([s + [0] * (SLOTS - len(s)) for s in sets])
    places = jnp.zeros((len(sets), SLOTS, 2))
    return PoiSets(jnp.array(category, jnp.int32), places, jnp.array(mask))


def whole(model, sets):
    """Pooled vectors and projections."""
    pooled = model.encode_pois(sets)
    return pooled, model.project_pois(pooled)


@pytest.mark.parametrize(("counts", "empty"), [(True, "learnt"), (False, "constant")])
def test_sets_are_encoded_as_the_model_does(node, counts, empty):
    model = small_model.build(poi_encoder={"counts": counts, "empty": empty})
    variables = model.init(jax.random.key(1), pois(), method=whole)
    pooled, projected = model.apply(variables, pois(), method=whole)
    weights = poi_weights.poi_weights(model, variables)
    for row, members in enumerate(SETS):
        numbers, times = np.unique(np.array(members, int), return_counts=True)
        mix = as_map(zip(numbers.tolist(), times.tolist(), strict=True))
        vector = node("poi_encoder", "setVector", weights, mix)
        np.testing.assert_allclose(vector, pooled[row, : len(vector)], atol=1e-5)
        wanted = projected[row] / np.linalg.norm(projected[row])
        found = node("poi_encoder", "encodeMix", weights, mix)
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["attention", "gcn_set2set"])
def test_an_encoder_that_reads_places_has_none(name):
    model = small_model.build(poi_encoder={"name": name})
    assert poi_weights.poi_weights(model, {}) is None


def test_no_pois_of_a_category_are_as_good_as_none_named(node):
    model = small_model.build(poi_encoder={"counts": True})
    variables = model.init(jax.random.key(1), pois(), method=whole)
    weights = poi_weights.poi_weights(model, variables)
    once = node("poi_encoder", "encodeMix", weights, as_map([(3, 2), (4, 0)]))
    again = node("poi_encoder", "encodeMix", weights, as_map([(3, 2)]))
    np.testing.assert_array_equal(once, again)


def test_without_a_category_the_set_is_encoded_again(node):
    model = small_model.build(poi_encoder={"counts": True})
    variables = model.init(jax.random.key(1), pois(), method=whole)
    weights = poi_weights.poi_weights(model, variables)
    counts = weights["c"] + 1
    size = 2 * weights["width"]
    rng = np.random.default_rng(0)
    kernel, mean = rng.normal(size=(2, counts + size + 3))
    deviation = rng.uniform(0.5, 2, size=len(mean))
    deviation[4] = 0  # constant: nothing hangs on it
    city = {
        "groups": [
            {"name": "stage 1", "start": 0, "size": 3},
            {"name": "POI counts", "start": 3, "size": counts},
            {"name": "POI set", "start": 3 + counts, "size": size},
        ],
        "mean": mean.astype(np.float32),
        "deviation": deviation.astype(np.float32),
        "pois": {
            "start": np.array([0, 3], np.uint32),
            "category": np.array([3, 7, 19], np.uint16),
            "count": np.array([3, 1, 1], np.uint16),
        },
    }
    found = node("why", "withoutCategories", city, weights, kernel, 0)

    sets = ([3, 3, 3, 7, 19], [7, 19], [3, 3, 3, 19], [3, 3, 3, 7])
    parts = model.apply(variables, pois(sets), apart=True, method="encode_pois")
    raw = np.concatenate([parts["POI counts"], parts["POI set"]], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(deviation[3:] > 0, (raw - mean[3:]) / deviation[3:], 0)
    full, *without = z @ kernel[3:]
    wanted = dict(zip((3, 7, 19), full - np.array(without), strict=True))
    assert {row["category"]: row["count"] for row in found} == {3: 3, 7: 1, 19: 1}
    for row in found:
        assert row["value"] == pytest.approx(wanted[row["category"]], abs=1e-4)
    sizes = [abs(row["value"]) for row in found]
    assert sizes == sorted(sizes, reverse=True)
