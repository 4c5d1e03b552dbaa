"""Batch normalisation with PyTorch's semantics, over all devices or some of them."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmgr_jax.errors import InputError

EPSILON = 1e-5
MOMENTUM = 0.1  # weight of the new batch in the running statistics, as in PyTorch


class BatchNorm(nn.Module):
    """Normalises each channel over a group of rows and all positions.

    Training uses the group's own statistics, taken in float32, and moves the running
    statistics by `MOMENTUM` towards their mean over the groups; the running variance
    follows the unbiased variance of a group (n / (n - 1)), as in PyTorch and unlike
    flax.linen.BatchNorm. Inference uses the running statistics.

    Attributes:
        dtype: Type of the result; statistics and parameters are float32.
        groups: Equal parts of the batch, consecutive rows each, with statistics of
            their own; 1 is the whole batch. Where a part is what one device holds,
            no number travels in the forward pass.
    """

    dtype: DTypeLike = jnp.float32
    groups: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Array:
        """Returns x normalised, in `dtype`; training updates `batch_stats`."""
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        if not train:
            mean, var = running_mean.value, running_var.value
            factor = scale * jax.lax.rsqrt(var + EPSILON)
            return (x * factor + (bias - mean * factor)).astype(self.dtype)
        # A fresh model may be drawn with fewer rows than there are groups.
        groups = 1 if self.is_initializing() else self.groups
        parts = x.reshape(groups, -1, *x.shape[1:])
        mean, var = _moments(parts)
        if not self.is_initializing():
            count = parts[0].size // parts.shape[-1]
            mean_of_groups = jnp.mean(mean, axis=0)
            unbiased = jnp.mean(var, axis=0) * (count / max(count - 1, 1))
            running_mean.value += MOMENTUM * (mean_of_groups - running_mean.value)
            running_var.value += MOMENTUM * (unbiased - running_var.value)
        factor = scale * jax.lax.rsqrt(var + EPSILON)
        shift = bias - mean * factor
        across = (slice(None), None, None, None)
        parts = parts * factor[across] + shift[across]
        return parts.reshape(x.shape).astype(self.dtype)


def num_groups(scope: str, num_devices: int) -> int:
    """Groups of a batch whose statistics `model.batch_norm` keeps apart.

    Args:
        scope: "global": one group, the batch of all devices. "local": each device's
            rows. "group:k": the rows of k neighbouring devices, or of all where there
            are fewer than k.
        num_devices: Devices that batches are split over.

    Raises:
        InputError: For another scope, or a k that does not divide the devices.
    """
    if scope == "global":
        return 1
    if scope == "local":
        return num_devices
    match = re.fullmatch(r"group:([1-9]\d*)", scope)
    if not match:
        raise InputError(
            f"config.model.batch_norm={scope!r} is unknown; allowed: global, local, "
            "group:k with k devices, such as group:8."
        )
    size = int(match.group(1))
    if size >= num_devices:
        return 1
    if num_devices % size:
        fitting = [k for k in range(1, num_devices) if num_devices % k == 0]
        raise InputError(
            f"config.model.batch_norm={scope!r} does not part {num_devices} devices. "
            f"Take one of {', '.join(f'group:{k}' for k in fitting)}, or global."
        )
    return num_devices // size


def _moments(parts: Float[Array, "g b h w c"]) -> tuple[Array, Array]:
    """Mean and biased variance [g c] of each channel, in float32 or finer."""
    parts = parts.astype(jnp.promote_types(parts.dtype, jnp.float32))
    mean = jnp.mean(parts, axis=(1, 2, 3))
    mean_square = jnp.mean(parts * parts, axis=(1, 2, 3))
    return mean, jnp.maximum(mean_square - mean * mean, 0.0)
