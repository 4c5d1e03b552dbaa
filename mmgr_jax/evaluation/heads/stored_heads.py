"""Writes heads of an evaluation as files of plain arrays, and reads them for maps.

Their folder is written as a whole, with checksums; see `kept_heads`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from mmgr_jax.data.arrays import load_npz
from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design.grid import Cell
from mmgr_jax.evaluation.design.targets import TargetScale
from mmgr_jax.evaluation.heads.head import Head

SUFFIX = ".head.npz"
_WEIGHT = "weights."
_ARRAYS = ("feature_mean", "feature_inverse")
_FIELDS = "fields"
_AGAIN = "Write them with `python -m mmgr_jax.eval --config=...`."


def save_head(folder: Path, name: str, head: Head) -> None:
    """Writes a head into a folder; makes the folder if it is missing."""
    arrays: dict[str, Any] = {_WEIGHT + key: head.weights[key] for key in head.weights}
    arrays |= {key: getattr(head, key) for key in _ARRAYS}
    plain = dataclasses.replace(head, weights={}, metrics=dict(head.metrics))
    fields = {k: v for k, v in dataclasses.asdict(plain).items() if k not in _ARRAYS}
    arrays[_FIELDS] = json.dumps(fields)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{name}{SUFFIX}", **arrays)


def load_heads(folder: Path) -> dict[str, Head]:
    """Loads the heads in a folder, by their names.

    Raises:
        InputError: If there is no head, or a head is damaged.
        OSError: If a file cannot be read now.
    """
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise InputError(
            f"{folder}: no saved heads here, or those of an earlier version. {_AGAIN}"
        )
    return {path.name.removesuffix(SUFFIX): _load_head(path) for path in paths}


def _load_head(path: Path) -> Head:
    try:
        arrays = load_npz(path)
        fields = json.loads(str(arrays.pop(_FIELDS)))
        label = fields["label"]
        fields["label"] = Label(**{**label, "classes": tuple(label["classes"])})
        fields["cell"] = Cell(**fields["cell"])
        fields["scale"] = fields["scale"] and TargetScale(**fields["scale"])
        fields |= {name: arrays.pop(name) for name in _ARRAYS}
        fields["weights"] = {
            name.removeprefix(_WEIGHT): values for name, values in arrays.items()
        }
        return Head(**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: a damaged head ({error}). {_AGAIN}") from error
