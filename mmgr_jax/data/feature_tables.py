"""Tables of features from other encoders, with one row per region.

`feature_files` describes the file formats. A table may have rows of other regions;
they are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute
from jaxtyping import Float

from mmgr_jax.data import seals
from mmgr_jax.data.feature_files import (
    ALPHAEARTH,
    METADATA,
    FeatureFile,
    listed,
    names_of,
    open_file,
)
from mmgr_jax.data.names import one_form
from mmgr_jax.errors import InputError

log = logging.getLogger(__name__)


def read(
    name: str,
    path: str,
    region_ids: Sequence[str],
    *,
    label_names: Sequence[str] = (),
    key: str | None = None,
    records: Mapping[str, str] | None = None,
) -> Float[np.ndarray, "r m"]:
    """Reads the features of every region, in the order of the records.

    The feature columns are the first of these that exist: those that `path` names; the
    one that the metadata of the file names; the only column of lists, or the one called
    `embedding` or `features`; A00 to A63; all columns of numbers.

    Args:
        name: Name of the table in `config.eval.tables`.
        path: The file, or `FILE:COLUMN`. The column is a column of lists, or a pattern
            such as `A*` for columns of numbers.
        region_ids: Names of the regions of the records.
        label_names: Labels of the records. A column of numbers with the name of a label
            is refused unless `path` names it, because it would give heads the answer.
        key: The setting that names the file; None for `config.eval.tables`.
        records: `RecordSource.identity` of the records. A warning is logged if
            `python -m mmgr_jax.embed` made the table from other tiles or POIs.

    Returns:
        Features, float32 [r m], all finite.

    Raises:
        InputError: If the file is damaged or cannot be read in this way; if it lacks a
            region or has it twice; or if a feature is missing, not finite or a whole
            number without a scale.
    """
    opened = open_file(name, path, label_names, key)
    region_ids = [one_form(region) for region in region_ids]
    row_of = {region: row for row, region in enumerate(region_ids)}
    ids, parts, total = [], [], 0
    seal = _Seal(opened)
    for batch in opened.batches():
        seal.add(batch)
        batch_ids = names_of(opened, batch)
        total += len(batch_ids)
        rows = [row for row, region in enumerate(batch_ids) if region in row_of]
        if rows:
            present = [batch_ids[row] for row in rows]
            ids += present
            parts.append(_values(opened, batch.take(pa.array(rows)), present))
    seal.check()
    _check_regions(opened, ids, region_ids)
    _check_widths(opened, parts)
    features = _unpacked(opened, np.concatenate(parts)).astype(np.float32)
    _check_finite(opened, ids, features)
    ordered = np.empty_like(features)
    ordered[[row_of[region] for region in ids]] = features
    _tell(name, opened, ordered.shape, total)
    _tell_of_origin(opened, records or {})
    return ordered


def about(name: str, path: str, *, label_names: Sequence[str] = ()) -> str:
    """Describes the features in words, as far as the file says what they are.

    Raises:
        InputError: If opening the file already shows that `read` would fail.
    """
    opened = open_file(name, path, label_names)
    values = [
        opened.metadata.get(key)
        for key in ("model", "package", "checkpoint", "licence", "license")
    ]
    words = ", ".join(text for text in values if isinstance(text, str) and text)
    columns = f"features of {opened.path.name} ({listed(opened.features)})"
    return f"{columns}: {words}" if words else columns


class _Seal:
    """Compares what `python -m mmgr_jax.embed` wrote with what it says of itself."""

    def __init__(self, opened: FeatureFile) -> None:
        self._opened = opened
        self._metadata = dict(opened.metadata)
        self._told = self._metadata.pop("sha256", None)
        if opened.features != (self._metadata.get("column"),):
            self._told = None  # other columns are asked for
        self._found = seals.OfTable()

    def add(self, batch: pa.RecordBatch) -> None:
        if self._told is not None:
            names = batch.column(self._opened.id_column)
            vectors = batch.column(self._opened.features[0])
            values = _numpy(vectors.flatten()) if self._opened.of_lists else ()
            self._found.add(names.to_pylist(), np.asarray(values))

    def check(self) -> None:
        if self._told not in (None, self._found.sha256(self._metadata)):
            raise InputError(
                f"{self._opened.where}: damaged, or edited since it was written. Write "
                "it again with `python -m mmgr_jax.embed --config=...`; of a table "
                "that you changed yourself, take the key sha256 out of its metadata "
                f"{METADATA!r}."
            )


def _tell(name: str, opened: FeatureFile, shape: tuple[int, ...], total: int) -> None:
    log.info(
        "table %s: %d features of %d regions, from %s%s%s",
        name,
        shape[1],
        shape[0],
        listed(opened.features),
        f"; {total - shape[0]:,} other rows not used" if total > shape[0] else "",
        f"; columns not used: {listed(opened.unused)}" if opened.unused else "",
    )


def _tell_of_origin(opened: FeatureFile, records: Mapping[str, str]) -> None:
    """Says what made a table of our own, and where it is of other records."""
    made_by, seen = (opened.metadata.get(key) for key in ("made_by", "records"))
    if isinstance(made_by, dict) and made_by.get("weights"):
        log.info(
            "%s: made by the weights %s, which were in %s",
            opened.where,
            made_by["weights"][:12],
            opened.metadata.get("checkpoint"),
        )
    theirs = seen.get("inputs") if isinstance(seen, dict) else None
    if theirs and records.get("inputs") and theirs != records["inputs"]:
        log.warning(
            "%s: made from other tiles or POIs than these records hold, although the "
            "regions have the same names",
            opened.where,
        )


def _values(
    opened: FeatureFile, batch: pa.RecordBatch, ids: Sequence[str]
) -> Float[np.ndarray, "n m"]:
    """Features of some rows, as the file has them; NaN where it has none."""
    columns = [batch.column(column) for column in opened.features]
    if not opened.of_lists:
        return np.stack([_numpy(column) for column in columns], axis=1)
    (column,) = columns
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise InputError(
            f"{opened.where}: region {ids[row]!r} has no {opened.features[0]}; give "
            "every region one, or leave it out of the records."
        )
    lengths = pyarrow.compute.list_value_length(column).to_numpy()
    other = np.flatnonzero(lengths != lengths[0])
    if len(other):
        raise InputError(
            f"{opened.where}: region {ids[0]!r} has {lengths[0]} features and region "
            f"{ids[other[0]]!r} has {lengths[other[0]]}; give all regions the same "
            "number."
        )
    return _numpy(column.flatten()).reshape(len(column), lengths[0])


def _numpy(column: pa.Array) -> Float[np.ndarray, " n"]:
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def _check_regions(
    opened: FeatureFile, ids: Sequence[str], region_ids: Sequence[str]
) -> None:
    """Every region of the records is there once."""
    names, counts = np.unique(np.asarray(ids, str), return_counts=True)
    if len(ids) and counts.max() > 1:
        raise InputError(
            f"{opened.where}: {int((counts > 1).sum())} regions have more than one "
            f"row, such as {str(names[counts.argmax()])!r} with {counts.max()}; keep "
            "one row a region."
        )
    missing = sorted(set(region_ids) - set(ids))
    if missing:
        first = next(iter(opened.batches()), None)
        there = names_of(opened, first.slice(0, 3)) if first is not None else []
        raise InputError(
            f"{opened.where}: has no row for {len(missing)} of {len(region_ids)} "
            f"regions, such as {_quoted(missing)}; its {opened.id_column} is "
            f"{_quoted(there)} and so on. Make features of the regions of these "
            "records, under their names."
        )


def _check_widths(
    opened: FeatureFile, parts: Sequence[Float[np.ndarray, "_ _"]]
) -> None:
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) > 1 or widths[0] == 0:
        raise InputError(
            f"{opened.where}: regions have {' or '.join(map(str, widths))} features; "
            "give all regions the same number, and at least one."
        )


def _check_finite(
    opened: FeatureFile, ids: Sequence[str], features: Float[np.ndarray, "r m"]
) -> None:
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1)).tolist()
    if len(broken):
        raise InputError(
            f"{opened.where}: {len(broken)} of {len(ids)} regions have features that "
            f"are missing or not finite, such as {_quoted([ids[i] for i in broken])}; "
            "fill them in, or leave these regions out of the records."
        )


def _unpacked(
    opened: FeatureFile, stored: Float[np.ndarray, "r m"]
) -> Float[np.ndarray, "r m"]:
    """What whole numbers stand for: stored * scale + offset.

    Raises:
        InputError: If the file does not say.
    """
    if not opened.of_packed:
        return stored
    scale, offset = (opened.metadata.get(key) for key in ("scale", "offset"))
    if scale is None:
        raise InputError(
            f"{opened.where}: features are whole numbers without a scale; "
            + (
                "turn AlphaEarth's into sign(v) (v / 127.5)^2 first, -128 is missing."
                if opened.features == ALPHAEARTH
                else "write them as float32, or give the scale and offset that make "
                f"them numbers as JSON: under {METADATA!r} in a Parquet file's "
                "metadata, or in the array `metadata` of an .npz."
            )
        )
    try:
        return stored * np.asarray(scale, float) + np.asarray(offset or 0.0, float)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{opened.where}: scale and offset do not fit {stored.shape[1]} features; "
            "give one number, or one a feature."
        ) from error


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) or "nothing"
