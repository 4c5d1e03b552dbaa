"""Stores trees of arrays in folders by Orbax, and explains the errors of Orbax.

Only this module, `checkpoint` and `bundles` import Orbax.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp

from mmgr_jax.errors import InputError
from mmgr_jax.typing import Tree

_NAMED = 8  # number of arrays named in an error


def hash_of(variables: Tree) -> str:
    """Returns the SHA-256 of names, shapes, types and values of arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        digest.update(f"{name} {leaf.shape} {leaf.dtype}\n".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def as_numpy(described: Tree) -> Tree:
    """Makes a template for arrays on the host; the devices that saved may be absent."""
    return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), described)


def written_by_one() -> ocp.Context:
    """Makes Orbax write an array that is whole on every device from one device only.

    Otherwise Orbax would divide the work by compiling a slice for each shape: 84 small
    programs, 5 s on two cores, before the first save.
    """
    context = ocp.Context()
    context.array.saving.use_replica_parallel = False
    return context


def refuse_other_arrays(
    bundle: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Raises InputError, with the first differences, if shapes or names differ."""
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
    """Returns dotted path -> shape, the same for a tree and for its stored form."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        ".".join(
            str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))
            for key in path
        ): tuple(leaf.shape)
        for path, leaf in leaves
    }


def root_cause(error: BaseException) -> str:
    """Returns the text of the first cause; Orbax names a tree mismatch only there."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join((str(error) or type(error).__name__).split())[:400]


def jsonable(tree: Any) -> Any:
    """Returns a tree as it would be after writing it as JSON and reading it."""
    return json.loads(json.dumps(tree))
