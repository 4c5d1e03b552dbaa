"""ResNet image encoders (v1.5), parameter for parameter those of torchvision."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmgr_jax.models.norm import BatchNorm

KAIMING_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(nn.Module):
    """A residual network from normalised image to one pooled feature vector.

    Module names are torchvision's with `_` for the dots inside a stage
    (`layer1_0.conv1`, `layer1_0.downsample_0`), so weights travel both ways by
    name. The stride sits in the 3x3 convolution (v1.5), padding is PyTorch's.

    Attributes:
      stage_sizes: residual blocks of each stage; a stage halves the map (except
        the first) and doubles the width.
      width: channels of the first stage.
      block: "basic" (two 3x3) or "bottleneck" (1x1, 3x3, 1x1 with four times the
        channels).
      dtype: type of the activations; parameters are float32.

    Reference: He et al. (2016), Deep residual learning (arXiv 1512.03385).
    """

    stage_sizes: Sequence[int]
    width: int = 64
    block: str = "basic"
    dtype: DTypeLike = jnp.float32

    @property
    def feature_dim(self) -> int:
        """Length of the pooled feature."""
        last_width = self.width * 2 ** (len(self.stage_sizes) - 1)
        return last_width * BLOCKS[self.block].expansion

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Array:
        """Returns the pooled features [b f] in `dtype`.

        Args:
          image: normalised image, any size of at least 32 px. On a CPU keep the
            last map at 3x3 or larger: smaller ones are 70 times slower there.
          train: use and update the batch statistics of BatchNorm.
        """
        x = image.astype(self.dtype)
        x = Conv(self.width, 7, 2, dtype=self.dtype, name="conv1")(x)
        x = nn.relu(BatchNorm(dtype=self.dtype, name="bn1")(x, train))
        x = max_pool(x)
        for stage, num_blocks in enumerate(self.stage_sizes):
            for index in range(num_blocks):
                x = BLOCKS[self.block](
                    width=self.width * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{index}",
                )(x, train)
        return jnp.mean(x, axis=(1, 2), dtype=jnp.float32).astype(self.dtype)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    width: int
    stride: int
    dtype: DTypeLike

    expansion = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Array:
        """Returns the block's output [b h/stride w/stride width]."""
        conv = partial(Conv, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype)
        y = conv(self.width, 3, self.stride, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y, train))
        y = conv(self.width, 3, name="conv2")(y)
        y = norm(name="bn2")(y, train)
        if x.shape != y.shape:
            x = conv(self.width, 1, self.stride, name="downsample_0")(x)
            x = norm(name="downsample_1")(x, train)
        return nn.relu(y + x)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last four times as wide, and a shortcut."""

    width: int
    stride: int
    dtype: DTypeLike

    expansion = 4

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Array:
        """Returns the block's output [b h/stride w/stride 4*width]."""
        conv = partial(Conv, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype)
        y = conv(self.width, 1, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y, train))
        y = conv(self.width, 3, self.stride, name="conv2")(y)
        y = nn.relu(norm(name="bn2")(y, train))
        y = conv(self.width * self.expansion, 1, name="conv3")(y)
        y = norm(name="bn3")(y, train)
        if x.shape != y.shape:
            x = conv(y.shape[-1], 1, self.stride, name="downsample_0")(x)
            x = norm(name="downsample_1")(x, train)
        return nn.relu(y + x)


BLOCKS = {"basic": BasicBlock, "bottleneck": BottleneckBlock}


class Conv(nn.Module):
    """A square convolution without bias, padded as PyTorch pads (size // 2).

    Attributes:
      features: output channels.
      size: kernel size in pixels, odd.
      stride: in pixels.
      dtype: type of the result and of the products.
    """

    features: int
    size: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Array:
        """Returns [b ceil(h/stride) ceil(w/stride) features] in `dtype`."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", KAIMING_FAN_OUT, shape, jnp.float32)
        kernel = kernel.astype(self.dtype)
        x = x.astype(self.dtype)
        if self.size == 1:
            # As a dot: XLA:CPU is slow at the weight gradient of 1x1 convolutions.
            x = x[:, :: self.stride, :: self.stride]
            return jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0])
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(self.stride, self.stride),
            padding=[(self.size // 2, self.size // 2)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """3x3 maximum with stride 2 and one pixel of -inf around, as in ResNet's stem."""
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def resnet18(**options: int | DTypeLike) -> ResNet:
    """The ResNet-18 of torchvision; 512 features."""
    return ResNet(stage_sizes=(2, 2, 2, 2), block="basic", **options)


def resnet50(**options: int | DTypeLike) -> ResNet:
    """The ResNet-50 (v1.5) of torchvision, the paper's encoder; 2048 features."""
    return ResNet(stage_sizes=(3, 4, 6, 3), block="bottleneck", **options)


def resnet_small(*, width: int = 32, blocks: int = 1, **options: DTypeLike) -> ResNet:
    """Three stages of basic blocks for 64 px tiles on a CPU; 4 * width features."""
    return ResNet(stage_sizes=(blocks,) * 3, width=width, block="basic", **options)


FACTORIES = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "resnet_small": resnet_small,
}
