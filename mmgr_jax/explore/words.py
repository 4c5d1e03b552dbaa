"""Makes a vocabulary that turns a text into POIs without a text model on the page.

The vector of a phrase has the direction of the sum of its words' vectors, so a
vocabulary is enough. It holds the words of the categories' phrases, the commonest
words, and those most similar to a category. The page then works like `python -m
mmgr_jax.query`.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int16

from mmgr_jax.data import texts
from mmgr_jax.data.source import RecordSource
from mmgr_jax.data.unit_vectors import unit_rows

MODEL = "wordllama"
"""The one whose vectors of words add up to that of a phrase."""

MOST_WORDS = 2000
"""Most like a category; with the commonest 1.5 MB."""

COMMONEST = 1200
"""Words that are there whatever they mean, such as "and"."""

_WORD = re.compile(r"[^\W\d_]+")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Words:
    """A vocabulary, and the numbers that compare its vectors with categories.

    Attributes:
        words: Words in small letters [w].
        numbers: Vectors of the words, as whole numbers [w m].
        scale: Factor of each vector [w].
        mean: Mean, which is subtracted from the unit vector of a phrase [m].
        components: Matrix by which the difference is then multiplied [d m].
        table: Vectors of the categories, of length 1 [k d].
        number_of_pois: Number of POIs that a text becomes.
    """

    words: list[str]
    numbers: Int16[np.ndarray, "w m"]
    scale: Float[np.ndarray, " w"]
    mean: Float[np.ndarray, " m"]
    components: Float[np.ndarray, "d m"]
    table: Float[np.ndarray, "k d"]
    number_of_pois: int


def of_city(source: RecordSource, typical: int) -> Words | None:
    """Makes the vocabulary of a city.

    Args:
        source: Records of the city.
        typical: Median number of POIs in regions with POIs.

    Returns:
        The vocabulary; None if category vectors were not made from texts by `MODEL`, or
        if `MODEL` is not installed, which the log then says.
    """
    if not (Path(source.records_dir) / texts.FILE).exists() or not typical:
        return None
    space, vectors = texts.TextSpace.load(source.records_dir), source.category_vectors()
    if space.model != MODEL or not texts.is_installed(MODEL):
        log.warning(
            "POIs cannot be chosen by words: the category vectors were made by %s, "
            "but the page needs %s (`%s`)",
            space.model, MODEL, texts.MODELS[MODEL],
        )  # fmt: skip
        return None
    if (len(space.phrases), len(space.components)) != vectors.shape:
        return None  # other vectors were put in their place
    words = _vocabulary(space)
    sums = texts.word_sums(words).astype(np.float64)
    scale = np.abs(sums).max(axis=1) / 32767
    scale = np.where(scale > 0, scale, 1.0)
    return Words(
        words,
        np.round(sums / scale[:, None]).astype(np.int16),
        scale,
        space.mean,
        space.components,
        unit_rows(vectors.astype(np.float64)),
        typical,
    )


def _vocabulary(space: texts.TextSpace) -> list[str]:
    own = [word.lower() for phrase in space.phrases for word in _WORD.findall(phrase)]
    small = [word for word in texts.whole_words() if word.islower()]
    phrases = unit_rows(texts.load(MODEL)(space.phrases))
    like = np.max(unit_rows(texts.word_sums(small)) @ phrases.T, axis=1)
    nearest = np.argsort(-like, kind="stable")[:MOST_WORDS]
    chosen = [*own, *small[:COMMONEST], *(small[place] for place in nearest)]
    return list(dict.fromkeys(chosen))
