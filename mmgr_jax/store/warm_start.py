"""Starts a run with the weights of another checkpoint, part by part."""

from __future__ import annotations

import logging
import typing
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
from flax import traverse_util

from mmgr_jax.errors import InputError
from mmgr_jax.store import checkpoint
from mmgr_jax.store.settings import Part
from mmgr_jax.typing import Tree

PARTS: tuple[str, ...] = typing.get_args(Part)
"""The parts of a model, as named in its parameters."""

Leaves = dict[tuple[str, ...], Any]

log = logging.getLogger(__name__)


def start_from(
    variables: Tree,
    bundle: Path,
    *,
    categories: tuple[str, ...],
    parts: Sequence[str],
) -> Tree:
    """Replaces the weights of a fresh model by those of a bundle.

    Args:
        variables: {"params": ..., "batch_stats": ...} of a fresh model on its devices.
        bundle: A checkpoint of a run, or of weights that `python -m mmgr_jax.convert`
            wrote, which may hold only some parts.
        categories: POI categories of the records.
        parts: The parts to take, of `PARTS`; () takes all that the bundle has.

    Returns:
        The variables; arrays that the bundle does not have are unchanged.

    Raises:
        InputError: If a part is absent, was trained with other POI categories, or does
            not fit the model; the message names every array that does not fit.
    """
    metadata = checkpoint.load_metadata(bundle)
    # Flax declares all that leaves may be; ours are arrays.
    flat = traverse_util.flatten_dict(dict(checkpoint.load_arrays(bundle)))
    given = cast(dict[tuple[str, ...], Any], flat)
    present = {path[1] for path in given}
    taken = _check_parts(tuple(parts), present, bundle)
    if "poi_encoder" in taken and metadata.categories:
        _check_categories(metadata.categories, categories, bundle)
    given = {path: leaf for path, leaf in given.items() if path[1] in taken}
    flat = traverse_util.flatten_dict(dict(variables), keep_empty_nodes=True)
    ours = cast(dict[tuple[str, ...], Any], flat)
    _check_fit(given, ours, bundle)
    for path, leaf in given.items():
        ours[path] = jax.device_put(leaf.astype(ours[path].dtype), ours[path].sharding)
    counts = Counter(path[1] for path in given)
    own = sorted({path[1] for path in ours if len(path) > 1} - set(taken))
    log.info(
        "weights of %s: %s; not from there: %s",
        bundle,
        ", ".join(f"{part} ({counts[part]} arrays)" for part in sorted(counts)),
        ", ".join(own) or "nothing",
    )
    return traverse_util.unflatten_dict(ours)


def _check_parts(
    parts: tuple[str, ...], present: set[str], bundle: Path
) -> tuple[str, ...]:
    unknown = [part for part in parts if part not in present]
    if unknown:
        raise InputError(
            f"config.init.parts: {bundle} has no {', '.join(map(repr, unknown))}; it "
            f"has {', '.join(sorted(present))}."
        )
    return parts or tuple(sorted(present))


def _check_categories(
    theirs: tuple[str, ...], ours: tuple[str, ...], bundle: Path
) -> None:
    if theirs != ours:
        raise InputError(
            f"{bundle}: trained with {len(theirs)} POI categories, but the records "
            f"hold {len(ours)} or name them differently. Build the records of both "
            "cities with one category list, or take the image side alone: "
            "--config.init.parts=\"('image_encoder','image_head')\"."
        )


def _check_fit(given: Leaves, ours: Leaves, bundle: Path) -> None:
    faults = []
    for path, leaf in given.items():
        name = ".".join(path[1:])
        if path not in ours:
            faults.append(f"unexpected: {name} {leaf.shape}")
        elif leaf.shape != ours[path].shape:
            faults.append(
                f"shape of {name}: {leaf.shape} in the checkpoint, "
                f"{ours[path].shape} here"
            )
    parts = {path[1] for path in given}
    faults += [
        f"missing: {'.'.join(path[1:])} {leaf.shape}"
        for path, leaf in ours.items()
        if len(path) > 1
        and path[1] in parts
        and path not in given
        # Weights of other programs have no table and no vector for the empty set.
        and path[-1] not in ("category_vectors", "empty_set")
    ]
    if faults:
        raise InputError(
            f"{bundle}: these weights do not fit config.model; name the architecture "
            "they were trained with:\n  " + "\n  ".join(faults)
        )
