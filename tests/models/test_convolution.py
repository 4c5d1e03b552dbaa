"""The forms of a convolution: equal results, and each platform its own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgr_jax.models import convolution
from mmgr_jax.models.convolution import Conv, convolve

# (side of the map, channels, features, size, stride) -> the form on a CPU.
CASES = {
    (8, 5, 7, 1, 1): "rows",
    (9, 5, 7, 1, 2): "rows",
    (9, 3, 7, 4, 4): "rows",
    (2, 5, 7, 3, 1): "columns",
    (5, 5, 7, 3, 2): "columns",
    (1, 4, 4, 7, 2): "columns",
    (16, 3, 8, 7, 2): "four_channels",
    (16, 3, 64, 7, 2): "plain",
    (8, 5, 7, 3, 1): "plain",
    (9, 5, 7, 3, 2): "plain",
}


def arrays(side, channels, features, size):
    rng = np.random.default_rng(0)
    shapes = ((2, side, side + 1, channels), (size, size, channels, features))
    return [jnp.asarray(rng.normal(size=shape).astype(np.float32)) for shape in shapes]


@pytest.mark.parametrize("case", CASES)
def test_result_and_gradients_are_those_of_the_convolution(case):
    side, channels, features, size, stride = case
    x, kernel = arrays(side, channels, features, size)
    assert convolution._form(x, kernel, stride) == CASES[case]

    @jax.jit
    def both(x, kernel):
        found = []
        for function in (convolve, convolution.plain):
            y, pull_back = jax.vjp(lambda x, k, f=function: f(x, k, stride), x, kernel)
            found.append((y, pull_back(jnp.sin(y))))
        return found

    ours, theirs = both(x, kernel)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        ours,
        theirs,
    )


@pytest.mark.parametrize(
    ("height", "width", "size"), [(16, 16, 7), (17, 20, 7), (9, 8, 3), (11, 7, 5)]
)
def test_the_folded_stem_is_the_convolution(height, width, size):
    """What NVIDIA's GPUs get; even and odd sides, forward and both gradients."""
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(2, height, width, 3)).astype(np.float32))
    kernel = jnp.asarray(rng.normal(size=(size, size, 3, 8)).astype(np.float32))
    assert convolution._form_on_cuda(kernel, 2) == "folded"
    found = []
    for form in ("folded", "plain"):
        function = partial(convolution.FORMS[form], stride=2)
        y, pull_back = jax.vjp(function, x, kernel)
        found.append((y, pull_back(jnp.sin(y))))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *found
    )


def test_gpus_of_nvidia_get_the_folded_stem_and_the_convolution_elsewhere():
    for channels, features, size, stride, folded in (
        (3, 64, 7, 2, True), (64, 64, 3, 2, False), (3, 8, 2, 2, False),
        (3, 8, 7, 1, False), (3, 16, 7, 4, False),
    ):  # fmt: skip
        x, kernel = arrays(16, channels, features, size)
        traced = jax.jit(partial(convolve, stride=stride)).trace(x, kernel)
        on_cuda = traced.lower(lowering_platforms=("cuda",)).as_text()
        assert (f"x{-(-size // 2)}x16x{features}x" in on_cuda) == folded


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (4, 4), (3, 1)])
def test_accelerators_get_the_convolution(size, stride):
    """Lowered for them on this CPU, whatever the default backend is."""
    x, kernel = arrays(2 * stride, 4, 4, size)
    step = jax.jit(jax.grad(lambda x, k: jnp.sum(convolve(x, k, stride) ** 2), (0, 1)))
    traced = step.trace(x, kernel)
    on_tpu = traced.lower(lowering_platforms=("tpu",)).as_text()
    on_cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "convolution" in on_tpu and "dot_general" not in on_tpu
    assert "convolution" not in on_cpu and "dot_general" in on_cpu


def test_a_1x1_kernel_transposes_no_activation():
    """Its gradient on a CPU contracts the rows where they are."""
    x, kernel = arrays(16, 24, 40, 1)
    step = jax.jit(jax.grad(lambda x, k: jnp.sum(convolve(x, k, 1) ** 2), (0, 1)))
    text = step.lower(x, kernel).compile().as_text()
    rows = 2 * 16 * 17
    assert f"f32[{rows},40]" in text
    assert f"[24,{rows}]" not in text and f"[40,{rows}]" not in text


def test_bfloat16_stays_bfloat16():
    for size in (1, 3):
        x, kernel = (a.astype(jnp.bfloat16) for a in arrays(8, 4, 4, size))
        y, pull_back = jax.vjp(lambda x, k: convolve(x, k, 1), x, kernel)
        assert {a.dtype for a in (y, *pull_back(y))} == {jnp.dtype(jnp.bfloat16)}


def test_parameter_is_the_kernel_alone():
    params = Conv(6, 3).init(jax.random.key(0), jnp.zeros((1, 8, 8, 4)))["params"]
    assert jax.tree.map(jnp.shape, params) == {"kernel": (3, 3, 4, 6)}
