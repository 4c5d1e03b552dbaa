"""Colour and texture of tiles in a few dozen numbers, computed without a network."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8

from mmgr_jax.errors import InputError

HISTOGRAM_BINS = 8
SCALES_PX = (1, 2, 4)
"""Pixels are averaged over squares of these sides before gradients are taken."""

MIN_SIZE_PX = 2 * SCALES_PX[-1]
GREY = (299, 587, 114)
"""Luma of ITU-R BT.601 in thousandths: red, green, blue."""

_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
"""Row and column of the eight pixels around one, clockwise."""

NAMES = (
    *(f"{s} {c}" for s in ("mean", "deviation", "skewness") for c in "rgb"),
    *(f"correlation {pair}" for pair in ("rg", "rb", "gb")),
    "mean greenness",
    "deviation of greenness",
    *(f"histogram {c} {bin}" for c in "rgb" for bin in range(HISTOGRAM_BINS)),
    *(
        f"{s} {px} px"
        for px in SCALES_PX
        for s in ("mean gradient across", "mean gradient down", "gradient deviation")
    ),
    *(f"binary pattern {pattern}" for pattern in range(10)),
)
"""Names of the statistics, in order."""


def image_statistics(tiles: UInt8[np.ndarray, "b h w 3"]) -> Float[np.ndarray, "b m"]:
    """Computes colour and texture statistics of tiles, one number per entry of `NAMES`.

    For colours, from 0 to 1: mean, deviation and skewness of each channel; correlations
    between channels; greenness (2 g - r - b) / (r + g + b), 0 for black; shares of 8
    equal bins. For texture, from grey levels: mean absolute differences of horizontal
    and of vertical neighbour pixels and the deviation of the gradient's length, at
    three scales; shares of the ten rotation-invariant uniform local binary patterns.

    Args:
        tiles: Tiles of at least 8 by 8 pixels.

    Returns:
        The statistics, float32.

    Raises:
        InputError: If tiles are smaller than that.

    Reference:
        Ojala, Pietikainen and Maenpaa (2002), IEEE TPAMI 24(7):971-987, for the
        patterns (P = 8 on the square of side 3, without interpolation).
    """
    if min(tiles.shape[1:3]) < MIN_SIZE_PX:
        raise InputError(
            f"image statistics of tiles of {tiles.shape[1]} x {tiles.shape[2]} pixels: "
            f"at least {MIN_SIZE_PX} x {MIN_SIZE_PX} are needed. Leave the baseline "
            "'image statistics' out of config.eval.baselines."
        )
    red, green, blue = (
        tiles[..., c] * np.int32(weight) for c, weight in enumerate(GREY)
    )
    grey = red + green + blue
    level = grey.astype(np.float32) / 255e3
    counts = _counts(tiles)
    parts = (
        _moments(counts),
        _correlations(tiles.reshape(len(tiles), -1, 3)),
        _histograms(counts),
        *(_gradients(_averaged(level, px)) for px in SCALES_PX),
        _binary_patterns(grey),
    )
    return np.concatenate(parts, axis=1).astype(np.float32)


def _counts(tiles: UInt8[np.ndarray, "b h w 3"]) -> Int[np.ndarray, "b 3 256"]:
    """Pixels of each value in each channel."""
    table = np.arange(len(tiles) * 3, dtype=np.int32).reshape(len(tiles), 1, 1, 3)
    values = (tiles + 256 * table).ravel()
    return np.bincount(values, minlength=256 * table.size).reshape(len(tiles), 3, 256)


def _moments(counts: Int[np.ndarray, "b 3 256"]) -> Float[np.ndarray, "b 9"]:
    """Mean, deviation and skewness of each channel."""
    value = np.arange(256)
    num_pixels = counts[0, 0].sum()
    mean = counts @ value / num_pixels
    apart = value - mean[..., None]
    second, third = (np.sum(counts * apart**n, axis=2) / num_pixels for n in (2, 3))
    deviation = np.sqrt(second)
    skewness = third / np.where(deviation > 0, deviation, 1.0) ** 3
    return np.concatenate([mean / 255, deviation / 255, skewness], axis=1)


def _correlations(pixels: UInt8[np.ndarray, "b n 3"]) -> Float[np.ndarray, "b 5"]:
    """Correlations between channels, mean and deviation of greenness."""
    channels = pixels.transpose(0, 2, 1).astype(np.float32)  # contiguous: [b 3 n]
    apart = channels - channels.mean(axis=2, dtype=np.float64, keepdims=True)
    apart = apart.astype(np.float32)
    covariance = (apart @ apart.transpose(0, 2, 1)).astype(np.float64)
    size = np.sqrt(np.einsum("bcc->bc", covariance))
    size = np.where(size > 0, size, 1.0)
    correlation = covariance / size[:, :, None] / size[:, None]
    red, green, blue = channels.swapaxes(0, 1)
    total = red + green + blue
    greenness = (3 * green - total) / np.maximum(total, 1)
    return np.concatenate(
        [
            correlation[:, (0, 0, 1), (1, 2, 2)],
            greenness.mean(axis=1, keepdims=True),
            greenness.std(axis=1, keepdims=True),
        ],
        axis=1,
    )


def _histograms(counts: Int[np.ndarray, "b 3 256"]) -> Float[np.ndarray, "b 24"]:
    wide = counts.reshape(len(counts), 3 * HISTOGRAM_BINS, -1).sum(axis=2)
    return wide / counts[0, 0].sum()


def _averaged(
    grey: Float[np.ndarray, "b h w"], side_px: int
) -> Float[np.ndarray, "b _ _"]:
    """Means over squares; rows and columns that fill none are left out."""
    if side_px == 1:
        return grey
    rows, columns = (size // side_px for size in grey.shape[1:])
    grey = grey[:, : rows * side_px, : columns * side_px]
    return grey.reshape(len(grey), rows, side_px, columns, side_px).mean(axis=(2, 4))


def _gradients(grey: Float[np.ndarray, "b h w"]) -> Float[np.ndarray, "b 3"]:
    across = np.diff(grey, axis=2)[:, :-1]
    down = np.diff(grey, axis=1)[:, :, :-1]
    axes = (1, 2)
    return np.stack(
        [
            np.abs(across).mean(axis=axes),
            np.abs(down).mean(axis=axes),
            np.hypot(across, down).std(axis=axes),
        ],
        axis=1,
    )


def _binary_patterns(grey: Int[np.ndarray, "b h w"]) -> Float[np.ndarray, "b 10"]:
    """Shares of patterns 0 to 8, the number of lighter neighbours, and 9, all others.

    A pattern is uniform where lighter and darker neighbours change at most twice on
    the way around; equal ones count as lighter.
    """
    height, width = grey.shape[1:]
    centre = grey[:, 1:-1, 1:-1]
    code = np.zeros(centre.shape, np.uint8)
    for bit, (row, column) in enumerate(_AROUND):
        beside = grey[:, 1 + row : height - 1 + row, 1 + column : width - 1 + column]
        code |= (beside >= centre).astype(np.uint8) << np.uint8(bit)
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = np.sum(bits != np.roll(bits, 1, axis=1), axis=1)
    pattern = np.where(changes <= 2, bits.sum(axis=1), 9)
    return _shares(pattern[code].reshape(len(grey), -1), 10)


def _shares(bins: Int[np.ndarray, "b n"], count: int) -> Float[np.ndarray, "b k"]:
    """Share of each bin among the values of each row."""
    offset = np.arange(len(bins))[:, None] * count
    counted = np.bincount((bins + offset).ravel(), minlength=len(bins) * count)
    return counted.reshape(len(bins), count) / bins.shape[1]
