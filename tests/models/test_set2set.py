"""Set2Set against torch_geometric's, on ragged sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import import_oracle

from mmgr_jax.models import weights
from mmgr_jax.models.set2set import LstmCell, Set2Set, read

D = 6
LENGTHS = (3, 1, 8, 5)


def ragged(lengths=LENGTHS, d=D):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, d)).astype(np.float32) for n in lengths]


def padded(sets, slots, filler=0.0):
    x = np.full((len(sets), slots, sets[0].shape[1]), filler, np.float32)
    mask = np.zeros((len(sets), slots), bool)
    for row, members in enumerate(sets):
        x[row, : len(members)] = members
        mask[row, : len(members)] = True
    return jnp.array(x), jnp.array(mask)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(Set2Set(5).init)(jax.random.key(0), *padded(ragged(), 8))


def summarise(variables, x, mask):
    return jax.jit(Set2Set(5).apply)(variables, x, mask)


@pytest.mark.parametrize("lengths", [LENGTHS, (3, 0, 8, 0)])
def test_outputs_and_gradients_equal_torch_geometric(lengths):
    """Empty sets too, inside the batch and at its end, once it is told their number."""
    torch = import_oracle("torch")
    aggr = import_oracle("torch_geometric.nn.aggr")
    oracle = aggr.Set2Set(D, processing_steps=5)
    sets = ragged(lengths)
    x, mask = padded(sets, 11)
    like = jax.eval_shape(Set2Set(5).init, jax.random.key(0), x, mask)
    state_dict = {k: v.numpy().copy() for k, v in oracle.state_dict().items()}
    variables = weights.from_torch(state_dict, like)

    t_x = torch.tensor(np.concatenate(sets), requires_grad=True)
    index = torch.tensor(np.repeat(np.arange(len(sets)), lengths))
    t_y = oracle(t_x, index, dim_size=len(sets))
    torch.sin(t_y).sum().backward()

    def loss(variables, x):
        y = Set2Set(5).apply(variables, x, mask)
        return jnp.sum(jnp.sin(y)), y

    (_, y), (grads, grad_x) = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    )(variables, x)
    np.testing.assert_allclose(y, t_y.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grad_x[mask], t_x.grad, rtol=1e-4, atol=1e-6)
    ours = weights.to_torch(grads)
    theirs = {name: p.grad for name, p in oracle.named_parameters()}
    assert ours.keys() == theirs.keys()
    for name, grad in theirs.items():
        np.testing.assert_allclose(ours[name], grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("filler", [0.0, 1e9, np.nan])
def test_padding_changes_nothing(variables, filler):
    expected = summarise(variables, *padded(ragged(), 8))
    result = summarise(variables, *padded(ragged(), 13, filler))
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_order_of_members_does_not_matter(variables):
    sets = ragged()
    expected = summarise(variables, *padded(sets, 8))
    result = summarise(variables, *padded([s[::-1] for s in sets], 8))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_an_empty_set_reads_zero_and_stays_finite(variables):
    x, mask = padded([ragged()[0], np.zeros((0, D), np.float32)], 8)

    def loss(variables, x):
        y = Set2Set(5).apply(variables, x, mask)
        return jnp.sum(jnp.sin(y)), y

    (_, y), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(
        variables, x
    )
    assert not np.any(y[1, D:])
    assert np.any(y[0, D:])
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((y, grads)))
    assert not np.any(grads[1][1])


def test_read_is_a_softmax_mean():
    x, mask = padded(ragged(), 8)
    query = jnp.array(np.random.default_rng(1).normal(size=(4, D)), jnp.float32)
    for row, members in enumerate(ragged()):
        weight = np.exp(members @ np.array(query[row]))
        expected = weight @ members / weight.sum()
        np.testing.assert_allclose(read(x, mask, query)[row], expected, rtol=1e-5)


def test_read_survives_large_scores():
    x, mask = padded([100.0 * s for s in ragged()], 8)
    query = jnp.full((4, D), 100.0)
    result = read(x, mask, query)
    for row, members in enumerate(ragged()):
        highest = 100.0 * members[np.argmax(members.sum(axis=1))]
        np.testing.assert_allclose(result[row], highest, rtol=1e-4)


def test_initial_weights_are_uniform_within_the_hidden_size():
    params = LstmCell(64).init(
        jax.random.key(0, impl="rbg"),
        jnp.ones((1, 128)),
        jnp.ones((1, 64)),
        jnp.ones((1, 64)),
    )["params"]
    for leaf in params.values():
        assert 0.12 < np.max(np.abs(leaf)) <= 0.125
    np.testing.assert_allclose(np.std(params["kernel_ih"]), 0.125 / 3**0.5, rtol=0.02)
