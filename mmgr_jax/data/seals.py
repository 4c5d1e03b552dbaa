"""Hashes that show whether records and tables are unchanged since they were written."""

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
"""The fields of a record that pre-training reads; it reads no labels or blocks."""

_CONTENT = "content"


def seal(fields: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """`schema.Manifest.content`: hashes of the other fields, and of files.

    Args:
        fields: Of a manifest, as JSON has them.
        files: Name -> SHA-256.
    """
    hashes = {name: contents.of_value(value) for name, value in fields.items()}
    sealed = {"fields": hashes, "files": dict(files)}
    return {**sealed, "sha256": contents.of_value(sealed)}


def refuse_edited(path: Path, fields: Mapping[str, Any]) -> None:
    """Raises InputError naming the fields that are not as they were written."""
    content = fields.get(_CONTENT)
    if not content and not fields.get("inputs_sha256"):  # records of before
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
    """Files of a folder that are missing or hold other bytes than were written.

    Args:
        folder: Of records.
        wanted: Name -> SHA-256; "" where its maker kept none.
        whole: Read every byte; otherwise a file that has the size and times it had when
            it was last read is taken as it was.
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
            stamps.forget(name)  # perhaps it is what was remembered that is wrong
            if stamps.sha256(name, path) == wanted[name]:
                return None
            return f"{path}: other bytes than were written (sha256 differs)"

        return [text for text in threads.map(fault, wanted) if text]


def input_number(example: bytes, place: int) -> int:
    """A number for what pre-training reads of a record, and for its place in the city.

    The sum over all records, modulo 2**256, tells one city from another whatever shards
    its records lie in.

    Args:
        example: What `record_format.serialize` gave.
        place: Of the record, from 0.
    """
    feature = Example.FromString(example).features.feature
    digest = hashlib.sha256(f"{place}".encode())
    for name in INPUTS:
        value = feature[name].SerializeToString(deterministic=True)
        digest.update(f" {name} {len(value)} ".encode())
        digest.update(value)
    return int.from_bytes(digest.digest(), "big")


def sum_of_inputs(numbers: Sequence[int]) -> str:
    """`schema.Manifest.inputs_sha256` of the sums of some shards."""
    return f"{sum(numbers) % 2**256:064x}"


class OfTable:
    """SHA-256 of names, vectors and metadata of a table that is read in parts."""

    def __init__(self) -> None:
        """Of no rows yet."""
        self._names, self._values = hashlib.sha256(), hashlib.sha256()

    def add(self, names: Sequence[str], values: np.ndarray) -> None:
        """Takes the next rows, however their values are laid out."""
        self._names.update("".join(f"{name}\n" for name in names).encode())
        self._values.update(np.ascontiguousarray(values, np.float32).tobytes())

    def sha256(self, metadata: Mapping[str, Any]) -> str:
        """The hash of all rows, and of what is said of them."""
        parts = (dict(metadata), self._names.hexdigest(), self._values.hexdigest())
        return contents.of_value(parts)
