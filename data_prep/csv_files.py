"""CSV files: read as declared, or refused with what to declare."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_prep import encodings
from mmgr_jax.errors import InputError

_SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
_OTHER_SEPARATORS = (";", "\t", "|", ",")


@dataclasses.dataclass(frozen=True)
class Text:
    """How a text file is written.

    Attributes:
        encoding: None: UTF-8 for CSV, what the file says for others.
        separator: Between the fields of a CSV; None: comma, in .tsv a tab.
        key: The section of the config that declares both; None where none does.
    """

    encoding: str | None = None
    separator: str | None = None
    key: str | None = None


def is_csv(path: str | Path) -> bool:
    """Whether a file is a CSV by its name."""
    return str(path).lower().endswith(tuple(_SEPARATORS))


def names(path: str | Path, text: Text) -> tuple[str, ...]:
    """The names in the first line.

    Raises:
        InputError: If there are none, they are not in the encoding, another character
            separates them, or one stands twice.
    """
    separator = _separator(path, text)
    try:
        first = pd.read_csv(
            path,
            sep=separator,
            header=None,
            nrows=1,
            dtype=str,
            keep_default_na=False,
            encoding=text.encoding or encodings.DEFAULT,
        )
    except UnicodeError as error:
        raise encodings.undecodable(path, text.encoding, text.key) from error
    except pd.errors.EmptyDataError as error:
        raise InputError(
            f"{path}: is empty; wanted: a line of column names."
        ) from error
    found = [str(name) for name in first.iloc[0]]
    other = [mark for mark in _OTHER_SEPARATORS if mark in found[0]]
    if len(found) == 1 and other:
        remedy = (
            f"Set {text.key}.separator to {other[0]!r}"
            if text.key
            else f"Save it with {separator!r} between the columns"
        )
        raise InputError(
            f"{path}: its first line, {found[0]!r}, is one column when split at "
            f"{separator!r}. {remedy}."
        )
    refuse_repeated(path, found)
    return tuple(found)


def load(path: str | Path, text: Text, as_text: Sequence[str]) -> pd.DataFrame:
    """All rows, some columns of them kept as text.

    Raises:
        InputError: If a row is not in the encoding, or has more fields than the header.
    """
    names(path, text)
    separator = _separator(path, text)
    try:
        return pd.read_csv(
            path,
            sep=separator,
            low_memory=False,
            encoding=text.encoding or encodings.DEFAULT,
            dtype=dict.fromkeys(as_text, str),
        )
    except UnicodeError as error:
        raise encodings.undecodable(path, text.encoding, text.key) from error
    except pd.errors.ParserError as error:
        told = " ".join(str(error).split())
        raise InputError(
            f"{path}: {told}. Every row needs as many fields as the header; put values "
            f"that hold {separator!r} in double quotes."
        ) from error


def refuse_repeated(path: str | Path, found: Sequence[str]) -> None:
    """Refuses a table in which two columns have one name."""
    repeated = [name for name, count in Counter(found).items() if count > 1 and name]
    if repeated:
        raise InputError(
            f"{path}: column {', '.join(map(repr, repeated))} stands there more than "
            "once; rename or delete one of them."
        )


def _separator(path: str | Path, text: Text) -> str:
    name = str(path).lower()
    by_name = (mark for end, mark in _SEPARATORS.items() if name.endswith(end))
    return text.separator or next(by_name)
