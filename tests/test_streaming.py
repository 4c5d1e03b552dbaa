"""Streamed losses against the dense formula: values, gradients, devices, tiles."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_sets
from processes import launch, output
from small_sets import layouts, loss_and_gradient, loss_with_gradient, regions

from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings

NEGATIVES = ("all", "city")


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


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    "temperature", [0.05, pytest.param(1.0, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("tile", [5, pytest.param(64, marks=pytest.mark.slow)])
def test_tiles_equal_dense_on_one_device(tile, temperature, symmetric, negatives):
    """23 regions: no multiple of a tile of 5, less than one of 64."""
    options = dict(temperature=temperature, symmetric=symmetric, negatives=negatives)
    ours = loss_and_gradient(*regions(23), tile=tile, **options)
    assert_equal(ours, dense_of(23, **options), 2e-6)


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("implementation", ["gathered", "ring"])
@pytest.mark.parametrize(
    ("data", "fsdp"),
    [*(pytest.param(n, 1, marks=pytest.mark.slow) for n in (2, 4)), (8, 1), (2, 4)],
)
def test_devices_equal_dense(data, fsdp, implementation, negatives):
    mesh = sharding.make_mesh(MeshSettings(data=data, fsdp=fsdp))
    options = dict(symmetric=True, negatives=negatives)
    ours = loss_and_gradient(
        *regions(48), implementation=implementation, mesh=mesh, tile=4, **options
    )
    assert_equal(ours, dense_of(48, **options), 2e-6)


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("implementation", ["gathered", "ring"])
def test_bfloat16_products_are_close_to_dense(implementation, negatives):
    mesh = sharding.make_mesh(MeshSettings(data=4))
    given, options = regions(64, p=128), dict(negatives=negatives)
    dense = loss_and_gradient(*given, implementation="dense", **options)
    ours = loss_and_gradient(
        *given,
        implementation=implementation,
        mesh=mesh,
        matmul_dtype="bfloat16",
        **options,
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
        z_image, z_poi, _, *masks = regions(b)
        (loss, _), gradient = loss_and_gradient(
            z_image, z_poi, jnp.full(b, valid), *masks
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

    whole = partial(loss_and_gradient, tile=tile, negatives="city")
    visit(jax.make_jaxpr(whole)(*regions(b)).jaxpr)
    assert (tile, tile) in shapes
    assert not [shape for shape in shapes if sum(side >= b for side in shape) > 1]


@pytest.mark.parametrize("implementation", ["dense", "gathered", "ring"])
def test_a_region_alone_in_its_city_has_no_loss_and_no_gradient(implementation):
    mesh = sharding.make_mesh(MeshSettings(data=4))
    z_image, z_poi, valid, empty, _ = regions(12)
    options = dict(implementation=implementation, mesh=mesh, negatives="city")
    (loss, _), gradient = loss_and_gradient(
        z_image, z_poi, valid, empty, jnp.arange(12), **options
    )
    np.testing.assert_allclose(loss, 0.0, atol=1e-6)
    for leaf in gradient:
        np.testing.assert_allclose(leaf, 0.0, atol=1e-5)


@pytest.mark.parametrize("implementation", ["dense", "gathered", "ring"])
def test_without_several_cities_the_program_is_the_same(implementation):
    mesh = sharding.make_mesh(MeshSettings(data=2))

    def text(negatives, city):
        options = dict(implementation=implementation, mesh=mesh, negatives=negatives)
        given = (*regions(16)[:4], city, jnp.float32(1.0))
        return jax.jit(loss_with_gradient(**options)).lower(*given).as_text()

    plain, city = text("all", None), regions(16)[4]
    assert text("city", None) == text("all", city) == plain != text("city", city)


@pytest.mark.parametrize("implementation", ["gathered", "ring"])
def test_cities_take_no_exchange_and_hardly_any_memory(implementation):
    mesh = sharding.make_mesh(MeshSettings(data=8))
    exchange = r" (all-\w+|collective-\w+|reduce-scatter)(?:-start)?\("

    def cost(negatives):
        options = dict(implementation=implementation, mesh=mesh, negatives=negatives)
        program = jax.jit(loss_with_gradient(**options), in_shardings=layouts(mesh))
        compiled = program.lower(*regions(4096), jnp.float32(1.0)).compile()
        memory = compiled.memory_analysis().temp_size_in_bytes
        return sorted(re.findall(exchange, compiled.as_text())), memory

    (exchanges, memory), (plain_exchanges, plain_memory) = map(cost, ("city", "all"))
    assert exchanges == plain_exchanges and len(exchanges) > 2
    assert memory <= 1.01 * plain_memory


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["gathered", "ring"])
def test_two_processes_give_the_loss_and_gradient_of_one(implementation, tmp_path):
    path = tmp_path / "of_two.npz"
    options = dict(implementation=implementation, tile=4, negatives="city")
    given = [str(path), 48, options]
    processes = launch(small_sets.__file__, tmp_path / "two", given)
    codes = [process.wait(300) for process in processes]
    assert codes == [0, 0], output(tmp_path / "two", 0).read_text()[-4000:]
    alone = loss_and_gradient(*regions(48), **options)
    with np.load(path) as of_two:
        assert_equal([*of_two.values()], jax.tree.leaves(alone), 2e-6)
    assert_equal(alone, dense_of(48, negatives="city"), 2e-6)
