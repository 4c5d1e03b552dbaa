"""Files that are made of parts, changed so that the whole still fits together.

Each function takes a `mutations.Mutator` and the bytes of a file, and gives others:
checksums, lengths and offsets are right again where it takes them to reach a reader.
"""

import ast
import gzip
import io
import json
import sqlite3
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

_TIFF_TYPES = (1, 2, 3, 4, 5, 12, 13, 16)
_NPY_TYPES = (
    "O",
    "<U3",
    "<c8",
    "<M8[s]",
    ">f8",
    "|V8",
    "<f2",
    "<i8",
    "|b1",
    "[('a','f4')]",
)


def archive(of, content):
    """One member of a ZIP changed, renamed, taken out or doubled."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        parts = [(part, source.read(part)) for part in source.infolist()]
    place = of.rng.randrange(len(parts))
    part, inside = parts[place]
    kind = of.rng.randrange(10)
    if kind == 0:
        del parts[place]
    elif kind == 1:
        part.filename = of.hostile_text().replace("\ud800", "") or "x"
    elif kind == 2:
        parts.append(parts[place])
    else:
        parts[place] = (part, of.mutated(inside)[0])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        for part, inside in parts:
            target.writestr(part, inside)
    return packed.getvalue()


def gzipped(of, content):
    """What is packed changed."""
    return gzip.compress(of.mutated(gzip.decompress(content))[0], 1)


def npy(of, content):
    """The head of an array: type, shape, order; or its numbers."""
    version, size = content[6], struct.unpack("<H", content[8:10])[0]
    head, body = (
        ast.literal_eval(content[10 : 10 + size].decode()),
        content[10 + size :],
    )
    kind = of.rng.randrange(5)
    if kind == 0:
        head["descr"] = of.rng.choice(_NPY_TYPES)
    elif kind == 1:
        shape = [*head["shape"], 1]
        shape[of.rng.randrange(len(shape))] = of.rng.choice((0, 2, -1, 2**31, 2**40))
        head["shape"] = tuple(shape)
    elif kind == 2:
        del head[of.rng.choice(list(head))]
    elif kind == 3:
        head["shape"] = of.rng.choice(((), head["shape"][::-1], (1, *head["shape"])))
    elif body:
        special = struct.pack("<f", of.rng.choice((np.nan, np.inf, 3e38)))
        place = 4 * of.rng.randrange(max(len(body) // 4, 1))
        body = body[:place] + special + body[place + 4 :]
    text = (repr(head) + "\n").encode()
    return (
        content[:6] + bytes([version, 0]) + struct.pack("<H", len(text)) + text + body
    )


def tiff(of, content):
    """An entry of the first directory of a TIFF: tag, type, count or value."""
    order = "<" if content[:2] == b"II" else ">"
    start = struct.unpack_from(f"{order}I", content, 4)[0]
    count = struct.unpack_from(f"{order}H", content, start)[0]
    place = start + 2 + 12 * of.rng.randrange(count)
    found = bytearray(content)
    tag, kind, number, value = struct.unpack_from(f"{order}HHII", found, place)
    huge = of.rng.choice((0, 1, 2, 3, 7, 8, 16, 255, 65535, 2**31 - 1, 2**32 - 1))
    what = of.rng.randrange(6)
    if what == 0:
        tag = of.rng.choice((256, 257, 258, 259, 262, 277, 284, 317, 322, 323, 33550))
    elif what == 1:
        kind = of.rng.choice(_TIFF_TYPES)
    elif what == 2:
        number = huge
    elif what == 3 and number > 1:  # what lies elsewhere: places, scales, keys, texts
        width = {3: 2, 4: 4, 12: 8}.get(kind, 1)
        at = value + width * of.rng.randrange(min(number, 64))
        special = struct.pack(f"{order}d", of.rng.choice((0, -1, 1e30, np.nan, 1e-30)))
        found[at : at + width] = (
            special[:width] if width == 8 else of.rng.randbytes(width)
        )
    else:
        value = huge if order == "<" else huge << 16 & 0xFFFFFFFF
    struct.pack_into(f"{order}HHII", found, place, tag, kind, number, value)
    return bytes(found)


def png(of, content):
    """A chunk of a PNG changed or taken out, its checksum right."""
    chunks, place = [], 8
    while place + 12 <= len(content):
        size = struct.unpack_from(">I", content, place)[0]
        chunks.append([content[place + 4 : place + 8], content[place + 8 :][:size]])
        place += 12 + size
    chunk = of.rng.choice(chunks)
    if of.rng.random() < 0.1:
        chunks.remove(chunk)
    elif chunk[0] == b"IDAT" and of.rng.random() < 0.5:
        chunk[1] = zlib.compress(of.bytes(zlib.decompress(chunk[1])))
    else:
        chunk[1] = of.bytes(chunk[1])
    packed = content[:8]
    for kind, body in chunks:
        packed += struct.pack(">I", len(body)) + kind + body
        packed += struct.pack(">I", zlib.crc32(kind + body))
    return packed


def pbf(of, content):
    """The inside of one block of an extract of OpenStreetMap."""
    blocks, place = [], 0
    while place < len(content):
        head_size = struct.unpack_from(">I", content, place)[0]
        head = content[place + 4 : place + 4 + head_size]
        # A head is: 0a LENGTH KIND 18 SIZE; see `pbf_files`.
        kind = head[2 : 2 + head[1]]
        size, _ = varint(head, 3 + head[1])
        start = place + 4 + head_size
        blocks.append([kind, unpacked(content[start : start + size])])
        place = start + size
    block = of.rng.choice(blocks)
    block[1] = of.bytes(block[1])
    return b"".join(packed_block(kind, body) for kind, body in blocks)


def packed_block(kind, body):
    """A block of an extract of OpenStreetMap, with its head."""
    packed = zlib.compress(body)
    blob = b"\x10" + as_varint(len(body)) + b"\x1a" + as_varint(len(packed)) + packed
    head = b"\x0a" + bytes([len(kind)]) + kind + b"\x18" + as_varint(len(blob))
    return struct.pack(">I", len(head)) + head + blob


def unpacked(blob):
    """What is packed in a blob that `packed_block` wrote."""
    _, place = varint(blob, 1)
    _, place = varint(blob, place + 1)
    return zlib.decompress(blob[place:])


def varint(content, place):
    """A number as protocol buffers write it, and where it ends."""
    number, shift = 0, 0
    while True:
        byte = content[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return number, place


def as_varint(number):
    """The same, written."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def safetensors(of, content):
    """The head of a file of weights."""
    size = struct.unpack("<Q", content[:8])[0]
    head = of.json(content[8 : 8 + size].decode()).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(head)) + head + content[8 + size :]


def database(of, content):
    """A cell of an SQLite database, a column, a row or a whole table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.gpkg"
        path.write_bytes(content)
        with sqlite3.connect(path) as base:
            base.execute("PRAGMA journal_mode=MEMORY")
            for (name,) in base.execute(
                "SELECT name FROM sqlite_master WHERE type='trigger'"
            ).fetchall():
                base.execute(f'DROP TRIGGER "{name}"')
            named = base.execute("SELECT name FROM sqlite_master WHERE type='table'")
            tables = [name for (name,) in named.fetchall()]
            table = of.rng.choice([t for t in tables if not t.startswith("rtree")])
            _change_table(of, base, table)
        base.close()
        return path.read_bytes()


def _change_table(of, base, table):
    columns = [row[1] for row in base.execute(f'PRAGMA table_info("{table}")')]
    column = of.rng.choice(columns)
    kind = of.rng.randrange(12)
    some = of.rng.choice(("", f'WHERE rowid = (SELECT min(rowid) FROM "{table}")'))
    if kind == 0:
        base.execute(f'DROP TABLE "{table}"')
    elif kind == 1:
        base.execute(f'DELETE FROM "{table}" {some}')
    elif kind == 2:
        base.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO "other"')
    else:
        row = base.execute(f'SELECT "{column}" FROM "{table}" LIMIT 1').fetchone()
        old = row[0] if row else None
        new = of.value()
        if isinstance(old, bytes) and of.rng.random() < 0.9:
            new = of.bytes(old)
        elif isinstance(new, (list, dict)) or (isinstance(new, int) and new >= 2**63):
            new = json.dumps(new)
        elif isinstance(new, str):
            new = new.encode("utf-8", "replace").decode()
        base.execute(f'UPDATE "{table}" SET "{column}" = ? {some}', (new,))


def parquet(of, content):
    """A column of another type, name or content; or what the file says of itself."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content), use_threads=False)
    place = of.rng.randrange(table.num_columns)
    name, kind = table.column_names[place], of.rng.randrange(8)
    metadata = dict(table.schema.metadata or {})
    if kind == 0:
        table = table.remove_column(place)
    elif kind == 1:
        names = [*table.column_names]
        names[place] = of.rng.choice((names[0], of.hostile_text()))
        names[place] = names[place].encode("utf-8", "replace").decode()
        table = table.rename_columns(names)
    elif kind == 2:
        table = table.slice(0, of.rng.choice((0, 1)))
    elif kind in (3, 4) and metadata:
        key = of.rng.choice(list(metadata))
        text = of.told(metadata[key]) or (of.bytes(metadata[key]), "")
        metadata[key] = text[0]
    else:
        new = _other_column(of, pa, table.column(place))
        table = table.set_column(place, name, new)
    target = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), target)
    return target.getvalue()


def _other_column(of, pa, column):
    rows = column.to_pylist()
    kind = of.rng.randrange(8)
    if kind == 0:
        return pa.array([[row] for row in rows])
    if kind == 1:
        return pa.array([{"a": row} for row in rows])
    if kind == 2:
        return pa.array([str(row).encode("utf-8", "replace") for row in rows])
    if kind == 3:
        return pa.array([str(row) for row in rows]).dictionary_encode()
    if kind == 4:
        return pa.nulls(
            len(rows), of.rng.choice((pa.null(), pa.float64(), pa.string()))
        )
    if kind == 5:
        times = pa.array([None if row is None else 1 for row in rows], pa.int64())
        return times.cast(of.rng.choice((pa.timestamp("ns"), pa.duration("s"))))
    if kind == 6 and rows:  # of the same type
        place = of.rng.randrange(len(rows))
        row = rows[place]
        if isinstance(row, bytes):
            row = of.bytes(row)
        elif isinstance(row, float):
            row = of.rng.choice((float("nan"), float("inf"), -1e300, 0.0))
        elif isinstance(row, int):
            row = of.rng.choice((-1, 0, 2**31 - 1))
        elif isinstance(row, str):
            row = of.hostile_text().encode("utf-8", "replace").decode()
        else:
            row = None
        rows[place] = row
        return pa.array(rows, column.type)
    return pa.array([of.rng.choice((1, 2, None)) for _ in rows])


def _is_safetensors(content):
    return content[8:9] == b"{" and content[5:8] == b"\0\0\0"


KINDS = (
    (lambda content: content.startswith(b"PK\x03\x04"), archive),
    (lambda content: content.startswith(b"\x1f\x8b"), gzipped),
    (lambda content: content.startswith(b"\x93NUMPY"), npy),
    (lambda content: content[:4] in (b"II*\0", b"MM\0*"), tiff),
    (lambda content: content.startswith(b"\x89PNG"), png),
    (lambda content: b"OSMHeader" in content[:64], pbf),
    (lambda content: content.startswith(b"SQLite format 3\0"), database),
    (lambda content: content.startswith(b"PAR1"), parquet),
    (_is_safetensors, safetensors),
)
"""How a file is told, and what then changes it."""
