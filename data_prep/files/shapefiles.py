"""Checks that the text encoding of a Shapefile's table is known.

GDAL assumes Latin-1, without a warning, where a table does not say its encoding or says
one that GDAL does not know.

Reference: dBase III files as shapelib writes them; byte 29 is the language.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.files import encodings
from data_prep.files.csv_files import Text
from mmgr_jax.errors import InputError

DRIVER = "ESRI Shapefile"

_HEADER_BYTES, _FIELD_BYTES = 32, 32
_LANGUAGE_BYTE = 29
# "The encoding of the system", which may be any.
_ANSI = 0x57
_TEXT_FIELDS = b"CM"
# Characters of up to four bytes may be cut where a field ends.
_CUT_BYTES = 3
_NAMES_LOOKED_AT = 10_000


def refuse_unknown_encoding(
    path: str | Path, info: Mapping[str, Any], text: Text
) -> None:
    """Refuses a table whose text may not be in the encoding used to read it.

    Args:
        path: The .shp, .dbf, .shz or .zip.
        info: What `pyogrio.read_info` says about it.
        text: What the config declares.

    Raises:
        InputError: If there is text beyond ASCII and neither the config nor the file
            says its encoding, or the text is not in the declared encoding.
    """
    parts = _parts(Path(path), str(info["layer_name"]))
    if ".dbf" not in parts:
        return
    texts = names(parts[".dbf"])
    if not texts:
        return
    if text.encoding is None:
        code_page = parts.get(".cpg", b"").strip()
        language = parts[".dbf"][_LANGUAGE_BYTE]
        # pyogrio answers Latin-1 where GDAL does not know.
        if info["encoding"] != "UTF-8" or (not code_page and language == _ANSI):
            raise encodings.unstated(path, texts, text.key)
        return
    for name in texts:
        if not _decodes(name, text.encoding):
            raise encodings.misstated(path, name, text.encoding, text.key)


def names(table: bytes) -> list[bytes]:
    """Lists the distinct non-ASCII texts of a .dbf: names of fields, and cells."""
    if len(table) < _HEADER_BYTES:
        return []
    start = int.from_bytes(table[8:10], "little")
    width = int.from_bytes(table[10:12], "little")
    fields = _fields(table[_HEADER_BYTES:start])
    texts = {name for name, _, _ in fields}
    count = (len(table) - start) // width if width else 0
    body = np.frombuffer(table, np.uint8, max(count, 0) * width, min(start, len(table)))
    rows = body.reshape(-1, width) if width else body.reshape(0, 0)
    place = 1  # the mark of deleted rows comes first
    for _, kind, length in fields:
        cells = rows[:, place : place + length]
        place += length
        if kind in _TEXT_FIELDS:
            cells = cells[(cells > 127).any(axis=1)]
            texts.update(cell.tobytes().strip(b" \0") for cell in cells)
        if len(texts) > _NAMES_LOOKED_AT:
            break
    return sorted(name for name in texts if not name.isascii())


def _fields(header: bytes) -> list[tuple[bytes, bytes, int]]:
    """Name, kind and length of each field."""
    fields = []
    for place in range(0, len(header) - _FIELD_BYTES + 1, _FIELD_BYTES):
        field = header[place : place + _FIELD_BYTES]
        if field[0] == 0x0D:
            break
        # Long texts keep the high byte of their length where numbers have decimals.
        length = field[16] + (256 * field[17] if field[11:12] == b"C" else 0)
        fields.append((field[:11].split(b"\0")[0], field[11:12], length))
    return fields


def _parts(path: Path, layer: str) -> dict[str, bytes]:
    """The table and what is said of its encoding, by their suffixes."""
    wanted = (".dbf", ".cpg")
    if zipfile.is_zipfile(path):
        try:
            return _packed_parts(path, layer, wanted)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
            raise InputError(
                f"{path}: cannot be read ({error}). The archive may be truncated or "
                "damaged; fetch it again."
            ) from error
    beside = {
        other.suffix.lower(): other
        for other in sorted(path.parent.iterdir())
        if other.suffix.lower() in wanted and other.stem == path.stem
    }
    return {suffix: part.read_bytes() for suffix, part in beside.items()}


def _packed_parts(path: Path, layer: str, wanted: tuple[str, ...]) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        inside = {Path(name): name for name in archive.namelist()}
        return {
            part.suffix.lower(): archive.read(name)
            for part, name in inside.items()
            if part.suffix.lower() in wanted and part.stem == layer
        }


def _decodes(name: bytes, encoding: str) -> bool:
    try:
        name.decode(encoding)
    except UnicodeDecodeError as error:
        # The last character of a full cell may be cut in two.
        return error.start >= len(name) - _CUT_BYTES and error.start > 0
    return True
