"""Rotary positions: encode the place of a patch by rotating its queries and keys."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BASE = 100.0
"""Upper bound of the periods; the shortest period is 1, as in DINOv3.

Reference: Simeoni et al. (2025), DINOv3 (arXiv 2508.10104).
"""

Rotation = tuple[Float[np.ndarray, "t d"], Float[np.ndarray, "t d"]]


def periods(head_dim: int) -> Float[np.ndarray, " q"]:
    """Returns a head's q = head_dim / 4 periods; the unit is half an image side."""
    assert head_dim % 4 == 0, "two axes, and sine and cosine of each"
    return BASE ** (np.arange(head_dim // 4) / (head_dim // 4))


def rotation(prefix: int, rows: int, columns: int, head_dim: int) -> Rotation:
    """Computes the cosines and sines by which `rotate` turns each number of a head.

    The angles of a patch depend on its centre, row first. Each axis goes from -1 to 1
    for any number of patches, so the same weights work for images of any size.

    Args:
        prefix: Number of tokens before the patches, which are not rotated.
        rows: Number of rows of patches.
        columns: Number of columns of patches.
        head_dim: Length d of a head, a multiple of 4.

    Returns:
        Both [prefix + rows * columns, d], float32.

    Reference: Su et al. (2021), RoFormer (arXiv 2104.09864), with two axes as in
    DINOv3. Its periods are float32 here, as in timm and transformers; Meta's released
    files hold them rounded to bfloat16.
    """
    centres = np.meshgrid(_centres(rows), _centres(columns), indexing="ij")
    place = np.stack(centres, axis=-1).reshape(-1, 2)
    angle = 2 * np.pi * place[:, :, None] / periods(head_dim)
    angle = np.tile(angle.reshape(len(place), head_dim // 2), 2)
    angle = np.concatenate([np.zeros((prefix, head_dim)), angle])
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def rotate(x: Float[Array, "b t n d"], by: Rotation) -> Float[Array, "b t n d"]:
    """Rotates each head, in float32, with its first and second half as two axes."""
    cosine, sine = (table[:, None, :] for table in by)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    whole = jnp.concatenate([first, second], axis=-1)
    return (whole * cosine + turned * sine).astype(x.dtype)


def _centres(count: int) -> Float[np.ndarray, " c"]:
    return 2 * (np.arange(count) + 0.5) / count - 1
