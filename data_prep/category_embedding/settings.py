"""What `config.category_vectors` says: how vectors of POI categories are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

import annotated_types as at

from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class WalkSettings(Section):
    """Random walks from POI to POI, for "skipgram".

    Attributes:
        length: Number of POIs on a walk, with the first one; 10 in the paper.
        region_size_m: Side of the square regions for `region_factor`, counted from the
            origin of the city's CRS; None: no region factor.
        region_factor: The weight of an edge between two of these regions is multiplied
            by this; 0.4 in the paper.
        return_bias: 1/p of node2vec: factor on the weight of a step back to the POI
            before; 1: no bias, 2 in the paper.
        outward_bias: 1/q of node2vec: factor on the weight of a step to a POI that is
            no neighbour of the POI before; 1: no bias, 2 in the paper.
    """

    length: Annotated[int, at.Ge(2)] = 10
    region_size_m: Annotated[float, at.Gt(0)] | None = None
    region_factor: Annotated[float, at.Gt(0)] = 0.4
    return_bias: Annotated[float, at.Gt(0)] = 1.0
    outward_bias: Annotated[float, at.Gt(0)] = 1.0


@dataclasses.dataclass(frozen=True)
class TableSettings(Section):
    """The file of vectors, for "table".

    Attributes:
        path: CSV or Parquet.
        category_column: Column with the name of the category; each name stands once.
        columns: Columns with the numbers of the vector, in order; (): all columns but
            that of the category; they must be numbers.
    """

    path: str | None = None
    category_column: str = "category"
    columns: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class TextSettings(Section):
    """The text encoder and the words that it reads, for "text"; see docs/text.md.

    Attributes:
        model: "wordllama": the mean of word vectors, which come with its package.
            "sentence-transformers": the model in `folder`.
        folder: The model's folder, for "sentence-transformers".
        template: Text of a category. `{name}` stands for the words of the name's finest
            level, `{parent}` for those of the levels above it and of the first-level
            category.
        template_alone: Text of a category without a parent, with `{name}`.
        phrases: CSV with columns "category" and "phrase": texts that replace those of
            the templates; None: no such file.
        names_per_category: Divide each category into at most this many finer ones, by
            the names of its POIs; 0: names are not read.
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
        method: "skipgram": similar for categories that lie near similar ones (Huang et
            al. 2022). "random": unit vectors that depend only on the category's name.
            "onehot": one axis for each category; if there are more categories than
            axes, the rarest share the last axis. "table": read from a file. "text":
            from the words of the category names; see docs/text.md.
        dim: Length of a vector. For "table", the file decides.
        seed: Random seed of the training of vectors and of the clusters of names; 0 or
            more.
        out: File for the vectors alone, ending in .npy; None: the table in the records
            folder.
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
