"""The columns in tables of regions: their values, descriptions, and `columns.csv`."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float
from pyarrow import parquet

from mmgr_jax.data.schema import Label
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

DICTIONARY = ("name", "type", "unit", "about", "label", "year", "source", "licence")
"""Header of `columns.csv`."""

_TYPES = {
    "string": "text",
    "float": "float32",
    "double": "float64",
    "bool": "true or false",
    "binary": "WKB",
}


@dataclasses.dataclass(frozen=True)
class Mapped:
    """The known and predicted values of a label for each region.

    Attributes:
        task: Name of the label.
        label: What it means.
        truth: Known values [r], classes [r] or shares [r k]; NaN where unknown.
        value: Predictions [r], or shares or probabilities [r k].
        low: Lower ends of the intervals, in the shape of `value`. They are infinite
            where nothing can be promised, and NaN for classes, which have no intervals.
        high: Upper ends of the intervals, likewise.
        unlike: True for regions unlike the training regions [r].
    """

    task: str
    label: Label
    truth: Float[np.ndarray, "r ..."]
    value: Float[np.ndarray, "r ..."]
    low: Float[np.ndarray, "r ..."]
    high: Float[np.ndarray, "r ..."]
    unlike: Bool[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class Column:
    """The description of a column in a table.

    Attributes:
        name: Name in `embeddings.parquet`.
        about: A sentence about the column.
        unit: Unit of its numbers; "" for none.
        task: Name of the label that the column is about; "" for none.
        readable: Readable name, such as "population_predicted".
        label: Meaning of that label.
    """

    name: str
    about: str
    unit: str = ""
    task: str = ""
    readable: str = ""
    label: Label | None = None


OWN = (
    Column("region_id", "Name of the region, as in the records."),
    Column("lon_deg", "Longitude of the region's centroid, WGS 84.", "degrees"),
    Column("lat_deg", "Latitude of the region's centroid, WGS 84.", "degrees"),
    Column(
        "row", "Number of the region in the records, from 0; rows are ordered by place."
    ),
    Column("embedding", "Vector of the region, made by the encoder of the run."),
    Column("bbox", "Box around the region, in the unit of the table's CRS."),
    Column("geometry", "Outline of the region, in the table's CRS."),
)
"""Columns of every table of embeddings; the others stand behind `lat_deg`."""

_PACKED = (
    "Stored as whole numbers: number * scale + offset, with one scale and one offset "
    "for each dimension; they stand under `emb` in the file's metadata."
)

RESERVED = tuple(column.name for column in OWN)


def of_task(mapped: Mapped) -> dict[str, np.ndarray]:
    """Makes the columns of a label, in the order of `about_task`.

    Returns:
        `<task>_true`, `_pred`, `_low` and `_high`, float32 [r]; for shares one of each
        per class, such as `function_pred_residential`. For shares and classes also the
        name of the winning class, text [r] or None if unknown: `<task>_true_class` and
        `<task>_pred_class`. If the label is a class, `_true` is its number, `_pred`
        holds probabilities, and there are no intervals. `<task>_unlike` is true or
        false.

    Raises:
        InputError: If a class is called "class", so that two columns get the same name.
    """
    task, label = mapped.task, mapped.label
    if "class" in label.classes:
        raise InputError(
            f"label {task}: a class is called 'class', so that columns of the table "
            f"such as {task}_pred_class have two meanings. Rename the class."
        )
    values: dict[str, np.ndarray] = {}
    for suffix, given in (("true", mapped.truth), ("pred", mapped.value)):
        values |= _named(task, label, suffix, given)
        if label.classes:
            values[f"{task}_{suffix}_class"] = winning(label, given)
    if label.kind != "class":
        values |= _named(task, label, "low", mapped.low)
        values |= _named(task, label, "high", mapped.high)
    return values | {f"{task}_unlike": mapped.unlike}


def about_task(task: str, label: Label, level: float) -> list[Column]:
    """Describes the columns of `of_task`.

    Args:
        task: Name of the label.
        label: Meaning of the label.
        level: Level of the intervals, such as 0.9.
    """
    percent = f"{level:.0%}"
    sentences = {
        "true": ("known", "Known {}; empty where unknown."),
        "pred": ("predicted", "Predicted {}."),
        "low": (
            f"low_{level * 100:.0f}",
            f"Lower limit of the {percent} interval of the predicted {{}}.",
        ),
        "high": (
            f"high_{level * 100:.0f}",
            f"Upper limit of the {percent} interval of the predicted {{}}.",
        ),
    }
    if label.kind == "class":
        del sentences["low"], sentences["high"]
    listed = []
    for suffix, (word, sentence) in sentences.items():
        probable = label.kind == "class" and suffix == "pred"
        share = "probability" if probable else "share"
        if label.kind == "share" or probable:
            listed += [
                Column(f"{task}_{suffix}_{name}",
                       sentence.format(f"{share} of {name} ({task})"),
                       "1", task, f"{task}_{word}_{name}", label)
                for name in label.classes
            ]  # fmt: skip
        else:
            what = f"number of the class of {task}" if label.classes else task
            unit = "" if label.classes else label.unit
            listed.append(
                Column(f"{task}_{suffix}", sentence.format(what), unit, task,
                       f"{task}_{word}", label)
            )  # fmt: skip
        if label.classes and suffix in ("true", "pred"):
            which = "most probable class" if probable else "class with the largest part"
            which = "class" if label.kind == "class" and suffix == "true" else which
            listed.append(
                Column(f"{task}_{suffix}_class", sentence.format(f"{which} of {task}"),
                       "", task, f"{task}_{word}_class", label)
            )  # fmt: skip
    unlike = (
        "True where the region differs more from all training regions than any "
        f"region the heads were tested on; its prediction of {task} is a guess."
    )
    return [
        *listed,
        Column(f"{task}_unlike", unlike, "", task, f"{task}_unlike", label),
    ]


def about_clusters(count: int) -> Column:
    """Describes the cluster column for one number of clusters."""
    name = f"cluster_of_{count}"
    what = f"Which of {count} clusters of regions that look alike; 0 is the largest."
    return Column(name, what, readable=name)


def winning(label: Label, values: Float[np.ndarray, "r ..."]) -> np.ndarray:
    """Names the class of each region, or the class with the largest share.

    Args:
        label: A label of shares or of a class.
        values: Shares or probabilities [r k], or numbers of classes [r].

    Returns:
        Text [r]; None where a value is unknown. If shares are equal, the first class.
    """
    known = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    filled = np.nan_to_num(values)
    index = filled.argmax(axis=1) if values.ndim > 1 else filled.astype(np.int64)
    names = np.asarray((*label.classes, None), object)
    return names[np.where(known, index, -1)]


def write_dictionary(table: Path, described: Sequence[Column]) -> Path:
    """Writes `columns.csv` beside a table, which describes each column of the table.

    It has one row for each column, in the table's order, and the columns `DICTIONARY`:
    `about` is a sentence, and `year`, `source` and `licence` are those of the label's
    data.

    Args:
        table: A table of embeddings that `writers` made.
        described: Descriptions of the columns that not every table has.

    Returns:
        The path of the file.
    """
    about: Mapping[str, Column] = {one.name: one for one in (*OWN, *described)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(DICTIONARY)
    for field in parquet.read_schema(table):
        column = about[field.name]
        if column.name == "embedding" and type_name(field.type).endswith("int8"):
            column = dataclasses.replace(column, about=f"{column.about} {_PACKED}")
        label = column.label or Label("", "")
        row = [
            field.name, type_name(field.type), column.unit, column.about, column.task,
            "" if label.year is None else str(label.year), label.source, label.licence,
        ]  # fmt: skip
        writer.writerow([files.no_formula(cell) for cell in row])
    path = table.with_name("columns.csv")
    files.write_text(path, text.getvalue())
    return path


def type_name(kind: pa.DataType) -> str:
    """Describes the type of a column in words."""
    if pa.types.is_fixed_size_list(kind):
        return f"{kind.list_size} {type_name(kind.value_type)}"
    if pa.types.is_struct(kind):
        return ", ".join(f"{field.name} {type_name(field.type)}" for field in kind)
    return _TYPES.get(str(kind), str(kind))


def _named(
    task: str, label: Label, suffix: str, values: Float[np.ndarray, "r ..."]
) -> dict[str, np.ndarray]:
    values = values.astype(np.float32)
    if values.ndim == 1:
        return {f"{task}_{suffix}": values}
    return {
        f"{task}_{suffix}_{name}": values[:, index]
        for index, name in enumerate(label.classes)
    }
