"""Category vectors that need no training: random, one-hot, or from the user's table."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int

from data_prep.category_embedding.settings import TableSettings
from data_prep.files import cells, faults, tables
from mmgr_jax.errors import InputError

_WANTED = (
    "CSV or Parquet with a column of category names and one column for each dimension"
)
_TABLE = "config.category_vectors.table"


def random(categories: Sequence[str], dim: int) -> Float32[np.ndarray, "k d"]:
    """Makes one random unit vector per category.

    A vector depends only on the category's name, so it stays the same when other
    categories are added or removed.

    Args:
        categories: Names of the categories [k].
        dim: Length of a vector d.

    Returns:
        Unit vectors, float32 [k d].
    """
    rows = []
    for name in categories:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        row = np.random.default_rng(seed).standard_normal(dim)
        rows.append(row / np.linalg.norm(row))
    return np.array(rows, np.float32).reshape(-1, dim)


def onehot(frequency: Int[np.ndarray, " k"], dim: int) -> Float32[np.ndarray, "k d"]:
    """Gives each category an axis of its own.

    Where there are at most as many categories as axes, category i has axis i and the
    remaining axes are zero. Where there are more, the `dim - 1` most frequent
    categories have an axis of their own, in the order of the categories. All others
    share the last axis, so that every category has a vector.

    Args:
        frequency: Number of POIs of each category [k].
        dim: Number of axes d.

    Returns:
        Unit vectors, float32 [k d].
    """
    k = len(frequency)
    axis = np.arange(k)
    if k > dim:
        frequent = np.sort(np.argsort(-frequency, kind="stable")[: dim - 1])
        axis = np.full(k, dim - 1)
        axis[frequent] = np.arange(dim - 1)
        logging.info(
            "one-hot: %d categories on %d axes, so the %d rarest share the last one",
            k,
            dim,
            k - dim + 1,
        )
    return np.eye(dim, dtype=np.float32)[axis]


def from_table(
    categories: Sequence[str], settings: TableSettings
) -> Float32[np.ndarray, "k d"]:
    """Reads the vectors of categories from a file; ignores its other rows.

    Args:
        categories: Names of the categories [k].
        settings: The file, and the columns to read.

    Returns:
        Vectors in the order of `categories`, float32 [k d].

    Raises:
        InputError: If a column, a category or a number is missing, or a category has
            two rows.
    """
    path, category_column = settings.path, settings.category_column
    rows = _load(path)
    chosen = list(settings.columns) or [
        name for name in rows.columns if name != category_column
    ]
    absent = [name for name in (category_column, *chosen) if name not in rows.columns]
    if absent or not chosen:
        raise InputError(
            f"{path}: has no column {', '.join(map(repr, absent)) or 'of numbers'}; "
            f"its columns: {faults.names([str(name) for name in rows.columns])}. "
            f"Correct {_TABLE}.category_column or columns."
        )
    names = cells.text(rows[category_column], f"{path}: column {category_column!r}")
    _refuse_unfit_names(path, names, categories)
    numbers = _numbers(path, rows[chosen]).set_axis(pd.Index(names))
    numbers = numbers.loc[list(categories)]
    logging.info("%s: %d of %d rows used", path, len(categories), len(rows))
    vectors = numbers.to_numpy(np.float32, na_value=np.nan)
    _refuse_gaps(path, vectors, categories, chosen)
    return vectors


def problems(settings: TableSettings) -> list[str]:
    """Lists what is wrong with the settings of a table, without reading the table."""
    path = settings.path
    if path is None or not Path(path).is_file():
        return [f"table.path {path!r}: no such file. Wanted: {_WANTED}."]
    return []


def _load(path: str | None) -> pd.DataFrame:
    assert path is not None, "`problems` names what is missing"
    return pd.DataFrame(tables.load(path))


def _refuse_unfit_names(
    path: str | None, names: pd.Series, categories: Sequence[str]
) -> None:
    present = set(names.dropna())
    missing = [name for name in categories if name not in present]
    if missing:
        raise InputError(
            f"{path}: has no row for {len(missing)} of {len(categories)} categories: "
            f"{', '.join(map(repr, missing))}. Add them, or merge these categories in "
            "the POI table."
        )
    wanted = names[names.isin(categories)]
    twice = wanted[wanted.duplicated()].unique().tolist()
    if twice:
        raise InputError(
            f"{path}: has several rows for {faults.names(twice)}. Keep one row for "
            "each category."
        )


def _numbers(path: str | None, table: pd.DataFrame) -> pd.DataFrame:
    """Columns as numbers."""
    numbers, text = {}, []
    for name in table:
        numbers[name], wrong = cells.numbers(table[name], f"{path}: column {name!r}")
        if (wrong & ~np.isinf(numbers[name])).any():
            text.append(str(name))
    if text:
        raise InputError(
            f"{path}: column(s) {faults.names(text)} hold values that are not "
            "numbers. Correct them, or name the columns of the vector in "
            f"{_TABLE}.columns."
        )
    return pd.DataFrame(numbers)


def _refuse_gaps(
    path: str | None,
    vectors: Float32[np.ndarray, "k d"],
    categories: Sequence[str],
    columns: Sequence[str],
) -> None:
    gaps = np.argwhere(~np.isfinite(vectors))
    if len(gaps):
        row, column = gaps[0].tolist()
        raise InputError(
            f"{path}: {categories[row]!r} has {vectors[row, column]} in column "
            f"{columns[column]!r}, and {len(gaps) - 1} more such cell(s) follow. "
            "Allowed: finite numbers; correct these cells."
        )
