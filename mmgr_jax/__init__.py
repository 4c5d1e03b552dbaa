"""MMGR-JAX: region embeddings from very-high-resolution imagery and POIs.

    encoder = mmgr_jax.load("runs/toy_city")    # a run, a checkpoint, a saved encoder
    encoder.embed_tiles(tiles)                  # uint8 [n h w 3] -> float32 [n f]
    encoder.embed_pois([["cafe", "bank"], []])  # a POI set a region -> float32 [n q]
    encoder.embed_records("data/toy_city/records")  # -> GeoDataFrame

`first_config`, `read_config`, `build_records`, `train_encoder`, `evaluate` and
`map_city` do what the commands do; `label_next` says which regions to label next.
docs/python.md says more.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mmgr_jax import environment

__version__ = "0.1.0"

_WHERE = {
    "Encoder": "encoder",
    "load": "encoder",
    "InputError": "errors",
    "PixelStatistics": "data.pixels",
    "label_next": "evaluation.design.next_labels",
    "first_config": "workflow",
    "read_config": "workflow",
    "build_records": "workflow",
    "train_encoder": "workflow",
    "evaluate": "workflow",
    "map_city": "workflow",
}
__all__ = [
    "Encoder",
    "InputError",
    "PixelStatistics",
    "build_records",
    "evaluate",
    "first_config",
    "label_next",
    "load",
    "map_city",
    "read_config",
    "train_encoder",
]

if TYPE_CHECKING:
    from mmgr_jax.data.pixels import PixelStatistics as PixelStatistics
    from mmgr_jax.encoder import Encoder as Encoder
    from mmgr_jax.encoder import load as load
    from mmgr_jax.errors import InputError as InputError
    from mmgr_jax.evaluation.design.next_labels import label_next as label_next
    from mmgr_jax.workflow import build_records as build_records
    from mmgr_jax.workflow import evaluate as evaluate
    from mmgr_jax.workflow import first_config as first_config
    from mmgr_jax.workflow import map_city as map_city
    from mmgr_jax.workflow import read_config as read_config
    from mmgr_jax.workflow import train_encoder as train_encoder


def __getattr__(name: str) -> Any:
    """Loads a name when it is first used, since the help of a command needs no JAX."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])


environment.tell_failing_imports()
