"""Encodings of text files: declared or UTF-8, never guessed.

A wrong guess shows nowhere: GBK read as Latin-1 gives other categories, not an error.
"""

from __future__ import annotations

import codecs
import gzip
from pathlib import Path

from mmgr_jax.errors import InputError

DEFAULT = "utf-8-sig"  # UTF-8 with or without a byte order mark

# What tables of POIs come in where they are not UTF-8, the strictest first.
_LIKELY = ("utf-16", "gb18030", "big5", "shift_jis", "euc_kr", "cp1251", "cp1252")
_BLOCK_BYTES = 1 << 20
# Byte of a .dbf with the code of its encoding; 0 is none.
_DBF_LANGUAGE_BYTE = 29


def problem(encoding: str | None) -> str | None:
    """Why an encoding cannot be declared, or None when it can."""
    try:
        codecs.lookup(encoding or DEFAULT)
    except LookupError:
        return (
            f"config.pois.encoding is {encoding!r}, which is none that Python knows; "
            f"allowed: such as 'utf-8', {', '.join(map(repr, _LIKELY))}."
        )
    return None


def undecodable(path: str | Path, encoding: str | None, key: str | None) -> InputError:
    """The error for a text file that is not in its encoding.

    Args:
        path: The file, plain or .gz.
        encoding: What the config declares; None: UTF-8.
        key: The section of the config that may declare it; None: UTF-8 is a must.

    Returns:
        An error that names the first bad byte, its line, and the encodings in which
        the whole file can be read.
    """
    content = _content(path)
    reader = codecs.getincrementaldecoder(encoding or DEFAULT)()
    try:
        reader.decode(content, final=True)
        place = "some bytes"
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        place = f"byte {error.start} (0x{content[error.start]:02x}, in line {line})"
    fitting = [name for name in _LIKELY if _decodes(content, name)]
    said = f"{encoding!r}, as {key}.encoding says" if encoding else "UTF-8"
    remedy = f"Declare the encoding in {key}.encoding" if key else "Save it as UTF-8"
    return InputError(
        f"{path}: {place} is not in {said}. {remedy}; the whole file can be read in "
        f"{', '.join(map(repr, fitting)) or 'none of the usual ones'}: look which of "
        "them shows the names as they should be."
    )


def unstated(path: str | Path) -> str | None:
    """Why a Shapefile needs its encoding declared, or None when it does not."""
    table = Path(path).with_suffix(".dbf")
    if not table.exists() or table.with_suffix(".cpg").exists():
        return None
    content = table.read_bytes()
    if len(content) <= _DBF_LANGUAGE_BYTE or content[_DBF_LANGUAGE_BYTE]:
        return None
    start = int.from_bytes(content[8:10], "little")
    if content[start:].isascii():
        return None
    return (
        f"{path}: has no .cpg file beside it, so nothing says in which encoding its "
        "names are. Declare it in config.pois.encoding, such as 'utf-8' or 'gb18030'."
    )


def _content(path: str | Path) -> bytes:
    if str(path).lower().endswith(".gz"):
        with gzip.open(path) as stream:
            return stream.read()
    return Path(path).read_bytes()


def _decodes(content: bytes, encoding: str) -> bool:
    # UTF-16 decodes almost anything of even length, so its mark must be there.
    if encoding == "utf-16" and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return False
    reader = codecs.getincrementaldecoder(encoding)()
    try:
        for start in range(0, len(content), _BLOCK_BYTES):
            reader.decode(content[start : start + _BLOCK_BYTES])
        reader.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
