"""Numbers of POIs beside the pooled vector, which forgets them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from small_pois import LENGTHS, K, sets

from mmgr_jax.errors import InputError
from mmgr_jax.models import mmgr, poi
from mmgr_jax.models.settings import POI_ENCODERS
from mmgr_jax.store import checkpoint, identity

D = 16
EMPTY = np.array(LENGTHS) == 0
KEY = jax.random.key(0, impl="rbg")  # compiles in a third of the time
ENCODERS = tuple(poi.FACTORIES)


def build(name, counts=True):
    steps = {"steps": 2} if name.endswith("set2set") else {}
    settings = POI_ENCODERS[name](counts=counts, **steps)
    return poi.build(settings, num_categories=K, category_dim=D)


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request):
    """An encoder with counts, (variables, sets) -> vectors, and variables."""
    model = build(request.param)
    return request.param, jax.jit(model.apply), jax.jit(model.init)(KEY, sets())


def by_bincount(pois):
    """log(1 + numbers), set by set, by NumPy."""
    rows = []
    for category, mask in zip(pois.category, pois.mask, strict=True):
        present = np.asarray(category)[np.asarray(mask)]
        counts = np.bincount(present, minlength=K)
        rows.append(np.log1p([*counts, len(present)]))
    return np.array(rows)


@pytest.mark.parametrize("padding", [-1, 0, K - 1, K, 10**6])
def test_counts_are_those_of_bincount_whatever_padding_holds(padding):
    pois = sets()
    # All POIs of a region alike, of the last category: more than one of a kind.
    pois = pois._replace(category=pois.category.at[2].set(K - 1))
    pois = pois._replace(category=jnp.where(pois.mask, pois.category, padding))
    found = jax.jit(poi.log_counts, static_argnums=1)(pois, K)
    assert found.shape == (8, K + 1) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, by_bincount(pois), rtol=1e-6)
    assert found[2, K - 1] == found[2, K] == pytest.approx(np.log(10))
    assert not np.any(found[EMPTY])


def test_counts_stand_behind_the_pooled_vector(encoder):
    """Same parameters, same vector, and nothing to learn of numbers alone."""
    name, run, variables = encoder
    plain = build(name, counts=False)
    same = jax.eval_shape(plain.init, KEY, sets())
    assert jax.tree.structure(same) == jax.tree.structure(variables)
    result = run(variables, sets())
    assert result.shape == (8, 2 * D + K + 1)
    np.testing.assert_array_equal(
        result[:, : 2 * D], jax.jit(plain.apply)(variables, sets())
    )
    np.testing.assert_allclose(result[:, 2 * D :], by_bincount(sets()), rtol=1e-6)
    empty = variables["params"]["empty_set"]
    expected = np.concatenate([empty, np.zeros(K + 1)])
    np.testing.assert_array_equal(result[EMPTY], [expected, expected])
    parts = build(name).apply(variables, sets(), apart=True)
    assert list(parts) == ["POI set", "POI counts"]
    np.testing.assert_allclose(
        np.concatenate([*parts.values()], axis=1), result, rtol=1e-5, atol=1e-6
    )


def test_neither_order_nor_padding_matters(encoder):
    _, run, variables = encoder
    expected = run(variables, sets())
    for other in (sets(shuffle=True), sets(slots=16, edge_slots=50)):
        np.testing.assert_allclose(
            run(variables, other), expected, rtol=1e-5, atol=1e-6
        )


def test_how_many_of_the_same_is_seen(encoder):
    """A set twice over pools to the same summary; its counts tell."""
    name, run, variables = encoder
    pois = sets(slots=20)
    row, n = 2, LENGTHS[2]
    twice = pois._replace(
        category=pois.category.at[row, n : 2 * n].set(pois.category[row, :n]),
        offset_m=pois.offset_m.at[row, n : 2 * n].set(pois.offset_m[row, :n]),
        mask=pois.mask.at[row, : 2 * n].set(True),
    )
    one, two = run(variables, pois)[row], run(variables, twice)[row]
    if name == "set2set":
        np.testing.assert_allclose(one[: 2 * D], two[: 2 * D], atol=1e-5)
    gained = np.expm1(two[2 * D :]) - 2 * np.expm1(one[2 * D :])
    np.testing.assert_allclose(gained, 0, atol=1e-4)
    assert two[-1] > one[-1] + 0.5


def test_split_over_devices_rows_are_counted_where_they_are(encoder):
    _, run, variables = encoder
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    whole = NamedSharding(mesh, PartitionSpec())
    rows = NamedSharding(mesh, PartitionSpec("data"))
    split = jax.jit(run, in_shardings=(whole, rows), out_shardings=rows)
    split = split.lower(variables, sets()).compile()
    for exchange in ("all-", "permute", "reduce-scatter"):
        assert exchange not in split.as_text()
    spread = split(jax.device_put(variables, whole), jax.device_put(sets(), rows))
    np.testing.assert_allclose(spread, run(variables, sets()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_head_learns_from_counts_with_finite_gradients(name):
    model, head = build(name), mmgr.ProjectionHead(hidden=8, features=4)
    pois = sets()

    @jax.jit
    def gradients(key):
        variables = model.init(key, pois)
        of_head = head.init(key, jnp.zeros((8, 2 * D + K + 1)))

        def loss(both):
            return jnp.sum(jnp.sin(head.apply(both[1], model.apply(both[0], pois))))

        return jax.grad(loss)((variables, of_head))

    grads = gradients(KEY)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
    kernel = grads[1]["params"]["linear1"]["kernel"]
    occurring = np.unique(pois.category[pois.mask])
    learnt = np.flatnonzero(np.any(kernel[2 * D : -1], axis=1))
    np.testing.assert_array_equal(learnt, occurring)
    assert np.any(kernel[-1]) and np.any(grads[0]["params"]["empty_set"])


def _checkpoint(**poi_encoder):
    config = {"model": {"projection_dim": 8, "poi_encoder": dict(poi_encoder)}}
    return checkpoint.Metadata(config, ("a",), 2)


@pytest.mark.parametrize("stored", [{}, {"counts": False}, {"counts": True}])
@pytest.mark.parametrize("wanted", [{}, {"counts": False}, {"counts": True}])
def test_checkpoints_without_the_key_count_nothing(stored, wanted):
    asked = {"projection_dim": 8, "poi_encoder": {"name": "set2set", **wanted}}
    metadata = _checkpoint(name="set2set", **stored)
    there, here = stored.get("counts", False), wanted.get("counts", False)
    if there == here:
        identity.check_model(asked, metadata, Path("1"))
        return
    with pytest.raises(
        InputError,
        match=f"model.poi_encoder.counts: {there} in the checkpoint, {here} here",
    ):
        identity.check_model(asked, metadata, Path("1"))
