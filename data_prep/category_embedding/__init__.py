"""Vectors of POI categories, from the POI table alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from threadpoolctl import threadpool_limits

from data_prep import sources
from data_prep.category_embedding import plain
from data_prep.category_embedding import skipgram as skipgram_lib
from data_prep.category_embedding import walks as walks_lib
from data_prep.category_embedding.stage import stage
from data_prep.pois import PoiTable
from mmgr_jax.errors import InputError

__all__ = ["METHODS", "make_vectors", "problems", "recipe"]

METHODS: Mapping[str, tuple[str, ...]] = {
    "skipgram": ("dim", "seed", "walks", "skipgram"),
    "random": ("dim",),
    "onehot": ("dim",),
    "table": ("table",),
}
"""The methods, and the settings that each of them reads."""


def make_vectors(
    poi_table: PoiTable,
    *,
    method: str,
    dim: int,
    seed: int,
    walks: Mapping[str, Any],
    skipgram: Mapping[str, Any],
    table: Mapping[str, Any],
) -> Float32[np.ndarray, "k d"]:
    """One vector for each category of a city's POIs.

    Args:
        poi_table: The POIs of the city, in and outside its regions.
        method: "skipgram": from which categories stand near each other (Huang et al.
            2022). "random": unit vectors that hang on the category's name alone.
            "onehot": see `plain.onehot`. "table": read from a file.
        dim: Length of a vector d; "table" has as many as the file has columns.
        seed: Seed of walks and training; 0 or more.
        walks: How POIs are walked, see `walks.count_pairs`; for "skipgram".
        skipgram: How vectors are trained, see `skipgram.train`; for "skipgram".
        table: Which file is read, see `plain.from_table`; for "table".

    Returns:
        Vectors in the order of `poi_table.categories`, float32 [k d]: the same bytes
        for the same POIs, settings and versions of NumPy and SciPy.

    Raises:
        InputError: If settings are wrong, or POIs or file do not suffice.
    """
    found = problems(
        method=method, dim=dim, seed=seed, walks=walks, skipgram=skipgram, table=table
    )
    if found:
        raise InputError("\n".join(found))
    names = poi_table.categories
    if method == "random":
        return plain.random(names, dim)
    if method == "onehot":
        frequency = np.bincount(poi_table.category, minlength=len(names))
        return plain.onehot(frequency, dim)
    if method == "table":
        return plain.from_table(names, **table)
    counts = walks_lib.count_pairs(poi_table, seed=seed, **walks)
    # One thread: two of them took 1.4 s on two idle cores as one did, and 6 to 13 s
    # beside other work (297 categories). And the bytes do not hang on the cores.
    with stage("training"), threadpool_limits(1, user_api="blas"):
        return skipgram_lib.train(
            counts, poi_table.parents, dim=dim, seed=seed, **skipgram
        )


def problems(
    *,
    method: str,
    dim: int,
    seed: int,
    walks: Mapping[str, Any],
    skipgram: Mapping[str, Any],
    table: Mapping[str, Any],
) -> list[str]:
    """What is wrong with the settings, seen without POIs; see `make_vectors`."""
    found = []
    if method not in METHODS:
        allowed = ", ".join(map(repr, METHODS))
        found.append(f"method is {method!r}; allowed: {allowed}.")
    for name, value, least in (("dim", dim, 1), ("seed", seed, 0)):
        if value < least:
            found.append(f"{name} is {value}; allowed: {least} or more.")
    found += walks_lib.problems(**walks) + skipgram_lib.problems(**skipgram)
    if method == "table":
        found += plain.problems(**table)
    return [f"config.category_vectors.{text}" for text in found]


def recipe(*, method: str, **settings: Any) -> dict[str, Any]:
    """What decides the vectors of a city: the method and the settings it reads.

    A table's file counts by its content: `sha256` is its hash, None where it is gone.
    """
    chosen = {name: settings[name] for name in METHODS.get(method, settings)}
    if method == "table":
        path = settings["table"]["path"]
        there = path is not None and Path(path).is_file()
        chosen["sha256"] = sources.sha256(Path(path)) if there else None
    return {"method": method, **chosen}
