"""Writes files whole or not at all, under safe names.

Names of tasks, cities and classes come from users, and others may write to some
folders. Every file with such a name, or in such a folder, is made here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import secrets
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 100
"""Longest name in bytes; file systems allow 255, so a suffix has room."""

ABANDONED_S = 24 * 3600.0
"""Seconds after which a half-written file of another machine counts as abandoned."""

_PUNCTUATION = " _-+.,()="
_NUMBER_OR_NAME = re.compile(r"[+-][\w.]*")


def safe_name(name: str) -> str:
    """Makes a name safe as part of a path: readable, and never outside its folder.

    Letters of all scripts, digits and a little punctuation stay. A name that holds
    anything else, is too long or begins with a dot is changed. It then gets a hash of
    the whole name, so that different names stay different.

    Args:
        name: Any name from a config or manifest, such as that of a task or a city.
    """
    shown = unicodedata.normalize("NFC", name)
    shown = "".join(
        c if unicodedata.category(c)[0] in "LMN" or c in _PUNCTUATION else "_"
        for c in shown
    )
    shown = shown.encode()[:MOST_BYTES].decode(errors="ignore")
    shown = shown.lstrip(" .-").rstrip(" .")
    if name and shown == name:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{shown or 'unnamed'}-{digest}"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Makes a new, empty file to write, which replaces `path` at the end.

    The umask decides who may read the new file. Its name cannot be guessed, and no link
    is followed: the file replaces a link at `path`. After an error `path` is unchanged.
    Files that killed writers of `path` left in its folder are removed.

    Args:
        path: File to make or replace; missing folders are made.

    Yields:
        Path of the new file.

    Raises:
        OSError: If the system does not allow it; the error names `path`.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        temporary = path.with_name(f".{path.name}.{_writer()}-{secrets.token_hex(8)}")
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
        os.close(os.open(temporary, flags, 0o666))
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:  # writers name the temporary file, or none
        named = error.filename
        if error.errno is not None and (
            named is None or Path(os.fsdecode(named)).parent == path.parent
        ):
            error.filename, error.filename2 = str(path), None
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a text in UTF-8, whole or not at all; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def from_json(text: str | bytes) -> Any:
    """Reads a JSON text, also one that another program wrote.

    Raises:
        ValueError: If it is no JSON, or is nested deeper than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def no_formula(cell: str) -> str:
    """Changes a cell of a CSV file so that no spreadsheet takes it for a formula.

    Args:
        cell: A text. If it begins like a formula, an apostrophe is put before it.
            `-12_34` and `+7` are names and stay.
    """
    if cell[:1] in ("=", "@", "\t", "\r"):
        return f"'{cell}"
    if cell[:1] in ("+", "-") and not _NUMBER_OR_NAME.fullmatch(cell):
        return f"'{cell}"
    return cell


def _writer() -> str:
    """Returns a name of this process, to tell its unfinished files from others."""
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
    return f"{host}-{os.getpid()}"


def _remove_abandoned(path: Path) -> None:
    """Removes unfinished files of killed writers of `path`, not of living ones."""
    host = _writer().split("-")[0]
    left = re.compile(
        re.escape(f".{path.name}.") + r"([0-9a-f]{8})-(\d{1,10})-[0-9a-f]{16}"
    )
    with contextlib.suppress(OSError):
        for entry in os.scandir(path.parent):
            match = left.fullmatch(entry.name)
            if not match or not entry.is_file(follow_symlinks=False):
                continue
            here = match[1] == host and not _lives(int(match[2]))
            age_s = time.time() - entry.stat(follow_symlinks=False).st_mtime
            if here or age_s > ABANDONED_S:
                os.unlink(entry.path)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True
