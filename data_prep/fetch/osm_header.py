"""Reads place and time of an OpenStreetMap extract from its first bytes.

This avoids fetching a gigabyte of data of another place.

Reference: https://wiki.openstreetmap.org/wiki/PBF_Format
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import struct
import zlib
from collections.abc import Iterator

from data_prep.fetch.area import Degrees

HEAD_BYTES = 1 << 16
"""Of a file, which hold its first block."""

_MOST_BYTES = 1 << 20
_KIND = b"OSMHeader"
# Fields of the messages BlobHeader, Blob, HeaderBlock and HeaderBBox.
_BLOB_KIND, _BLOB_SIZE = 1, 3
_RAW, _ZLIB = 1, 3
_BOX, _TIME = 1, 32
_LEFT, _RIGHT, _TOP, _BOTTOM = 1, 2, 3, 4


@dataclasses.dataclass(frozen=True)
class ExtractHeader:
    """What an extract says about itself.

    Attributes:
        box_deg: Bounding box of the extract; None where it does not say.
        time: Time of the data; None where the extract does not say.
    """

    box_deg: Degrees | None
    time: dt.datetime | None


def parse(data: bytes) -> ExtractHeader | None:
    """Reads the header from a file's first bytes; None: the file is no .osm.pbf.

    Args:
        data: The first bytes of the file; `HEAD_BYTES` are enough.
    """
    try:
        (size,) = struct.unpack_from(">I", data)
        start = 4 + size
        head = dict(_fields(data[4:start]))
        if head.get(_BLOB_KIND) != _KIND:
            return None
        blob = dict(_fields(data[start : start + _whole(head[_BLOB_SIZE])]))
        inside = blob.get(_RAW, b"")
        if _ZLIB in blob:
            inside = zlib.decompressobj().decompress(_bytes(blob[_ZLIB]), _MOST_BYTES)
        block = dict(_fields(_bytes(inside)))
        box = dict(_fields(_bytes(block[_BOX]))) if _BOX in block else {}
        time = block.get(_TIME)
        return ExtractHeader(
            _box(box),
            dt.datetime.fromtimestamp(_whole(time), dt.UTC) if time else None,
        )
    except (struct.error, IndexError, KeyError, TypeError, zlib.error):
        return None
    except (ValueError, OverflowError, OSError):  # no time that there is
        return None


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers of the fields of a message, and what they hold."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("a field of another kind")
        if place + size > len(data):
            raise IndexError
        yield tag >> 3, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while shift < 70:
        byte = data[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
    raise ValueError("a number without end")


def _box(fields: dict[int, int | bytes]) -> Degrees | None:
    """West, south, east, north; None: not all are there, or they are none."""
    sides = [fields.get(side) for side in (_LEFT, _BOTTOM, _RIGHT, _TOP)]
    if None in sides:
        return None
    west, south, east, north = (_signed(side) / 1e9 for side in sides)
    return (west, south, east, north) if west < east and south < north else None


def _signed(number: int | bytes | None) -> int:
    whole = _whole(number)
    return (whole >> 1) ^ -(whole & 1)


def _whole(value: int | bytes | None) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    return value
