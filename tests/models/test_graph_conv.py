"""Graph convolution against torch_geometric's, on ragged graphs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import import_oracle

from mmgr_jax.models import weights
from mmgr_jax.models.graph_conv import GraphContext, GraphConv, adjacency
from mmgr_jax.typing import PoiSets

D = 6
SLOTS, EDGE_SLOTS = 8, 24
KEY = jax.random.key(0, impl="rbg")

# Number of POIs and edges of each graph. POIs 4 and 5 of the first have none, and
# neither has the only POI of the second; the third is empty; the last is a path.
GRAPHS = (
    (6, ((0, 1), (1, 2), (0, 2), (2, 3))),
    (1, ()),
    (0, ()),
    (8, ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (3, 4), (5, 6), (6, 7), (4, 7))),
    (4, ((0, 1), (1, 2), (2, 3))),
)


def graphs(filler=0.0, filler_weight=0.0, filler_end=0):
    """Vectors, and sets with edges weighted as in the records, padded.

    Padding edges run from POI 0 to `filler_end`.
    """
    rng = np.random.default_rng(0)
    x = np.full((len(GRAPHS), SLOTS, D), filler, np.float32)
    edges = np.zeros((len(GRAPHS), EDGE_SLOTS, 2), np.int32)
    edges[..., 1] = filler_end
    edge_weight = np.full((len(GRAPHS), EDGE_SLOTS), filler_weight, np.float32)
    mask = np.zeros((len(GRAPHS), SLOTS), bool)
    for row, (count, pairs) in enumerate(GRAPHS):
        x[row, :count] = rng.normal(size=(count, D))
        mask[row, :count] = True
        edges[row, : len(pairs)] = np.array(pairs).reshape(-1, 2)
        edge_weight[row, : len(pairs)] = rng.uniform(0.5, 12.0, len(pairs))
    category, offset_m = jnp.zeros(mask.shape, jnp.int32), jnp.zeros((*mask.shape, 2))
    mask, edges = jnp.array(mask), jnp.array(edges)
    pois = PoiSets(category, offset_m, mask, edges, jnp.array(edge_weight))
    return jnp.array(x), pois


def united(pois):
    """All graphs as one: ends of each edge both ways [2 2e], and weights [e]."""
    first = np.cumsum([0, *(count for count, _ in GRAPHS)])
    ends = per_edge(np.array(pois.edges) + first[:-1, None, None]).T
    return np.concatenate([ends, ends[::-1]], axis=1), per_edge(pois.edge_weight)


def per_edge(values):
    """The values [b e ...] of real edges, one graph after the other."""
    return np.concatenate(
        [values[row, : len(pairs)] for row, (_, pairs) in enumerate(GRAPHS)]
    )


def variables_of(model, x, pois):
    """Variables with no parameter left at 0, where terms could hide."""
    variables = jax.jit(model.init)(KEY, x, pois)
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(np.float32), variables
    )


def test_outputs_and_gradients_equal_torch_geometric():
    """Of vectors, parameters and edge weights, through two layers with residuals."""
    torch = import_oracle("torch")
    conv = import_oracle("torch_geometric.nn").GCNConv
    x, pois = graphs()
    model = GraphContext(layers=2)
    variables = variables_of(model, x, pois)

    layers = torch.nn.ModuleList([conv(D, D), conv(D, D)])
    oracle = torch.nn.ModuleDict({"conv": layers})
    state_dict = weights.to_torch(variables)
    oracle.load_state_dict({k: torch.tensor(v) for k, v in state_dict.items()})
    ends, weight = united(pois)
    t_weight = torch.tensor(weight, requires_grad=True)
    t_x = torch.tensor(np.array(x[pois.mask]), requires_grad=True)
    t_y = t_x
    for layer in layers:
        both = torch.cat([t_weight, t_weight])
        t_y = t_y + torch.relu(layer(t_y, torch.tensor(ends), both))
    torch.sin(t_y).sum().backward()

    def loss(variables, x, edge_weight):
        y = model.apply(variables, x, pois._replace(edge_weight=edge_weight))
        return jnp.sum(jnp.where(pois.mask[..., None], jnp.sin(y), 0.0)), y

    (_, y), (grads, grad_x, grad_weight) = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    )(variables, x, pois.edge_weight)
    close = dict(rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y[pois.mask], t_y.detach(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(grad_x[pois.mask], t_x.grad, **close)
    assert not np.any(grad_x[~pois.mask])
    np.testing.assert_allclose(per_edge(grad_weight), t_weight.grad, **close)
    for name, grad in weights.to_torch(grads).items():
        theirs = oracle.get_parameter(name).grad
        assert np.any(theirs.numpy())
        np.testing.assert_allclose(grad, theirs, **close)


def test_initial_weights_are_distributed_as_torch_geometric_s():
    conv = import_oracle("torch_geometric.nn").GCNConv
    theirs = conv(48, 96).lin.weight.detach().numpy()
    model = GraphConv(96)
    params = jax.jit(model.init)(KEY, jnp.zeros((1, 2, 48)), jnp.zeros((1, 2, 2)))
    ours = params["params"]["lin"]["kernel"]
    assert not np.any(params["params"]["bias"])
    np.testing.assert_allclose(np.std(ours), np.std(theirs), rtol=0.03)
    np.testing.assert_allclose(np.max(ours), np.max(theirs), rtol=0.01)


def test_adjacency_holds_each_edge_both_ways():
    _, pois = graphs()
    matrices = adjacency(pois.edges, pois.edge_weight, pois.mask)
    for row, (_, pairs) in enumerate(GRAPHS):
        expected = np.zeros((SLOTS, SLOTS), np.float32)
        for (i, j), weight in zip(pairs, pois.edge_weight[row], strict=False):
            expected[i, j] = expected[j, i] = weight
        np.testing.assert_array_equal(matrices[row], expected)


@pytest.mark.parametrize("filler", [1e9, np.nan])
def test_padding_and_edges_to_it_change_nothing(filler):
    """Neither values nor gradients, whatever vectors and weights padding holds."""
    model = GraphContext(1)
    x, clean = graphs()
    variables = variables_of(model, x, clean)

    @jax.jit
    def run(x, pois):
        def loss(variables, x):
            y = jnp.where(pois.mask[..., None], model.apply(variables, x, pois), 0.0)
            return jnp.sum(jnp.sin(y)), y

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables, x)

    # Row 3 fills every slot: its padding edges keep the weight 0.
    x_filled, filled = graphs(filler, filler, filler_end=SLOTS - 1)
    full = jnp.all(filled.mask, axis=1)[:, None]
    kept = jnp.where(full, clean.edge_weight, filled.edge_weight)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6),
        run(x_filled, filled._replace(edge_weight=kept)),
        run(x, clean),
    )


@pytest.mark.parametrize(("layers", "reached"), [(1, (0, 1)), (2, (0, 1, 2))])
def test_a_layer_reaches_one_edge_further(layers, reached):
    """Along the path of the last graph, from its first POI; and into no other graph."""
    model = GraphContext(layers)
    x, pois = graphs()
    # Non-negative throughout, so that no ReLU stops a message.
    variables = jax.tree.map(jnp.abs, variables_of(model, x, pois))
    run = jax.jit(model.apply)
    x = jnp.abs(x)
    moved = run(variables, x.at[-1, 0].add(1.0), pois) - run(variables, x, pois)
    rows, slots = np.nonzero(np.any(np.abs(moved) > 1e-6, axis=2))
    assert set(rows) == {len(GRAPHS) - 1}
    assert tuple(slots) == reached


def test_a_poi_keeps_its_own_vector():
    """Beside its neighbours', which a bare convolution would leave it 3 % of."""
    model = GraphContext(1)
    x, pois = graphs()
    variables = variables_of(model, x, pois)
    silent = jax.tree.map(lambda leaf: 0.0 * leaf, variables)
    y = jax.jit(model.apply)(silent, x, pois)
    np.testing.assert_array_equal(y[pois.mask], x[pois.mask])


def test_sets_without_edges_are_refused():
    x, pois = graphs()
    with pytest.raises(TypeError, match="edges=True"):
        jax.eval_shape(GraphContext(1).init, KEY, x, pois._replace(edges=None))
