"""Views of uint8 tiles on the accelerator: pure functions of (tile, key)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmgr_jax import image_ops
from mmgr_jax.image_ops import Planes
from mmgr_jax.typing import Key, Tiles, View, Views

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CROP_TRIES = 10  # as torchvision.transforms.RandomResizedCrop
VIEWS = 2


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


def two_views(
    image: Tiles,
    key: Key,
    *,
    size_px: int,
    crop_area: tuple[float, float] = (0.2, 1.0),
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
    jitter_probability: float = 0.8,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
    grey_probability: float = 0.2,
    horizontal_flip: bool = True,
    vertical_flip: bool = False,
    quarter_turns: bool = False,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Views:
    """Two independent random views of every tile, normalised.

    A tile's draws depend on the key and on its place in the global batch alone, so
    they are the same for any number of devices.

    Args:
        image: the tiles.
        key: the random key of this batch.
        size_px: side of the square views.
        crop_area: range of the crop's share of the tile's area.
        crop_ratio: range of the crop's width over height, drawn log-uniformly.
        jitter_probability: share of views with colour jitter.
        brightness: factor in 1 +- brightness; likewise contrast and saturation.
        contrast: see brightness.
        saturation: see brightness.
        hue: largest turn of the colour circle, in [0, 0.5].
        grey_probability: share of views turned grey.
        horizontal_flip: flip half of the views left to right.
        vertical_flip: flip half of the views top to bottom.
        quarter_turns: turn each view by 0, 90, 180 or 270 degrees. Overhead imagery
          has no upright; the released code has neither this nor vertical flips.
        mean: subtracted from the values in [0, 1], channel by channel.
        std: divided by, channel by channel.

    Returns:
        Views [2 b size_px size_px 3] in float32.

    Reference: augmentation of the released code; boxes, blends and hue as
    torchvision's transforms, antialiased, without rounding to 8 bits.
    """
    _, height, width, _ = image.shape

    def draw(key: Key) -> tuple[Box, Turn, Jitter, Array]:
        crop_key, turn_key, jitter_key, grey_key = jax.random.split(key, 4)
        return (
            draw_box(crop_key, height, width, crop_area, crop_ratio),
            draw_turn(turn_key, horizontal_flip, vertical_flip, quarter_turns),
            draw_jitter(
                jitter_key, jitter_probability, brightness, contrast, saturation, hue
            ),
            jax.random.bernoulli(grey_key, grey_probability),
        )

    box, turn, jitter, is_grey = jax.vmap(jax.vmap(draw))(_view_keys(key, len(image)))
    planes = crop_and_turn(image, box, turn, size_px, quarter_turns)
    planes = apply_jitter(planes, jitter)
    planes = image_ops.adjust_saturation(planes, _per_image(1.0 - is_grey))
    planes = image_ops.normalise(planes, mean, std)
    return jnp.moveaxis(jnp.stack(planes, axis=-1), 1, 0)


def plain_view(
    image: Tiles,
    *,
    size_px: int,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> View:
    """The whole tile resized and normalised: what evaluation and embedding see.

    Args:
        image: the tiles.
        size_px: side of the square view.
        mean: as for `two_views`.
        std: as for `two_views`.
    """
    b, height, width, _ = image.shape
    zero, one = jnp.zeros((b, 1)), jnp.ones((b, 1))
    whole = Box(zero, zero, one * height, one * width)
    upright = Turn(zero > 0, zero > 0, zero > 0)
    planes = crop_and_turn(image, whole, upright, size_px, quarter_turns=False)
    return jnp.stack(image_ops.normalise(planes, mean, std), axis=-1)[:, 0]


def draw_box(
    key: Key,
    height_px: int,
    width_px: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """A random crop as torchvision draws it: the first of ten tries that fits.

    Args:
        key: random key of one view.
        height_px: height of the tile.
        width_px: width of the tile.
        area: range of the crop's share of the tile's area.
        ratio: range of width over height.

    Returns:
        The crop; when no try fits, the largest central one within `ratio`.
    """
    u = jax.random.uniform(key, (2 * CROP_TRIES + 2,))
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


def draw_turn(
    key: Key, horizontal_flip: bool, vertical_flip: bool, quarter_turns: bool
) -> Turn:
    """A random symmetry: the wanted flips with p 0.5 each, then a random turn."""
    coins = jax.random.bernoulli(key, 0.5, (4,))
    flip_columns = coins[0] & horizontal_flip
    flip_rows = coins[1] & vertical_flip
    half, quarter = coins[2] & quarter_turns, coins[3] & quarter_turns
    # A half turn is both flips; a quarter turn the column flip, then transposition.
    return Turn(flip_rows ^ half, flip_columns ^ half ^ quarter, quarter)


def draw_jitter(
    key: Key,
    probability: float,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> Jitter:
    """Random colour changes in random order; none with probability 1 - p."""
    u = jax.random.uniform(key, (9,))
    applied = u[0] < probability

    def factor(u: Array, spread: float) -> Array:
        low = max(0.0, 1.0 - spread)
        return jnp.where(applied, low + (1.0 + spread - low) * u, 1.0)

    ticket = u[5:]
    return Jitter(
        brightness=factor(u[1], brightness),
        contrast=factor(u[2], contrast),
        saturation=factor(u[3], saturation),
        hue=jnp.where(applied, hue * (2.0 * u[4] - 1.0), 0.0),
        rank=jnp.sum(ticket[None, :] < ticket[:, None], axis=1),
    )


def crop_and_turn(
    image: Tiles, box: Box, turn: Turn, size_px: int, quarter_turns: bool
) -> Planes:
    """Planes [b v s s] of each tile's crops, resized, flipped and transposed.

    Args:
        image: the tiles.
        box: crops [b v].
        turn: symmetries [b v].
        size_px: side s of the result.
        quarter_turns: False skips the transposition.
    """
    _, height, width, _ = image.shape

    def weights(start: Array, length: Array, size_in_px: int, flip: Array) -> Array:
        matrix = image_ops.resample_matrix(
            start, length, size_in_px=size_in_px, size_out_px=size_px
        )
        return jnp.where(flip[..., None, None], matrix[..., ::-1, :], matrix)

    rows = weights(box.top_px, box.height_px, height, turn.flip_rows)
    columns = weights(box.left_px, box.width_px, width, turn.flip_columns)
    planes = image_ops.resample(image, rows, columns)
    if not quarter_turns:
        return planes
    transpose = _per_image(turn.transpose)
    red, green, blue = (
        jnp.where(transpose, jnp.swapaxes(plane, -2, -1), plane) for plane in planes
    )
    return red, green, blue


def apply_jitter(planes: Planes, jitter: Jitter) -> Planes:
    """The four colour operators in each view's own order.

    Written as up to three blends, the hue change, up to three blends: hue is the
    dear one and is computed once, not in each of four slots. The loops also keep
    XLA:CPU from fusing the chain, which it would recompute for every channel:
    6 ms instead of 46 for 128 tiles of 64 px on two cores.

    Args:
        planes: planes [b v s s].
        jitter: draws [b v].
    """
    early = jitter.rank[..., :3] < jitter.rank[..., 3:]
    planes = _blends(planes, jitter, early)
    planes = image_ops.adjust_hue(planes, _per_image(jitter.hue))
    return _blends(planes, jitter, ~early)


def _blends(planes: Planes, jitter: Jitter, chosen: Bool[Array, "b v 3"]) -> Planes:
    """Those of brightness, contrast and saturation that are chosen, in order."""
    factors = jnp.stack([jitter.brightness, jitter.contrast, jitter.saturation], -1)
    factors = jnp.where(chosen, factors, 1.0)
    blend_rank = jitter.rank[..., :3]
    place = blend_rank - (blend_rank > jitter.rank[..., 3:])

    def step(planes: Planes, turn: Array) -> tuple[Planes, None]:
        mine = place == turn
        factor = jnp.sum(jnp.where(mine, factors, 0.0), axis=-1)
        base = jnp.where(
            _per_image(mine[..., 1]),
            image_ops.mean_grey(planes),
            jnp.where(_per_image(mine[..., 2]), image_ops.grey(planes), 0.0),
        )
        return image_ops.blend(planes, base, _per_image(factor)), None

    return jax.lax.scan(step, planes, jnp.arange(3))[0]


def _per_image(value: Array) -> Float[Array, "b v 1 1"]:
    """One value a view, ready to meet planes [b v s s]."""
    return jnp.asarray(value)[..., None, None]


def _view_keys(key: Key, b: int) -> Array:
    """Keys [b v]: one for every view of every place in the global batch."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(b))
    return jax.vmap(lambda k: jax.random.split(k, VIEWS))(keys)
