"""Attention pooling: learnt queries summarise a padded set, whatever its order."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmgr_jax.errors import InputError
from mmgr_jax.models.set2set import PADDING_SCORE


class AttentionPool(nn.Module):
    """Pools a set by multi-head attention of learnt queries (seeds), one vector each.

    With z = x + ff(x) for each member x, a seed s gives norm(h + ff(h)), where
    h = norm(s + attention(s, z, z)). Before the attention, category and position are
    only a sum; with ff(x) a category can mean different things in different places.
    All is computed in float32.

    Attributes:
        heads: Number of attention heads; each gets d / heads numbers of a vector.
        seeds: Number of seeds. Two by default: with d numbers each, the result is as
            long as that of Set2Set.

    Reference: Lee et al. (2019), Set Transformer (arXiv 1810.00825), section 3.2,
    pooling by multi-head attention; the sum in z is ours.
    """

    heads: int
    seeds: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"]
    ) -> Float[Array, "b q"]:
        """Returns the vectors of all seeds, concatenated: q = seeds * d.

        Args:
            x: The sets, padded to n slots; padding may hold any value.
            mask: True for real members. Attention over an empty set gives 0.
        """
        d = x.shape[-1]
        init = nn.initializers.glorot_uniform()
        seeds = self.param("seed_vectors", init, (self.seeds, d), jnp.float32)
        x = jnp.where(mask[..., None], x.astype(jnp.float32), 0.0)
        x += FeedForward(name="member_ff")(x)
        answers = seeds + MultiHeadRead(self.heads, name="attention")(seeds, x, mask)
        answers = _norm("attention_norm")(answers)
        answers = answers + FeedForward(name="answer_ff")(answers)
        return _norm("answer_norm")(answers).reshape(len(x), -1)


class MultiHeadRead(nn.Module):
    """Multi-head attention of the same queries over each padded set.

    Axis m of the annotations stands for queries. Parameters are those of
    torch.nn.MultiheadAttention, with its in-projection split into three.

    Attributes:
        heads: Number of attention heads.
    """

    heads: int

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "m d"],
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n"],
    ) -> Float[Array, "b m d"]:
        """Returns the result of each query; for an empty set only the bias.

        Raises:
            InputError: If d is not a multiple of the number of heads.
        """
        b, n, d = x.shape
        if d % self.heads:
            raise InputError(
                f"config.model.poi_encoder.heads={self.heads} does not divide the "
                f"category vectors' length of {d}; take a divisor of {d}."
            )
        init = nn.initializers.glorot_uniform()
        split = (self.heads, d // self.heads)
        q = nn.Dense(d, kernel_init=init, name="query")(query).reshape(-1, *split)
        k = nn.Dense(d, kernel_init=init, name="key")(x).reshape(b, n, *split)
        v = nn.Dense(d, kernel_init=init, name="value")(x).reshape(b, n, *split)
        score = jnp.einsum("mhc,bnhc->bhmn", q * split[1] ** -0.5, k)
        real = mask[:, None, None, :]
        weight = jax.nn.softmax(jnp.where(real, score, PADDING_SCORE))
        # Up to here an empty set has uniform weights: finite, also in the gradient.
        answers = jnp.einsum("bhmn,bnhc->bmhc", jnp.where(real, weight, 0.0), v)
        return nn.Dense(d, kernel_init=init, name="out")(answers.reshape(b, -1, d))


class FeedForward(nn.Module):
    """Linear to twice the width, ReLU, linear back; for each vector separately."""

    @nn.compact
    def __call__(self, x: Float[Array, "*bn d"]) -> Float[Array, "*bn d"]:
        """Returns the layer's output."""
        d = x.shape[-1]
        init = nn.initializers.glorot_uniform()
        x = nn.relu(nn.Dense(2 * d, kernel_init=init, name="linear1")(x))
        return nn.Dense(d, kernel_init=init, name="linear2")(x)


def _norm(name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)
