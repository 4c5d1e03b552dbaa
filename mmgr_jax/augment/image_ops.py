"""Image operators: resampling by matrices, and colour changes on planes.

Colour operators take and return three planes (red, green, blue) of the same shape, with
values in [0, 1]. Their factors broadcast against a plane. Planes have a long innermost
axis; with channels last, it would have length three. The operators follow
torchvision.transforms.functional, but without PIL's rounding to 8 bits.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

Planes = tuple[Float[Array, "*a"], Float[Array, "*a"], Float[Array, "*a"]]
Factor = Float[Array, "..."] | float
Bounds = tuple[tuple[Factor, Factor], ...]
"""Black and white of each plane."""

UNIT: Bounds = ((0.0, 1.0),) * 3
Palettes = Float[Array, "#b 2 3"]
"""Mean and deviation of red, green and blue, for each tile's city or for all tiles."""

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in PIL's mode "L"
HUE_SECTORS = 6.0


def resample_matrix(
    start_px: Float[Array, "*a"],
    length_px: Float[Array, "*a"],
    *,
    size_in_px: int,
    size_out_px: int,
) -> Float[Array, "*a o i"]:
    """Computes weights that resize one axis of a crop, with antialiasing.

    The weights are PIL's bilinear ones: a triangle as wide as the larger of an input
    and an output pixel. It is cut at the ends of the crop, and its weights sum to 1.
    Two matmuls, for rows and for columns, crop and resize without any gather.

    Args:
        start_px: First pixel of the crop, whole numbers.
        length_px: Length of the crop in pixels, whole numbers of at least 1.
        size_in_px: Length of the input axis in pixels.
        size_out_px: Length of the output axis in pixels.

    Returns:
        Weights [*a size_out_px size_in_px].
    """
    start = jnp.asarray(start_px, jnp.float32)[..., None, None]
    length = jnp.asarray(length_px, jnp.float32)[..., None, None]
    pixel = jnp.arange(size_in_px) + 0.5
    scale = length / size_out_px
    centre = start + (jnp.arange(size_out_px)[:, None] + 0.5) * scale
    distance = jnp.abs(pixel - centre) / jnp.maximum(scale, 1.0)
    inside = (pixel > start) & (pixel < start + length)
    weight = jnp.where(inside, jnp.maximum(1.0 - distance, 0.0), 0.0)
    return weight / jnp.sum(weight, axis=-1, keepdims=True)


def resample(
    image: UInt8[Array, "b h w 3"],
    rows: Float[Array, "b v y h"],
    columns: Float[Array, "b v x w"],
) -> Planes:
    """Resamples each image to planes [b v y x] of its views, with values in [0, 1].

    Args:
        image: The tiles.
        rows: Weights of the image's rows for each row of a view.
        columns: Weights of the image's columns for each column of a view.
    """
    planar = jnp.moveaxis(image, 3, 2).astype(jnp.float32) / 255.0
    squeezed = jnp.einsum("bvyh,bhcw->bvycw", rows, planar)
    planes = jnp.einsum("bvycw,bvxw->bvycx", squeezed, columns)
    return planes[..., 0, :], planes[..., 1, :], planes[..., 2, :]


def grey(planes: Planes) -> Float[Array, "*a"]:
    """Computes the luma of each pixel."""
    red, green, blue = (
        weight * plane for weight, plane in zip(LUMA, planes, strict=True)
    )
    return red + green + blue


def mean_grey(planes: Planes) -> Float[Array, "*b 1 1"]:
    """Computes the mean luma of each image, over the last two axes."""
    return jnp.mean(grey(planes), axis=(-2, -1), keepdims=True)


def blend(
    planes: Planes, base: Factor, factor: Factor, bounds: Bounds = UNIT
) -> Planes:
    """Mixes image and `base` by `factor` and 1 - `factor`, clipped to `bounds`."""
    rest = (1.0 - factor) * base
    red, green, blue = (
        jnp.clip(factor * plane + rest, black, white)
        for plane, (black, white) in zip(planes, bounds, strict=True)
    )
    return red, green, blue


def adjust_saturation(planes: Planes, factor: Factor, bounds: Bounds = UNIT) -> Planes:
    """Multiplies the saturation by `factor`; 0 gives the grey image."""
    return blend(planes, grey(planes), factor, bounds)


def adjust_hue(planes: Planes, turn: Factor) -> Planes:
    """Shifts the hue by `turn`, as a part of the colour circle in [-0.5, 0.5]."""
    red, green, blue = planes
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    is_red, is_green = value == red, value == green
    lead = jnp.where(is_red, 0.0, jnp.where(is_green, 2.0, 4.0))
    rest = jnp.where(is_red, green - blue, jnp.where(is_green, blue - red, red - green))
    sector = lead + rest / jnp.where(chroma > 0.0, chroma, 1.0) + HUE_SECTORS * turn

    def channel(opposite: float) -> Array:
        """A channel loses chroma near its opposite sector: a trapezoid, periodic."""
        away = sector - opposite
        away = away - HUE_SECTORS * jnp.floor(away * (1.0 / HUE_SECTORS) + 0.5)
        return value - chroma * jnp.clip(2.0 - jnp.abs(away), 0.0, 1.0)

    return channel(3.0), channel(5.0), channel(1.0)


def recoloured(
    planes: Planes, palette: Palettes, mean: Sequence[float], std: Sequence[float]
) -> tuple[Planes, Bounds]:
    """Brings the colours of cities to a common mean and deviation.

    `normalise` of the result with `mean` and `std` equals `normalise` of the original
    planes with the mean and deviation of the city.

    Args:
        planes: Planes [b ...] with values in [0, 1].
        palette: Mean and deviation of the cities.
        mean: Common mean of red, green and blue.
        std: Common deviation of red, green and blue.

    Returns:
        The planes, and the values of black and white in each of them.
    """
    given, bounds = [], []
    for plane, own, m, s in zip(planes, _of_bands(palette, planes), mean, std,
                                strict=True):  # fmt: skip
        gain = s / own[1]
        black = m - own[0] * gain
        given.append(plane * gain + black)
        bounds.append((black, gain + black))
    red, green, blue = given
    return (red, green, blue), tuple(bounds)


def normalise_by(planes: Planes, palette: Palettes) -> Planes:
    """Normalises planes [b ...] by mean and deviation of their cities."""
    red, green, blue = (
        (plane - m) / s
        for plane, (m, s) in zip(planes, _of_bands(palette, planes), strict=True)
    )
    return red, green, blue


def _of_bands(palette: Palettes, planes: Planes) -> list[tuple[Array, Array]]:
    """Mean and deviation of each band, in a shape that broadcasts against planes."""
    shape = (-1, *[1] * (planes[0].ndim - 1))
    return [
        (palette[:, 0, band].reshape(shape), palette[:, 1, band].reshape(shape))
        for band in range(len(planes))
    ]


def normalise(
    planes: Planes, mean: Sequence[float], std: Sequence[float]
) -> tuple[Array, Array, Array]:
    """Computes (plane - mean) / std for each channel."""
    red, green, blue = (
        (plane - m) * (1.0 / s) for plane, m, s in zip(planes, mean, std, strict=True)
    )
    return red, green, blue
