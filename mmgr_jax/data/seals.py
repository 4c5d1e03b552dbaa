"""Hashes that show whether records and tables are unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mmgr_jax.data import contents
from mmgr_jax.data.example import Example
from mmgr_jax.errors import InputError

INPUTS = (
    "region_id",
    "image",
    "poi/category",
    "poi/offset_m",
    "poi/edges",
    "poi/edge_weight",
)
"""The fields of a record that pre-training reads: not labels, not blocks."""

_CONTENT = "content"


def seal(fields: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """Computes `schema.Manifest.content`: hashes of the other fields, and of files.

    Args:
        fields: Fields of a manifest, as in its JSON.
        files: Name -> SHA-256 of the files.
    """
    hashes = {name: contents.of_value(value) for name, value in fields.items()}
    sealed = {"fields": hashes, "files": dict(files)}
    return {**sealed, "sha256": contents.of_value(sealed)}


def refuse_edited(path: Path, fields: Mapping[str, Any]) -> None:
    """Raises InputError that names the fields edited since they were written."""
    content = fields.get(_CONTENT)
    if not content and not fields.get("inputs_sha256"):  # older records
        return
    content = content or {}
    sealed = {name: value for name, value in content.items() if name != "sha256"}
    others = {name: value for name, value in fields.items() if name != _CONTENT}
    hashes = sealed.get("fields", {})
    edited = [
        name
        for name in sorted(others.keys() | hashes.keys())
        if name not in others or contents.of_value(others[name]) != hashes.get(name)
    ]
    if not content or (
        not edited and contents.of_value(sealed) != content.get("sha256")
    ):
        edited = [_CONTENT]
    if edited:
        raise InputError(
            f"{path}: {', '.join(edited)} edited since it was written. Put the file "
            "back as it was; or say in the config what you want, remove the folder and "
            "build the records again with `python -m data_prep.build --config=...`."
        )


def faults(folder: Path, wanted: Mapping[str, str], *, whole: bool) -> list[str]:
    """Lists the files of a folder that are missing or have changed.

    Args:
        folder: The records folder.
        wanted: Name -> SHA-256; "" if the build stored none.
        whole: Read every byte of every file. Otherwise a file counts as unchanged if
            its size and times are the same as at the last reading.
    """
    with contents.stamps(folder) as stamps, ThreadPoolExecutor(8) as threads:

        def fault(name: str) -> str | None:
            path = folder / name
            if not path.exists():
                return f"{path}: this file is missing"
            if not wanted[name]:
                return None
            if whole:
                stamps.forget(name)
            if stamps.sha256(name, path) == wanted[name]:
                return None
            stamps.forget(name)  # perhaps the stored hash is wrong
            if stamps.sha256(name, path) == wanted[name]:
                return None
            return f"{path}: other bytes than were written (sha256 differs)"

        return [text for text in threads.map(fault, wanted) if text]


def input_number(example: bytes, place: int) -> int:
    """Hashes the fields that pre-training reads, and the record's place, to a number.

    The sum over all records, modulo 2**256, identifies the data of a city. It does not
    depend on the division into shards.

    Args:
        example: Bytes from `record_format.serialize`.
        place: Place of the record in the city, from 0.
    """
    feature = Example.FromString(example).features.feature
    digest = hashlib.sha256(f"{place}".encode())
    for name in INPUTS:
        value = feature[name].SerializeToString(deterministic=True)
        digest.update(f" {name} {len(value)} ".encode())
        digest.update(value)
    return int.from_bytes(digest.digest(), "big")


def sum_of_inputs(numbers: Sequence[int]) -> str:
    """Computes `schema.Manifest.inputs_sha256` from the sums of all shards."""
    return f"{sum(numbers) % 2**256:064x}"


class OfTable:
    """Computes the SHA-256 of a table (names, vectors, metadata), part by part."""

    def __init__(self) -> None:
        """Begins without rows."""
        self._names, self._values = hashlib.sha256(), hashlib.sha256()

    def add(self, names: Sequence[str], values: np.ndarray) -> None:
        """Adds the next rows; the memory layout of their values does not matter."""
        self._names.update("".join(f"{name}\n" for name in names).encode())
        self._values.update(np.ascontiguousarray(values, np.float32).tobytes())

    def sha256(self, metadata: Mapping[str, Any]) -> str:
        """Returns the hash of all rows and of the metadata."""
        parts = (dict(metadata), self._names.hexdigest(), self._values.hexdigest())
        return contents.of_value(parts)
