"""What `config.category_vectors` says: how vectors of POI categories are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

import annotated_types as at

from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class WalkSettings(Section):
    """How POIs are walked, for "skipgram".

    Attributes:
        length: POIs on a walk, its first one included; 10 in the paper.
        region_size_m: Side of the square regions of the region factor, cut from the
            origin of the city's CRS; None: no region factor.
        region_factor: What the weight of an edge between two regions is multiplied by;
            0.4 in the paper.
        return_bias: 1/p of node2vec, see `walks.chances`; 1 without bias, 2 in the
            paper.
        outward_bias: 1/q of node2vec; 1 without bias, 2 in the paper.
    """

    length: Annotated[int, at.Ge(2)] = 10
    region_size_m: Annotated[float, at.Gt(0)] | None = None
    region_factor: Annotated[float, at.Gt(0)] = 0.4
    return_bias: Annotated[float, at.Gt(0)] = 1.0
    outward_bias: Annotated[float, at.Gt(0)] = 1.0


@dataclasses.dataclass(frozen=True)
class TableSettings(Section):
    """Which file is read, for "table".

    Attributes:
        path: CSV or Parquet.
        category_column: Column with the name of the category, each once.
        columns: The columns of the vector in their order; (): all columns but that of
            the category, which must then be numbers.
    """

    path: str | None = None
    category_column: str = "category"
    columns: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class TextSettings(Section):
    """Which encoder reads which words, for "text"; see docs/text.md.

    Attributes:
        model: "wordllama": a table of word vectors, averaged, which its package
            carries. "sentence-transformers": whatever model lies in a folder.
        folder: The model's folder, for "sentence-transformers".
        template: With `{name}`, the words of the name's finest level, and `{parent}`,
            those of the levels above it and of the first-level category.
        template_alone: With `{name}`; for categories that have no parent.
        phrases: CSV with columns "category" and "phrase", for categories with a phrase
            of their own; None: there are none.
        names_per_category: Divide each category into at most this many by the names of
            its POIs; 0: names are not read.
    """

    model: Literal["wordllama", "sentence-transformers"] = "wordllama"
    folder: str | None = None
    template: str = "{name}, {parent}"
    template_alone: str = "{name}"
    phrases: str | None = None
    names_per_category: Annotated[int, at.Ge(0)] = 0


@dataclasses.dataclass(frozen=True)
class CategoryVectorSettings(Section):
    """One vector for each category of a city's POIs.

    Attributes:
        method: "skipgram": learnt from which categories lie near each other (Huang et
            al. 2022). "random": unit vectors that depend only on the category's name.
            "onehot": see `plain.onehot`. "table": read from a file. "text": from the
            words of the names, see `text.make`.
        dim: Length of a vector; "table" has as many numbers as the file has columns.
        seed: Seed of training and clusters of names; 0 or more.
        out: File for the vectors alone, ending in .npy; None: the records folder's own
            table.
        walks: Of "skipgram".
        table: Of "table".
        text: Of "text".
    """

    method: Literal["skipgram", "random", "onehot", "table", "text"] = "skipgram"
    dim: Annotated[int, at.Ge(1)] = 64
    seed: Annotated[int, at.Ge(0)] = 0
    out: str | None = None
    walks: WalkSettings = WalkSettings()
    table: TableSettings = TableSettings()
    text: TextSettings = TextSettings()


READS: Mapping[str, tuple[str, ...]] = {
    "skipgram": ("dim", "seed", "walks"),
    "random": ("dim",),
    "onehot": ("dim",),
    "table": ("table",),
    "text": ("dim", "seed", "text"),
}
"""The methods of category vectors, and the settings that each of them reads."""
