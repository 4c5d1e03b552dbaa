"""Attention pooling against PyTorch's attention, on ragged sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import import_oracle

from mmgr_jax.errors import InputError
from mmgr_jax.models import weights
from mmgr_jax.models.attention_pool import AttentionPool, MultiHeadRead

D = 8
LENGTHS = (3, 1, 7, 5)
IN_PROJECTIONS = ("query", "key", "value")
KEY = jax.random.key(0, impl="rbg")


def ragged():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, D)).astype(np.float32) for n in LENGTHS]


def padded(sets, slots=7, filler=0.0):
    x = np.full((len(sets), slots, D), filler, np.float32)
    mask = np.zeros((len(sets), slots), bool)
    for row, members in enumerate(sets):
        x[row, : len(members)] = members
        mask[row, : len(members)] = True
    return jnp.array(x), jnp.array(mask)


@pytest.fixture(scope="module")
def model():
    return AttentionPool(heads=2, seeds=3)


@pytest.fixture(scope="module")
def variables(model):
    """No parameter left at 0 or 1, where terms could hide."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(np.float32),
        jax.jit(model.init)(KEY, *padded(ragged())),
    )


def pool_of_torch(state_dict, heads):
    """The same pool put together from PyTorch's layers, and its parameters."""
    torch = import_oracle("torch")
    nn = torch.nn
    p = {name: torch.tensor(v, requires_grad=True) for name, v in state_dict.items()}

    def part(name):
        return p[f"{name}.weight"], p[f"{name}.bias"]

    def feed_forward(x, name):
        x = nn.functional.linear(x, *part(f"{name}.linear1"))
        return nn.functional.linear(torch.relu(x), *part(f"{name}.linear2"))

    def pool(x, mask):
        x = x + feed_forward(x, "member_ff")
        seeds = p["seed_vectors"].expand(len(x), -1, -1)
        in_weight, in_bias = (
            torch.cat([p[f"attention.{name}.{leaf}"] for name in IN_PROJECTIONS])
            for leaf in ("weight", "bias")
        )
        attention = nn.MultiheadAttention(D, heads, batch_first=True)
        parameters = {
            "in_proj_weight": in_weight,
            "in_proj_bias": in_bias,
            "out_proj.weight": p["attention.out.weight"],
            "out_proj.bias": p["attention.out.bias"],
        }
        read, _ = torch.func.functional_call(
            attention, parameters, (seeds, x, x), dict(key_padding_mask=~mask)
        )
        h = nn.functional.layer_norm(seeds + read, (D,), *part("attention_norm"))
        h = h + feed_forward(h, "answer_ff")
        return nn.functional.layer_norm(h, (D,), *part("answer_norm")).flatten(1)

    return pool, p


def test_outputs_and_gradients_equal_torch(model, variables):
    torch = import_oracle("torch")
    x, mask = padded(ragged(), slots=9)
    pool, parameters = pool_of_torch(weights.to_torch(variables), heads=2)
    t_x = torch.tensor(np.array(x), requires_grad=True)
    t_y = pool(t_x, torch.tensor(np.array(mask)))
    weight = np.random.default_rng(2).normal(size=t_y.shape).astype(np.float32)
    (t_y * torch.tensor(weight)).sum().backward()

    def loss(variables, x):
        y = model.apply(variables, x, mask)
        return jnp.sum(y * weight), y

    (_, y), (grads, grad_x) = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    )(variables, x)
    np.testing.assert_allclose(y, t_y.detach(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(grad_x, t_x.grad, rtol=1e-4, atol=1e-5)
    ours = weights.to_torch(grads)
    assert ours.keys() == parameters.keys()
    for name, parameter in parameters.items():
        np.testing.assert_allclose(
            ours[name], parameter.grad, rtol=1e-4, atol=2e-5, err_msg=name
        )


@pytest.mark.parametrize("filler", [0.0, 1e9, np.nan])
def test_padding_changes_nothing(model, variables, filler):
    run = jax.jit(model.apply)
    expected = run(variables, *padded(ragged()))
    result = run(variables, *padded(ragged(), 13, filler))
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_order_of_members_does_not_matter(model, variables):
    run = jax.jit(model.apply)
    expected = run(variables, *padded(ragged()))
    result = run(variables, *padded([s[::-1] for s in ragged()]))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_an_empty_set_reads_the_bias_alone_and_stays_finite():
    model = MultiHeadRead(heads=2)
    x, mask = padded([ragged()[0], np.zeros((0, D), np.float32)])
    query = jnp.array(np.random.default_rng(3).normal(size=(3, D)), jnp.float32)
    variables = jax.jit(model.init)(KEY, query, x, mask)
    params = jax.tree.map(lambda leaf: leaf + 0.1, variables["params"])  # no bias is 0

    def loss(params, x):
        y = model.apply({"params": params}, query, x, mask)
        return jnp.sum(jnp.sin(y)), y

    (_, y), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(
        params, x
    )
    np.testing.assert_array_equal(y[1], np.tile(params["out"]["bias"], (3, 1)))
    assert not np.allclose(y[0], y[1])
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
    assert np.any(grads[1][0]) and not np.any(grads[1][1])


def test_seeds_read_a_set_each_in_its_way(model, variables):
    y = jax.jit(model.apply)(variables, *padded(ragged())).reshape(-1, 3, D)
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert np.min(np.max(np.abs(y[:, a] - y[:, b]), axis=1)) > 0.1


def test_heads_must_share_the_vectors_evenly():
    with pytest.raises(InputError, match="heads=3 does not divide .* length of 8"):
        jax.eval_shape(AttentionPool(heads=3, seeds=2).init, KEY, *padded(ragged()))
