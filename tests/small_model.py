"""A small MMGR and a batch for it."""

import jax
import jax.numpy as jnp
import numpy as np

from mmgr_jax import settings
from mmgr_jax.models import mmgr
from mmgr_jax.models.settings import ModelSettings
from mmgr_jax.typing import PoiSets

K, D = 20, 64
LENGTHS = (4, 1, 9, 2, 6)
SLOTS = 10
B = len(LENGTHS)


def build(
    image_encoder=None,
    poi_encoder=None,
    *,
    num_categories=K,
    category_dim=D,
    category_vectors=None,
    **options,
):
    """What `mmgr.build` makes of a short config; 20 categories of 64 numbers."""
    options["image_encoder"] = image_encoder or {"name": "resnet_small", "width": 8}
    options["poi_encoder"] = poi_encoder or {}
    return mmgr.build(
        settings.read(ModelSettings, options, "model"),
        num_categories=num_categories,
        category_dim=category_dim,
        category_vectors=category_vectors,
    )


def batch(size_px=64):
    """Two views, and ragged POI sets whose padding holds ids outside the table."""
    rng = np.random.default_rng(0)
    mask = np.arange(SLOTS) < np.array(LENGTHS)[:, None]
    category = np.where(mask, rng.integers(0, K, (B, SLOTS)), -1)
    views = jnp.array(rng.normal(size=(2, B, size_px, size_px, 3)), jnp.float32)
    return views, PoiSets(
        jnp.array(category, jnp.int32), jnp.zeros((B, SLOTS, 2)), jnp.array(mask)
    )


def shapes_of(model):
    """The shapes of its variables, without computing them."""
    return jax.eval_shape(
        lambda key: model.init(key, *batch(), train=True), jax.random.key(0)
    )
