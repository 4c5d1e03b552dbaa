"""Opens files of features and decides which of their columns are features.

A table is a file of one of these kinds:

    .parquet, .geoparquet   a column of lists such as `embedding` (what
                            `python -m mmgr_jax.embed` writes), or a column per feature
    .csv, .csv.gz           a column per feature
    .npz                    arrays `region_id` [n] and `features` [n m]

The column `region_id` (or `id`) has the names of the regions, as in the records.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fnmatch
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
from pyarrow import parquet

from mmgr_jax.data import arrays
from mmgr_jax.data.names import one_form
from mmgr_jax.errors import InputError

SUFFIXES = (".parquet", ".geoparquet", ".csv", ".csv.gz", ".npz")
ID_COLUMNS = ("region_id", "id")
"""Columns that may hold the names of regions; the first that exists is used."""

USUAL_COLUMNS = ("embedding", "features")
"""Names of the column to use if a file has several columns of lists."""

ALPHAEARTH = tuple(f"A{band:02d}" for band in range(64))
"""Bands of the AlphaEarth Foundations Satellite Embedding."""

METADATA = "emb"
"""Key of a Parquet file's metadata that says, as JSON, what the vectors are."""

# Row numbers that pandas adds when it saves an index without a name.
_ROW_NUMBERS = re.compile(r"(__index_level_\d+__|Unnamed: \d+)?")


@dataclasses.dataclass(frozen=True)
class FeatureFile:
    """An open file.

    Attributes:
        where: How errors begin.
        path: The file.
        schema: Its columns and their types.
        source: What rows are read from.
        metadata: What the file says of the vectors.
        places: Columns that say where regions are.
        id_column: Column with the names of regions.
        features: Columns with features: one of lists, or one or more of numbers.
    """

    where: str
    path: Path
    schema: pa.Schema
    source: pa.Table | parquet.ParquetFile
    metadata: Mapping[str, Any]
    places: frozenset[str] = frozenset()
    id_column: str = ""
    features: tuple[str, ...] = ()

    @property
    def of_lists(self) -> bool:
        """Whether a row's features are one list."""
        return _is_list(self.schema.field(self.features[0]).type)

    @property
    def of_packed(self) -> bool:
        """Whether features are whole numbers that stand for others.

        Columns of whole numbers by names of their own may well be counts.
        """
        dtype = self.schema.field(self.features[0]).type
        if self.of_lists:
            return pa.types.is_integer(dtype.value_type)
        return self.features == ALPHAEARTH and pa.types.is_integer(dtype)

    @property
    def unused(self) -> list[str]:
        """Columns that are neither features nor names nor places."""
        apart = {self.id_column, *self.features, *self.places}
        return [
            column or "one without a name"
            for column in self.schema.names
            if column not in apart
        ]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Names and features, some thousand rows at a time."""
        columns = [self.id_column, *self.features]
        if not isinstance(self.source, parquet.ParquetFile):
            yield from self.source.select(columns).to_batches()
            return
        with _readable(self.where, self.path.suffix):
            yield from self.source.iter_batches(columns=columns, batch_size=8192)


def open_file(
    name: str, path: str, label_names: Sequence[str], key: str | None = None
) -> FeatureFile:
    """Opens a table and finds its features; the arguments are those of `read`.

    Raises:
        InputError: If it cannot be read, names no regions or has no clear features.
    """
    file, wanted = _file_and_column(path)
    where = f"{key or f'config.eval.tables: {name}'}: {file}"
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "no such file"
        raise InputError(f"{where}: {what}; give a file: {', '.join(SUFFIXES)}.")
    opened = _open(where, file)
    columns = opened.schema.names
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if any(twice):
        raise InputError(
            f"{where}: column {listed([column for column in twice if column])} occurs "
            "more than once; rename or delete one of them."
        )
    ids = [column for column in ID_COLUMNS if column in columns]
    if not ids:
        raise InputError(
            f"{where}: has no column {' or '.join(ID_COLUMNS)}; its columns: "
            f"{listed(columns)}. Rename the one with the names of regions."
        )
    opened = dataclasses.replace(opened, id_column=ids[0])
    return dataclasses.replace(
        opened, features=_feature_columns(opened, wanted, label_names)
    )


def names_of(opened: FeatureFile, batch: pa.RecordBatch) -> list[str]:
    """Names of the regions of some rows, in the form in which names are compared.

    Raises:
        InputError: If one is missing, or is no text and no whole number.
    """
    column = batch.column(opened.id_column)
    if pa.types.is_floating(column.type) or column.null_count:
        what = "is empty in places" if column.null_count else "holds decimal numbers"
        raise InputError(
            f"{opened.where}: column {opened.id_column!r} {what}; wanted: the names of "
            "the regions as the records have them, in every row."
        )
    try:
        texts = pyarrow.compute.cast(column, pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{opened.where}: column {opened.id_column!r} holds {column.type}, which "
            "is no text; wanted: the names of the regions, one in every row."
        ) from error
    return [one_form(text) for text in texts]


def listed(names: Sequence[str]) -> str:
    """Some names, for reading."""
    shown = [*names] if len(names) <= 6 else [*names[:3], "...", names[-1]]
    return ", ".join(shown) if shown else "none"


def _file_and_column(path: str) -> tuple[Path, str | None]:
    suffixes = "|".join(map(re.escape, SUFFIXES))
    match = re.fullmatch(f"(.*(?:{suffixes})):(.+)", str(path))
    return (Path(match[1]), match[2]) if match else (Path(path), None)


def _open(where: str, file: Path) -> FeatureFile:
    suffix = next((s for s in SUFFIXES if file.name.lower().endswith(s)), None)
    if suffix is None:
        raise InputError(
            f"{where}: tables end in one of {', '.join(SUFFIXES)}. Convert it, or name "
            "the file so."
        )
    with _readable(where, suffix):
        if suffix == ".npz":
            return _open_npz(where, file)
        if suffix.startswith(".csv"):
            return _open_csv(where, file)
        source = parquet.ParquetFile(file, page_checksum_verification=True)
        metadata = source.schema_arrow.metadata or {}
        about, geo = (
            _mapping(metadata.get(key, b"{}")) for key in (METADATA.encode(), b"geo")
        )
        places = frozenset({"geometry", "bbox", *geo.get("columns", {})})
        return FeatureFile(where, file, source.schema_arrow, source, about, places)


@contextlib.contextmanager
def _readable(where: str, suffix: str) -> Iterator[None]:
    """What readers raise on a damaged file becomes one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # NumPy, Arrow, zipfile, each with its own
        # The system's own: no right to read, a disk that fails.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{where}: cannot be read as {suffix} ({first_line}). Write it again; "
            "names in an .npz are text, numpy.asarray(names, str), never objects."
        ) from error


def _open_csv(where: str, file: Path) -> FeatureFile:
    as_text = pyarrow.csv.ConvertOptions(  # "007" is a name
        column_types={column: pa.string() for column in ID_COLUMNS}
    )
    rows = pyarrow.csv.read_csv(
        file,
        convert_options=as_text,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
    )
    for column in rows.schema.names:
        if column not in ID_COLUMNS and rows.schema.names.count(column) == 1:
            _refuse_stray_text(where, column, rows[column])
    return FeatureFile(where, file, rows.schema, rows, {})


def _refuse_stray_text(where: str, name: str, column: pa.ChunkedArray) -> None:
    """Refuses a column of numbers in which some cells are text: it would be none."""
    if not pa.types.is_string(column.type):
        return
    cells = [cell for cell in column.to_pylist() if cell]
    stray = [cell for cell in cells if not _is_written_number(cell)]
    if cells and len(stray) < 0.5 * len(cells):
        raise InputError(
            f"{where}: column {name!r} holds numbers, but also {listed(stray)} in "
            f"{len(stray)} of {len(cells)} cells; correct them, or leave the cell "
            "empty."
        )


def _is_written_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _open_npz(where: str, file: Path) -> FeatureFile:
    """The arrays as a table of two columns."""
    held = arrays.load_npz(file)
    missing = [key for key in ("region_id", "features") if key not in held]
    if missing:
        raise InputError(
            f"{where}: has no array {missing[0]!r}; its arrays: {listed([*held])}. "
            "Wanted: region_id [n] and features [n m]."
        )
    ids, features = held["region_id"], held["features"]
    about = _mapping(str(held["metadata"])) if "metadata" in held else {}
    if ids.ndim != 1 or features.ndim != 2 or len(ids) != len(features):
        raise InputError(
            f"{where}: region_id has shape {ids.shape} and features {features.shape}; "
            "wanted: [n] and [n m]."
        )
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(features.ravel()), features.shape[1]
    )
    rows = pa.table({"region_id": pa.array(ids), "features": vectors})
    return FeatureFile(where, file, rows.schema, rows, about)


def _mapping(text: str | bytes) -> dict[str, Any]:
    """What a file says of itself, as JSON; nothing where it says something else."""
    parsed = json.loads(text)
    return parsed if isinstance(parsed, dict) else {}


def _feature_columns(
    opened: FeatureFile, wanted: str | None, label_names: Sequence[str]
) -> tuple[str, ...]:
    """The columns that hold features, in the order that `read` tells."""
    apart = {*ID_COLUMNS, *opened.places}
    fields = [
        field
        for field in opened.schema
        if field.name not in apart and not _ROW_NUMBERS.fullmatch(field.name)
    ]
    lists = [field.name for field in fields if _is_list(field.type)]
    numbers = [field.name for field in fields if _is_number(field.type)]
    if wanted is not None:
        return _asked_for(opened, wanted, lists, numbers)
    named = (opened.metadata.get("column"), *USUAL_COLUMNS)
    usual = [str(column) for column in named if column in lists]
    if usual or len(lists) == 1:
        return ((usual or lists)[0],)
    if lists:
        raise InputError(
            f"{opened.where}: has several columns of lists, {listed(lists)}; name one, "
            f"such as {opened.path}:{lists[0]}."
        )
    if set(ALPHAEARTH) <= set(numbers):
        return ALPHAEARTH
    if not numbers:
        raise InputError(
            f"{opened.where}: has no column of numbers, or of lists of them, beside "
            f"{opened.id_column!r}; its columns: {listed(opened.schema.names)}."
        )
    labels = [c for c in numbers if _is_named_after(c, label_names)]
    if labels:
        raise InputError(
            f"{opened.where}: column {labels[0]!r} is named after a label of the "
            "records, so heads would learn from the answer; take it out, or name the "
            "columns of features by a pattern, such as "
            f"{opened.path}:{numbers[0][0]}*."
        )
    return tuple(numbers)


def _asked_for(
    opened: FeatureFile, wanted: str, lists: Sequence[str], numbers: Sequence[str]
) -> tuple[str, ...]:
    columns = [wanted] if wanted in lists else fnmatch.filter(numbers, wanted)
    if not columns:
        raise InputError(
            f"{opened.where}: no column of numbers, or of lists of them, matches "
            f"{wanted!r}; there are: {listed([*lists, *numbers])}."
        )
    return tuple(columns)


def _is_named_after(column: str, label_names: Sequence[str]) -> bool:
    return any(column == name or column.startswith(f"{name}_") for name in label_names)


def _is_list(dtype: pa.DataType) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(kind(dtype) for kind in kinds) and _is_number(dtype.value_type)


def _is_number(dtype: pa.DataType) -> bool:
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    return any(kind(dtype) for kind in kinds)
