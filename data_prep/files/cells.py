"""Reads cells of tables as text that can be compared, or as numbers."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from mmgr_jax.data.names import alike, all_in_one_form
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

MISSING_NUMBERS = frozenset(
    ("na", "n/a", "#n/a", "nan", "-nan", "null", "none", "<na>", "#na", "nil")
)
"""Words, in small letters, that stand for no number where numbers are wanted."""

# From here on, decimal numbers of 64 bits skip whole ones.
_EXACT = 2.0**53
_NAMES_SHOWN = 5
_PRINTED = re.compile(r"\[.*\]$|\{.*\}$", re.DOTALL)


def text(column: pd.Series, what: str = "a column") -> pd.Series:
    """Returns the texts of a column in one form; missing where a cell is empty.

    Integers stay integers: an empty cell in the column turns 7 into 7.0, and its text
    is "7". Bytes are read as UTF-8, as programs without a declaration write them into
    Parquet.

    Args:
        column: The cells.
        what: The column in words, for messages.

    Raises:
        InputError: If a cell holds a list, a struct, bytes that are no text, or a
            decimal number too large to be exact.
    """
    if pd.api.types.is_float_dtype(column):
        column = _whole(column, what)
    elif column.dtype == object or not pd.api.types.is_string_dtype(column):
        column = _plain(column, what)
    strings = pa.array(column.astype("string[pyarrow]"), from_pandas=True)
    if isinstance(strings, pa.ChunkedArray):
        strings = strings.combine_chunks()
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{what} holds text that is not UTF-8 ({error}). Save it as UTF-8."
        ) from error
    forms = all_in_one_form(strings.cast(pa.string()))
    named = pc.if_else(pc.equal(forms, ""), None, forms)
    text = pd.array(named, dtype="string[pyarrow]")
    return pd.Series(text, index=column.index, name=column.name)


def numbers(
    column: pd.Series, what: str = "a column"
) -> tuple[Float[np.ndarray, " n"], np.ndarray]:
    """Returns the numbers of a column, and which cells hold something else.

    Empty cells and words such as NA hold no number and are no error. The number of such
    words is logged.

    Args:
        column: The cells.
        what: The column in words, for messages.

    Returns:
        Numbers [n], NaN where there is none; and which cells [n] are wrong: not empty,
        no such word, and no finite number.
    """
    present = column.notna().to_numpy()
    if column.dtype.kind in "mM":  # times are not numbers of nanoseconds
        return np.full(len(column), np.nan), present
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(float, na_value=np.nan)
    else:
        values = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
        doubtful = np.flatnonzero(present & np.isnan(values))
        words = column.iloc[doubtful].map(_word)
        missing = words.isin(MISSING_NUMBERS)
        if missing.any():
            counts = column.iloc[doubtful][missing].value_counts()
            shown = ", ".join(f"{word!r} ({count})" for word, count in counts.items())
            logging.info("%s: cells without a number: %s", what, shown)
        present = present.copy()
        present[doubtful] = ~(missing | (words == "")).to_numpy(bool)
    return values, present & ~np.isfinite(values)


def refuse_printed(texts: pd.Series, what: str) -> None:
    """Refuses texts that are lists or structs written out, such as "['cafe']".

    Args:
        texts: The texts, see `text`.
        what: The column in words, for messages.

    Raises:
        InputError: If a text is a JSON list or struct, or most texts look like one.
    """
    printed = [name for name in texts.dropna().unique() if _PRINTED.match(name)]
    if not printed:
        return
    json_texts = [name for name in printed if _is_json(name)]
    if json_texts or texts.isin(printed).sum() > 0.5 * texts.notna().sum():
        shown = (json_texts or printed)[0][:60]
        raise InputError(
            f"{what} holds lists or structs written as text, such as {shown}, which "
            "are no names. Write one name in each cell."
        )


def tell_alike(names: Iterable[str], what: str) -> None:
    """Warns of names that look alike but count as different."""
    groups = alike(names)
    if groups:
        shown = "; ".join(
            " and ".join(map(repr, group)) for group in groups[:_NAMES_SHOWN]
        )
        more = len(groups) - _NAMES_SHOWN
        logging.warning(
            "%s: %d group(s) of names differ only in case, width or spaces and count "
            "as different: %s%s",
            what,
            len(groups),
            shown,
            f" and {more} more" if more > 0 else "",
        )


def _whole(column: pd.Series, what: str) -> pd.Series:
    there = column.dropna()
    if not (there == np.floor(there)).all():
        return column
    if (there.abs() >= _EXACT).any():
        raise InputError(
            f"{what} holds whole numbers stored as decimals, such as "
            f"{there.max():.17g}, which are too large to be exact. Save the column as "
            "text."
        )
    return column.astype("Int64")


def _plain(column: pd.Series, what: str) -> pd.Series:
    """A column of which no cell is a container."""
    kinds = {type(value) for value in column.dropna()}
    for kind in kinds:
        if issubclass(kind, (list, tuple, dict, set, np.ndarray)):
            first = next(value for value in column if isinstance(value, kind))
            name = "a struct" if issubclass(kind, dict) else "a list"
            shown = " ".join(str(first).split())[:60]
            raise InputError(
                f"{what} holds {name} in a cell, such as {shown}, which is no name. "
                f"{_path_advice(column.name, first)}."
            )
    if not kinds & {bytes, bytearray, memoryview}:
        return column
    try:
        return column.map(
            lambda value: value if isinstance(value, str) else bytes(value).decode(),
            na_action="ignore",
        )
    except UnicodeDecodeError as error:
        raise InputError(
            f"{what} holds bytes that are no UTF-8 text ({error}). Save it as text."
        ) from error


def _path_advice(name: object, value: object) -> str:
    if isinstance(value, dict) and value:
        return f"Name a field of it, such as '{name}.{next(iter(value))}'"
    return f"Name one item of it, such as '{name}[0]'"


def _is_json(name: str) -> bool:
    try:
        return isinstance(files.from_json(name), (list, dict))
    except ValueError:
        return False


def _word(value: object) -> str:
    return value.strip().casefold() if isinstance(value, str) else str(value)
