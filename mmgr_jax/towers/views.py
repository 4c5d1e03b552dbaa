"""The two views of a step, if a locked tower has encoded them in advance."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmgr_jax.typing import Key


def two_of(
    kept: Float[Array, "b w f"], key: Key, place: Int[Array, " b"]
) -> Float[Array, "v b f"]:
    """Draws two different views of each region, and returns their features.

    The choice depends only on the key and on the place in the global batch, so it is
    the same for any number of devices.

    Args:
        kept: Features of w views of each region.
        key: The random key of this batch.
        place: Place of each region in the global batch.

    Returns:
        The features of both views [2 b f]; if only one view is kept, of that [1 b f].
    """
    count = kept.shape[1]
    if count == 1:
        return jnp.moveaxis(kept, 1, 0)

    def draw(place: Array) -> Array:
        u = jax.random.randint(
            jax.random.fold_in(key, place), (2,), 0, jnp.array([count, count - 1])
        )
        return jnp.stack([u[0], (u[0] + 1 + u[1]) % count])

    chosen = jax.vmap(draw)(place)
    return jnp.moveaxis(jnp.take_along_axis(kept, chosen[..., None], axis=1), 1, 0)
