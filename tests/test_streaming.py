"""Streamed losses against the dense formula: values, gradients, devices, tiles."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.losses.contrastive import mmgr_loss
from mmgr_jax.losses.settings import LossSettings


def regions(b, p=16, seed=0, dtype=jnp.float32):
    """Two views and POIs of the same regions; some padding, some empty sets."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(b, p))
    sets = [0.7 * common + rng.normal(size=(b, p)) for _ in range(3)]
    valid, empty = rng.random(b) > 0.2, rng.random(b) < 0.3
    valid[0] = True
    sets[2][empty] = sets[2][0]  # duplicates
    sets[1][~valid] = 1e3  # whatever padding holds
    sets[0][b // 2] = 0.0
    return (
        jnp.array(np.stack(sets[:2]), dtype),
        jnp.array(sets[2], dtype),
        jnp.array(valid),
        jnp.array(empty),
    )


def loss_and_gradient(
    z_image, z_poi, valid, empty, *, temperature=0.3, mesh=None, **options
):
    """Loss, parts, and gradients to views, POIs and temperature."""

    @partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
    def loss(z_image, z_poi, factor):
        return mmgr_loss(
            z_image,
            z_poi,
            LossSettings(temperature=temperature, image_weight=0.4, **options),
            temperature_factor=factor,
            example_mask=valid,
            poi_empty=empty,
            mesh=mesh,
        )

    return jax.jit(loss)(z_image, z_poi, jnp.float32(1.0))


def assert_equal(ours, dense, rtol):
    """Values and gradients, these relative to the largest number of each."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.float32(a), np.float32(b), rtol=0, atol=rtol * np.abs(b).max()
        ),
        ours,
        dense,
    )


@cache
def dense_of(b, **options):
    """What the dense formula gives."""
    return loss_and_gradient(*regions(b), implementation="dense", **options)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("tile", [5, pytest.param(64, marks=pytest.mark.slow)])
def test_tiles_equal_dense_on_one_device(tile, temperature, symmetric):
    """23 regions: no multiple of a tile of 5, less than one of 64."""
    options = dict(temperature=temperature, symmetric=symmetric)
    ours = loss_and_gradient(*regions(23), tile=tile, **options)
    assert_equal(ours, dense_of(23, **options), 2e-6)


@pytest.mark.parametrize("implementation", ["gathered", "ring"])
@pytest.mark.parametrize(
    ("data", "fsdp"),
    [(2, 1), pytest.param(4, 1, marks=pytest.mark.slow), (8, 1), (2, 4)],
)
def test_devices_equal_dense(data, fsdp, implementation):
    mesh = sharding.make_mesh(MeshSettings(data=data, fsdp=fsdp))
    ours = loss_and_gradient(
        *regions(48), implementation=implementation, symmetric=True, mesh=mesh, tile=4
    )
    assert_equal(ours, dense_of(48, symmetric=True), 2e-6)


@pytest.mark.parametrize("implementation", ["gathered", "ring"])
def test_bfloat16_products_are_close_to_dense(implementation):
    mesh = sharding.make_mesh(MeshSettings(data=4))
    dense = loss_and_gradient(*regions(64, p=128), implementation="dense")
    ours = loss_and_gradient(
        *regions(64, p=128),
        implementation=implementation,
        mesh=mesh,
        matmul_dtype="bfloat16",
    )
    assert_equal(ours[0], dense[0], 1e-3)
    for gradient, exact in zip(ours[1], dense[1], strict=True):
        assert np.linalg.norm(gradient - exact) <= 5e-3 * np.linalg.norm(exact)


def test_bfloat16_inputs_get_bfloat16_gradients():
    inputs = regions(16, dtype=jnp.bfloat16)
    dense = loss_and_gradient(*inputs, implementation="dense")
    ours = loss_and_gradient(*inputs, tile=8)
    assert ours[1][0].dtype == jnp.bfloat16 and ours[0][0].dtype == jnp.float32
    assert_equal(ours, dense, 5e-3)


def test_one_region_and_none_have_no_loss_and_finite_gradients():
    for b, valid in ((1, True), (3, False)):
        z_image, z_poi, _, empty = regions(b)
        (loss, _), gradient = loss_and_gradient(
            z_image, z_poi, jnp.full(b, valid), empty
        )
        np.testing.assert_allclose(loss, 0.0, atol=1e-6)
        for leaf in gradient:
            np.testing.assert_allclose(leaf, 0.0, atol=1e-5)


def test_no_array_of_similarities_is_larger_than_a_tile():
    b, tile = 96, 8
    shapes = set()

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            shapes.update(out.aval.shape for out in equation.outvars)
            for value in equation.params.values():
                for inner in value if isinstance(value, (tuple, list)) else (value,):
                    if hasattr(inner, "eqns"):
                        visit(inner)
                    elif hasattr(inner, "jaxpr"):
                        visit(inner.jaxpr)

    z_image, z_poi, valid, empty = regions(b)
    visit(
        jax.make_jaxpr(partial(loss_and_gradient, tile=tile))(
            z_image, z_poi, valid, empty
        ).jaxpr
    )
    assert (tile, tile) in shapes
    assert not [shape for shape in shapes if sum(side >= b for side in shape) > 1]
