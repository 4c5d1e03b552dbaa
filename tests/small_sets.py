"""Sets of vectors to compare, and the losses of them: in one process or in several.

Beside the helpers this file is what each of several processes runs.
"""

import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.losses.contrastive import mmgr_loss
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.typing import MESH_AXES


def regions(b, p=16, seed=0, dtype=jnp.float32):
    """Two views and POIs of the same regions; some padding, some empty sets.

    Last their cities: of uneven sizes and out of order, the first region alone in its.
    """
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(b, p))
    sets = [0.7 * common + rng.normal(size=(b, p)) for _ in range(3)]
    valid, empty = rng.random(b) > 0.2, rng.random(b) < 0.3
    valid[0] = True
    sets[2][empty] = sets[2][0]  # duplicates
    sets[1][~valid] = 1e3  # whatever padding holds
    sets[0][b // 2] = 0.0
    city = rng.choice([0, 2, 5, 11], size=b, p=[0.5, 0.3, 0.15, 0.05])
    city[0] = 40
    return (
        jnp.array(np.stack(sets[:2]), dtype),
        jnp.array(sets[2], dtype),
        jnp.array(valid),
        jnp.array(empty),
        jnp.array(city, jnp.int32),
    )


def loss_with_gradient(*, temperature=0.3, mesh=None, **options):
    """A function of regions and a factor of the temperature, not yet compiled."""

    @partial(jax.value_and_grad, argnums=(0, 1, 5), has_aux=True)
    def loss(z_image, z_poi, valid, empty, city, factor):
        return mmgr_loss(
            z_image,
            z_poi,
            LossSettings(temperature=temperature, image_weight=0.4, **options),
            temperature_factor=factor,
            example_mask=valid,
            poi_empty=empty,
            city=city,
            mesh=mesh,
        )

    return loss


def loss_and_gradient(*given, **options):
    """Loss, parts, and gradients to views, POIs and temperature."""
    return jax.jit(loss_with_gradient(**options))(*given, jnp.float32(1.0))


def layouts(mesh):
    """How regions and a factor lie on a mesh."""
    sets = jax.sharding.NamedSharding(mesh, jax.P(None, MESH_AXES))
    return (sets, *[sharding.split(mesh)] * 4, sharding.replicated(mesh))


def main(path, b, options, port, count, index):
    """What one process runs: the loss over the devices of all, kept by the first."""
    jax.distributed.initialize(f"127.0.0.1:{port}", count, index)
    mesh = sharding.make_mesh(MeshSettings(data=-1))
    given = [
        jax.make_array_from_callback(array.shape, layout, np.array(array).__getitem__)
        for array, layout in zip(
            (*regions(b), jnp.float32(1.0)), layouts(mesh), strict=True
        )
    ]
    result = jax.jit(loss_with_gradient(mesh=mesh, **options))(*given)
    leaves = jax.tree.leaves(multihost_utils.process_allgather(result, tiled=True))
    if index == 0:
        np.savez(path, *leaves)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
