"""Batch normalisation with PyTorch's semantics, over all devices or some of them."""

import dataclasses
import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmgr_jax.errors import InputError
from mmgr_jax.models.convolution import Conv
from mmgr_jax.typing import MESH_AXES

EPSILON = 1e-5
MOMENTUM = 0.1  # weight of the new batch in the running statistics, as in PyTorch


@dataclasses.dataclass(frozen=True)
class Devices:
    """Groups of neighbouring devices whose rows share statistics, all of one size.

    Attributes:
        group_size: Number of devices in a group.
        num_groups: Number of groups in the mesh.
    """

    group_size: int
    num_groups: int

    def mean(self, values: Array) -> Array:
        """Computes the mean over each group, inside a `shard_map` over the mesh."""
        groups = None
        if self.num_groups > 1:
            places = range(self.group_size * self.num_groups)
            size = self.group_size
            groups = [list(places[k : k + size]) for k in places[::size]]
        return jax.lax.pmean(values, MESH_AXES, axis_index_groups=groups)


class BatchNorm(nn.Module):
    """Normalises each channel over the rows of some devices and all positions.

    Training uses the batch's own statistics, computed in float32, and moves the running
    statistics by `MOMENTUM` towards them. The running variance follows the unbiased
    variance (n / (n - 1)), as in PyTorch and unlike flax.linen.BatchNorm. Inference
    uses the running statistics, see `normalised`.

    Attributes:
        features: Number of channels.
        dtype: Number type of the result; statistics and parameters are float32.
        over: Devices whose rows make up the batch. Training then runs in a `shard_map`,
            with two exchanges a step. None: only the rows of this device.
    """

    features: int
    dtype: DTypeLike = jnp.float32
    over: Devices | None = None

    def setup(self) -> None:
        """Declares parameters and running statistics [c]."""
        channels = (self.features,)
        self.scale = self.param("scale", nn.initializers.ones, channels, jnp.float32)
        self.bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        self.mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        self.var = self.variable("batch_stats", "var", jnp.ones, channels)

    def __call__(self, x: Float[Array, "b h w c"]) -> Array:
        """Returns x as normalised in training, in `dtype`; updates `batch_stats`."""
        over = None if self.is_initializing() else self.over
        y, mean, var = _normalise(x, self.scale, self.bias, over, self.dtype)
        if not self.is_initializing():
            self.mean.value += MOMENTUM * (mean - self.mean.value)
            self.var.value += MOMENTUM * (var - self.var.value)
        return y

    def folded(self) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        """Returns factor and shift of each channel from the running statistics."""
        given = (self.mean.value, self.var.value, self.scale, self.bias)
        return _line(*map(jnp.asarray, given))


def normalised(
    conv: Conv, norm: BatchNorm, x: Float[Array, "b h w c"], train: bool
) -> Float[Array, "b y x f"]:
    """Computes norm(conv(x)).

    In inference the factors are multiplied into the kernel, and only the shift is added
    afterwards. This saves a pass over the maps if a library computes the convolution.
    """
    if train:
        return norm(conv(x))
    factor, shift = norm.folded()
    return (conv(x, factor) + shift).astype(norm.dtype)


@partial(jax.jit, static_argnums=(3, 4))
def _normalise(
    x: Array, scale: Array, bias: Array, over: Devices | None, dtype: DTypeLike
) -> tuple[Array, Array, Array]:
    """The normalised maps, their mean and their unbiased variance.

    Traced once for each shape: a network has many layers, but few shapes.
    """
    mean, mean_square = _moments(x)
    count = x.size // x.shape[-1]
    if over:
        mean, mean_square = over.mean(jnp.stack([mean, mean_square]))
        count *= over.group_size
    var = jnp.maximum(mean_square - mean * mean, 0.0)
    factor, shift = _line(mean, var, scale, bias)
    unbiased = var * (count / max(count - 1, 1))
    return (x * factor + shift).astype(dtype), mean, unbiased


def _line(mean: Array, var: Array, scale: Array, bias: Array) -> tuple[Array, Array]:
    """Factor and shift of each channel."""
    factor = scale * jax.lax.rsqrt(var + EPSILON)
    return factor, bias - mean * factor


def devices(scope: str, num_devices: int) -> Devices | None:
    """Returns the devices whose rows share statistics, by `model.batch_norm`.

    Args:
        scope: "global": all devices. "local": each device alone. "group:k": k
            neighbouring devices, or all if there are fewer than k.
        num_devices: Number of devices over which batches are split.

    Returns:
        A value for `BatchNorm.over`: None if each device is a group.

    Raises:
        InputError: If the scope is unknown, or k does not divide the number of devices.
    """
    match = re.fullmatch(r"group:([1-9]\d*)", scope)
    if not match and scope not in ("global", "local"):
        raise InputError(
            f"config.model.batch_norm={scope!r} is unknown; allowed: global, local, "
            "group:k with k devices, such as group:8."
        )
    size = num_devices if scope == "global" else int(match[1]) if match else 1
    size = min(size, num_devices)
    if num_devices % size:
        fitting = [k for k in range(1, num_devices) if num_devices % k == 0]
        raise InputError(
            f"config.model.batch_norm={scope!r} does not divide {num_devices} devices "
            "into equal groups. Take one of "
            f"{', '.join(f'group:{k}' for k in fitting)}, or global."
        )
    return Devices(size, num_devices // size) if size > 1 else None


def _moments(x: Float[Array, "b h w c"]) -> tuple[Array, Array]:
    """Mean and mean square [c] of each channel, in float32 or higher precision."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.mean(x, axis=(0, 1, 2)), jnp.mean(x * x, axis=(0, 1, 2))
