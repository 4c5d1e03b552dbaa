"""Reads place, size and extremes of row groups from the footer of a Parquet file.

Arrow reads footers too, but it ends the whole process where some numbers in a footer
contradict each other (25.0.1: a histogram whose length differs from its column's
levels). A file from a server must not be able to do that. So row groups are chosen by
what is read here, and Arrow reads only those.

Reference: the compact protocol of Apache Thrift, and parquet.thrift of parquet-format.
"""

from __future__ import annotations

import dataclasses
import io
import struct
from typing import Any, no_type_check

MAGIC = b"PAR1"
_TAIL_BYTES = 8
_MOST_BYTES = 256 * 2**20
_DEEPEST = 32

# Kinds of values in the compact protocol.
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY = 0, 1, 2, 3, 7, 8
_LIST, _SET, _MAP, _STRUCT = 9, 10, 11, 12
_NUMBERS = (4, 5, 6)
# Fields of FileMetaData, RowGroup, ColumnChunk, ColumnMetaData and Statistics.
_GROUPS, _CHUNKS, _ROWS, _ABOUT = 4, 1, 3, 3
_TYPE, _PATH, _UNPACKED, _PACKED, _DATA, _DICTIONARY, _EXTREMES = 1, 3, 6, 7, 9, 11, 12
_MAX, _MIN, _OLD_MAX, _OLD_MIN = 5, 6, 1, 2
_FLOATS = {4: "<f", 5: "<d"}


class FootError(ValueError):
    """The bytes are no footer of a Parquet file."""


@dataclasses.dataclass(frozen=True)
class ParquetChunk:
    """One column of a row group.

    Attributes:
        start: Position of its first byte in the file.
        packed_bytes: Stored size.
        unpacked_bytes: Size after unpacking, as the footer says.
        extremes: Smallest and largest number; None where the footer does not say.
    """

    start: int
    packed_bytes: int
    unpacked_bytes: int
    extremes: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class ParquetGroup:
    """A row group: its rows, and its columns by their path, such as "bbox.xmin"."""

    rows: int
    chunks: dict[str, ParquetChunk]


def read(file: io.RawIOBase | io.BytesIO, size: int) -> list[ParquetGroup]:
    """Reads the row groups of a file.

    Args:
        file: Anything that can be read in parts.
        size: Size of the file in bytes.

    Raises:
        FootError: If the file has no footer, or one that contradicts itself.
    """
    if size < _TAIL_BYTES + len(MAGIC):
        raise FootError(f"it has {size} bytes")
    file.seek(size - _TAIL_BYTES)
    length, magic = struct.unpack("<I4s", file.read(_TAIL_BYTES) or b"")
    if magic != MAGIC:
        raise FootError("it does not end as Parquet does")
    if length > min(size - _TAIL_BYTES, _MOST_BYTES):
        raise FootError(f"its footer has {length:,} bytes")
    file.seek(size - _TAIL_BYTES - length)
    try:
        about = _Reader(file.read(length) or b"").struct()
        return [_group(group) for group in about[_GROUPS]]
    except (IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise FootError(f"its footer is damaged ({type(error).__name__})") from error


def _group(group: dict[int, Any]) -> ParquetGroup:
    chunks = {}
    for chunk in group[_CHUNKS]:
        about = chunk[_ABOUT]
        path = b".".join(about[_PATH]).decode("utf-8", "replace")
        start = int(about[_DATA])
        if 0 < about.get(_DICTIONARY, 0) < start:
            start = int(about[_DICTIONARY])
        chunks[path] = ParquetChunk(
            start, int(about[_PACKED]), int(about[_UNPACKED]), _extremes(about)
        )
    return ParquetGroup(int(group[_ROWS]), chunks)


def _extremes(about: dict[int, Any]) -> tuple[float, float] | None:
    known = about.get(_EXTREMES, {})
    form = _FLOATS.get(about[_TYPE])
    low, high = (
        known.get(new, known.get(old))
        for new, old in ((_MIN, _OLD_MIN), (_MAX, _OLD_MAX))
    )
    if form is None or low is None or high is None:
        return None
    return struct.unpack(form, low)[0], struct.unpack(form, high)[0]


@no_type_check  # a foot has a hundred thousand values: too many to look at each
class _Reader:
    """Values of the compact protocol, one after another."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Fields by their number."""
        if depth > _DEEPEST:
            raise FootError("its footer is nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._signed()
            if kind in (_TRUE, _FALSE):
                fields[number] = kind == _TRUE
            else:
                fields[number] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _NUMBERS:
            return self._signed()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            self._refuse_more(count)
            return [self._value(head & 15, depth + 1) for _ in range(count)]
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _DOUBLE:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind == _MAP:
            count = self._varint()
            self._refuse_more(count)
            kinds = self._byte() if count else 0
            for _ in range(count):
                self._value(kinds >> 4, depth + 1)
                self._value(kinds & 15, depth + 1)
            return None
        raise FootError("its footer holds what Parquet does not allow")

    def _refuse_more(self, count: int) -> None:
        """Each of so many values has a byte at least."""
        if count > len(self._data) - self._place:
            raise FootError("its footer is cut short")

    def _byte(self) -> int:
        self._place += 1
        return self._data[self._place - 1]

    def _bytes(self, count: int) -> bytes:
        self._refuse_more(count)
        self._place += count
        return self._data[self._place - count : self._place]

    def _varint(self) -> int:
        number = shift = 0
        while shift < 70:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
        raise FootError("its footer holds a number that does not end")

    def _signed(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)
