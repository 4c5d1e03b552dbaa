"""Attention pooling: an order-free summary of a padded set, read by learnt queries."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmgr_jax.errors import InputError
from mmgr_jax.models.set2set import PADDING_SCORE


class AttentionPool(nn.Module):
    """Learnt seeds read a set by multi-head attention, one answer each.

    With z = x + ff(x) for each member x, a seed s answers norm(h + ff(h)), where
    h = norm(s + attention(s, z, z)). Before the attention, category and position are
    a mere sum; ff(x) lets a category mean different things in different places.
    Computed in float32.

    Attributes:
        heads: Attention heads; each gets d / heads numbers of a vector.
        seeds: Number of answers. Two by default: with d numbers each they make a
            summary as long as Set2Set's.

    Reference: Lee et al. (2019), Set Transformer (arXiv 1810.00825), section 3.2,
    pooling by multi-head attention; the sum in z is ours.
    """

    heads: int
    seeds: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"]
    ) -> Float[Array, "b q"]:
        """Returns the answers of all seeds side by side, q = seeds * d.

        Args:
            x: The sets, padded to n slots; padding may hold any value.
            mask: True for real members. From a set without any the seeds read 0.
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

    Axis m of the annotations is queries. Parameters are those of
    torch.nn.MultiheadAttention, its in-projection split in three.

    Attributes:
        heads: Attention heads.
    """

    heads: int

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "m d"],
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n"],
    ) -> Float[Array, "b m d"]:
        """Returns what each query reads; from an empty set the bias alone.

        Raises:
            InputError: If the heads do not share d evenly.
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
        # An empty set's weights are uniform until here: finite, also backwards.
        answers = jnp.einsum("bhmn,bnhc->bmhc", jnp.where(real, weight, 0.0), v)
        return nn.Dense(d, kernel_init=init, name="out")(answers.reshape(b, -1, d))


class FeedForward(nn.Module):
    """Linear to twice the width, ReLU, linear back; on each vector by itself."""

    @nn.compact
    def __call__(self, x: Float[Array, "*bn d"]) -> Float[Array, "*bn d"]:
        """Returns the layer's output."""
        d = x.shape[-1]
        init = nn.initializers.glorot_uniform()
        x = nn.relu(nn.Dense(2 * d, kernel_init=init, name="linear1")(x))
        return nn.Dense(d, kernel_init=init, name="linear2")(x)


def _norm(name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)
