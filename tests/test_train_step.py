"""Micro-batches: the same gradient as the whole, on one device and on several."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_model import D, K

from mmgr_jax import settings
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.models import mmgr, resnet, start, vit
from mmgr_jax.models.settings import ModelSettings, Set2SetSettings
from mmgr_jax.train import step as train_step
from mmgr_jax.train.settings import TrainSettings

B, SIZE_PX = 16, 32
AUGMENT = AugmentSettings(size_px=SIZE_PX)
LOSS = LossSettings(temperature=0.3, image_weight=0.4, symmetric=True, tile=8)


def batch():
    rng = np.random.default_rng(0)
    mask = np.arange(6) < rng.integers(0, 7, B)[:, None]
    return {
        "image": jnp.array(rng.integers(0, 256, (B, SIZE_PX, SIZE_PX, 3)), jnp.uint8),
        "poi_category": jnp.array(rng.integers(0, K, (B, 6)), jnp.int32),
        "poi_offset_m": jnp.zeros((B, 6, 2)),
        "poi_mask": jnp.array(mask),
        "example_mask": jnp.arange(B) < B - 3,
        "city_index": jnp.array(rng.choice(3, B, p=[0.6, 0.3, 0.1]), jnp.int32),
    }


def model_with(image_encoder):
    settings = ModelSettings(
        image_encoder={"name": "resnet_small"},
        poi_encoder=Set2SetSettings(steps=1),
        projection_dim=16,
        learn_temperature=True,
    )
    model = mmgr.build(settings, num_categories=K, category_dim=D)
    return model.clone(image_encoder=image_encoder)


def prepared(model, devices, loss=LOSS, **options):
    """A jitted step of SGD at rate 1, and what to call it with."""
    mesh = sharding.make_mesh(MeshSettings(data=devices))
    tx = optax.sgd(1.0)
    key = jax.random.key(0, impl="rbg")
    state = jax.jit(lambda: train_step.init_state(model, tx, key, 6, SIZE_PX))()
    options = {"gradient_dtype": "float32"} | options
    step = train_step.make_train_step(
        model, tx, augment=AUGMENT, loss=loss, mesh=mesh, **options
    )
    whole, rows = sharding.replicated(mesh), sharding.split(mesh)
    step = jax.jit(step, in_shardings=(whole, rows, whole), out_shardings=whole)
    return step, (
        jax.device_put(state, whole),
        jax.device_put(batch(), rows),
        jax.device_put(jax.random.key(1), whole),
    )


def stepped(model, devices=1, **options):
    """Loss, gradient, and statistics of BatchNorm."""
    step, (state, *given) = prepared(model, devices, **options)
    after, metrics = step(state, *given)
    gradient = jax.tree.map(
        lambda a, b: a - b, state.params, jax.device_get(after.params)
    )
    return metrics["loss"], gradient, after.batch_stats


def assert_close(ours, theirs, rtol=2e-5):
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(theirs))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=rtol * scale),
        ours,
        theirs,
    )


@pytest.fixture(scope="module")
def transformer():
    """Without BatchNorm nothing depends on how a batch is parted."""
    model = model_with(vit.ViT(width=16, depth=1, num_heads=2))
    return model, stepped(model, microbatches=1)


@pytest.mark.parametrize(
    ("microbatches", "devices"), [pytest.param(4, 1, marks=pytest.mark.slow), (2, 4)]
)
def test_the_gradient_is_that_of_the_whole_batch(transformer, microbatches, devices):
    model, (loss, gradient, _) = transformer
    parted_loss, parted_gradient, _ = stepped(model, devices, microbatches=microbatches)
    np.testing.assert_allclose(parted_loss, loss, rtol=2e-6)
    assert_close(parted_gradient, gradient)


def test_micro_batches_keep_the_negatives_of_the_whole_batch_in_a_city(transformer):
    model, (loss_of_all, _, _) = transformer
    within = dataclasses.replace(LOSS, negatives="city")
    dense = dataclasses.replace(within, implementation="dense")
    loss, gradient, _ = stepped(model, loss=dense)
    parted_loss, parted_gradient, _ = stepped(model, 4, loss=within, microbatches=2)
    np.testing.assert_allclose(parted_loss, loss, rtol=2e-6)
    assert_close(parted_gradient, gradient)
    assert loss < loss_of_all - 0.1  # fewer negatives


@pytest.mark.parametrize(  # those of float32 are above those of the whole batch, too
    "dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"]
)
def test_gradients_are_summed_over_devices_in_the_type_asked_for(transformer, dtype):
    model, (loss, gradient, _) = transformer
    step, given = prepared(model, 4, gradient_dtype=dtype)
    sums = re.findall(
        r"stablehlo.all_reduce.*?\) -> tensor<[\dx]*x?(f32|bf16)>",
        step.lower(*given).as_text(),
        re.DOTALL,
    )
    learnt = len(jax.tree.leaves(given[0].params)) - 1  # but the frozen table
    assert sums.count({"float32": "f32", "bfloat16": "bf16"}[dtype]) >= learnt
    after, metrics = step(*given)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=2e-6)
    ours = jax.tree.map(lambda a, b: a - b, given[0].params, after.params)
    assert_close(
        jax.device_get(ours), gradient, {"float32": 2e-5, "bfloat16": 0.01}[dtype]
    )


def test_an_unknown_type_of_gradients_is_refused():
    with pytest.raises(InputError, match="gradient_dtype='half'; allowed: 'float32'"):
        settings.read(TrainSettings, {"gradient_dtype": "half"}, "train")


def test_batchnorm_sees_one_part_after_another():
    model = model_with(resnet.ResNet((1,), width=8))
    key = jax.random.key(0, impl="rbg")
    variables = jax.jit(lambda: start.init_variables(model, key, 6, SIZE_PX))()
    given = batch() | {"place": jnp.arange(B)}
    views = jax.random.normal(jax.random.key(2), (2, B, SIZE_PX, SIZE_PX, 3))
    given["views"] = views.swapaxes(0, 1)

    def encode(params, batch_stats, batch, _):
        views = batch["views"].swapaxes(0, 1)
        return train_step.apply(model, params, batch_stats, batch, views)

    arguments = (variables["params"], variables["batch_stats"])
    parted = jax.jit(partial(train_step.in_microbatches(encode, 2), given=None))
    outputs, stats = parted(*arguments, given)
    halves = []
    expected_stats = variables["batch_stats"]
    for half in (slice(0, B // 2), slice(B // 2, B)):
        part = jax.tree.map(lambda leaf, half=half: leaf[half], given)
        out, expected_stats = jax.jit(encode)(
            variables["params"], expected_stats, part, None
        )
        halves.append(out)
    expected = jnp.concatenate([out["z_image"] for out in halves], axis=1)
    np.testing.assert_allclose(outputs["z_image"], expected, rtol=1e-4, atol=1e-6)
    assert_close(stats, expected_stats)


def test_sizes_that_do_not_part_a_batch_are_refused_with_some_that_do():
    mesh = sharding.make_mesh(MeshSettings(data=4))
    assert sharding.microbatches(mesh, 64, None) == 1
    assert sharding.microbatches(mesh, 64, 16) == 4
    for size in (24, 2, 128):
        with pytest.raises(InputError, match=f"microbatch_size={size} does not divide"):
            sharding.microbatches(mesh, 64, size)
