"""Reads labels from a table by the ids of the regions."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from data_prep.files import cells, faults, tables
from data_prep.labels import known as known_lib
from data_prep.labels import source as source_lib
from data_prep.labels.known import Values
from data_prep.labels.settings import LabelSettings
from data_prep.regions.regions import Regions
from mmgr_jax.data.names import one_form
from mmgr_jax.errors import InputError

# Shares of one region sum to one within this.
_SUM_TOLERANCE = 1e-3


def extract(
    name: str, source: LabelSettings, regions: Regions, city_crs: str
) -> tuple[Values, dict[str, Any]]:
    """See `extraction.extract`; the CRS is not needed."""
    key = f"config.labels.{name}"
    table = _by_id(key, source)
    ids = [one_form(region) for region in regions.ids]
    unknown = table.index[~table.index.isin(ids)].tolist()
    if len(unknown) == len(table):
        raise InputError(
            f"{key}: no id in column {source.id_column!r} of {source.path} is that of "
            f"a region. The file says {faults.names(unknown[:3])}. Wanted: the ids of "
            f"regions, {faults.names(regions.ids[:3])} and so on."
        )
    if unknown:
        logging.warning(
            "%s: %d id(s) of no region, left out: %s",
            source.path,
            len(unknown),
            faults.names(unknown),
        )
    numbers = table.reindex(ids).to_numpy(float)
    if source.kind == "share":
        values = _shares(key, source, table.columns, numbers)
    else:
        values = numbers[:, 0]
    missing = np.isnan(values.reshape(len(values), -1)).any(axis=1)
    report: dict[str, Any] = {
        "regions without a value": int(missing.sum()),
        "ids of no region": len(unknown),
    }
    if source.kind == "count":
        report["total"] = float(np.nansum(values))
        report["total of the source"] = float(np.nansum(table.to_numpy(float)))
    return values.astype(np.float32), report


def _by_id(key: str, source: LabelSettings) -> pd.DataFrame:
    """The columns with numbers or indices of classes, one row a region id.

    Raises:
        InputError: If an id occurs twice, a cell holds no number, or a count or share
            is negative, or no class is meant.
    """
    assert source.id_column is not None
    loaded = tables.load(source.path, None, source_lib.text(source, key))
    where = f"{source.path}: column {source.id_column!r}"
    ids = cells.text(tables.column(loaded, source.id_column), where)
    nameless = ids.isna()
    if nameless.any():
        logging.warning("%s: %d row(s) without an id, left out", where, nameless.sum())
    table, ids = loaded[~nameless], ids[~nameless]
    twice = ids[ids.duplicated()].unique().tolist()
    if twice:
        raise InputError(
            f"{key}: {source.path} has several rows for {len(twice)} region(s): "
            f"{faults.names(twice)}. Keep one row for each region."
        )
    if source.kind == "class":
        return _class_indices(key, source, table, ids)
    columns = (
        list(source_lib.class_of(source)) if source.kind == "share" else [source.column]
    )
    numbers = {}
    for name in columns:
        assert name is not None
        column = tables.column(table, name)
        numbers[name], wrong = cells.numbers(column, f"{source.path}: column {name!r}")
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"{key}: {source.path}, column {name!r}, region {ids.iloc[row]}: "
                f"{str(column.iloc[row])!r} is no number. Leave the cell empty where "
                "the value is missing."
            )
        lowest = float(np.nanmin(numbers[name], initial=0.0))
        fault = known_lib.impossible(source.kind, numbers[name], numbers[name])
        if source.kind == "share" and lowest < 0:
            fault = lowest, "shares are 0 or more"
        if fault:
            raise InputError(
                f"{key}: {source.path}, column {name!r}, holds the {source.kind} "
                f"{fault[0]:.10g}; {fault[1]}. Leave the cell empty where the value is "
                "missing."
            )
    return pd.DataFrame(numbers, index=pd.Index(ids.to_numpy(object)))


def _class_indices(
    key: str, source: LabelSettings, table: pd.DataFrame, ids: pd.Series
) -> pd.DataFrame:
    """The class of each id as its index, NaN in empty and left-out cells.

    Raises:
        InputError: If a cell names no class.
    """
    assert source.column is not None
    what = f"{source.path}: column {source.column!r}"
    names = cells.text(tables.column(table, source.column), what).astype(object)
    names = names.set_axis(ids.to_numpy(object))
    wrong = names[names.notna() & ~names.isin(list(source_lib.class_of(source)))]
    if len(wrong):
        raise InputError(
            f"{key}: {source.path}, column {source.column!r}, region "
            f"{wrong.index[0]}: {wrong.iloc[0]!r} is no class. Allowed: "
            f"{', '.join(source_lib.class_of(source))}; give it a class, or None to "
            f"leave it out, in {key}.mapping, or leave the cell empty where the class "
            "is unknown."
        )
    index_of = {known: float(i) for i, known in enumerate(source.classes)}
    meant = names.map(source_lib.class_of(source), na_action="ignore")
    return meant.map(index_of, na_action="ignore").astype(float).to_frame()


def _shares(
    key: str,
    source: LabelSettings,
    columns: pd.Index,
    numbers: Float[np.ndarray, "r m"],
) -> Float[np.ndarray, "r k"]:
    """Shares of the classes, from the columns that are meant."""
    shares = np.zeros((len(numbers), len(source.classes)))
    class_of = source_lib.class_of(source)
    for index, column in enumerate(columns):
        meant = class_of[column]
        if meant is not None:
            shares[:, list(source.classes).index(meant)] += numbers[:, index]
    sums = shares.sum(axis=1)
    wrong = np.flatnonzero(sums > 1 + _SUM_TOLERANCE)
    if len(wrong):
        raise InputError(
            f"{key}: the shares of {len(wrong)} region(s) in {source.path} sum to more "
            f"than one, the first to {sums[wrong[0]]:g}. Wanted: parts of 1, not "
            "percent."
        )
    other = source.uncovered_class
    if other is not None:
        shares[:, list(source.classes).index(other)] += np.maximum(1 - sums, 0)
        sums = shares.sum(axis=1)
    known = sums >= source.min_known
    return shares / np.where(known, sums, np.nan)[:, None]
