"""Divides the POIs of one category into finer categories by their names.

A record stores only the category number of a POI, and one table has one vector per
category. So names are used as categories. The names of a category's POIs are clustered
by their sentence vectors. Each cluster becomes a category of its own, such as "cafe:
Starbucks", with the vector of that phrase. POIs without a name keep their category.
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster import vq

from data_prep.pois.table import PoiTable
from mmgr_jax import cores
from mmgr_jax.errors import InputError

Encode = Callable[[Sequence[str]], Float[np.ndarray, "n m"]]


def split(
    pois: PoiTable,
    phrases: Sequence[str],
    encode: Encode,
    *,
    per_category: int,
    seed: int,
) -> tuple[PoiTable, tuple[str, ...]]:
    """Returns the POIs in finer categories, and the phrase of each category.

    Args:
        pois: The POIs with their names.
        phrases: A phrase for each of their categories [k].
        encode: The sentence encoder.
        per_category: Largest number of clusters that a category is divided into.
        seed: Seed of the clustering.

    Returns:
        The POIs, and one phrase per category (k or more). The categories are the old
        ones in their order, followed by "CATEGORY: NAME" for each cluster, under the
        category's first level. NAME is the name nearest to the cluster's centre.

    Raises:
        InputError: If the POIs have no names, or a category has the same name as a
            cluster.
    """
    if pois.name is None:
        raise InputError(
            "config.category_vectors.text.names_per_category is "
            f"{per_category}, but config.pois.name_column names no column of the POIs. "
            "Name the one with their names, or set names_per_category to 0."
        )
    category = pois.category.copy()
    categories, parents = list(pois.categories), list(pois.parents)
    all_phrases = list(phrases)
    named = pois.name != ""
    for old, phrase in enumerate(phrases):
        rows = np.flatnonzero((pois.category == old) & named)
        if not len(rows):
            continue
        names, member = np.unique(pois.name[rows].astype(str), return_inverse=True)
        units = encode([_joined(phrase, name) for name in names.tolist()])
        cluster, nearest = clusters(units, member, per_category, seed)
        category[rows] = len(categories) + cluster[member]
        for name in names[nearest].tolist():
            categories.append(_joined(pois.categories[old], name))
            parents.append(pois.parents[old])
            all_phrases.append(_joined(phrase, name))
    _refuse_repeated(categories)
    logging.info(
        "names: %d of %d POIs have one; %d categories become %d",
        named.sum(),
        len(pois),
        len(phrases),
        len(categories),
    )
    finer = dataclasses.replace(
        pois,
        category=category.astype(np.int32),
        categories=tuple(categories),
        parents=tuple(parents),
    )
    return finer, tuple(all_phrases)


def clusters(
    units: Float[np.ndarray, "n m"],
    member: Int[np.ndarray, " p"],
    count: int,
    seed: int,
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " c"]]:
    """Clusters names by k-means over the POIs that have these names.

    Args:
        units: Vector of each name [n m].
        member: Index of the name of each POI [p]; each name has one POI or more.
        count: Largest number of clusters.
        seed: Seed of the first centres.

    Returns:
        Cluster of each name [n], and the name that stands for each cluster [c], the one
        nearest to its centre. Clusters are numbered in the order of these names.
    """
    if len(units) <= count:
        return np.arange(len(units)), np.arange(len(units))
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings(), cores.one_blas_thread():
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        centres, _ = vq.kmeans2(units[member], count, minit="++", rng=rng)
        group, _ = vq.vq(units, centres)
    weight = np.bincount(member)
    nearest = []
    for index in np.unique(group):
        inside = np.flatnonzero(group == index)
        centre = np.average(units[inside], axis=0, weights=weight[inside])
        away = np.linalg.norm(units[inside] - centre, axis=1)
        nearest.append(inside[np.argmin(away)])
    nearest = np.sort(np.array(nearest))
    number = {group[name]: place for place, name in enumerate(nearest)}
    return np.array([number[index] for index in group]), nearest


def _joined(first: str, name: str) -> str:
    return f"{first}: {name}"


def _refuse_repeated(categories: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in categories:
        if name in seen:
            raise InputError(
                f"the category {name!r} exists already, and names_per_category would "
                "give the same name to a part of another category. Rename it in the "
                "file of POIs, or set "
                "config.category_vectors.text.names_per_category to 0."
            )
        seen.add(name)
