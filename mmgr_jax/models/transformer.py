"""Blocks of a vision transformer (attention and an MLP), with timm's names."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmgr_jax.models.rotary import Rotation, rotate

MLP_RATIO = 4  # hidden width of a block's MLP over its width
# timm truncates at +-2, which is a hundred deviations, so the distribution is the same.
NORMAL = nn.initializers.normal(0.02)


class Block(nn.Module):
    """Attention, then an MLP, each after a norm and with a shortcut.

    Attributes:
        num_heads: Number of attention heads.
        epsilon: Added to the variance in LayerNorm.
        layer_scale: Initial value of the factors, one for each channel, on the outputs
            of attention and MLP; None for no factors.
        key_bias: Whether keys have a bias, as queries and values have.
        dtype: Number type of the products and of the result.
    """

    num_heads: int
    epsilon: float
    layer_scale: float | None
    key_bias: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t f"], rotation: Rotation | None = None
    ) -> Float[Array, "b t f"]:
        """Returns the tokens after the block.

        Args:
            x: The tokens before the block.
            rotation: Rotary positions of the tokens; None if there are none.
        """
        norm = partial(layer_norm, epsilon=self.epsilon, dtype=self.dtype)
        attention = Attention(self.num_heads, self.key_bias, self.dtype, name="attn")
        x += self._scaled("ls1", attention(norm(name="norm1")(x), rotation))
        y = Mlp(self.dtype, name="mlp")(norm(name="norm2")(x))
        return x + self._scaled("ls2", y)

    def _scaled(self, name: str, x: Array) -> Array:
        if self.layer_scale is None:
            return x
        return LayerScale(self.layer_scale, self.dtype, name=name)(x)


class LayerScale(nn.Module):
    """A learnt factor for each channel.

    Reference: Touvron et al. (2021), Going deeper with image transformers (arXiv
    2103.17239), section 2.
    """

    start: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b t f"]) -> Float[Array, "b t f"]:
        """Returns the scaled tokens."""
        start = nn.initializers.constant(self.start)
        gamma = self.param("gamma", start, x.shape[-1:], jnp.float32)
        return x * gamma.astype(self.dtype)


class Attention(nn.Module):
    """Self-attention over all tokens, with several heads."""

    num_heads: int
    key_bias: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t f"], rotation: Rotation | None = None
    ) -> Float[Array, "b t f"]:
        """Returns the result of the attention for each token."""
        b, tokens, width = x.shape
        qkv = linear(3 * width, self.key_bias, dtype=self.dtype, name="qkv")(x)
        if not self.key_bias:
            qkv += self._bias(width)
        qkv = qkv.reshape(b, tokens, 3, self.num_heads, width // self.num_heads)
        query, key, value = jnp.moveaxis(qkv, 2, 0)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        x = attention(query, key, value)
        x = x.reshape(b, tokens, width)
        return linear(width, dtype=self.dtype, name="proj")(x)

    def _bias(self, width: int) -> Float[Array, " f3"]:
        """The bias of queries and values, with zeros for keys."""
        zeros = nn.initializers.zeros
        query, value = (self.param(f"{name}_bias", zeros, (width,)) for name in "qv")
        return jnp.concatenate([query, jnp.zeros(width), value]).astype(self.dtype)


class Mlp(nn.Module):
    """Linear, exact GELU, linear, for each token separately."""

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b t f"]) -> Float[Array, "b t f"]:
        """Returns the update of each token."""
        width = x.shape[-1]
        x = linear(MLP_RATIO * width, dtype=self.dtype, name="fc1")(x)
        x = gelu(x)
        return linear(width, dtype=self.dtype, name="fc2")(x)


@jax.checkpoint
def gelu(x: Float[Array, "*r f"]) -> Float[Array, "*r f"]:
    """Multiplies each number by the normal distribution function, as in PyTorch.

    Only x is kept for the gradient. `erf` is used because JAX's own exact GELU calls
    `erfc`, which takes a GPU longer than reading and writing x.

    Reference: Hendrycks and Gimpel (2016), arXiv 1606.08415.
    """
    return x * (0.5 + 0.5 * jax.lax.erf(x * 0.5**0.5))


def attention(
    query: Float[Array, "b t n h"],
    key: Float[Array, "b t n h"],
    value: Float[Array, "b t n h"],
) -> Float[Array, "b t n h"]:
    """Computes softmax(query . key / sqrt(h)) value, for n heads.

    In bfloat16 on an NVIDIA GPU, cuDNN computes it without storing the t x t weights
    (Dao et al. 2022, FlashAttention, arXiv 2205.14135); otherwise XLA does.
    """
    plain = jax.nn.dot_product_attention
    if query.dtype != jnp.bfloat16 or not _has_fused_attention():
        return plain(query, key, value)
    return jax.lax.platform_dependent(query, key, value, cuda=_fused, default=plain)


def _fused(query: Array, key: Array, value: Array) -> Array:
    """Attention by cuDNN, whose gradient needs an even number of tokens."""
    b, tokens = query.shape[:2]
    if tokens % 2 == 0:
        return jax.nn.dot_product_attention(query, key, value, implementation="cudnn")
    one_more = [(0, 0), (0, 1), (0, 0), (0, 0)]
    query, key, value = (jnp.pad(x, one_more) for x in (query, key, value))
    real = jnp.full(b, tokens, jnp.int32)
    x = jax.nn.dot_product_attention(
        query,
        key,
        value,
        query_seq_lengths=real,
        key_value_seq_lengths=real,
        implementation="cudnn",
    )
    return x[:, :tokens]


def _has_fused_attention() -> bool:
    """Whether this machine's GPUs have fused attention: Ampere or later."""
    if jax.default_backend() != "gpu":
        return False
    capability = getattr(jax.local_devices()[0], "compute_capability", "0.0")
    return float(capability) >= 8.0


linear = partial(nn.Dense, kernel_init=NORMAL)
# For the gradient a norm keeps only its input, not its intermediate float32 results.
layer_norm = partial(nn.remat(nn.LayerNorm), use_fast_variance=False)
