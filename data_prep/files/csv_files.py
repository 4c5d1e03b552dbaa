"""Reads text tables exactly as written, or refuses them and says what to declare.

Nothing is guessed or repaired: a row has as many fields as the header, an opened quote
is closed, and "NA" is just two letters.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import logging
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.files import encodings
from mmgr_jax.data.names import one_form
from mmgr_jax.errors import InputError

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": ","}
_SUFFIXES = (*_SEPARATORS, *(f"{suffix}.gz" for suffix in _SEPARATORS))
_OTHER_SEPARATORS = (";", "\t", "|", ",")
# Longer fields come of a quote that nobody closed.
_LONGEST_FIELD = 1 << 27
_FIELD_SHOWN = 40


@dataclasses.dataclass(frozen=True)
class Text:
    """How a text file is written.

    Attributes:
        encoding: The encoding; None: UTF-8 for CSV, for other files what the file says.
        separator: Separator of the fields of a CSV; None: comma, in .tsv a tab.
        key: The config section that declares both; None where no section does.
    """

    encoding: str | None = None
    separator: str | None = None
    key: str | None = None


def is_csv(path: str | Path) -> bool:
    """Whether a file's name is that of a text table: .csv, .tsv or .txt, also .gz."""
    return str(path).lower().endswith(_SUFFIXES)


def names(path: str | Path, text: Text) -> tuple[str, ...]:
    """Reads the names in the first line, in one form (`names.one_form`).

    Raises:
        InputError: If there are none, they are not in the encoding, another character
            separates them, or a name occurs twice.
    """
    for _, fields in _records(path, text):
        return _header(path, text, fields)
    raise InputError(f"{path}: is empty; wanted: a line of column names.")


def load(
    path: str | Path, text: Text, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Reads all rows as text, missing where a cell is empty.

    Args:
        path: The file.
        text: How the file is written.
        columns: Names to read; None: all. A column without a name is never read: it
            holds the row numbers that some programs add.

    Raises:
        InputError: If a row is not in the encoding, has more or fewer fields than the
            header, or has a quote that is not closed.
    """
    records = _records(path, text)
    header = names(path, text)
    if "" in header and columns is None:
        place = header.index("") + 1
        logging.info("%s: column %d has no name and is not read", path, place)
    wanted = [name for name in header if name] if columns is None else list(columns)
    places = [header.index(name) for name in wanted]
    rows = []
    next(records)
    for line, fields in records:
        if len(fields) != len(header):
            raise _ragged(path, text, line, fields, header)
        rows.append(fields)
    arrays = {}
    for name, place in zip(wanted, places, strict=True):
        cells = pa.array([fields[place] for fields in rows], pa.string())
        cells = pc.if_else(pc.equal(cells, ""), None, cells)
        arrays[name] = pd.array(cells, dtype="string[pyarrow]")
    return pd.DataFrame(arrays)


def refuse_repeated(path: str | Path, header: Sequence[str]) -> None:
    """Refuses a table in which two columns have the same name."""
    repeated = [name for name, count in Counter(header).items() if count > 1 and name]
    if repeated:
        raise InputError(
            f"{path}: column {', '.join(map(repr, repeated))} occurs more than once; "
            "rename or delete one of them."
        )


def _records(path: str | Path, text: Text) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the line it begins in, from 1."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    begins = 1
    try:
        with _open(path, text) as stream:
            reader = csv.reader(stream, delimiter=_separator(path, text), strict=True)
            for fields in reader:
                if len(fields) > 1 or (fields and fields[0].strip()):
                    yield begins, fields
                begins = reader.line_num + 1
    except UnicodeError as error:
        raise encodings.undecodable(path, text.encoding, text.key) from error
    except csv.Error as error:
        raise InputError(
            f"{path}: the row that begins in line {begins} cannot be split "
            f"into fields ({error}). A field that begins with a double quote must end "
            'with one, and a quote within it is written twice, as in "5"" pipe"; '
            "correct it."
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: cannot be read ({error}). It may be truncated, or of another "
            "format than its name says; fetch it again."
        ) from error


def _open(path: str | Path, text: Text) -> io.TextIOBase:
    encoding = encodings.python_name(text.encoding)
    if str(path).lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding=encoding, newline="")
    return Path(path).open(encoding=encoding, newline="")


def _header(path: str | Path, text: Text, fields: Sequence[str]) -> tuple[str, ...]:
    header = tuple(one_form(name) for name in fields)
    separator = _separator(path, text)
    other = [mark for mark in _OTHER_SEPARATORS if mark in fields[0]]
    if len(header) == 1 and other:
        remedy = (
            f"Set {text.key}.separator to {other[0]!r}"
            if text.key
            else f"Save it with {separator!r} between the columns"
        )
        raise InputError(
            f"{path}: its first line, {fields[0]!r}, is one column when split at "
            f"{separator!r}. {remedy}."
        )
    refuse_repeated(path, header)
    return header


def _ragged(
    path: str | Path,
    text: Text,
    line: int,
    fields: Sequence[str],
    header: Sequence[str],
) -> InputError:
    separator = _separator(path, text)
    advice = f"put values that hold {separator!r} in double quotes"
    if len(fields) > len(header) and not "".join(fields[len(header) :]).strip():
        advice = f"take the {separator!r} off the ends of the rows, or name the column"
    elif len(fields) < len(header):
        advice = "fill up the row, or delete it if the file was cut off there"
    shown = fields[0][:_FIELD_SHOWN]
    return InputError(
        f"{path}: the row in line {line}, {shown!r} ..., has {len(fields)} fields and "
        f"the header {len(header)}. Every row needs as many fields as the header; "
        f"{advice}."
    )


def _separator(path: str | Path, text: Text) -> str:
    name = str(path).lower().removesuffix(".gz")
    by_name = (mark for end, mark in _SEPARATORS.items() if name.endswith(end))
    separator = text.separator or next(by_name, ",")
    if separator == r"\t":  # as a shell hands it over
        return "\t"
    if len(separator) != 1 or separator in '"\r\n ':
        raise InputError(
            f"{text.key}.separator is {separator!r}; allowed: one character, such as "
            "',', ';' or a tab, but no quote, space or line end."
        )
    return separator
