"""Takes from a model the weights with which the page computes its POI encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmgr_jax.models.mmgr import MMGR
from mmgr_jax.models.set2set import Set2Set


def poi_weights(
    model: MMGR, variables: Mapping[str, Any]
) -> dict[str, np.ndarray | int | bool | None] | None:
    """Makes the weights that `page/poi_encoder.js` takes.

    Args:
        model: The model.
        variables: Variables of the model.

    Returns:
        Name -> float32 weights and sizes, with the names used there. None for an
        encoder that reads the places of POIs, because a mix of POIs has no places.
    """
    encoder = model.poi_encoder
    if encoder.context is not None or not isinstance(encoder.pool, Set2Set):
        return None
    own, head = (variables["params"][name] for name in ("poi_encoder", "poi_head"))
    lstm, vectors = own["pool"]["lstm"], _plain(own["table"]["category_vectors"])
    empty = own.get("empty_set")
    return {
        "c": vectors.shape[0],
        "width": vectors.shape[1],
        "steps": encoder.pool.steps,
        "counts": encoder.counts,
        "vectors": vectors,
        "kernelIh": _plain(lstm["kernel_ih"]),
        "kernelHh": _plain(lstm["kernel_hh"]),
        "biasIh": _plain(lstm["bias_ih"]),
        "biasHh": _plain(lstm["bias_hh"]),
        "empty": None if empty is None else _plain(empty),
        "kernel1": _plain(head["linear1"]["kernel"]),
        "bias1": _plain(head["linear1"]["bias"]),
        "kernel2": _plain(head["linear2"]["kernel"]),
        "bias2": _plain(head["linear2"]["bias"]),
    }


def _plain(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)
