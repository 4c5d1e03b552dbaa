"""Category vectors from the words of their names.

A sentence encoder gives each category's phrase a vector. Principal axes over the
categories bring the vectors to the length the settings ask for. One factor then scales
them to the size of a N(0, 1) table; it does not change the cosines of the centred
vectors.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from data_prep.category_embedding.settings import TextSettings
from data_prep.files import cells, faults, tables
from mmgr_jax import cores
from mmgr_jax.data import texts
from mmgr_jax.data.texts import SentenceEncoder, TextSpace
from mmgr_jax.errors import InputError

# What parts the levels of a name, the finest last: "amenity/bank".
_LEVELS = re.compile(r"[/;:|>]")
# Between the words of a "camelCase" or "POIType" name.
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_COLUMNS = ("category", "phrase")
# Singular values of unit vectors below this are rounding.
_TOLERANCE = 1e-6


def make(
    phrases: Sequence[str], encode: SentenceEncoder, *, dim: int, folder: str | None
) -> tuple[Float32[np.ndarray, "k d"], TextSpace]:
    """Makes the vector of each phrase, and the space that other texts are mapped to.

    Args:
        phrases: One phrase per category [k].
        encode: The sentence encoder.
        dim: Length d of a vector. k categories span at most k - 1 directions; where
            these are fewer than d, the remaining numbers are zero.
        folder: Folder of the encoder's model; None if it has none.

    Returns:
        Vectors, float32 [k d], and their space. The mean of each number over the
        categories is 0, and the mean square of all numbers is 1.

    Raises:
        InputError: If all phrases have one vector.
    """
    units = encode(phrases)
    # One thread: the bytes do not hang on the cores.
    with cores.one_blas_thread():
        mean, components, scale = fit(units, dim)
        space = TextSpace(
            model=encode.model,
            folder=folder or "",
            version=encode.version,
            phrases=tuple(phrases),
            mean=mean,
            components=components,
            scale=scale,
        )
        return space.project(units), space


def fit(
    units: Float[np.ndarray, "k m"], dim: int
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "d m"], float]:
    """Computes mean, principal axes and scale of a table; see `TextSpace`.

    The sign of an axis is the one that makes its largest number positive.

    Raises:
        InputError: If all rows are the same.
    """
    mean = units.mean(axis=0)
    _, size, axes = np.linalg.svd(units - mean, full_matrices=False)
    rank = int(np.sum(size > _TOLERANCE))
    if not rank:
        raise InputError(
            f"config.category_vectors.method is 'text', but {len(units)} categories "
            "all have the same phrase, so their vectors would be equal. Name a "
            "column with other categories in config.pois.category_column, or set "
            "method to 'random'."
        )
    used = min(rank, dim)
    axes = axes[:used]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    components = np.zeros((dim, units.shape[1]))
    components[:used] = axes * np.sign(largest)
    kept = float(np.sum(size[:used] ** 2))
    logging.info(
        "text: %d of %d dimensions used; they hold %.0f %% of the variance of %d "
        "phrases",
        used,
        dim,
        100 * kept / float(np.sum(size**2)),
        len(units),
    )
    return mean, components, float(np.sqrt(len(units) * dim / kept))


def phrases(
    categories: Sequence[str], parents: Sequence[str], settings: TextSettings
) -> tuple[str, ...]:
    """Returns the phrase that describes each category.

    Args:
        categories: Names [k], such as "amenity/place_of_worship" and "TeaHouse".
        parents: First-level category of each; the category itself where it has none.
        settings: Templates, and the file with the user's own phrases.
    """
    own = _own(settings.phrases)
    return tuple(
        own.get(category) or _phrase(category, parent, settings)
        for category, parent in zip(categories, parents, strict=True)
    )


def words(name: str) -> list[str]:
    """Returns the levels of a name in words, coarsest first; omits empty levels.

    "amenity/place_of_worship" has "amenity" and "place of worship".
    """
    spaced = [
        re.sub(r"[\s_.]+", " ", _CAMEL.sub(" ", level)).strip().lower()
        for level in _LEVELS.split(name)
    ]
    return [level for level in spaced if re.search(r"\w", level)]


def problems(settings: TextSettings) -> list[str]:
    """Lists what is wrong with the section `text`, without reading POIs."""
    problems = texts.problems(settings.model, settings.folder)
    for key, fields in (
        ("template", {"name": "", "parent": ""}),
        ("template_alone", {"name": ""}),
    ):
        template = getattr(settings, key)
        try:
            has_name = template.format(**{**fields, "name": "\0"}).count("\0") > 0
        except (KeyError, IndexError, ValueError):
            has_name = False
        if not has_name:
            allowed = " and ".join(f"{{{name}}}" for name in fields)
            problems.append(
                f"text.{key} is {template!r}; allowed: a text that contains {allowed}."
            )
    if settings.phrases is not None:
        try:
            _own(settings.phrases)
        except InputError as error:
            problems.append(str(error))
    prefix = "config.category_vectors."
    return [problem.removeprefix(prefix) for problem in problems]


def _phrase(category: str, parent: str, settings: TextSettings) -> str:
    levels = words(category) or [category]
    above = list(reversed(levels[:-1]))
    if parent != category:
        above += [level for level in reversed(words(parent)) if level not in levels]
    if not above:
        return settings.template_alone.format(name=levels[-1])
    return settings.template.format(name=levels[-1], parent=", ".join(above))


def _own(path: str | None) -> dict[str, str]:
    """Category -> phrase, of those that a file has one for."""
    if path is None:
        return {}
    key = "config.category_vectors.text.phrases"
    wanted = "Wanted: a CSV with columns 'category' and 'phrase'."
    if not Path(path).is_file():
        raise InputError(f"{key} {path!r}: no such file. {wanted}")
    has = tables.header(path).columns
    missing = [name for name in _COLUMNS if name not in has]
    if missing:
        raise InputError(
            f"{path}: has no column {', '.join(map(repr, missing))}; its columns: "
            f"{faults.names(has)} ({key}). {wanted}"
        )
    table = tables.load(path)
    columns = {name: cells.text(table[name], f"{path}: {name}") for name in _COLUMNS}
    pairs = pd.DataFrame(columns).dropna()
    twice = pairs["category"][pairs["category"].duplicated()].unique().tolist()
    if twice:
        raise InputError(
            f"{path}: has several phrases for {faults.names(twice)}. Keep one for "
            f"each category ({key})."
        )
    return {name: phrase for name, phrase in pairs.itertuples(index=False) if phrase}
