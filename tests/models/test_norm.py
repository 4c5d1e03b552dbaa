"""BatchNorm against PyTorch's."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from oracles import import_oracle

from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.models.convolution import Conv
from mmgr_jax.models.norm import BatchNorm, devices, normalised
from mmgr_jax.typing import MESH_AXES

SHAPE = (5, 4, 3, 6)


def inputs(steps=3):
    rng = np.random.default_rng(0)
    return [rng.normal(2.0, 3.0, SHAPE).astype(np.float32) for _ in range(steps)]


def start(norm):
    variables = norm.init(jax.random.key(0), jnp.zeros(SHAPE))
    scale = jnp.linspace(0.5, 2.0, SHAPE[-1])
    bias = jnp.linspace(-1.0, 1.0, SHAPE[-1])
    return {**variables, "params": {"scale": scale, "bias": bias}}


def channels_last(tensor):
    return tensor.detach().numpy().transpose(0, 2, 3, 1)


def test_training_inference_and_gradients_equal_torch():
    torch = import_oracle("torch")
    norm = BatchNorm(SHAPE[-1])
    variables = start(norm)
    oracle = torch.nn.BatchNorm2d(SHAPE[-1])
    with torch.no_grad():
        oracle.weight.copy_(torch.tensor(np.array(variables["params"]["scale"])))
        oracle.bias.copy_(torch.tensor(np.array(variables["params"]["bias"])))

    for x in inputs():
        y, updates = norm.apply(variables, jnp.array(x), mutable=["batch_stats"])
        variables = {**variables, **updates}
        t_x = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
        t_y = oracle(t_x)
        np.testing.assert_allclose(y, channels_last(t_y), rtol=1e-5, atol=1e-5)
    stats = variables["batch_stats"]
    np.testing.assert_allclose(stats["mean"], oracle.running_mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], oracle.running_var, rtol=1e-5)

    def loss(x):
        y, _ = norm.apply(variables, x, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y))

    torch.sin(t_y).sum().backward()
    np.testing.assert_allclose(
        jax.grad(loss)(jnp.array(x)), channels_last(t_x.grad), rtol=1e-4, atol=1e-5
    )
    oracle.eval()
    factor, shift = norm.apply(variables, method=BatchNorm.folded)
    np.testing.assert_allclose(
        x * factor + shift, channels_last(oracle(t_x)), rtol=1e-5, atol=1e-5
    )


def test_running_variance_is_the_unbiased_one():
    x = inputs(1)[0]
    norm = BatchNorm(SHAPE[-1])
    _, updates = norm.apply(start(norm), jnp.array(x), mutable=["batch_stats"])
    expected = 0.9 * 1.0 + 0.1 * x.reshape(-1, SHAPE[-1]).var(axis=0, ddof=1)
    np.testing.assert_allclose(updates["batch_stats"]["var"], expected, rtol=1e-5)


class Pair(nn.Module):
    """A convolution and its norm."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train):
        norm = BatchNorm(8, dtype=self.dtype)
        return normalised(Conv(8, 3, 2, self.dtype), norm, x, train)


@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-5), ("bfloat16", 0.02)])
def test_folded_into_the_kernel_it_is_torch_s_inference(dtype, close):
    torch = import_oracle("torch")
    x, pair = jnp.array(inputs(1)[0]), Pair(dtype)
    variables = pair.init(jax.random.key(0), x, train=True)
    kernel = variables["params"]["Conv_0"]["kernel"]
    rng = np.random.default_rng(5)
    given = {
        (kind, name): rng.uniform(0.5, 2.0, 8).astype(np.float32)
        for kind, names in (("params", "scale bias"), ("batch_stats", "mean var"))
        for name in names.split()
    }
    for (kind, name), values in given.items():
        variables[kind]["BatchNorm_0"][name] = jnp.asarray(values)
    oracle = torch.nn.functional.batch_norm(
        torch.nn.functional.conv2d(
            torch.tensor(np.array(x).transpose(0, 3, 1, 2)),
            torch.tensor(np.asarray(kernel).transpose(3, 2, 0, 1)),
            stride=2,
            padding=1,
        ),
        *(
            torch.tensor(given[key])
            for key in (
                ("batch_stats", "mean"), ("batch_stats", "var"),
                ("params", "scale"), ("params", "bias"),
            )
        ),
    )  # fmt: skip
    y = pair.apply(variables, x, train=False)
    assert y.dtype == dtype
    scale = float(oracle.abs().max())
    np.testing.assert_allclose(
        np.asarray(y, np.float32), channels_last(oracle), rtol=0, atol=close * scale
    )


def test_bfloat16_activations_keep_float32_statistics():
    x = jnp.array(inputs(1)[0], jnp.bfloat16)
    norm = BatchNorm(SHAPE[-1], dtype=jnp.bfloat16)
    variables = start(norm)
    y, updates = norm.apply(variables, x, mutable=["batch_stats"])
    exact, exact_updates = BatchNorm(SHAPE[-1]).apply(
        variables, x.astype(jnp.float32), mutable=["batch_stats"]
    )
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.array(y, np.float32), exact, rtol=0.01, atol=0.01)
    for name in ("mean", "var"):
        stat = updates["batch_stats"][name]
        assert stat.dtype == jnp.float32
        np.testing.assert_allclose(stat, exact_updates["batch_stats"][name], rtol=1e-6)


def test_initialisation_leaves_the_running_statistics_alone():
    variables = BatchNorm(SHAPE[-1]).init(jax.random.key(0), jnp.ones(SHAPE))
    assert not np.any(variables["batch_stats"]["mean"])
    assert np.all(variables["batch_stats"]["var"] == 1.0)


def over_devices(scope, x, num_devices):
    """Result, statistics and gradient of `sin`, with rows split over devices."""
    mesh = sharding.make_mesh(MeshSettings(data=num_devices))
    norm = BatchNorm(SHAPE[-1], over=devices(scope, num_devices))
    variables = start(norm)
    whole, rows = PartitionSpec(), PartitionSpec(MESH_AXES)

    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(whole, rows),
        out_specs=(rows, whole),
        check_vma=False,
    )
    def apply(scale, x):
        given = variables | {"params": variables["params"] | {"scale": scale}}
        y, updates = norm.apply(given, x, mutable=["batch_stats"])
        return y, jax.lax.pmean(updates["batch_stats"], MESH_AXES)

    def loss(scale, x):
        y, stats = apply(scale, x)
        return jnp.sum(jnp.sin(y)), (y, stats)

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    gradient, (y, stats) = gradients(variables["params"]["scale"], x)
    return y, stats, gradient


@pytest.mark.parametrize(
    ("scope", "groups"), [("local", 4), ("group:2", 2), ("global", 1)]
)
def test_groups_of_four_devices_are_so_many_batches(scope, groups):
    x = np.random.default_rng(1).normal(2.0, 3.0, (8, *SHAPE[1:])).astype(np.float32)
    y, stats, (scale_gradient, x_gradient) = over_devices(scope, x, 4)
    parts = [over_devices("local", part, 1) for part in np.split(x, groups)]
    np.testing.assert_allclose(y, np.concatenate([p[0] for p in parts]), atol=2e-6)
    for name in ("mean", "var"):
        expected = np.mean([p[1][name] for p in parts], axis=0)
        np.testing.assert_allclose(stats[name], expected, rtol=1e-5)
    np.testing.assert_allclose(
        scale_gradient, sum(p[2][0] for p in parts), rtol=1e-4, atol=1e-5
    )
    expected = np.concatenate([p[2][1] for p in parts])
    np.testing.assert_allclose(x_gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("scope", "num_devices", "group_size"),
    [
        ("global", 8, 8), ("local", 8, 1), ("group:1", 8, 1), ("group:4", 8, 4),
        ("group:8", 8, 8), ("group:16", 8, 8), ("local", 1, 1), ("group:2", 1, 1),
    ],
)  # fmt: skip
def test_groups_of_a_scope(scope, num_devices, group_size):
    over = devices(scope, num_devices)
    assert (over.group_size if over else 1) == group_size
    assert (over.num_groups if over else num_devices) == num_devices // group_size


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ("host", "batch_norm='host' is unknown; allowed: global, local, group:k"),
        ("group:0", "batch_norm='group:0' is unknown"),
        (
            "group:4",
            "does not divide 6 devices into equal groups. Take one of "
            "group:1, group:2, group:3",
        ),
    ],
)
def test_a_scope_that_does_not_fit_is_refused(scope, message):
    with pytest.raises(InputError, match=message):
        devices(scope, 6)
