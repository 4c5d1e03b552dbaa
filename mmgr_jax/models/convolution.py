"""Square convolutions without bias, in the form that is fastest on each platform.

Accelerators get the plain convolution, except for the stem on CUDA. On XLA:CPU some
forms are much faster than others. The forms below are the fastest there; they differ
only in the order of sums. The platform is the one that a program is lowered for, so a
program compiled for TPUs on a CPU uses the form of TPUs.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

KAIMING_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
SMALL_MAP = 9  # largest number of positions for which `columns` is the fastest form


class Conv(nn.Module):
    """A square convolution without bias, with PyTorch's padding (size // 2).

    Patches that do not overlap (size equal to stride) are not padded.

    Attributes:
        features: Number of output channels.
        size: Side of the kernel in pixels.
        stride: Stride in pixels.
        dtype: Number type of the products and of the result.
    """

    features: int
    size: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], factors: Float[Array, " f"] | None = None
    ) -> Array:
        """Returns [b h/stride w/stride features] in `dtype`.

        If `factors` are given, output channels are multiplied by them.
        """
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", KAIMING_FAN_OUT, shape, jnp.float32)
        if factors is not None:
            kernel = kernel * factors
        return convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.stride)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s c f"], stride: int
) -> Float[Array, "b y x f"]:
    """Computes the convolution that `Conv` describes.

    Its gradient is written by hand: on a CPU the fastest forms of the convolution and
    of its gradient may differ.

    Args:
        x: Images or maps.
        kernel: Kernel of side s.
        stride: Stride in pixels.
    """
    return _forward(x, kernel, stride)


@partial(jax.jit, static_argnums=2)
def _forward(x: Array, kernel: Array, stride: int) -> Array:
    """Traced once for each shape: a network has many layers, but few shapes."""
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_on_cpu, stride=stride),
        cuda=partial(FORMS[_form_on_cuda(kernel, stride)], stride=stride),
        default=partial(plain, stride=stride),
    )


def _with_residuals(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple]:
    return convolve(x, kernel, stride), (x, kernel)


def _gradients(
    stride: int, residuals: tuple[Array, Array], given: Array
) -> tuple[Array, Array]:
    return _backward(*residuals, given, stride)


@partial(jax.jit, static_argnums=3)
def _backward(
    x: Array, kernel: Array, given: Array, stride: int
) -> tuple[Array, Array]:
    def gradients_of(form: str) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
        function = partial(FORMS[form], stride=stride)
        return lambda x, kernel, given: jax.vjp(function, x, kernel)[1](given)

    on_cpu = _form(x, kernel, stride)
    return jax.lax.platform_dependent(
        x,
        kernel,
        given,
        cpu=gradients_of("plain" if on_cpu == "four_channels" else on_cpu),
        cuda=gradients_of(_form_on_cuda(kernel, stride)),
        default=gradients_of("plain"),
    )


convolve.defvjp(_with_residuals, _gradients)


def _on_cpu(x: Array, kernel: Array, stride: int) -> Array:
    return FORMS[_form(x, kernel, stride)](x, kernel, stride)


def _form(x: Array, kernel: Array, stride: int) -> str:
    """Which of `FORMS` XLA:CPU computes fastest; times are milliseconds on one core.

    `rows`: as a convolution, the gradient of a 1x1 kernel is slow. As a product over
    three axes it first writes a transposed copy, which takes 17 % of ResNet-50's step.
    `columns`: 3x3 on a map of 2x2, 16 x 256 channels: 0.8 against 20; on 3x3, 512
    channels, 5.7 against 7.1 and its gradient 5.1 against 10.3; on 6x6 no gain.
    `four_channels`: 7x7 over three channels to 24, 64 images of 64 px: 6.4 against 78;
    to 64 channels, where XLA does not take the slow path, 7.2 against 4.9.
    """
    size, _, channels, features = kernel.shape
    _, height, width, _ = x.shape
    if size in (1, stride):
        return "rows"
    positions = -(-height // stride) * -(-width // stride)
    if size % 2 and positions <= SMALL_MAP:
        return "columns"
    if channels == 3 and features % 64:
        return "four_channels"
    return "plain"


def _form_on_cuda(kernel: Array, stride: int) -> str:
    """Which of `FORMS` an NVIDIA GPU computes fastest.

    `folded`: cuDNN's tensor cores need at least eight channels, so three channels are
    filled up with zeros: 3.1 ms for 7x7 over 512 images of 224 px in bfloat16 on an
    H200.
    """
    size, _, channels, _ = kernel.shape
    return "folded" if size > stride == 2 and channels == 3 else "plain"


def plain(x: Array, kernel: Array, stride: int) -> Array:
    """Computes the convolution by XLA's own operation."""
    size = kernel.shape[0]
    padding = 0 if size == stride else size // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _rows(x: Array, kernel: Array, stride: int) -> Array:
    """For positions that do not overlap: one product of two matrices."""
    if kernel.shape[0] == 1:
        return _product(x[:, ::stride, ::stride], kernel)
    return _product(patches(x, stride), kernel)


def _columns(x: Array, kernel: Array, stride: int) -> Array:
    """Copies every window into a row, then computes one product of two matrices."""
    size = kernel.shape[0]
    _, height, width, _ = x.shape
    edge = ((0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0))
    x = jnp.pad(x, edge)
    windows = [
        x[:, row : row + height : stride, column : column + width : stride]
        for row in range(size)
        for column in range(size)
    ]
    return _product(jnp.concatenate(windows, axis=-1), kernel)


def _four_channels(x: Array, kernel: Array, stride: int) -> Array:
    """Adds a channel of zeros to three channels."""
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))
    return plain(x, jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0))), stride)


def _folded(x: Array, kernel: Array, stride: int) -> Array:
    """Turns squares of 2x2 pixels into channels, so that stride 2 becomes stride 1."""
    _, height, width, channels = x.shape
    size, before = kernel.shape[0], kernel.shape[0] // 2
    half = -(-size // 2)  # side of the folded kernel
    edges = [(0, 0)]
    for side in (height, width):
        outputs = (side + 2 * before - size) // stride + 1
        edges.append((before, 2 * (outputs + half - 1) - side - before))
    x = patches(jnp.pad(x, [*edges, (0, 0)]), 2)
    kernel = jnp.pad(kernel, [(0, 2 * half - size)] * 2 + [(0, 0)] * 2)
    kernel = kernel.reshape(half, 2, half, 2, channels, -1).swapaxes(1, 2)
    kernel = kernel.reshape(half, half, 4 * channels, -1)
    filled = -4 * channels % 8  # channels of zeros, up to a multiple of eight
    x = jnp.pad(x, [(0, 0)] * 3 + [(0, filled)])
    kernel = jnp.pad(kernel, [(0, 0)] * 2 + [(0, filled), (0, 0)])
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _product(x: Float[Array, "b y x q"], kernel: Float[Array, "s s c f"]) -> Array:
    """Product [b y x f] of rows of length q = s * s * c with the kernel."""
    rows = x.reshape(-1, x.shape[-1]) @ kernel.reshape(x.shape[-1], -1)
    return rows.reshape(*x.shape[:-1], -1)


def patches(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b y x q"]:
    """Cuts images into patches, with their pixels in the last axis; drops the rest."""
    b, height, width, channels = x.shape
    rows, columns = height // size, width // size
    x = x[:, : rows * size, : columns * size]
    x = x.reshape(b, rows, size, columns, size, channels)
    return x.swapaxes(2, 3).reshape(b, rows, columns, size * size * channels)


FORMS = {
    "plain": plain,
    "rows": _rows,
    "columns": _columns,
    "four_channels": _four_channels,
    "folded": _folded,
}
