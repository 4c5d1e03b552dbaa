"""Features of all regions of a city on disk, so that they are computed only once.

<workdir>/features/<key>/
  about.json                what decides the features, by content; its hash is the key
  <kind>.npy                float32 [r f], computed in slices of regions
  <part>.columns.json       kinds that are computed together, their groups of columns
  <part>.done-<maker>.json  slices that are complete, with a checksum of each kind

A slice is valid when its numbers are on disk and still match the checksum. After an
interruption, work continues with the slices that are not valid.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import mmap
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from mmgr_jax.data import contents
from mmgr_jax.disk import files, locks
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.features.features import Encoded
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.terminal import duration

FOLDER = "features"

SLICE = 1024
"""Number of regions in a slice. A slice is complete as a whole or not at all."""

KEPT = 3
"""Number of stores of other features to keep. The longest unused ones are removed."""

_ABOUT = "about.json"
_SAVE_S = 1.0  # between two progress marks, each of which waits for the disk
_TELL_S = 10.0

Columns = Mapping[str, list[list[Any]]]
"""Kind -> pairs of a group and its number of columns."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored(Features):
    """Features that lie in a store.

    Attributes:
        store: The store.
        kind: Name of the features in the store.
    """

    store: Store
    kind: str


class Store:
    """A store of a city's features from one encoder or baseline.

    While it is in use, no other command removes it.
    """

    def __init__(self, root: Path, about: Mapping[str, Any], num_regions: int) -> None:
        """Opens or makes a store, and removes stores unused for the longest time.

        Args:
            root: Folder of all stores.
            about: Identity of the features. Stores with the same one are equal.
            num_regions: Number of regions r.

        Raises:
            OSError: If the store cannot be written.
        """
        about = {**about, "num_regions": num_regions}
        self.folder = root / contents.of_value(about)[:16]
        self.num_regions = num_regions
        path = self.folder / _ABOUT
        if not path.exists():
            files.write_text(path, json.dumps(about, indent=1, sort_keys=True) + "\n")
        self._in_use = contextlib.ExitStack()
        self._in_use.enter_context(locks.kept(path))
        os.utime(path)
        _remove_unused(root, self.folder)

    @property
    def num_slices(self) -> int:
        """Number of slices of the regions; the last slice can be shorter."""
        return -(-self.num_regions // SLICE)

    def rows(self, number: int) -> range:
        """Returns the regions of a slice."""
        return range(number * SLICE, min((number + 1) * SLICE, self.num_regions))

    def missing(self, part: str) -> list[int]:
        """Returns slices of a part that are missing or differ from what was written."""
        columns = self._columns(part)
        if columns is None:
            return list(range(self.num_slices))
        written: dict[int, list[dict[str, int]]] = {}
        for path in sorted(self.folder.glob(f"{part}.done-*.json")):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                for number, sums in files.from_json(path.read_bytes()).items():
                    written.setdefault(int(number), []).append(sums)
        with contextlib.ExitStack() as opened:
            try:
                streams = {
                    kind: opened.enter_context(self._path(kind).open("rb"))
                    for kind in columns
                }
            except OSError:
                return list(range(self.num_slices))
            return [
                number
                for number in range(self.num_slices)
                if number not in written
                or self._sums(streams, columns, number) not in written[number]
            ]

    def fill(
        self,
        part: str,
        make: Callable[[Int[np.ndarray, " n"]], Iterable[tuple[np.ndarray, Encoded]]],
        *,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """Computes and writes the missing slices of a part.

        Args:
            part: Name of kinds that are computed together.
            make: Regions, ascending -> (regions, features) in batches, in this order.
            share: Number of this process and number of processes that share the slices.

        Raises:
            InputError: If the disk is full.
        """
        index, count = share
        own = np.array_split(np.arange(self.num_slices), count)[index]
        missing = sorted(set(self.missing(part)) & set(own.tolist()))
        if not missing:
            return
        regions = np.concatenate([np.asarray(self.rows(number)) for number in missing])
        if len(missing) < len(own):
            log.info(
                "%s: %d of %d slices are there, the others are made now",
                self.folder, len(own) - len(missing), len(own),
            )  # fmt: skip
        _Writer(self, part, len(regions)).write(make(regions))

    def read(self, part: str) -> dict[str, Stored]:
        """Returns the kinds of a complete part, mapped into memory."""
        columns = self._columns(part)
        assert columns is not None  # it is whole
        return {
            kind: Stored(
                (np.asarray(np.load(self._path(kind), mmap_mode="r")),),
                tuple((str(name), int(size)) for name, size in groups),
                store=self,
                kind=kind,
            )
            for kind, groups in columns.items()
        }

    # ---- files ----

    def _path(self, kind: str) -> Path:
        return self.folder / f"{files.safe_name(kind)}.npy"

    def _columns(self, part: str) -> Columns | None:
        path = self.folder / f"{part}.columns.json"
        with contextlib.suppress(OSError, ValueError):
            return files.from_json(path.read_bytes())
        return None

    def _sums(
        self, streams: Mapping[str, BinaryIO], columns: Columns, number: int
    ) -> dict[str, int]:
        """Checksums of a slice as it lies on disk."""
        sums = {}
        for kind, stream in streams.items():
            row, rows = _row_bytes(columns[kind]), self.rows(number)
            stream.seek(len(_header(self.num_regions, row // 4)) + rows.start * row)
            sums[kind] = zlib.crc32(stream.read(len(rows) * row))
        return sums


class _Writer:
    """Writes the slices of a part as their rows come."""

    def __init__(self, store: Store, part: str, num_rows: int) -> None:
        self._store, self._part = store, part
        self._num_rows, self._written = num_rows, 0
        self._marks = store.folder / f"{part}.done-{secrets.token_hex(4)}.json"
        self._streams: dict[str, BinaryIO] = {}
        self._rows_of: dict[int, int] = {}  # slice -> rows that are written
        self._sums: dict[int, dict[str, int]] = {}  # slice -> kind -> checksum
        self._started = self._saved = self._told = time.monotonic()

    def write(self, batches: Iterable[tuple[np.ndarray, Encoded]]) -> None:
        with contextlib.ExitStack() as opened:
            for index, encoded in batches:
                if not self._streams:
                    self._open(encoded, opened)
                for first, last in _runs(index):
                    self._write_rows(index[first:last], encoded, first)
                self._written += len(index)
                now = time.monotonic()
                if now - self._saved > _SAVE_S:
                    self._save()
                if now - self._told > _TELL_S:
                    self._tell(now)
            self._save()

    def _open(self, encoded: Encoded, opened: contextlib.ExitStack) -> None:
        """Files as long as they will be, and what their columns are."""
        columns = {
            kind: [[name, rows.shape[1]] for name, rows in groups.items()]
            for kind, groups in encoded.items()
        }
        folder, num_regions = self._store.folder, self._store.num_regions
        size = sum(map(_row_bytes, columns.values()))
        free = shutil.disk_usage(folder).free
        if size * self._num_rows > free:
            raise InputError(
                f"{folder}: features of {self._num_rows} regions take "
                f"{size * self._num_rows / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB "
                "are free. Make room, or name another config.workdir."
            )
        for kind, groups in columns.items():
            path = self._store._path(kind)
            header = _header(num_regions, _row_bytes(groups) // 4)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            stream = opened.enter_context(os.fdopen(descriptor, "r+b"))
            stream.truncate(len(header) + num_regions * _row_bytes(groups))
            stream.write(header)
            self._streams[kind] = stream
        text = json.dumps(columns) + "\n"
        files.write_text(folder / f"{self._part}.columns.json", text)

    def _write_rows(
        self, index: Int[np.ndarray, " n"], encoded: Encoded, first: int
    ) -> None:
        """Writes consecutive rows of one slice."""
        number = int(index[0]) // SLICE
        sums = self._sums.setdefault(number, {})
        for kind, stream in self._streams.items():
            rows = [
                values[first : first + len(index)] for values in encoded[kind].values()
            ]
            values = np.concatenate(rows, axis=1, dtype=np.float32).tobytes()
            row = len(values) // len(index)
            header = _header(self._store.num_regions, row // 4)
            stream.seek(len(header) + int(index[0]) * row)
            stream.write(values)
            sums[kind] = zlib.crc32(values, sums.get(kind, 0))
        self._rows_of[number] = self._rows_of.get(number, 0) + len(index)

    def _save(self) -> None:
        """Marks slices as whole, once they are on disk."""
        for stream in self._streams.values():
            stream.flush()
            os.fsync(stream.fileno())
        whole = {
            number: sums
            for number, sums in self._sums.items()
            if self._rows_of[number] == len(self._store.rows(number))
        }
        files.write_text(self._marks, json.dumps(whole) + "\n")
        self._saved = time.monotonic()

    def _tell(self, now: float) -> None:
        left_s = (now - self._started) / self._written
        left_s *= self._num_rows - self._written
        log.info(
            "%s: %d of %d regions, about %s left",
            self._part, self._written, self._num_rows, duration(left_s),
        )  # fmt: skip
        self._told = now


def release(features: Features) -> None:
    """Frees memory of mapped files; their pages are read again when needed."""
    for part in features.parts:
        base: Any = part
        while base is not None and not isinstance(base, mmap.mmap):
            base = getattr(base, "base", None)
        if base is not None:
            base.madvise(mmap.MADV_DONTNEED)


def ring_rows(
    ring: sparse.csr_array, own: Features, regions: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n f"]:
    """Computes mean features of the regions around some regions.

    Args:
        ring: Weights [r r]; see `groups.Features`.
        own: Features of the regions themselves.
        regions: Indices of the regions whose surroundings are wanted.
    """
    around = ring[regions]
    near = np.unique(around.indices)
    return (around[:, near] @ own.rows(near)).astype(np.float32)


def _remove_unused(root: Path, own: Path) -> None:
    """Removes the stores of other features but for the last ones that were used."""
    used = {}
    for path in root.glob(f"*/{_ABOUT}"):
        with contextlib.suppress(OSError):
            used[path] = path.stat().st_mtime_ns
    used.pop(own / _ABOUT, None)
    for path in sorted(used, key=lambda path: -used[path])[KEPT:]:
        with locks.removing(path) as unread:
            if unread:
                shutil.rmtree(path.parent, ignore_errors=True)


def _header(num_regions: int, width: int) -> bytes:
    """What stands before the numbers of a .npy file."""
    shape = (num_regions, width)
    fields = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    text = fields.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _row_bytes(groups: list[list[Any]]) -> int:
    return 4 * sum(int(size) for _, size in groups)


def _runs(index: Int[np.ndarray, " n"]) -> Iterator[tuple[int, int]]:
    """Where rows follow each other within one slice."""
    number = index // SLICE
    cuts = np.flatnonzero((np.diff(index) != 1) | (np.diff(number) != 0)) + 1
    ends = [0, *cuts.tolist(), len(index)]
    yield from zip(ends[:-1], ends[1:], strict=True)
