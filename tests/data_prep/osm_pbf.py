"""Extracts of OpenStreetMap as blocks of protocol buffers, written for tests.

Reference: https://wiki.openstreetmap.org/wiki/PBF_Format
"""

import struct
import zlib


def write(path, elements, *, box=None, time=None):
    """Writes an extract.

    Args:
        path: The .osm.pbf to make.
        elements: ("node", id, (lon, lat), tags), ("way", id, [node ids], tags) and
            ("relation", id, [(role, way id)], tags), in this order.
        box: West, south, east, north, for its header.
        time: Of the data in seconds since 1970, for its header.
    """
    head = _bytes(4, b"OsmSchema-V0.6") + _bytes(16, b"tests")
    if box:
        west, south, east, north = (round(side * 1e9) for side in box)
        sides = enumerate((west, east, north, south), 1)
        head = (
            _bytes(1, b"".join(_number(field, _zigzag(side)) for field, side in sides))
            + head
        )
    if time is not None:
        head += _number(32, time)
    content = _block(b"OSMHeader", head)
    for kind in ("node", "way", "relation"):
        some = [one for one in elements if one[0] == kind]
        for start in range(0, len(some), 4000):
            content += _block(b"OSMData", _primitives(kind, some[start : start + 4000]))
    path.write_bytes(content)


def _primitives(kind, elements):
    texts = {"": 0}

    def place(text):
        return texts.setdefault(text, len(texts))

    group = b""
    for _, number, inside, tags in elements:
        keys = b"".join(_varint(place(key)) for key in tags)
        values = b"".join(_varint(place(value)) for value in tags.values())
        tagged = _bytes(2, keys) + _bytes(3, values) if tags else b""
        if kind == "node":
            lon, lat = (round(side * 1e7) for side in inside)
            body = _number(1, _zigzag(number)) + tagged
            group += _bytes(
                1, body + _number(8, _zigzag(lat)) + _number(9, _zigzag(lon))
            )
        elif kind == "way":
            group += _bytes(3, _number(1, number) + tagged + _bytes(8, _steps(inside)))
        else:
            roles = b"".join(_varint(place(role)) for role, _ in inside)
            body = _number(1, number) + tagged + _bytes(8, roles)
            body += _bytes(9, _steps([way for _, way in inside]))
            group += _bytes(4, body + _bytes(10, bytes([1] * len(inside))))
    table = b"".join(_bytes(1, text.encode()) for text in texts)
    return _bytes(1, table) + _bytes(2, group)


def _block(kind, body):
    blob = _number(2, len(body)) + _bytes(3, zlib.compress(body))
    head = _bytes(1, kind) + _number(3, len(blob))
    return struct.pack(">I", len(head)) + head + blob


def _steps(numbers):
    pairs = zip([0, *numbers], numbers, strict=False)
    return b"".join(_varint(_zigzag(after - before)) for before, after in pairs)


def _zigzag(number):
    return number << 1 if number >= 0 else (-number << 1) - 1


def _number(field, number):
    return _varint(field << 3) + _varint(number)


def _bytes(field, content):
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number):
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes([*data, number])
