"""Trees of arrays in folders: what Orbax is asked for, and what it means by its errors.

Beside `checkpoint` and `bundles` the only importer of Orbax.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp

from mmgr_jax.disk import folders, marks, refusals
from mmgr_jax.errors import InputError
from mmgr_jax.typing import Tree

KIND = "arrays"
_NAMED = 8  # arrays named in an error


def save(folder: Path, tree: Tree, metadata: Mapping[str, Any]) -> None:
    """Writes arrays and what is said of them, in place of what the folder held.

    No folder of this name is ever half-written. Killed between two renames, there is
    none, and the old one is put back by the next `save`.

    Args:
        folder: Folder to make or replace.
        tree: NumPy arrays, nested by name.
        metadata: Anything that JSON can hold.

    Raises:
        InputError: If the folder holds something else, or cannot be written to.
    """
    with folders.replacing(
        folder, KIND, key="folder", known=_as_before_marks, sums=True
    ) as new:
        ocp.save_checkpointables(
            str(new / "new"), {"arrays": dict(tree)}, custom_metadata=jsonable(metadata)
        )
        for entry in (new / "new").iterdir():
            entry.rename(new / entry.name)
        (new / "new").rmdir()


def hash_of(variables: Tree) -> str:
    """SHA-256 of names, shapes, types and values."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        digest.update(f"{name} {leaf.shape} {leaf.dtype}\n".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def load(folder: Path) -> tuple[Tree, Mapping[str, Any]]:
    """What `save` wrote: NumPy arrays and metadata.

    Raises:
        InputError: If there is no such folder, it is damaged, or cannot be read.
    """
    folder = folder.absolute()
    try:
        if not marks.verify(folder, KIND):
            marks.refuse_unreadable(folder)  # of an earlier version
        stored = ocp.checkpointables_metadata(str(folder))
        template = as_numpy(stored.metadata["arrays"])
        arrays = ocp.load_checkpointables(str(folder), {"arrays": template})["arrays"]
        return arrays, cast(Mapping[str, Any], stored.custom_metadata)
    except InputError:
        raise
    except Exception as error:  # Orbax raises many kinds for a torn folder
        refusals.refuse_unreadable(folder, error)
        raise InputError(
            f"{folder}: nothing that this program saved can be read here "
            f"({root_cause(error)}). Write it again, or name another folder."
        ) from error


def _as_before_marks(folder: Path) -> Collection[str]:
    """What is ours in a folder of arrays that an earlier version left."""
    entries = [entry.name for entry in folder.iterdir()]
    return entries if {"_CHECKPOINT_METADATA", "arrays"} <= set(entries) else ()


def as_numpy(described: Tree) -> Tree:
    """A template for arrays on the host: the devices that saved need not be here."""
    return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), described)


def written_by_one() -> ocp.Context:
    """What is whole on every device is written by one.

    Orbax would share the work, by a compiled slice for each shape: 84 small programs,
    5 s on two cores, before the first save.
    """
    context = ocp.Context()
    context.array.saving.use_replica_parallel = False
    return context


def refuse_other_arrays(
    bundle: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Raises InputError, with the first differences, where shapes or names differ."""
    for name in ("model", "train"):
        if name not in wanted:
            continue
        if name not in stored:
            raise InputError(
                f"{bundle}: holds weights alone, from which no run continues. Name it "
                "in --config.init.checkpoint, to begin with them, and another "
                "--config.workdir."
            )
        theirs, ours = _shapes(stored[name]), _shapes(wanted[name])
        differing = [
            f"{path}: {theirs.get(path, 'absent')} in the checkpoint, "
            f"{ours.get(path, 'absent')} here"
            for path in sorted(theirs.keys() | ours.keys())
            if theirs.get(path) != ours.get(path)
        ]
        if differing:
            more = len(differing) - _NAMED
            raise InputError(
                f"{bundle}: does not fit the model or optimiser of this config:\n  "
                + "\n  ".join(differing[:_NAMED])
                + (f"\n  and {more} more" if more > 0 else "")
                + "\nUse the config it was trained with, or another --config.workdir."
            )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Dotted path -> shape; the same for a tree and for how Orbax stores it."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        ".".join(
            str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))
            for key in path
        ): tuple(leaf.shape)
        for path, leaf in leaves
    }


def root_cause(error: BaseException) -> str:
    """Orbax tells a tree mismatch in `__cause__` alone."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join((str(error) or type(error).__name__).split())[:400]


def jsonable(tree: Any) -> Any:
    """The same as JSON would bring it back."""
    return json.loads(json.dumps(tree))
