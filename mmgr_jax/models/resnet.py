"""ResNet image encoders (v1.5) with the same parameters as those of torchvision."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmgr_jax.errors import check_choice
from mmgr_jax.models import readout
from mmgr_jax.models.convolution import Conv
from mmgr_jax.models.norm import BatchNorm, Devices, normalised


class ResNet(nn.Module):
    """A residual network from a normalised image to one pooled feature vector.

    Module names are torchvision's with `_` for the dots inside a stage
    (`layer1_0.conv1`, `layer1_0.downsample_0`), so weights can be converted both ways
    by name. The stride is in the 3x3 convolution (v1.5); padding is PyTorch's.

    Attributes:
        stage_sizes: Number of residual blocks in each stage. Each stage except the
            first halves the map and doubles the width.
        width: Channels of the first stage.
        block: "basic" (two 3x3) or "bottleneck" (1x1, 3x3, 1x1 with four times the
            channels).
        stem: "conv7" (7x7 with stride 2, then 3x3 maximum with stride 2), "conv7s4"
            (7x7 with stride 4, which saves a small network a third of its CPU time) or
            "patch4" (4x4 with stride 4, which saves a little more).
        dtype: Number type of the activations; parameters are float32.
        norm_over: Devices whose rows share BatchNorm's statistics in training.
        last_stages: Number of the last stages that learn; BatchNorm of the others uses
            its running statistics. None: all stages learn, and the stem.

    Reference: He et al. (2016), Deep residual learning (arXiv 1512.03385).
    """

    stage_sizes: Sequence[int]
    width: int = 64
    block: str = "basic"
    stem: str = "conv7"
    dtype: DTypeLike = jnp.float32
    norm_over: Devices | None = None
    last_stages: int | None = None

    @property
    def feature_dim(self) -> int:
        """Length of the pooled feature vector."""
        last_width = self.width * 2 ** (len(self.stage_sizes) - 1)
        return last_width * BLOCKS[self.block].expansion

    pixel_mean = readout.IMAGENET_MEAN
    pixel_std = readout.IMAGENET_STD

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool,
        every_stage: bool = False,
    ) -> Array | dict[str, Array]:
        """Returns the pooled features [b f] in `dtype`.

        Args:
            image: Normalised images, of any size from 32 px.
            train: Whether BatchNorm uses the statistics of the batch and updates the
                running ones.
            every_stage: Return mean and deviation of the image itself and of the last
                map of every stage instead, in float32 and by name.
        """
        maps = {"pixels": image}
        check_choice("model.image_encoder.stem", self.stem, STEMS)
        stem = STEMS[self.stem](self.width, dtype=self.dtype, name="conv1")
        norm = partial(BatchNorm, dtype=self.dtype, over=self.norm_over)
        learning = (
            len(self.stage_sizes) if self.last_stages is None else self.last_stages
        )
        first = norm(self.width, name="bn1")
        x = normalised(stem, first, image, train and self.last_stages is None)
        x = nn.relu(x)
        if self.stem == "conv7":
            x = max_pool(x)
        for stage, num_blocks in enumerate(self.stage_sizes):
            learns = stage >= len(self.stage_sizes) - learning
            for index in range(num_blocks):
                x = BLOCKS[self.block](
                    width=self.width * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    dtype=self.dtype,
                    norm=norm,
                    name=f"layer{stage + 1}_{index}",
                )(x, train and learns)
            maps[f"stage {stage + 1}"] = x
        if every_stage:
            return {
                name: readout.mean_and_deviation(values)
                for name, values in maps.items()
            }
        precise = jnp.promote_types(self.dtype, jnp.float32)
        return jnp.mean(x, axis=(1, 2), dtype=precise).astype(self.dtype)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    width: int
    stride: int
    dtype: DTypeLike
    norm: Callable[..., BatchNorm]

    expansion = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Array:
        """Returns the block's output [b h/stride w/stride width]."""
        part = partial(_part, self.norm, self.dtype, train)
        y = nn.relu(part(x, "conv1", "bn1", self.width, 3, self.stride))
        y = part(y, "conv2", "bn2", self.width, 3)
        if x.shape != y.shape:
            x = part(x, *DOWNSAMPLE, self.width, 1, self.stride)
        return nn.relu(y + x)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions (the last four times as wide) and a shortcut."""

    width: int
    stride: int
    dtype: DTypeLike
    norm: Callable[..., BatchNorm]

    expansion = 4

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Array:
        """Returns the block's output [b h/stride w/stride 4*width]."""
        part = partial(_part, self.norm, self.dtype, train)
        wide = self.width * self.expansion
        y = nn.relu(part(x, "conv1", "bn1", self.width, 1))
        y = nn.relu(part(y, "conv2", "bn2", self.width, 3, self.stride))
        y = part(y, "conv3", "bn3", wide, 1)
        if x.shape != y.shape:
            x = part(x, *DOWNSAMPLE, wide, 1, self.stride)
        return nn.relu(y + x)


DOWNSAMPLE = "downsample_0", "downsample_1"  # torchvision's names


def _part(
    norm: Callable[..., BatchNorm],
    dtype: DTypeLike,
    train: bool,
    x: Array,
    conv_name: str,
    norm_name: str,
    features: int,
    size: int,
    stride: int = 1,
) -> Array:
    """A convolution and its norm; both become modules of the calling block."""
    conv = Conv(features, size, stride, dtype, name=conv_name)
    return normalised(conv, norm(features, name=norm_name), x, train)


BLOCKS = {"basic": BasicBlock, "bottleneck": BottleneckBlock}


STEMS = {
    "conv7": partial(Conv, size=7, stride=2),
    "conv7s4": partial(Conv, size=7, stride=4),
    "patch4": partial(Conv, size=4, stride=4),
}


@jax.custom_vjp
def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b y x c"]:
    """Computes 3x3 maxima with stride 2 and a border of -inf, as in ResNet's stem.

    The first of equal pixels gets the gradient, as in PyTorch. The gradient is written
    by hand, from the place of each window's maximum, because automatic gradients are
    slow: 33 ms against 23 ms for 8 x 112 x 112 x 64 on XLA:CPU. With maxima of slices,
    an H200 made nine passes over memory.
    """
    return _max_pool(x)[0]


def _max_pool(x: Array) -> tuple[Array, tuple[Array, Array]]:
    """The maxima and, for the gradient, their places in their windows and x's type."""
    _, height, width, _ = x.shape
    padded = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-jnp.inf)
    windows = [
        padded[:, row : row + height : 2, column : column + width : 2]
        for row in range(3)
        for column in range(3)
    ]
    largest, place = windows[0], jnp.zeros(windows[0].shape, jnp.uint8)
    for number, values in enumerate(windows[1:], 1):
        place = jnp.where(values > largest, jnp.uint8(number), place)
        largest = jnp.maximum(largest, values)
    return largest, (place, jnp.zeros((0, *x.shape[1:]), x.dtype))


def _max_pool_gradient(
    residuals: tuple[Array, Array], given: Float[Array, "b y x c"]
) -> tuple[Float[Array, "b h w c"]]:
    """Adds up each pixel's gradient from its windows: one or two along each axis."""
    place, like = residuals
    height, width = like.shape[1:3]
    row = jax.lax.broadcasted_iota(jnp.int32, (1, height, width, 1), 1)
    column = jax.lax.broadcasted_iota(jnp.int32, (1, height, width, 1), 2)
    total = jnp.zeros((), like.dtype)
    for rows_on in (0, 1):
        for columns_on in (0, 1):
            shifts = ((1, rows_on, height), (2, columns_on, width))
            winner = _spread(place, shifts, none=99).astype(jnp.int32)
            own = 3 * _place(row, rows_on) + _place(column, columns_on)
            total += jnp.where(winner == own, _spread(given, shifts, none=0), 0)
    return (total,)


def _place(pixel: Array, later: int) -> Array:
    """Place of pixels in their first or second window; 9 for none."""
    odd = pixel % 2
    return jnp.where(odd == 1, 0, 9) if later else odd + 1


def _spread(values: Array, shifts: Sequence[tuple[int, int, int]], none: int) -> Array:
    """Copies each window's value to its first pixels; shifted: the next window's value.

    Args:
        values: One value for each window.
        shifts: For both axes: axis, windows to move on, and number of pixels.
        none: Value for windows after the last one.
    """
    for axis, later, size in shifts:
        if later:
            edges = [(0, int(other == axis)) for other in range(values.ndim)]
            values = jnp.pad(values, edges, constant_values=none)
            values = jax.lax.slice_in_dim(values, 1, None, axis=axis)
        values = jnp.repeat(values, 2, axis=axis)
        values = jax.lax.slice_in_dim(values, 0, size, axis=axis)
    return values


max_pool.defvjp(_max_pool, _max_pool_gradient)


def resnet18(**options: Any) -> ResNet:
    """Makes the ResNet-18 of torchvision; 512 features."""
    return ResNet(stage_sizes=(2, 2, 2, 2), block="basic", **options)


def resnet50(**options: Any) -> ResNet:
    """Makes the ResNet-50 (v1.5) of torchvision, the paper's encoder; 2048 features."""
    return ResNet(stage_sizes=(3, 4, 6, 3), block="bottleneck", **options)


def resnet_small(*, width: int = 32, blocks: int = 1, **options: Any) -> ResNet:
    """Makes a network of three stages for 64 px tiles on CPUs; 4 * width features."""
    return ResNet((blocks,) * 3, width=width, **options)


FACTORIES = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "resnet_small": resnet_small,
}
