"""Set2Set: summarises a padded set of vectors, whatever its order."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

# Removes a slot from the softmax. It is finite, so a row of only padding has no NaN.
PADDING_SCORE = -1e30


class Set2Set(nn.Module):
    """Reads a set several times by attention, with queries from an LSTM.

    q = LSTM(q*), a = softmax over the set of x_i . q, r = sum a_i x_i, q* = [q, r],
    starting from zeros. All is computed in float32, which takes a few per mille of a
    step.

    Attributes:
        steps: Number of readings; 5 in the released code.

    Reference: Vinyals et al. (2016), Order matters (arXiv 1511.06391), section 4.2;
    cell and weights are those of torch_geometric.nn.aggr.Set2Set with one LSTM layer.
    """

    steps: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"]
    ) -> Float[Array, "b q"]:
        """Returns q* = [q, r], q = 2 d.

        Args:
            x: The sets, padded to n slots; padding may hold any value.
            mask: True for real members. For an empty set r = 0.
        """
        b, _, d = x.shape
        x = jnp.where(mask[..., None], x.astype(jnp.float32), 0.0)
        lstm = LstmCell(d, name="lstm")
        hidden = cell = jnp.zeros((b, d))
        summary = jnp.zeros((b, 2 * d))
        for _ in range(self.steps):
            hidden, cell = lstm(summary, hidden, cell)
            summary = jnp.concatenate([hidden, read(x, mask, hidden)], axis=1)
        return summary


def read(
    x: Float[Array, "b n d"], mask: Bool[Array, "b n"], query: Float[Array, "b d"]
) -> Float[Array, "b d"]:
    """Averages each set's members, weighted by softmax(x . query); 0 if it is empty."""
    score = jnp.einsum("bnd,bd->bn", x, query)
    score = jnp.where(mask, score, PADDING_SCORE)
    highest = jax.lax.stop_gradient(jnp.max(score, axis=1, keepdims=True))
    weight = jnp.where(mask, jnp.exp(score - highest), 0.0)
    total = jnp.sum(weight, axis=1, keepdims=True)
    weight = weight / jnp.where(total > 0.0, total, 1.0)
    return jnp.einsum("bn,bnd->bd", weight, x)


class LstmCell(nn.Module):
    """One step of PyTorch's LSTM, with gate order i f g o and two bias vectors.

    Attributes:
        features: Length d of the hidden state.
    """

    features: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b q"],
        hidden: Float[Array, "b d"],
        cell: Float[Array, "b d"],
    ) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        """Returns the next hidden and cell state."""
        init = uniform_init(self.features)
        gates = 4 * self.features
        kernel_ih = self.param("kernel_ih", init, (x.shape[1], gates), jnp.float32)
        kernel_hh = self.param("kernel_hh", init, (self.features, gates), jnp.float32)
        bias_ih = self.param("bias_ih", init, (gates,), jnp.float32)
        bias_hh = self.param("bias_hh", init, (gates,), jnp.float32)
        z = x @ kernel_ih + bias_ih + hidden @ kernel_hh + bias_hh
        i, f, g, o = jnp.split(z, 4, axis=1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


def uniform_init(fan_in: int) -> nn.initializers.Initializer:
    """PyTorch's initialiser of linear and recurrent layers: U(-1, 1) / sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
