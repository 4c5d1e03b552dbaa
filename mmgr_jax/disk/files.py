"""Files as this program writes them: whole or not at all, by safe names, one's own.

Names of tasks, cities and classes, and folders that others can write to, are not ours:
every file that takes a name from one, or a place in the other, is made here.
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
"""Of a name; what is put behind it has room in the 255 that file systems allow."""

ABANDONED_S = 24 * 3600.0
"""A half-written file of another machine that nobody has touched for so long."""

_PUNCTUATION = " _-+.,()="
_NUMBER_OR_NAME = re.compile(r"[+-][\w.]*")


def safe_name(name: str) -> str:
    """A name as part of a path: one that stays in its folder, of readable characters.

    Letters of all scripts, digits and a little punctuation stay; a name that holds
    anything else, is too long or begins with a dot is changed and gets a hash of the
    whole, so that different names stay different.

    Args:
        name: Of a task, a city, features: whatever a config or manifest says.
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
    """A new, empty file to write, which takes the place of `path` at the end.

    It is as readable to others as the umask says, has a name that nobody can foresee,
    and no link is followed: a link at `path` gives way to the file. After an error
    `path` is as it was. What writers that were killed left beside it is removed.

    Args:
        path: File to make or replace; missing folders are made.

    Raises:
        OSError: Naming `path`, where the system refuses.
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
    """What a text of JSON says, whoever wrote it.

    Raises:
        ValueError: If it is none, or nested deeper than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def no_formula(cell: str) -> str:
    """A cell of a CSV file for people, which no spreadsheet takes for a formula.

    Args:
        cell: A text. Where it begins like a formula, an apostrophe is put before it;
            `-12_34` and `+7` are names and stay.
    """
    if cell[:1] in ("=", "@", "\t", "\r"):
        return f"'{cell}"
    if cell[:1] in ("+", "-") and not _NUMBER_OR_NAME.fullmatch(cell):
        return f"'{cell}"
    return cell


def _writer() -> str:
    """Tells the files that this process is writing from those of others."""
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
    return f"{host}-{os.getpid()}"


def _remove_abandoned(path: Path) -> None:
    """Removes what killed writers of `path` left; that of living ones stays."""
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
