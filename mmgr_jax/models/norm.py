"""Batch normalisation with PyTorch's semantics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

EPSILON = 1e-5
MOMENTUM = 0.1  # weight of the new batch in the running statistics, as in PyTorch


class BatchNorm(nn.Module):
    """Normalises each channel over the whole batch and all positions.

    Training uses the batch's own statistics, taken in float32 over the global
    batch, and moves the running statistics by `MOMENTUM` towards them; the running
    variance follows the unbiased batch variance (n / (n - 1)), as in PyTorch and
    unlike flax.linen.BatchNorm. Inference uses the running statistics.

    Attributes:
        dtype: Type of the result; statistics and parameters are float32.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Array:
        """Returns x normalised, in `dtype`; training updates `batch_stats`."""
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        if train:
            mean, var = _moments(x)
            if not self.is_initializing():
                count = x.size // x.shape[-1]
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value += MOMENTUM * (mean - running_mean.value)
                running_var.value += MOMENTUM * (unbiased - running_var.value)
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + EPSILON)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)


def _moments(x: Float[Array, "b h w c"]) -> tuple[Array, Array]:
    """Mean and biased variance of each channel, in float32 or finer."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(x, axis=(0, 1, 2))
    mean_square = jnp.mean(x * x, axis=(0, 1, 2))
    return mean, jnp.maximum(mean_square - mean * mean, 0.0)
