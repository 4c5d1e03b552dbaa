"""Graph convolution: adds to each POI's vector what is around the POI."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmgr_jax.typing import PoiEdges, PoiEdgeWeight, PoiMask, PoiSets


class GraphContext(nn.Module):
    """Adds to each POI vector that of its neighbourhood: x + relu(conv(x)).

    The sum keeps a POI's own vector, which a convolution alone nearly removes. Edges
    weigh about 8 and the self-loop 1, so a POI is 3 % of its own result. Of the
    variance between the POIs of a region, 16 % is left after one layer and 6 % after
    two (toy city's records). The width stays d, so any pool can follow.

    Attributes:
        layers: Number of convolutions, which is also the reach in edges. One by
            default: direct neighbours. In regions of 15 POIs or more, one edge reaches
            27 % of the POIs and two edges 62 % (toy city), which is nearly the whole
            set that the pool reads anyway.
    """

    layers: int

    reads_edges: ClassVar[bool] = True

    @nn.compact
    def __call__(
        self, vectors: Float[Array, "b n d"], pois: PoiSets
    ) -> Float[Array, "b n d"]:
        """Returns the vectors with their neighbourhood; masked slots hold any value.

        Args:
            vectors: Vector of each POI; padding may hold any value.
            pois: The sets and their edges.
        """
        if pois.edges is None or pois.edge_weight is None:
            raise TypeError("POI sets without edges: ask the pipeline for edges=True")
        graph = adjacency(pois.edges, pois.edge_weight, pois.mask)
        x = jnp.where(pois.mask[..., None], vectors, 0.0)
        for index in range(self.layers):
            x += nn.relu(GraphConv(x.shape[-1], name=f"conv_{index}")(x, graph))
        return x


class GraphConv(nn.Module):
    """One convolution, D^-1/2 (A + I) D^-1/2 x W + bias; D has the degrees of A + I.

    Attributes:
        features: Length f of the resulting vectors.

    Reference: Kipf and Welling (2017), Semi-supervised classification with graph
    convolutional networks (arXiv 1609.02907), equation 2; weights and initialisation as
    torch_geometric.nn.GCNConv.
    """

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], graph: Float[Array, "b n n"]
    ) -> Float[Array, "b n f"]:
        """Returns the convolved vectors.

        Args:
            x: Vectors; they must be finite, also those of padding.
            graph: Symmetric weights A without self-loops, see `adjacency`.
        """
        init = nn.initializers.glorot_uniform()
        x = nn.Dense(self.features, use_bias=False, kernel_init=init, name="lin")(x)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        scale = jax.lax.rsqrt(1.0 + jnp.sum(graph, axis=2))[..., None]
        x *= scale
        return scale * (graph @ x + x) + bias


def adjacency(
    edges: PoiEdges, edge_weight: PoiEdgeWeight, mask: PoiMask
) -> Float[Array, "b n n"]:
    """Makes symmetric matrices of edge weights.

    Edges to a masked slot and edges of weight 0 do not count.

    Matrices are used because a TPU is best at products, because they need no gradient,
    and because all layers share them. Messages along edges would be gathered and
    scattered row by row in each layer, forward and backward. Up to n = 6 d the matrix
    also needs less memory. On a CPU it is slower: with b = 128 and d = 64 on two cores,
    a layer forward and backward took 10 ms against 8 ms by segment sums for n = 64, and
    106 ms against 64 ms for n = 256. This was not measured on a TPU.

    Args:
        edges: The two different slots of each edge; each edge occurs once.
        edge_weight: Weights of the edges, at least 0.
        mask: True for real POIs.
    """
    # `vmap` over the batch keeps each scatter within its example, so no data moves
    # between devices over which the batch is split.
    return jax.vmap(_adjacency)(edges, edge_weight, mask)


def _adjacency(ends: Array, weight: Array, mask: Array) -> Array:
    n = len(mask)
    weight = jnp.where(jnp.all(mask[ends], axis=1), weight, 0.0)
    start, end = jnp.concatenate([ends, ends[:, ::-1]]).T
    return jnp.zeros((n, n)).at[start, end].add(jnp.tile(weight, 2))
