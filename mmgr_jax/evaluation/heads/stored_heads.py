"""Heads in folders: written by evaluation, read where maps are made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design.grid import Cell
from mmgr_jax.evaluation.design.targets import TargetScale
from mmgr_jax.evaluation.heads.head import Head
from mmgr_jax.store import arrays as stored

VERSION = 1
ARRAYS = ("weights", "feature_mean", "feature_inverse")


def save_head(folder: str | Path, head: Head) -> Path:
    """Writes a head, in place of one that the folder may hold; see `arrays.save`.

    Args:
        folder: Folder of this head alone.
        head: The head.

    Returns:
        The folder.
    """
    fields = {
        field.name: getattr(head, field.name) for field in dataclasses.fields(head)
    }
    arrays = {name: fields.pop(name) for name in ARRAYS}
    told = {
        name: dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type)
        else value
        for name, value in fields.items()
    }
    told["metrics"] = dict(head.metrics)
    stored.save(Path(folder), arrays, {"version": VERSION, "head": told})
    return Path(folder)


def load_head(folder: str | Path) -> Head:
    """Reads a head.

    Raises:
        InputError: If there is none, it is damaged, or of another layout.
    """
    arrays, metadata = stored.load(Path(folder))
    if metadata.get("version") != VERSION:
        raise InputError(
            f"{folder}: a head of layout {metadata.get('version')!r}; this program "
            f"reads {VERSION}. Run `python -m mmgr_jax.eval --config=...` again."
        )
    told: dict[str, Any] = dict(metadata["head"])
    label = dict(told["label"])
    told["label"] = Label(**{**label, "classes": tuple(label["classes"])})
    told["cell"] = Cell(**told["cell"])
    told["scale"] = told["scale"] and TargetScale(**told["scale"])
    weights = {name: np.asarray(leaf) for name, leaf in arrays["weights"].items()}
    return Head(**{**arrays, "weights": weights}, **told)


def load_heads(folder: str | Path) -> dict[str, Head]:
    """The heads below a folder, by the names of theirs.

    Raises:
        InputError: If there is none, or one is damaged.
    """
    folder = Path(folder)
    found = sorted(
        entry
        for entry in (folder.iterdir() if folder.is_dir() else ())
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if not found:
        raise InputError(
            f"{folder}: no saved heads here. Write them with "
            "`python -m mmgr_jax.eval --config=...`."
        )
    return {entry.name: load_head(entry) for entry in found}
