"""Builds a model from its settings, with random parameters.

Training and inference use the same functions. Lower modules take keyword arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmgr_jax.models import mmgr
from mmgr_jax.models.settings import ModelSettings
from mmgr_jax.store.bundles import Metadata
from mmgr_jax.typing import VIEWS, Key, PoiSets, Tree


def build_model(
    settings: ModelSettings,
    metadata: Metadata,
    category_vectors: np.ndarray | None = None,
    num_devices: int = 1,
    table_features: np.ndarray | None = None,
) -> mmgr.MMGR:
    """Builds the model of settings and a category table.

    Args:
        settings: The section `model`.
        metadata: Gives the size of the category table.
        category_vectors: Initial values of the category table, float32 [k d]; None if
            they will be loaded.
        num_devices: Number of devices over which training splits batches.
        table_features: Features of the regions of the records [r f]; only if the image
            encoder is a table.

    Raises:
        InputError: If an encoder or one of its options is unknown.
    """
    return mmgr.build(
        settings,
        num_categories=len(metadata.categories),
        category_dim=metadata.category_dim,
        category_vectors=category_vectors,
        num_devices=num_devices,
        table_features=table_features,
    )


def init_variables(model: mmgr.MMGR, key: Key, num_slots: int, size_px: int) -> Tree:
    """Returns random `params` and initial `batch_stats`."""
    rows = 2  # the values depend neither on this nor on the number of edges
    pois = PoiSets(
        category=jnp.zeros((rows, num_slots), jnp.int32),
        offset_m=jnp.zeros((rows, num_slots, 2)),
        mask=jnp.ones((rows, num_slots), bool),
        edges=jnp.zeros((rows, 1, 2), jnp.int32),
        edge_weight=jnp.zeros((rows, 1)),
    )
    view = (size_px, size_px, 3)
    if model.reads_table:
        view = (model.image_encoder.feature_dim,)
    views = jnp.zeros((VIEWS, rows, *view))
    variables = model.init(key, views, pois, train=True)
    return {
        "params": variables["params"],
        "batch_stats": variables.get("batch_stats", {}),
    }


def jit_init(init: Callable[[], Any], layout: Any) -> Callable:
    """Compiles the initialisation as one program, with the given layout on the mesh.

    It runs only once, so on a CPU it is compiled without optimisation: its hundred
    random draws took 7.1 s with optimisation and 1.5 s without, for equal values.
    """
    quick = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }
    options = quick if jax.default_backend() == "cpu" else {}
    return jax.jit(init, out_shardings=layout, compiler_options=options)


def keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """Returns the random keys of the initial parameters and of the steps."""
    init_key, step_key = jax.random.split(jax.random.key(seed))
    return init_key, step_key
