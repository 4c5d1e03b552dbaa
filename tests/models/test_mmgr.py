"""MMGR as a whole: its parts, its statistics, empty sets, the factory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_model import B, D, K, batch, build, shapes_of

from mmgr_jax.errors import InputError
from mmgr_jax.losses import mmgr_loss
from mmgr_jax.models import mmgr, resnet

STEPS = 2  # of Set2Set; test_released.py has the five
KEY = jax.random.key(0, impl="rbg")  # compiles in a third of the time


def with_one_block(dtype=jnp.float32):
    """The model with encoders that compile fast; 8 image features."""
    encoder = resnet.ResNet((1,), width=8, dtype=dtype)
    model = build(poi_encoder={"name": "set2set", "steps": STEPS}, dtype=dtype)
    return model.clone(image_encoder=encoder)


@pytest.fixture(scope="module")
def model():
    return with_one_block()


@pytest.fixture(scope="module")
def variables(model):
    return jax.jit(lambda key: model.init(key, *batch(), train=True))(KEY)


def poi_encoder_and_batch(**options):
    model = mmgr.PoiEncoder(K, D, steps=STEPS, **options)
    _, *pois = batch()
    return model, jax.jit(model.init)(KEY, *pois), pois


@pytest.mark.parametrize(("vectors", "learnt"), [("frozen", False), ("tuned", True)])
def test_frozen_vectors_get_no_gradient_and_tuned_ones_do(vectors, learnt):
    model, variables, pois = poi_encoder_and_batch(vectors=vectors)

    @jax.jit
    @jax.grad
    def grad(variables):
        return jnp.sum(model.apply(variables, *pois) ** 2)

    assert np.any(grad(variables)["params"]["category_vectors"]) == learnt


def test_empty_sets_share_one_learnt_vector():
    model, variables, (category, offset_m, mask) = poi_encoder_and_batch()
    mask = mask.at[1].set(False).at[3].set(False)

    def loss(variables):
        pooled = model.apply(variables, category, offset_m, mask)
        return jnp.sum(jnp.sin(pooled)), pooled

    (_, rows), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)
    empty = variables["params"]["empty"]
    np.testing.assert_array_equal(rows[1], empty)
    np.testing.assert_array_equal(rows[3], empty)
    assert not np.allclose(rows[0], empty)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
    np.testing.assert_allclose(grads["params"]["empty"], 2.0 * np.cos(empty), rtol=1e-5)


def test_ids_of_padding_may_be_anything(model, variables):
    views, category, offset_m, mask = batch()
    encode = jax.jit(lambda *pois: model.apply(variables, *pois, method="encode_pois"))
    expected = encode(category, offset_m, mask)
    result = encode(jnp.where(mask, category, 10**6), offset_m, mask)
    np.testing.assert_array_equal(result, expected)


def test_methods_are_the_parts_of_the_whole(model, variables):
    views, category, offset_m, mask = batch()

    @jax.jit
    def whole(variables):
        return model.apply(variables, views, category, offset_m, mask, train=False)

    @jax.jit
    def parts(variables):
        features = model.apply(variables, views[1], method="encode_image")
        pooled = model.apply(variables, category, offset_m, mask, method="encode_pois")
        z_image = model.apply(variables, features, method="project_image")
        z_poi = model.apply(variables, pooled, method="project_pois")
        return features, pooled, z_image, z_poi

    outputs = whole(variables)
    features, pooled, z_image, z_poi = parts(variables)
    assert features.shape == (B, 8)
    assert pooled.shape == (B, 2 * D)
    assert outputs["z_image"].shape == (2, B, 128)
    np.testing.assert_allclose(outputs["z_image"][1], z_image, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(outputs["z_poi"], z_poi, rtol=1e-4, atol=1e-6)


def test_views_have_their_own_statistics_and_move_the_running_ones_in_turn(
    model, variables
):
    views, *pois = batch()
    views = views.at[1].multiply(3.0)

    @jax.jit
    def run(variables, views):
        return model.apply(
            variables, views, *pois, train=True, mutable=["batch_stats"]
        )[1]["batch_stats"]

    both = run(variables, views)
    in_turn = variables
    encode = jax.jit(
        lambda v, x: model.apply(
            v, x, train=True, mutable=["batch_stats"], method="encode_image"
        )[1]
    )
    for view in views:
        in_turn = {**in_turn, **encode(in_turn, view)}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        both,
        in_turn["batch_stats"],
    )


def test_initial_image_projection_is_small_as_released(variables):
    last = variables["params"]["image_head"]["linear2"]
    assert not np.any(last["bias"])
    np.testing.assert_allclose(np.std(last["kernel"]), 0.01, rtol=0.05)
    linear = variables["params"]["poi_head"]["linear1"]
    assert 0.99 < np.max(np.abs(linear["kernel"])) * np.sqrt(2 * D) <= 1.0
    assert np.any(linear["bias"])


def test_given_category_vectors_are_the_initial_table():
    table = np.random.default_rng(2).normal(size=(K, D)).astype(np.float32)
    encoder = build(category_vectors=table).poi_encoder
    _, *pois = batch()
    variables = jax.jit(encoder.init)(KEY, *pois)
    np.testing.assert_array_equal(variables["params"]["category_vectors"], table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_encoder": {"name": "resnet51"}},
            "model.image_encoder.name='resnet51' is unknown: "
            "choose one of resnet18, resnet50, resnet_small",
        ),
        (
            {"poi_encoder": {"name": "gcn"}},
            "model.poi_encoder.name='gcn' is unknown: choose one of set2set",
        ),
        (
            {"poi_encoder": {"name": "set2set", "vectors": "warm"}},
            "model.poi_encoder.vectors='warm' is unknown: choose one of frozen, tuned",
        ),
        (
            {"category_vectors": np.zeros((3, D), np.float32)},
            r"category_vectors has shape (3, 64), but the records have "
            r"(num_categories, category_dim) = (20, 64)",
        ),
    ],
)
def test_factory_names_the_fault(options, message):
    with pytest.raises(InputError) as error:
        build(**options)
    assert message in str(error.value)


def test_an_unread_key_is_a_type_error():
    with pytest.raises(TypeError, match="widht"):
        build({"name": "resnet_small", "widht": 8})


def test_bfloat16_keeps_float32_parameters():
    model = build(dtype=jnp.bfloat16)
    like = shapes_of(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(like)} == {jnp.dtype("float32")}
    outputs = jax.eval_shape(lambda v: model.apply(v, *batch(), train=False), like)
    assert outputs["z_image"].dtype == jnp.bfloat16
    assert outputs["z_poi"].dtype == jnp.float32


def test_bfloat16_loss_and_gradients_are_finite_float32(variables):
    """With half of the sets empty: their one vector learns as well."""
    model = with_one_block(jnp.bfloat16)
    views, category, offset_m, mask = batch()
    mask = mask.at[::2].set(False)

    def loss(params):
        outputs, _ = model.apply(
            {**variables, "params": params},
            views,
            category,
            offset_m,
            mask,
            train=True,
            mutable=["batch_stats"],
        )
        return mmgr_loss(
            outputs["z_image"],
            outputs["z_poi"],
            temperature=0.5,
            image_weight=0.5,
            poi_empty=~jnp.any(mask, axis=1),
        )[0]

    value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert value.dtype == jnp.float32
    assert 0.0 < value < 2.0 * np.log(2 * B)
    for leaf in jax.tree.leaves(grads):
        assert leaf.dtype == jnp.float32 and np.all(np.isfinite(leaf))
    assert np.any(grads["poi_encoder"]["empty"])
    assert np.any(grads["image_encoder"]["conv1"]["kernel"])
