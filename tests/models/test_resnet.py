"""ResNet against torchvision: outputs, running statistics, gradients, names."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import import_oracle, import_torchvision

from mmgr_jax.models import resnet, weights

SIZE_PX = 64
# Relative to the largest value: float32 sums in another order through 50 layers.
CLOSE = 2e-4


def variables_of(model):
    """Random variables, without compiling an initialisation."""
    rng = np.random.default_rng(5)
    like = shapes_of(model)
    params = jax.tree.map(
        lambda leaf: jnp.array(rng.normal(0.1, 0.1, leaf.shape), jnp.float32),
        like["params"],
    )
    stats = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), like["batch_stats"])
    return {"params": params, "batch_stats": stats}


def shapes_of(model):
    return jax.eval_shape(
        lambda key: model.init(key, image(1), train=True), jax.random.key(0)
    )


def image(b, size_px=SIZE_PX):
    rng = np.random.default_rng(3)
    return jnp.array(rng.normal(size=(b, size_px, size_px, 3)), jnp.float32)


def to_torch_image(x):
    return import_oracle("torch").tensor(np.array(x).transpose(0, 3, 1, 2))


def assert_close(ours, theirs, close=CLOSE):
    theirs = np.asarray(theirs)
    assert np.max(np.abs(ours - theirs)) <= close * np.max(np.abs(theirs))


def randomised(oracle):
    """BatchNorm off its identity start, so that no term hides behind a 0 or 1."""
    torch = import_oracle("torch")
    torch.manual_seed(1)
    for module in oracle.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    oracle.fc = torch.nn.Identity()
    return oracle


def state_dict_of(oracle):
    return {name: value.numpy().copy() for name, value in oracle.state_dict().items()}


def oracle_and_variables(name, dtype):
    """A torchvision model and its weights as ours."""
    oracle = randomised(getattr(import_torchvision().models, name)())
    model = resnet.FACTORIES[name](dtype=dtype)
    variables = weights.from_torch(
        state_dict_of(oracle), shapes_of(model), ignore=(weights.CLASSIFIER,)
    )
    return oracle, model, variables["params"], variables["batch_stats"]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_inference_equals_torchvision(name):
    oracle, model, params, stats = oracle_and_variables(name, jnp.float32)
    x = image(2)
    features = jax.jit(partial(model.apply, train=False))(
        {"params": params, "batch_stats": stats}, x
    )
    assert_close(features, oracle.eval()(to_torch_image(x)).detach())


@pytest.mark.parametrize(
    "name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)]
)
def test_training_equals_torchvision(name):
    """Features, running statistics and gradients of one pass.

    In float64: in float32 torch's own gradient is 2 % off, each ReLU near 0 a coin.
    """
    torch = import_oracle("torch")
    with jax.enable_x64(True):
        oracle, model, params, stats = oracle_and_variables(name, jnp.float64)
        params, stats = jax.tree.map(np.float64, (params, stats))
        x = image(2).astype(jnp.float64)
        weight = np.random.default_rng(4).normal(size=(2, model.feature_dim))

        def loss(params, x):
            y, updates = model.apply(
                {"params": params, "batch_stats": stats},
                x,
                train=True,
                mutable=["batch_stats"],
            )
            return jnp.sum(y * weight), (y, updates)

        results = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)
        (grads, grad_x), (y, updates) = jax.tree.map(np.asarray, results)

    t_x = to_torch_image(x).requires_grad_()
    t_y = oracle.double().train()(t_x)
    (t_y * torch.tensor(weight)).sum().backward()
    assert_close(y, t_y.detach(), 1e-6)
    assert_close(np.transpose(grad_x, (0, 3, 1, 2)), t_x.grad, 1e-6)
    buffers = {n: b.numpy() for n, b in oracle.named_buffers() if "num_" not in n}
    assert_all_close(weights.to_torch(updates), buffers)
    gradients = {n: p.grad.numpy() for n, p in oracle.named_parameters()}
    assert_all_close(weights.to_torch({"params": grads}), gradients)


def assert_all_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert_close(ours[name], value, 1e-6)


def test_every_stage_is_read_as_hooks_on_torchvision_read_it():
    """In float64, so that nothing but the formula can differ."""
    oracle = randomised(import_torchvision().models.resnet18()).double().eval()
    read = {}
    for stage in range(1, 5):

        def hook(module, given, output, name=f"stage {stage}"):
            read[name] = output.detach().numpy()

        getattr(oracle, f"layer{stage}").register_forward_hook(hook)
    with jax.enable_x64(True):
        model = resnet.resnet18(dtype=jnp.float64)
        variables = weights.from_torch(
            state_dict_of(oracle), shapes_of(model), ignore=(weights.CLASSIFIER,)
        )
        variables = jax.tree.map(np.float64, variables)
        x = 3 * image(2).astype(jnp.float64) + 1

        @jax.jit
        def both(variables):
            apply = partial(model.apply, variables, x, train=False)
            return apply(every_stage=True), apply()

        stages, pooled = jax.tree.map(np.asarray, both(variables))
        read["pixels"] = np.transpose(x, (0, 3, 1, 2))
    oracle(to_torch_image(x))
    assert stages.keys() == read.keys()
    widths = {"pixels": 3} | {f"stage {i + 1}": 64 * 2**i for i in range(4)}
    for name, maps in read.items():
        mean, deviation = maps.mean(axis=(2, 3)), maps.std(axis=(2, 3))
        assert stages[name].shape == (2, 2 * widths[name])
        assert stages[name].dtype == np.float32
        assert_close(stages[name], np.concatenate([mean, deviation], axis=1), 1e-5)
    assert_close(stages["stage 4"][:, :512], pooled, 1e-6)


# torchvision's counts less those of its classifier (512 * 1000 + 1000 and
# 2048 * 1000 + 1000).
@pytest.mark.parametrize(
    ("name", "options", "num_params", "feature_dim"),
    [
        ("resnet18", {}, 11_689_512 - 513_000, 512),
        ("resnet50", {}, 25_557_032 - 2_049_000, 2048),
        # conv1 147w + bn 2w, stages 18w^2 + 4w, 56w^2 + 8w + 4w, 224w^2 + 16w + 8w
        # with w = 16: shortcuts are 2w^2 and 8w^2 of the last two.
        ("resnet_small", {"width": 16}, 298 * 256 + 189 * 16, 64),
    ],
)
def test_parameter_counts(name, options, num_params, feature_dim):
    model = resnet.FACTORIES[name](**options)
    variables = shapes_of(model)
    leaves = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in leaves) == num_params
    assert model.feature_dim == feature_dim
    features = jax.eval_shape(
        lambda v: model.apply(v, image(2), train=False), variables
    )
    assert features.shape == (2, feature_dim)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_equal_pixels_give_the_gradient_to_the_first_as_in_torch(dtype):
    torch = import_oracle("torch")
    x = np.random.default_rng(4).integers(0, 3, (2, 12, 9, 4)).astype(np.float32)
    y, pull_back = jax.vjp(resnet.max_pool, jnp.asarray(x, dtype))
    (ours,) = pull_back(jnp.arange(y.size, dtype=dtype).reshape(y.shape) % 7)
    pixels = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    pooled = torch.nn.functional.max_pool2d(pixels, 3, 2, 1)
    given = (np.arange(y.size) % 7).reshape(y.shape).transpose(0, 3, 1, 2)
    pooled.backward(torch.tensor(given.astype(np.float32)))
    assert ours.dtype == y.dtype == dtype
    np.testing.assert_array_equal(
        np.asarray(ours, np.float32), pixels.grad.permute(0, 2, 3, 1)
    )


@pytest.mark.parametrize(
    "shape", [(2, 32, 32, 3), (1, 33, 20, 2), (1, 7, 35, 1), (1, 1, 2, 1)]
)
def test_max_pool_equals_windowed_maximum(shape):
    x = jnp.array(np.random.default_rng(0).normal(size=shape), jnp.float32)

    def windowed(x):
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))

    @jax.jit
    def both(x):
        functions = (resnet.max_pool, windowed)
        grads = [jax.grad(lambda x, f=f: jnp.sum(f(x) ** 2))(x) for f in functions]
        return [f(x) for f in functions], grads

    outputs, grads = both(x)
    np.testing.assert_array_equal(*outputs)
    np.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 2), (4, 4), (7, 2)])
def test_conv_equals_torch(size, stride):
    torch = import_oracle("torch")
    x = image(2, 17)
    conv = resnet.Conv(5, size, stride)
    rng = np.random.default_rng(6)
    kernel = rng.normal(size=(size, size, 3, 5)).astype(np.float32)
    params = {"params": {"kernel": jnp.array(kernel)}}
    expected = torch.nn.functional.conv2d(
        to_torch_image(x),
        torch.tensor(kernel.transpose(3, 2, 0, 1)),
        stride=stride,
        padding=0 if size == stride else size // 2,
    )
    np.testing.assert_allclose(
        jax.jit(conv.apply)(params, x),
        expected.permute(0, 2, 3, 1),
        rtol=1e-4,
        atol=1e-5,
    )


def test_small_network_keeps_a_map_of_3x3_at_64_px():
    model = resnet.resnet_small(width=8)
    variables = shapes_of(model)
    _, state = jax.eval_shape(
        lambda v: model.apply(v, image(2), train=False, capture_intermediates=True),
        variables,
    )
    last = state["intermediates"]["layer3_0"]["__call__"][0]
    assert last.shape == (2, 4, 4, 32)


def test_bfloat16_follows_float32():
    variables = variables_of(resnet.resnet_small(width=16))
    exact, rough = (
        jax.jit(partial(model.apply, train=False))(variables, image(4))
        for model in (
            resnet.resnet_small(width=16),
            resnet.resnet_small(width=16, dtype=jnp.bfloat16),
        )
    )
    assert rough.dtype == jnp.bfloat16
    assert_close(rough.astype(jnp.float32), exact, 0.03)


def test_initial_kernels_are_kaiming_fan_out():
    conv = resnet.Conv(features=256, size=3)
    kernel = conv.init(jax.random.key(0), jnp.zeros((1, 3, 3, 128)))["params"]["kernel"]
    np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / (9 * 256)), rtol=0.01)
    assert abs(np.mean(kernel)) < 1e-4
