"""Encodings of text files: declared or UTF-8, never guessed.

A wrong guess would not be noticed: GBK read as Latin-1 gives other categories, not an
error.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
from pathlib import Path

from mmgr_jax.errors import InputError

DEFAULT = "utf-8-sig"  # UTF-8 with or without a byte order mark

# What tables come in where they are not UTF-8, the strictest first.
_LIKELY = ("utf-16", "gb18030", "big5", "shift_jis", "euc_kr", "cp1251", "cp1252")
_BLOCK_BYTES = 1 << 20


def python_name(encoding: str | None) -> str:
    """Returns the codec of an encoding; that of UTF-8 drops a byte order mark."""
    if encoding is None or codecs.lookup(encoding).name == "utf-8":
        return DEFAULT
    return encoding


def problem(encoding: str | None, key: str | None) -> str | None:
    """Why an encoding cannot be declared; None when it can."""
    try:
        with contextlib.suppress(UnicodeError):
            b"a".decode(encoding or DEFAULT)  # codecs such as "hex" make no text
    except LookupError:
        return (
            f"{key}.encoding is {encoding!r}, which Python does not know; allowed: a "
            f"name such as 'utf-8', {', '.join(map(repr, _LIKELY))}."
        )
    return None


def undecodable(path: str | Path, encoding: str | None, key: str | None) -> InputError:
    """Returns the error for a text file that is not in its encoding.

    Args:
        path: The file, plain or .gz.
        encoding: The encoding that the config declares; None: UTF-8.
        key: The config section that may declare it; None: it must be UTF-8.

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
    except UnicodeError as error:  # UTF-16 without its mark
        place = f"its beginning ({error})"
    return InputError(
        f"{path}: {place} is not in {_said(encoding, key)}. {_remedy(key)}; the whole "
        f"file can be read in {_listed(fitting([content]))}: choose the one that "
        "shows the names correctly."
    )


def unstated(path: str | Path, texts: list[bytes], key: str | None) -> InputError:
    """Returns the error for a table that does not say the encoding of its names.

    Args:
        path: The file.
        texts: Names in the table, some of them not ASCII.
        key: The section of the config that may declare the encoding.
    """
    shown = _listed(fitting(texts), texts)
    return InputError(
        f"{path}: nothing in it or beside it (a .cpg file) says in which encoding its "
        f"names are. {_remedy(key)}; they can be read in {shown}: choose the one that "
        "shows them correctly."
    )


def misstated(
    path: str | Path, text: bytes, encoding: str | None, key: str | None
) -> InputError:
    """Returns the error for a table with a name that is not in its encoding."""
    return InputError(
        f"{path}: the name {text[:40]!r} is not in {_said(encoding, key)}. "
        f"{_remedy(key)}; the name can be read in {_listed(fitting([text]), [text])}."
    )


def fitting(texts: list[bytes]) -> list[str]:
    """Returns the usual encodings in which all given texts can be read."""
    names = ("utf-8", *_LIKELY)
    return [name for name in names if all(_decodes(text, name) for text in texts)]


def _said(encoding: str | None, key: str | None) -> str:
    return f"{encoding!r}, as {key}.encoding says" if encoding else "UTF-8"


def _remedy(key: str | None) -> str:
    return f"Declare the encoding in {key}.encoding" if key else "Save it as UTF-8"


def _listed(names: list[str], texts: list[bytes] | None = None) -> str:
    """Encodings in words, each with what the first text is in it."""
    shown = []
    for name in names:
        sample = f" ({texts[0].decode(name, 'replace')[:20]})" if texts else ""
        shown.append(f"{name!r}{sample}")
    return ", ".join(shown) or "none of the usual ones"


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
