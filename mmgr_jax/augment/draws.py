"""The random choices for one view: its crop, its flips and turns, and its colours.

Each function turns numbers drawn uniformly from [0, 1) into what they decide, so
that one draw serves a whole view.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmgr_jax.augment.settings import AugmentSettings

CROP_TRIES = 10  # as torchvision.transforms.RandomResizedCrop
BOX_NUMBERS = 2 * CROP_TRIES + 2
TURN_NUMBERS = 4
JITTER_NUMBERS = 9


class Box(NamedTuple):
    """A crop, in whole pixels of the tile."""

    top_px: Float[Array, "..."]
    left_px: Float[Array, "..."]
    height_px: Float[Array, "..."]
    width_px: Float[Array, "..."]


class Turn(NamedTuple):
    """One of the eight symmetries of a square: flips, then transposition."""

    flip_rows: Bool[Array, "..."]
    flip_columns: Bool[Array, "..."]
    transpose: Bool[Array, "..."]


class Jitter(NamedTuple):
    """Colour changes; the ranks 0 to 3 give the order of the four operators."""

    brightness: Float[Array, "..."]
    contrast: Float[Array, "..."]
    saturation: Float[Array, "..."]
    hue: Float[Array, "..."]
    rank: Int[Array, "... 4"]


def draw_box(
    u: Float[Array, " numbers"],
    height_px: int,
    width_px: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """A random crop as torchvision draws it: the first of ten tries that fits.

    Args:
        u: `BOX_NUMBERS` uniform numbers.
        height_px: Height of the tile.
        width_px: Width of the tile.
        area: Range of the crop's share of the tile's area.
        ratio: Range of width over height.

    Returns:
        The crop; when no try fits, the largest central one within `ratio`.
    """
    crop_area = height_px * width_px * (area[0] + (area[1] - area[0]) * u[:CROP_TRIES])
    log_ratio = jnp.log(jnp.array(ratio))
    aspect = jnp.exp(log_ratio[0] + (log_ratio[1] - log_ratio[0]) * u[CROP_TRIES:-2])
    width = jnp.round(jnp.sqrt(crop_area * aspect))
    height = jnp.round(jnp.sqrt(crop_area / aspect))
    fits = (width > 0) & (width <= width_px) & (height > 0) & (height <= height_px)
    first = fits & (jnp.cumsum(fits) == 1)

    any_fits = jnp.any(fits)
    central = _central_box(height_px, width_px, ratio)
    height = jnp.where(any_fits, jnp.sum(first * height), central.height_px)
    width = jnp.where(any_fits, jnp.sum(first * width), central.width_px)
    top = jnp.minimum(jnp.floor(u[-2] * (height_px - height + 1)), height_px - height)
    left = jnp.minimum(jnp.floor(u[-1] * (width_px - width + 1)), width_px - width)
    return Box(
        jnp.where(any_fits, top, central.top_px),
        jnp.where(any_fits, left, central.left_px),
        height,
        width,
    )


def _central_box(height_px: int, width_px: int, ratio: tuple[float, float]) -> Box:
    """The largest central crop whose width over height lies within ratio."""
    height, width = height_px, width_px
    if width_px / height_px < ratio[0]:
        height = round(width_px / ratio[0])
    elif width_px / height_px > ratio[1]:
        width = round(height_px * ratio[1])
    sides = ((height_px - height) // 2, (width_px - width) // 2, height, width)
    return Box(*(jnp.asarray(side, jnp.float32) for side in sides))


def draw_turn(u: Float[Array, " numbers"], settings: AugmentSettings) -> Turn:
    """A random symmetry: the wanted flips with p 0.5 each, then a random turn.

    Args:
        u: `TURN_NUMBERS` uniform numbers.
        settings: Say which flips are wanted, and whether turns are.
    """
    coins = u < 0.5
    flip_columns = coins[0] & settings.horizontal_flip
    flip_rows = coins[1] & settings.vertical_flip
    quarter_turns = settings.quarter_turns
    half, quarter = coins[2] & quarter_turns, coins[3] & quarter_turns
    # A half turn is both flips; a quarter turn the column flip, then transposition.
    return Turn(flip_rows ^ half, flip_columns ^ half ^ quarter, quarter)


def draw_jitter(u: Float[Array, " numbers"], settings: AugmentSettings) -> Jitter:
    """Random colour changes in random order; none with probability 1 - p.

    Args:
        u: `JITTER_NUMBERS` uniform numbers.
        settings: Say how much; p is their `jitter_probability`, and no factor is
            below 0.
    """
    applied = u[0] < settings.jitter_probability

    def factor(u: Array, spread: float) -> Array:
        low = max(0.0, 1.0 - spread)
        return jnp.where(applied, low + (1.0 + spread - low) * u, 1.0)

    ticket = u[5:]
    return Jitter(
        brightness=factor(u[1], settings.brightness),
        contrast=factor(u[2], settings.contrast),
        saturation=factor(u[3], settings.saturation),
        hue=jnp.where(applied, settings.hue * (2.0 * u[4] - 1.0), 0.0),
        rank=jnp.argsort(ticket),
    )
