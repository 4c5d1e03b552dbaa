"""Makes views of uint8 tiles on the accelerator, by pure functions of tile and key."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from mmgr_jax.augment import image_ops
from mmgr_jax.augment.draws import (
    BOX_NUMBERS,
    JITTER_NUMBERS,
    TURN_NUMBERS,
    Box,
    Jitter,
    Turn,
    draw_box,
    draw_jitter,
    draw_turn,
)
from mmgr_jax.augment.image_ops import UNIT, Bounds, Palettes, Planes
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.models.readout import IMAGENET_MEAN, IMAGENET_STD
from mmgr_jax.typing import VIEWS, Key, Tiles, View, Views

# Number of uniform numbers for a view: for box, turn and jitter, and one for grey.
NUMBERS = BOX_NUMBERS + TURN_NUMBERS + JITTER_NUMBERS + 1
SPLITS = (BOX_NUMBERS, BOX_NUMBERS + TURN_NUMBERS, NUMBERS - 1)


def two_views(
    image: Tiles,
    key: Key,
    settings: AugmentSettings,
    place: Int[Array, " b"] | None = None,
    *,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    palette: Palettes | None = None,
) -> Views:
    """Makes two independent random views of every tile, and normalises them.

    A tile's draws depend only on the key and on its place in the global batch, so they
    are the same for any number of devices.

    Args:
        image: The tiles.
        key: The random key of this batch.
        settings: The section `augment`.
        place: Place of each tile in the global batch; None: its row.
        mean: Mean of each channel, which is subtracted from the values in [0, 1].
        std: Deviation of each channel, by which the values are divided.
        palette: Mean and deviation of the tiles' cities. Colours are first brought to
            `mean` and `std`, so that no draw brings back the light of a city. Whole
            tiles without colour changes equal `plain_view`. None: this is not done.

    Returns:
        Views [2 b size_px size_px 3] in float32.

    Reference: augmentation of the released code. Boxes, blends and hue are those of
    torchvision's transforms, with antialiasing and without rounding to 8 bits.
    """
    _, height, width, _ = image.shape

    def draw(u: Float[Array, " numbers"]) -> tuple[Box, Turn, Jitter, Array]:
        u_box, u_turn, u_jitter, u_grey = jnp.split(u, SPLITS)
        return (
            draw_box(u_box, height, width, settings.crop_area, settings.crop_ratio),
            draw_turn(u_turn, settings),
            draw_jitter(u_jitter, settings),
            u_grey[0] < settings.grey_probability,
        )

    place = jnp.arange(len(image)) if place is None else place
    numbers = _uniform_numbers(key, place)
    box, turn, jitter, is_grey = jax.vmap(jax.vmap(draw))(numbers)
    planes = crop_and_turn(image, box, turn, settings.size_px, settings.quarter_turns)
    bounds = UNIT
    if palette is not None:
        planes, bounds = image_ops.recoloured(planes, palette, mean, std)
    planes = apply_jitter(planes, jitter, bounds)
    planes = image_ops.adjust_saturation(planes, _per_image(1.0 - is_grey), bounds)
    planes = image_ops.normalise(planes, mean, std)
    return jnp.moveaxis(jnp.stack(planes, axis=-1), 1, 0)


def plain_view(
    image: Tiles,
    *,
    size_px: int,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    palette: Palettes | None = None,
) -> View:
    """Resizes and normalises whole tiles, for evaluation and embedding.

    Args:
        image: The tiles.
        size_px: Side of the square view in pixels.
        mean: As for `two_views`.
        std: As for `two_views`.
        palette: Mean and deviation of the tiles' cities, used instead of `mean` and
            `std`; None: `mean` and `std` are used.
    """
    b, height, width, _ = image.shape
    zero, one = jnp.zeros((b, 1)), jnp.ones((b, 1))
    whole = Box(zero, zero, one * height, one * width)
    upright = Turn(zero > 0, zero > 0, zero > 0)
    planes = crop_and_turn(image, whole, upright, size_px, quarter_turns=False)
    if palette is not None:
        planes = image_ops.normalise_by(planes, palette)
    else:
        planes = image_ops.normalise(planes, mean, std)
    return jnp.stack(planes, axis=-1)[:, 0]


def palette_of(
    palettes: Float[np.ndarray, "c 2 3"] | None, city: Int[Array, " b"] | None
) -> Palettes | None:
    """Returns mean and deviation of each tile's city, or of the only city.

    Args:
        palettes: Mean and deviation of all cities; None: nothing is normalised by them.
        city: Number of each tile's city, if there are several.
    """
    if palettes is None:
        return None
    table = jnp.asarray(palettes)
    if len(palettes) == 1:
        return table
    assert city is not None, "batches of several cities say which"
    return table[city]


def crop_and_turn(
    image: Tiles, box: Box, turn: Turn, size_px: int, quarter_turns: bool
) -> Planes:
    """Crops, resizes, flips and transposes each tile; returns planes [b v s s].

    Args:
        image: The tiles.
        box: Crops [b v].
        turn: Symmetries [b v].
        size_px: Side s of the result in pixels.
        quarter_turns: Whether to transpose; False skips this step.
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


def apply_jitter(planes: Planes, jitter: Jitter, bounds: Bounds = UNIT) -> Planes:
    """Applies the four colour operators in the order of each view.

    The code does up to three blends, then the hue change, then up to three blends. Hue
    is expensive, and so it is computed once, not in each of four slots. Because of the
    loops, XLA:CPU does not fuse the chain, which it would recompute for every channel:
    6 ms instead of 46 ms for 128 tiles of 64 px on two cores.

    Args:
        planes: Planes [b v s s].
        jitter: Draws [b v].
        bounds: Black and white of each plane.
    """
    early = jitter.rank[..., :3] < jitter.rank[..., 3:]
    planes = _blends(planes, jitter, early, bounds)
    planes = image_ops.adjust_hue(planes, _per_image(jitter.hue))
    return _blends(planes, jitter, ~early, bounds)


def _blends(
    planes: Planes, jitter: Jitter, chosen: Bool[Array, "b v 3"], bounds: Bounds
) -> Planes:
    """Applies the chosen ones of brightness, contrast and saturation, in order."""
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
        return image_ops.blend(planes, base, _per_image(factor), bounds), None

    return jax.lax.scan(step, planes, jnp.arange(3))[0]


def _per_image(value: Shaped[Array, "b v"]) -> Shaped[Array, "b v 1 1"]:
    """One value for each view, in a shape that broadcasts against planes [b v s s]."""
    return value[..., None, None]


def _uniform_numbers(key: Key, place: Int[Array, " b"]) -> Float[Array, "b v numbers"]:
    """Numbers in [0, 1) for each view of each place in the global batch."""

    def at(place: Array) -> Array:
        return jax.random.uniform(jax.random.fold_in(key, place), (VIEWS, NUMBERS))

    return jax.vmap(at)(place)
