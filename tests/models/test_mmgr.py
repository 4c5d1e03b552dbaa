"""MMGR as a whole: its parts, its statistics, empty sets, the factory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_model import B, D, batch, build, shapes_of

from mmgr_jax.errors import InputError
from mmgr_jax.losses.contrastive import mmgr_loss
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.models import resnet

STEPS = 2  # of Set2Set; test_released.py has the five
KEY = jax.random.key(0, impl="rbg")  # compiles in a third of the time


def with_one_block(dtype="float32"):
    """The model with encoders that compile fast; 8 image features."""
    encoder = resnet.ResNet((1,), width=8, dtype=jnp.dtype(dtype))
    model = build(poi_encoder={"name": "set2set", "steps": STEPS}, dtype=dtype)
    return model.clone(image_encoder=encoder)


@pytest.fixture(scope="module")
def model():
    return with_one_block()


@pytest.fixture(scope="module")
def variables(model):
    return jax.jit(lambda key: model.init(key, *batch(), train=True))(KEY)


def test_methods_are_the_parts_of_the_whole(model, variables):
    views, pois = batch()

    @jax.jit
    def whole(variables):
        return model.apply(variables, views, pois, train=False)

    @jax.jit
    def parts(variables):
        features = model.apply(variables, views[1], method="encode_image")
        pooled = model.apply(variables, pois, method="encode_pois")
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
    views, pois = batch()
    views = views.at[1].multiply(3.0)

    @jax.jit
    def run(variables, views):
        return model.apply(variables, views, pois, train=True, mutable=["batch_stats"])[
            1
        ]["batch_stats"]

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


def test_joint_statistics_are_those_of_both_views_together(model, variables):
    views, pois = batch()
    views = views.at[1].multiply(3.0)
    joint = model.clone(batch_statistics="joint")

    @jax.jit
    def run(variables):
        return joint.apply(variables, views, pois, train=True, mutable=["batch_stats"])

    @jax.jit
    def together(variables):
        both = jnp.concatenate(list(views))
        features, updates = model.apply(
            variables, both, train=True, mutable=["batch_stats"], method="encode_image"
        )
        return model.apply(variables, features, method="project_image"), updates

    outputs, updates = run(variables)
    z_image, expected = together(variables)
    z_image = z_image.reshape(outputs["z_image"].shape)
    np.testing.assert_allclose(outputs["z_image"], z_image, rtol=1e-4, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        updates,
        expected,
    )


def test_a_learnt_temperature_starts_at_the_configured_one_and_learns():
    model = with_one_block().clone(learn_temperature=True)
    views, pois = batch()
    variables = jax.jit(lambda key: model.init(key, views, pois, train=True))(KEY)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        outputs, _ = model.apply(
            {**variables, "params": params},
            views,
            pois,
            train=True,
            mutable=["batch_stats"],
        )
        loss, parts = mmgr_loss(**outputs, settings=LossSettings(temperature=0.3))
        return parts["temperature"] + 0.0 * loss

    value, grads = loss(variables["params"])
    assert value == pytest.approx(0.3)
    assert grads["log_temperature_factor"] == pytest.approx(0.3)


def test_initial_image_projection_is_small_as_released(variables):
    last = variables["params"]["image_head"]["linear2"]
    assert not np.any(last["bias"])
    np.testing.assert_allclose(np.std(last["kernel"]), 0.01, rtol=0.05)
    linear = variables["params"]["poi_head"]["linear1"]
    assert 0.99 < np.max(np.abs(linear["kernel"])) * np.sqrt(2 * D) <= 1.0
    assert np.any(linear["bias"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_encoder": {"name": "resnet51"}},
            "config.model.image_encoder.name='resnet51' is unknown; "
            "allowed: resnet18, resnet50, resnet_small",
        ),
        (
            {"batch_statistics": "shared"},
            "config.model.batch_statistics='shared'; allowed: 'per_view' or 'joint'.",
        ),
        (
            {"poi_encoder": {"name": "gcn"}},
            "config.model.poi_encoder.name='gcn'; allowed: 'set2set'",
        ),
        (
            {"poi_encoder": {"name": "set2set", "vectors": "warm"}},
            "config.model.poi_encoder.vectors='warm'; "
            "allowed: 'frozen', 'tuned' or 'scratch'.",
        ),
        (
            {"poi_encoder": {"name": "set2set", "empty": "hole"}},
            "config.model.poi_encoder.empty='hole'; allowed: 'learnt' or 'constant'.",
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


def test_an_unread_key_is_refused():
    with pytest.raises(InputError, match="'resnet_small' does not take .* keys widht"):
        build({"name": "resnet_small", "widht": 8})


def test_bfloat16_keeps_float32_parameters():
    model = build(dtype="bfloat16")
    like = shapes_of(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(like)} == {jnp.dtype("float32")}
    outputs = jax.eval_shape(lambda v: model.apply(v, *batch(), train=False), like)
    assert outputs["z_image"].dtype == jnp.bfloat16
    assert outputs["z_poi"].dtype == jnp.float32


def test_bfloat16_loss_and_gradients_are_finite_float32(variables):
    """With half of the sets empty: their one vector learns as well."""
    model = with_one_block("bfloat16")
    views, pois = batch()
    pois = pois._replace(mask=pois.mask.at[::2].set(False))

    def loss(params):
        outputs, _ = model.apply(
            {**variables, "params": params},
            views,
            pois,
            train=True,
            mutable=["batch_stats"],
        )
        return mmgr_loss(
            **outputs,
            settings=LossSettings(),
            poi_empty=~jnp.any(pois.mask, axis=1),
        )[0]

    value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert value.dtype == jnp.float32
    assert 0.0 < value < 2.0 * np.log(2 * B)
    for leaf in jax.tree.leaves(grads):
        assert leaf.dtype == jnp.float32 and np.all(np.isfinite(leaf))
    assert np.any(grads["poi_encoder"]["empty_set"])
    assert np.any(grads["image_encoder"]["conv1"]["kernel"])
