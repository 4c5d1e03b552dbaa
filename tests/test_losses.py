"""NT-Xent against optax, torch's autograd and a row-by-row transcription."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import import_oracle

from mmgr_jax import settings
from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.losses import contrastive
from mmgr_jax.losses.contrastive import mmgr_loss, nt_xent, unit_rows
from mmgr_jax.losses.settings import LossSettings

compiled = jax.jit(nt_xent, static_argnames="temperature")


def pair(b, p=16, seed=0):
    rng = np.random.default_rng(seed)
    z_a = rng.normal(size=(b, p)).astype(np.float32)
    z_b = (0.6 * z_a + rng.normal(size=(b, p))).astype(np.float32)
    return z_a, z_b


def transcribed(z_a, z_b, temperature, valid=None, empty=None, city=None):
    """The formula, one row and one column at a time, in float64."""
    b = len(z_a)
    valid = np.ones(b, bool) if valid is None else valid
    empty = np.zeros(b, bool) if empty is None else empty
    city = np.zeros(b) if city is None else city
    z = np.concatenate([z_a, z_b]).astype(np.float64)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    losses = []
    for i in range(2 * b):
        if not valid[i % b]:
            continue
        denominator = 0.0
        for j in range(2 * b):
            poi_row_involved = i >= b or j >= b
            same_region = i % b == j % b
            both_empty = empty[i % b] and empty[j % b]
            if j == i or not valid[j % b] or city[i % b] != city[j % b]:
                continue
            if both_empty and poi_row_involved and not same_region:
                continue
            denominator += np.exp(z[i] @ z[j] / temperature)
        positive = z[i] @ z[(i + b) % (2 * b)] / temperature
        losses.append(np.log(denominator) - positive)
    return np.mean(losses) if losses else 0.0


def some_true(b, seed):
    mask = np.random.default_rng(seed).random(b) < 0.5
    mask[0] = True
    return mask


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("b", [1, 2, 7, 64])
def test_nt_xent_equals_transcription(b, temperature):
    z_a, z_b = pair(b)
    loss = compiled(jnp.array(z_a), jnp.array(z_b), temperature=temperature)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(
        loss, transcribed(z_a, z_b, temperature), rtol=2e-6, atol=5e-7
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("with_empty", [False, True])
def test_masks_equal_transcription(masked, with_empty):
    b = 13
    z_a, z_b = pair(b)
    valid = some_true(b, 1) if masked else None
    empty = some_true(b, 2) if with_empty else None
    loss = compiled(
        jnp.array(z_a),
        jnp.array(z_b),
        temperature=0.2,
        example_mask=None if valid is None else jnp.array(valid),
        b_empty=None if empty is None else jnp.array(empty),
    )
    expected = transcribed(z_a, z_b, 0.2, valid, empty)
    np.testing.assert_allclose(loss, expected, rtol=2e-6, atol=5e-7)


CITY = np.random.default_rng(8).permutation([0] * 8 + [3] * 5 + [7] * 2 + [9])
"""Of uneven cities, one of a single region."""


@pytest.mark.parametrize("masked", [False, True])
def test_cities_equal_transcription(masked):
    b = len(CITY)
    z_a, z_b = pair(b)
    valid = some_true(b, 1) if masked else np.ones(b, bool)
    empty = some_true(b, 2)
    given = (jnp.array(mask) for mask in (z_a, z_b, valid, empty, CITY))
    loss = jax.jit(
        lambda a, b, valid, empty, city: nt_xent(
            a, b, temperature=0.2, example_mask=valid, b_empty=empty, city=city
        )
    )(*given)
    expected = transcribed(z_a, z_b, 0.2, valid, empty, CITY)
    np.testing.assert_allclose(loss, expected, rtol=2e-6, atol=5e-7)


@pytest.mark.parametrize("implementation", ["dense", "gathered", "ring"])
@pytest.mark.parametrize("masked", [False, True])
def test_cities_are_as_if_each_were_alone(masked, implementation):
    """Against torch in float64, one city after another: value and gradient."""
    torch = import_oracle("torch")
    b = len(CITY)
    z_1, z_2 = pair(b)
    z_poi = pair(b, seed=5)[0]
    valid = some_true(b, 1) if masked else np.ones(b, bool)
    empty = some_true(b, 2)
    mesh = sharding.make_mesh(MeshSettings(data=4))

    def summed(a, b, empty):
        n = len(a)
        z = torch.nn.functional.normalize(torch.cat([a, b]))
        other = ~torch.eye(n, dtype=bool)
        alike = other & empty[:, None] & empty
        hidden = torch.cat(
            [torch.cat([~other, alike], 1), torch.cat([alike, ~other | alike], 1)]
        )
        logits = (z @ z.T / 0.2).masked_fill(hidden, -torch.inf)
        target = torch.arange(2 * n).roll(n)
        return torch.nn.functional.cross_entropy(logits, target, reduction="sum")

    t_1, t_2, t_poi = sets = [
        torch.tensor(z, dtype=torch.float64, requires_grad=True)
        for z in (z_1, z_2, z_poi)
    ]
    expected = 0.0
    for number in set(CITY[valid]):
        own = torch.tensor(valid & (CITY == number))
        none = torch.zeros(int(own.sum()), dtype=bool)
        inter = summed(t_1[own], t_poi[own], torch.tensor(empty)[own])
        intra = summed(t_1[own], t_2[own], none)
        expected += (0.6 * inter + 0.4 * intra) / (2 * valid.sum())
    expected.backward()

    def loss(z_image, z_poi):
        settings = LossSettings(
            temperature=0.2,
            image_weight=0.4,
            negatives="city",
            implementation=implementation,
            tile=5,
        )
        masks = dict(example_mask=jnp.array(valid), poi_empty=jnp.array(empty))
        city = jnp.array(CITY, jnp.int32)
        return mmgr_loss(z_image, z_poi, settings, mesh=mesh, city=city, **masks)[0]

    value, gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(
        jnp.stack([z_1, z_2]), jnp.array(z_poi)
    )
    np.testing.assert_allclose(value, expected.item(), rtol=2e-6)
    for ours, theirs in zip((*gradient[0], gradient[1]), sets, strict=True):
        scale = theirs.grad.abs().max().item()
        np.testing.assert_allclose(ours, theirs.grad, rtol=0, atol=2e-6 * scale)


def test_nt_xent_equals_optax():
    z_a, z_b = map(jnp.array, pair(24))
    labels = jnp.tile(jnp.arange(24), 2)
    expected = jax.jit(optax.losses.ntxent)(jnp.concatenate([z_a, z_b]), labels, 0.5)
    np.testing.assert_allclose(compiled(z_a, z_b, temperature=0.5), expected, rtol=2e-6)


@pytest.mark.parametrize(
    ("b", "temperature", "dtype", "rtol"),
    [
        (11, 0.05, jnp.float32, 1e-4),
        (11, 0.5, jnp.float32, 1e-4),
        (1, 0.5, jnp.float32, 1e-4),
        (50, 0.5, jnp.float32, 1e-4),
        (11, 0.5, jnp.bfloat16, 4e-3),  # the gradient is rounded to the input's type
    ],
)
def test_gradient_equals_torch(b, temperature, dtype, rtol):
    torch = import_oracle("torch")
    z_a, z_b = (jnp.array(z, dtype) for z in pair(b))
    t_a, t_b = (
        torch.tensor(np.array(z, np.float32), requires_grad=True) for z in (z_a, z_b)
    )
    z = torch.nn.functional.normalize(torch.cat([t_a, t_b]))
    itself = torch.eye(2 * b, dtype=bool)
    logits = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    target = torch.arange(2 * b).roll(b)
    torch.nn.functional.cross_entropy(logits, target).backward()

    grad = jax.grad(lambda a, b: nt_xent(a, b, temperature=temperature), argnums=(0, 1))
    g_a, g_b = jax.jit(grad)(z_a, z_b)
    assert g_a.dtype == g_b.dtype == dtype
    for ours, theirs in ((g_a, t_a.grad), (g_b, t_b.grad)):
        np.testing.assert_allclose(ours.astype(np.float32), theirs, rtol, atol=1e-7)


def test_masked_examples_are_as_if_absent():
    z_a, z_b = pair(10)
    valid, empty = some_true(10, 3), some_true(10, 4)
    z_a[~valid] = 1e6  # whatever padding holds

    def loss(a, b, **masks):
        return nt_xent(a, b, temperature=0.5, **masks)

    loss_and_grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    kept, kept_grads = loss_and_grads(
        jnp.array(z_a[valid]), jnp.array(z_b[valid]), b_empty=jnp.array(empty[valid])
    )
    masked, grads = loss_and_grads(
        jnp.array(z_a),
        jnp.array(z_b),
        example_mask=jnp.array(valid),
        b_empty=jnp.array(empty),
    )
    np.testing.assert_allclose(masked, kept, rtol=1e-6)
    for grad, kept_grad in zip(grads, kept_grads, strict=True):
        np.testing.assert_allclose(grad[valid], kept_grad, rtol=1e-4, atol=1e-8)
        assert not np.any(grad[~valid])


def test_empty_sets_do_not_repel_each_other():
    """Two regions with the same empty vector: pulling them apart gains nothing."""
    z_a, _ = map(jnp.array, pair(6))
    empty = jnp.array([True, True, True, False, False, False])
    z_b = jnp.where(empty[:, None], z_a[0], z_a[::-1])

    def inter(z_b, b_empty):
        return compiled(z_a, z_b, temperature=0.5, b_empty=b_empty)

    shared = transcribed(np.array(z_a), np.array(z_b), 0.5, empty=np.array(empty))
    np.testing.assert_allclose(inter(z_b, empty), shared, rtol=2e-6, atol=5e-7)
    assert inter(z_b, empty) < inter(z_b, None) - 0.1


def test_gradients_are_finite_at_the_edges():
    z_a, z_b = pair(5)
    z_a[1] = 0.0
    z_b[2] = 0.0

    @jax.jit
    def loss_and_grads(a, b, mask):
        def loss(a, b):
            return nt_xent(a, b, temperature=0.05, example_mask=mask)

        return jax.value_and_grad(loss, argnums=(0, 1))(a, b)

    everyone, nobody = jnp.ones(5, bool), jnp.zeros(5, bool)
    _, (grad_a, grad_b) = loss_and_grads(jnp.array(z_a), jnp.array(z_b), everyone)
    for grad, zero_row in ((grad_a, 1), (grad_b, 2)):
        assert np.all(np.isfinite(grad)) and np.any(grad)
        assert not np.any(grad[zero_row])
    lost, grads = loss_and_grads(jnp.array(z_a), jnp.array(z_b), nobody)
    assert lost == 0.0
    assert not np.any(np.stack(grads))


def test_bfloat16_is_computed_in_float32():
    z_a, z_b = (jnp.array(z, jnp.bfloat16) for z in pair(32))
    loss = compiled(z_a, z_b, temperature=0.5)
    expected = transcribed(np.array(z_a, np.float32), np.array(z_b, np.float32), 0.5)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, expected, rtol=2e-6, atol=5e-7)


def test_unit_rows():
    rows = unit_rows(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("symmetric", [False, True])
def test_mmgr_loss_weighs_its_parts(symmetric):
    view_1, view_2 = pair(9)
    z_poi = pair(9, seed=5)[0]
    valid, empty = some_true(9, 6), some_true(9, 7)
    weighted = partial(
        mmgr_loss,
        settings=LossSettings(temperature=0.3, image_weight=0.25, symmetric=symmetric),
    )
    loss, parts = jax.jit(weighted)(
        jnp.stack([view_1, view_2]),
        jnp.array(z_poi),
        example_mask=jnp.array(valid),
        poi_empty=jnp.array(empty),
    )
    inter = transcribed(view_1, z_poi, 0.3, valid, empty)
    if symmetric:
        inter = (inter + transcribed(view_2, z_poi, 0.3, valid, empty)) / 2
    intra = transcribed(view_1, view_2, 0.3, valid)
    np.testing.assert_allclose(parts["loss_inter"], inter, rtol=2e-6, atol=5e-7)
    np.testing.assert_allclose(parts["loss_intra"], intra, rtol=2e-6, atol=5e-7)
    np.testing.assert_allclose(loss, 0.75 * inter + 0.25 * intra, rtol=2e-6, atol=5e-7)


def test_a_learnt_factor_scales_the_temperature_down_to_its_bound():
    view_1, view_2 = pair(9)
    views, z_poi = jnp.stack([view_1, view_2]), jnp.array(pair(9, seed=5)[0])

    def loss(temperature, factor=None):
        return mmgr_loss(
            views,
            z_poi,
            LossSettings(temperature=temperature),
            temperature_factor=None if factor is None else jnp.float32(factor),
        )

    value, parts = loss(0.5, 0.4)
    np.testing.assert_allclose(value, loss(0.2)[0], rtol=1e-6)
    np.testing.assert_allclose(parts["temperature"], 0.2, rtol=1e-6)
    np.testing.assert_allclose(loss(0.5, 1e-4)[1]["temperature"], 0.01)
    assert "temperature" not in loss(0.5)[1]


def test_empty_sets_repel_only_where_that_is_asked_for():
    view_1, view_2 = pair(9)
    z_poi, empty = pair(9, seed=5)[0], some_true(9, 7)

    def inter(**options):
        _, parts = mmgr_loss(
            jnp.stack([view_1, view_2]),
            jnp.array(z_poi),
            LossSettings(temperature=0.3, **options),
            poi_empty=jnp.array(empty),
        )
        return parts["loss_inter"]

    excluded = transcribed(view_1, z_poi, 0.3, empty=empty)
    repelling = transcribed(view_1, z_poi, 0.3)
    np.testing.assert_allclose(inter(), excluded, rtol=2e-6)
    np.testing.assert_allclose(inter(empty_sets="repel"), repelling, rtol=2e-6)
    with pytest.raises(
        InputError, match="loss.empty_sets='hug'; allowed: 'excluded' or"
    ):
        settings.read(LossSettings, {"empty_sets": "hug"}, "loss")


def test_no_intermediate_is_larger_than_the_similarities():
    """The released loss broadcasts the rows against each other: [2b 2b p]."""
    b, p = 16, 128
    jaxpr = jax.make_jaxpr(
        jax.grad(lambda a, b: nt_xent(a, b, temperature=0.5), argnums=(0, 1))
    )(*map(jnp.array, pair(b, p)))
    sizes = [out.aval.size for eqn in jaxpr.eqns for out in eqn.outvars]
    assert (2 * b) ** 2 in sizes
    assert max(sizes) <= max((2 * b) ** 2, 2 * b * p)


@pytest.mark.parametrize("backend, tile", [("cpu", 512), ("tpu", 512), ("gpu", 4096)])
def test_tiles_are_those_that_suit_the_devices(monkeypatch, backend, tile):
    mesh = sharding.make_mesh(MeshSettings(data=2))
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert contrastive._tile(None) == tile
    assert contrastive._tile(mesh) == 512  # a mesh of CPUs, wherever it is planned
