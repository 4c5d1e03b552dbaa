"""Makes the vectors of POI categories by any method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from data_prep.category_embedding import names as names_lib
from data_prep.category_embedding import plain
from data_prep.category_embedding import skipgram as skipgram_lib
from data_prep.category_embedding import text as text_lib
from data_prep.category_embedding import walks as walks_lib
from data_prep.category_embedding.settings import (
    CategoryVectorSettings,
    TextSettings,
)
from data_prep.category_embedding.stage import stage
from data_prep.pois.table import PoiTable
from mmgr_jax import cores
from mmgr_jax.data import texts
from mmgr_jax.data.texts import TextSpace
from mmgr_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Made:
    """The category vectors of a city.

    Attributes:
        pois: The POIs in the categories that have the vectors: unchanged, unless names
            divide them (`names.split`).
        vectors: The vectors in the order of `pois.categories` [k d].
        space: The space that maps other texts to such vectors; None for vectors not
            made from text.
    """

    pois: PoiTable
    vectors: Float32[np.ndarray, "k d"]
    space: TextSpace | None = None


def make(poi_table: PoiTable, settings: CategoryVectorSettings) -> Made:
    """Makes one vector for each category of a city's POIs.

    Args:
        poi_table: The POIs of the city, in and outside its regions.
        settings: How the vectors are made.

    Returns:
        Vectors, float32 [k d]. Bytes are the same for the same POIs, settings and
        versions of NumPy, SciPy and encoder.

    Raises:
        InputError: If settings are wrong, or the POIs or the file are not sufficient.
    """
    if setting_problems := problems(settings):
        raise InputError("\n".join(setting_problems))
    names, dim, seed = poi_table.categories, settings.dim, settings.seed
    if settings.method == "random" or not len(poi_table):  # nothing to learn from
        return Made(poi_table, plain.random(names, dim))
    if settings.method == "onehot":
        frequency = np.bincount(poi_table.category, minlength=len(names))
        return Made(poi_table, plain.onehot(frequency, dim))
    if settings.method == "table":
        return Made(poi_table, plain.from_table(names, settings.table))
    if settings.method == "text":
        with stage("text"):
            return _from_text(poi_table, settings.text, dim=dim, seed=seed)
    counts = walks_lib.count_pairs(poi_table, settings.walks)
    # One thread: two of them took 1.4 s on two idle cores as one did, and 6 to 13 s
    # beside other work (297 categories). And the bytes do not hang on the cores.
    with stage("training"), cores.one_blas_thread():
        vectors = skipgram_lib.train(counts, poi_table.parents, dim=dim, seed=seed)
        return Made(poi_table, vectors)


def problems(settings: CategoryVectorSettings) -> list[str]:
    """Lists what is wrong with the settings, without reading POIs; see `make`."""
    problems = []
    if settings.method == "table":
        problems = plain.problems(settings.table)
    if settings.method == "text":
        problems = text_lib.problems(settings.text)
    return [f"config.category_vectors.{problem}" for problem in problems]


def reads_names(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe divides the categories of the records by the names of POIs."""
    return recipe.get("method") == "text" and bool(
        recipe["text"].get("names_per_category")
    )


def _from_text(pois: PoiTable, settings: TextSettings, *, dim: int, seed: int) -> Made:
    encode = texts.load(settings.model, settings.folder)
    phrases = text_lib.phrases(pois.categories, pois.parents, settings)
    if settings.names_per_category:
        pois, phrases = names_lib.split(
            pois, phrases, encode, per_category=settings.names_per_category, seed=seed
        )
    return Made(pois, *text_lib.make(phrases, encode, dim=dim, folder=settings.folder))
