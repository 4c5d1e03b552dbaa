"""Statistics of an image encoder's maps, and ImageNet's mean and deviation."""

import jax.numpy as jnp
from jaxtyping import Array, Float

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Deviation of red, green and blue in [0, 1], over the images of ImageNet."""


def mean_and_deviation(maps: Float[Array, "b *space c"]) -> Float[Array, "b 2*c"]:
    """Computes mean and standard deviation of each channel over all places of a map.

    The mean shows how much of a thing there is, the deviation how unevenly it is
    spread.
    Early maps contain colour and texture, which are mostly lost in the last map.

    Args:
        maps: Maps, or their tokens, in any float type.

    Returns:
        float32; the means come first.
    """
    x = maps.astype(jnp.float32).reshape(len(maps), -1, maps.shape[-1])
    mean = jnp.mean(x, axis=1)
    variance = jnp.mean((x - mean[:, None]) ** 2, axis=1)
    return jnp.concatenate([mean, jnp.sqrt(variance)], axis=1)
