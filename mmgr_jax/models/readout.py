"""What is read of an image encoder's maps, and what its pixels must look like."""

import jax.numpy as jnp
from jaxtyping import Array, Float

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of red, green and blue in [0, 1], over the images of ImageNet."""


def mean_and_deviation(maps: Float[Array, "b *space c"]) -> Float[Array, "b 2*c"]:
    """Mean and standard deviation of each channel over all places of a map.

    The mean says how much of a thing there is, the deviation how unevenly it lies.
    Early maps hold colour and texture, which the last one has mostly forgotten.

    Args:
        maps: A map, or the tokens of one, in any float type.

    Returns:
        float32, the means first.
    """
    x = maps.astype(jnp.float32).reshape(len(maps), -1, maps.shape[-1])
    mean = jnp.mean(x, axis=1)
    variance = jnp.mean((x - mean[:, None]) ** 2, axis=1)
    return jnp.concatenate([mean, jnp.sqrt(variance)], axis=1)
