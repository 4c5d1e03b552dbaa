"""POI encoders: the table, the empty set, padding, and what surrounds a POI."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_model import D, K, batch

from mmgr_jax.models import poi

KEY = jax.random.key(0, impl="rbg")  # compiles in a third of the time


def encoder_and_sets(name="set2set", **options):
    """A POI encoder, its variables and ragged sets."""
    if name.endswith("set2set"):
        options = {"steps": 2} | options
    model = poi.build(name=name, num_categories=K, category_dim=D, **options)
    _, pois = batch()
    return model, jax.jit(model.init)(KEY, pois), pois


def vectors_of(variables):
    return variables["params"]["table"]["category_vectors"]


@pytest.mark.parametrize(
    ("vectors", "learnt"), [("frozen", False), ("tuned", True), ("scratch", True)]
)
def test_frozen_vectors_get_no_gradient_and_others_do(vectors, learnt):
    model, variables, pois = encoder_and_sets(vectors=vectors)

    @jax.jit
    @jax.grad
    def grad(variables):
        return jnp.sum(model.apply(variables, pois) ** 2)

    assert np.any(vectors_of(grad(variables))) == learnt


@pytest.mark.parametrize(
    ("vectors", "kept"), [("frozen", True), ("tuned", True), ("scratch", False)]
)
def test_the_records_table_starts_what_is_not_learnt_from_scratch(vectors, kept):
    given = np.random.default_rng(2).normal(size=(K, D)).astype(np.float32)
    _, variables, _ = encoder_and_sets(vectors=vectors, category_vectors=given)
    assert np.array_equal(vectors_of(variables), given) == kept


def test_empty_sets_share_one_learnt_vector():
    model, variables, pois = encoder_and_sets()
    pois = pois._replace(mask=pois.mask.at[1].set(False).at[3].set(False))

    def loss(variables):
        pooled = model.apply(variables, pois)
        return jnp.sum(jnp.sin(pooled)), pooled

    (_, rows), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)
    empty = variables["params"]["empty_set"]
    np.testing.assert_array_equal(rows[1], empty)
    np.testing.assert_array_equal(rows[3], empty)
    assert not np.allclose(rows[0], empty)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
    gradient = grads["params"]["empty_set"]
    np.testing.assert_allclose(gradient, 2.0 * np.cos(empty), rtol=1e-5)


def test_a_constant_empty_set_has_no_parameter():
    model, variables, pois = encoder_and_sets(empty="constant")
    assert "empty_set" not in variables["params"]
    mask = pois.mask.at[1].set(False).at[3].set(False)
    rows = jax.jit(model.apply)(variables, pois._replace(mask=mask))
    np.testing.assert_array_equal(rows[1], rows[3])
    assert not np.any(rows[1, D:])  # nothing was read


def test_ids_of_padding_may_be_anything():
    model, variables, pois = encoder_and_sets()
    encode = jax.jit(model.apply)
    other = pois._replace(category=jnp.where(pois.mask, pois.category, 10**6))
    np.testing.assert_array_equal(encode(variables, other), encode(variables, pois))
