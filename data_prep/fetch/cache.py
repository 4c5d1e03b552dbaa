"""Keeps what was fetched: a repeated command continues, `--offline` reads it.

    <cache>/<hash of an address>/about.json   what the server said of it
                                /body         a whole document or file
                                /body.part    one that grows
                                /blocks/12    block 12 of a file that is read in parts

A file with its final name is complete: everything is written under another name first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
import shutil
from pathlib import Path
from typing import Any

from data_prep.fetch.hosts import public
from mmgr_jax.disk import files, refusals


@dataclasses.dataclass(frozen=True)
class Version:
    """What a server said of a file.

    Attributes:
        size: Size in bytes; None where the server did not say.
        etag: The version; "" where there is none.
        modified: When the file was last changed, as the server writes it.
        sha256: Hash of the whole file; "" while the file is not here.
    """

    size: int | None = None
    etag: str = ""
    modified: str = ""
    sha256: str = ""

    @property
    def validator(self) -> str:
        """The server's name for this version; weak ones do not work for ranges."""
        return self.etag if self.etag and not self.etag.startswith("W/") else ""

    def contradicts(self, other: Version) -> bool:
        """Whether the two versions certainly mean different bytes."""
        pairs = [
            (self.size, other.size),
            (self.etag, other.etag),
            ("", "") if self.etag else (self.modified, other.modified),
        ]
        return any(one and two and one != two for one, two in pairs)

    def is_version_of(self, other: Version) -> bool:
        """Whether the two versions mean the same bytes, as far as is known."""
        if self.size != other.size:
            return False
        if self.etag or other.etag:
            return self.etag == other.etag
        return bool(self.modified) and self.modified == other.modified


class Entry:
    """The folder of one address."""

    def __init__(self, folder: Path) -> None:
        """Names the folder; it is made when something is written."""
        self.folder = folder
        self.body = folder / "body"
        self.part = folder / "body.part"

    def about(self) -> Version | None:
        """What the server said when something was last fetched."""
        try:
            known: Any = files.from_json((self.folder / "about.json").read_bytes())
            fields = {field.name for field in dataclasses.fields(Version)}
            return Version(**{key: known[key] for key in fields & known.keys()})
        except (OSError, ValueError, AttributeError):
            return None

    def describe(self, about: Version, address: str) -> None:
        """Notes what the server says; removes blocks of another version."""
        known = self.about()
        if known is not None and not known.is_version_of(about):
            self.forget()
        self.note(about, address)

    def note(self, about: Version, address: str) -> None:
        """Like `describe`, for what is here already."""
        with refusals.explained(self.folder):
            text = json.dumps(
                {"address": public(address), **dataclasses.asdict(about)}, indent=1
            )
            files.write_text(self.folder / "about.json", text)

    def forget(self) -> None:
        """Removes everything that is kept for the address."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def block(self, index: int, size: int) -> bytes | None:
        """Returns a block of the given number of bytes, if it is here."""
        try:
            data = (self.folder / "blocks" / str(index)).read_bytes()
        except OSError:
            return None
        return data if len(data) == size else None

    def keep_block(self, index: int, data: bytes) -> None:
        """Keeps a block."""
        path = self.folder / "blocks" / str(index)
        growing = path.with_name(f"{index}.{secrets.token_hex(8)}.part")
        with refusals.explained(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            growing.write_bytes(data)
            growing.replace(path)

    def keep_body(self, data: bytes) -> None:
        """Keeps a whole document."""
        with (
            refusals.explained(self.folder),
            files.replacing(self.body) as temporary,
        ):
            temporary.write_bytes(data)


class Cache:
    """Everything that was fetched, by address without its signature."""

    def __init__(self, folder: Path) -> None:
        """Names the folder; it is made when something is written."""
        self.folder = folder

    def entry(self, address: str, question: bytes = b"") -> Entry:
        """Returns what is kept for an address.

        Args:
            address: The address, signed or not.
            question: What is sent with the request.
        """
        key = hashlib.sha256(public(address).encode() + b"\n" + question)
        return Entry(self.folder / key.hexdigest()[:32])
