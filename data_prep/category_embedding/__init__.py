"""Vectors of POI categories, from the POI table alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32
from threadpoolctl import threadpool_limits

from data_prep.category_embedding import names as names_lib
from data_prep.category_embedding import plain
from data_prep.category_embedding import skipgram as skipgram_lib
from data_prep.category_embedding import text as text_lib
from data_prep.category_embedding import walks as walks_lib
from data_prep.category_embedding.stage import stage
from data_prep.pois import PoiTable
from data_prep.sections import METHODS
from mmgr_jax.data import texts
from mmgr_jax.data.texts import TextSpace
from mmgr_jax.errors import InputError

__all__ = [
    "Made",
    "make",
    "make_vectors",
    "problems",
    "reads_names",
]


@dataclasses.dataclass(frozen=True)
class Made:
    """The category vectors of a city.

    Attributes:
        pois: The POIs by the categories that have the vectors: as they came, unless
            names part them (`names.split`).
        vectors: In the order of `pois.categories` [k d].
        space: What takes other texts to such vectors; None for vectors of no text.
    """

    pois: PoiTable
    vectors: Float32[np.ndarray, "k d"]
    space: TextSpace | None = None


def make(
    poi_table: PoiTable,
    *,
    method: str,
    dim: int,
    seed: int,
    walks: Mapping[str, Any],
    skipgram: Mapping[str, Any],
    table: Mapping[str, Any],
    text: Mapping[str, Any],
) -> Made:
    """One vector for each category of a city's POIs.

    Args:
        poi_table: The POIs of the city, in and outside its regions.
        method: "skipgram": from which categories stand near each other (Huang et al.
            2022). "random": unit vectors that hang on the category's name alone.
            "onehot": see `plain.onehot`. "table": read from a file. "text": from the
            words of the names, see `text.make`.
        dim: Length of a vector d; "table" has as many as the file has columns.
        seed: Seed of walks, training and clusters of names; 0 or more.
        walks: How POIs are walked, see `walks.count_pairs`; for "skipgram".
        skipgram: How vectors are trained, see `skipgram.train`; for "skipgram".
        table: Which file is read, see `plain.from_table`; for "table".
        text: Which encoder reads which words; for "text". `model` and `folder`: see
            `texts.load`. `template`, `template_alone` and `phrases` (a file): see
            `text.phrases`. `names_per_category`: see `names.split`; 0: names of POIs
            are not read.

    Returns:
        Vectors, float32 [k d]: the same bytes for the same POIs, settings and versions
        of NumPy, SciPy and encoder.

    Raises:
        InputError: If settings are wrong, or POIs or file do not suffice.
    """
    found = problems(
        method=method,
        dim=dim,
        seed=seed,
        walks=walks,
        skipgram=skipgram,
        table=table,
        text=text,
    )
    if found:
        raise InputError("\n".join(found))
    names = poi_table.categories
    if method == "random":
        return Made(poi_table, plain.random(names, dim))
    if method == "onehot":
        frequency = np.bincount(poi_table.category, minlength=len(names))
        return Made(poi_table, plain.onehot(frequency, dim))
    if method == "table":
        return Made(poi_table, plain.from_table(names, **table))
    if method == "text":
        with stage("text"):
            return _from_text(poi_table, dim=dim, seed=seed, **text)
    counts = walks_lib.count_pairs(poi_table, seed=seed, **walks)
    # One thread: two of them took 1.4 s on two idle cores as one did, and 6 to 13 s
    # beside other work (297 categories). And the bytes do not hang on the cores.
    with stage("training"), threadpool_limits(1, user_api="blas"):
        vectors = skipgram_lib.train(
            counts, poi_table.parents, dim=dim, seed=seed, **skipgram
        )
        return Made(poi_table, vectors)


def make_vectors(poi_table: PoiTable, **settings: Any) -> Float32[np.ndarray, "k d"]:
    """The vectors of `make` alone."""
    return make(poi_table, **settings).vectors


def problems(
    *,
    method: str,
    dim: int,
    seed: int,
    walks: Mapping[str, Any],
    skipgram: Mapping[str, Any],
    table: Mapping[str, Any],
    text: Mapping[str, Any],
) -> list[str]:
    """What is wrong with the settings, seen without POIs; see `make`."""
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
    if method == "text":
        found += text_lib.problems(text)
    return [f"config.category_vectors.{problem}" for problem in found]


def reads_names(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe parts the categories of the records by the names of POIs."""
    return recipe.get("method") == "text" and bool(
        recipe["text"].get("names_per_category")
    )


def _from_text(
    pois: PoiTable,
    *,
    dim: int,
    seed: int,
    model: str,
    folder: str | None,
    template: str,
    template_alone: str,
    phrases: str | None,
    names_per_category: int,
) -> Made:
    encode = texts.load(model, folder)
    said = text_lib.phrases(
        pois.categories,
        pois.parents,
        template=template,
        template_alone=template_alone,
        path=phrases,
    )
    if names_per_category:
        pois, said = names_lib.split(
            pois, said, encode, per_category=names_per_category, seed=seed
        )
    return Made(pois, *text_lib.make(said, encode, dim=dim, folder=folder))
