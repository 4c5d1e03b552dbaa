"""What was fetched, kept on this machine: a repeat continues, `--offline` reads it.

    <cache>/<hash of an address>/about.json   what the server said of it
                                /body         a whole document or file
                                /body.part    one that grows
                                /blocks/12    block 12 of a file that is read in parts

A name stands for bytes that are whole: everything is written under another one first.
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
        size: In bytes; None where it did not say.
        etag: The version, "" where there is none.
        modified: When it was changed last, as the server writes it.
        sha256: Of the whole file, "" as long as it is not here.
    """

    size: int | None = None
    etag: str = ""
    modified: str = ""
    sha256: str = ""

    @property
    def validator(self) -> str:
        """What a server tells versions apart by; weak ones do not serve for ranges."""
        return self.etag if self.etag and not self.etag.startswith("W/") else ""

    def contradicts(self, other: Version) -> bool:
        """Whether both tell of different bytes for certain."""
        pairs = [
            (self.size, other.size),
            (self.etag, other.etag),
            ("", "") if self.etag else (self.modified, other.modified),
        ]
        return any(one and two and one != two for one, two in pairs)

    def is_version_of(self, other: Version) -> bool:
        """Whether both tell of the same bytes, as far as anybody knows."""
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
        """What the server said when something was fetched last."""
        try:
            known: Any = files.from_json((self.folder / "about.json").read_bytes())
            fields = {field.name for field in dataclasses.fields(Version)}
            return Version(**{key: known[key] for key in fields & known.keys()})
        except (OSError, ValueError, AttributeError):
            return None

    def describe(self, about: Version, address: str) -> None:
        """Notes what the server says; blocks of another version go."""
        known = self.about()
        if known is not None and not known.is_version_of(about):
            self.forget()
        self.note(about, address)

    def note(self, about: Version, address: str) -> None:
        """As `describe`, of what is here already."""
        with refusals.explained(self.folder):
            text = json.dumps(
                {"address": public(address), **dataclasses.asdict(about)}, indent=1
            )
            files.write_text(self.folder / "about.json", text)

    def forget(self) -> None:
        """Removes all that is kept of the address."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def block(self, index: int, size: int) -> bytes | None:
        """A block of so many bytes, if it is here."""
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
    """All that was fetched, by address; signatures make no other address."""

    def __init__(self, folder: Path) -> None:
        """Names the folder; it is made when something is written."""
        self.folder = folder

    def entry(self, address: str, question: bytes = b"") -> Entry:
        """What is kept of an address.

        Args:
            address: Signed or not.
            question: What is sent with it.
        """
        key = hashlib.sha256(public(address).encode() + b"\n" + question)
        return Entry(self.folder / key.hexdigest()[:32])
