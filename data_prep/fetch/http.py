"""Fetches documents, files and parts of files over HTTPS; retries, never keeps half.

Every byte of a fetch comes through `Client`: STAC documents, blocks of images for GDAL,
Parquet, whole extracts. So one place knows which hosts may be asked (`hosts`). It waits
where a server asks for time, continues after a connection was cut, and notices a body
that is too short.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urljoin

import requests

from data_prep.fetch import answers, connections
from data_prep.fetch import hosts as hosts_lib
from data_prep.fetch.answers import Checksum, Unavailable
from data_prep.fetch.cache import Cache, Entry, Version
from data_prep.fetch.hosts import Hosts, Signer, public
from data_prep.fetch.patience import Patience
from data_prep.running.progress import Meter
from mmgr_jax import __version__
from mmgr_jax.data import server
from mmgr_jax.disk import refusals

USER_AGENT = f"mmgr-jax/{__version__} (data_prep.fetch)"
MOST_DOCUMENT_BYTES = 64 * 2**20
_CHUNK_BYTES = 2**20
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5

log = logging.getLogger(__name__)


class Client:
    """Asks servers and keeps their answers.

    Attributes:
        received: Number of bytes received, and the seconds spent waiting for them.
    """

    def __init__(
        self,
        hosts: Hosts,
        cache: Cache,
        *,
        offline: bool,
        signer: Signer | None = None,
        waits_s: Sequence[float] = server.WAITS_S,
        patience_s: float = server.PATIENCE_S,
    ) -> None:
        """Connects to nothing yet.

        Args:
            hosts: Who may be asked.
            cache: Where what comes is kept.
            offline: Ask nobody: the cache has it or nobody.
            signer: Of addresses; None: they are asked as they are.
            waits_s: Between tries.
            patience_s: For the next bytes of an answer.
        """
        self.hosts, self.cache, self.offline = hosts, cache, offline
        self._signer, self._patience = signer, Patience(waits_s, patience_s)
        self.received = [0, 0.0]
        self._lock = threading.Lock()
        self._session = connections.session(hosts)

    def document(
        self,
        address: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        keep: bool = True,
        fresh: bool = True,
    ) -> bytes:
        """Returns a small document, such as an item of a catalogue.

        Args:
            address: Of the document.
            body: Body of a POST request; None: a GET request.
            headers: Headers of the request.
            keep: Keep the document for `offline`; not for documents with secrets.
            fresh: Ask the server whether the kept document is still the newest.

        Raises:
            Unavailable: If it cannot be fetched.
        """
        entry = self.cache.entry(address, body or b"")
        known = entry.about() if entry.body.is_file() else None
        if known is not None and keep and (self.offline or not fresh):
            return entry.body.read_bytes()
        asked = dict(headers or {})
        if known is not None and known.etag and body is None:
            asked["If-None-Match"] = known.etag

        def read() -> bytes:
            with self._answer(address, asked, body) as response:
                if response.status_code == 304:
                    return entry.body.read_bytes()
                data = b"".join(
                    self._chunks(response, MOST_DOCUMENT_BYTES, unpack=True)
                )
                if keep:
                    entry.describe(answers.about_of(response), address)
                    entry.keep_body(data)
                return data

        return self._patience.asked(address, read)

    def part(self, address: str, first: int, last: int, known: Version | None) -> bytes:
        """Returns bytes `first` to `last` of a file.

        Args:
            address: Of the file.
            first: First byte, counted from 0.
            last: Last byte, included.
            known: The expected version.

        Raises:
            Unavailable: If they cannot be fetched, or the server has another version.
        """
        headers = {"Range": f"bytes={first}-{last}"}
        if known is not None and known.validator:
            headers["If-Range"] = known.validator

        def read() -> bytes:
            with self._answer(address, headers) as response:
                about = answers.about_of(response)
                span = answers.span_of(response)
                if known is not None and known.contradicts(about):
                    cause = "it was changed on its server while it was read"
                    raise server.ServerError("refused", cause)
                if response.status_code != 206 or span is None:
                    raise server.ServerError(
                        "refused", "its server does not send parts of files"
                    )
                end = last if about.size is None else min(last, about.size - 1)
                if span != (first, end):
                    cause = f"it sends bytes {span} in place of {(first, end)}"
                    raise server.ServerError("unreachable", cause)
                data = b"".join(self._chunks(response, end - first + 1))
                if len(data) != end - first + 1:
                    raise server.ServerError("unreachable", "the answer was cut short")
                return data

        return self._patience.asked(address, read)

    def look(self, address: str) -> tuple[Version, bool]:
        """Returns size and version of a file, and whether its server gives ranges.

        Raises:
            Unavailable: If there is no such file, or the server does not answer.
        """

        def ask() -> tuple[Version, bool]:
            with self._answer(address, {"Range": "bytes=0-0"}) as response:
                return answers.about_of(response), response.status_code == 206

        return self._patience.asked(address, ask)

    def file(self, address: str, checksum: Checksum | None = None) -> Path:
        """Fetches a whole file into the cache; continues after a cut connection.

        Args:
            address: Of the file.
            checksum: Checksum of the file, where its source gives one.

        Raises:
            Unavailable: If it cannot be fetched, or its checksum differs.
        """
        entry = self.cache.entry(address)
        known = entry.about()
        if entry.body.is_file() and known is not None and known.sha256:
            if self.offline or self._is_newest(address, known):
                answers.check(address, entry.body, checksum)
                return entry.body
            entry.forget()
        tries = list(self._patience.waits_s)
        while True:
            before = _size(entry.part)
            try:
                self._patience.asked(address, lambda: self._grow(address, entry), ())
                break
            except Unavailable as failure:
                if failure.kind != "unreachable" or not tries:
                    raise
                has_grown = _size(entry.part) > before
                tries = list(self._patience.waits_s) if has_grown else tries
                self._patience.pause(address, failure.__cause__, tries.pop(0))
        about = entry.about() or Version()
        digest = answers.check(address, entry.part, checksum)
        with refusals.explained(entry.folder):
            os.replace(entry.part, entry.body)
        size = entry.body.stat().st_size
        entry.note(dataclasses.replace(about, size=size, sha256=digest), address)
        return entry.body

    def _is_newest(self, address: str, known: Version) -> bool:
        return known.is_version_of(self.look(address)[0])

    def _grow(self, address: str, entry: Entry) -> None:
        """Writes what a part lacks.

        Raises:
            server.ServerError: If less came than was said.
        """
        known, have = entry.about(), _size(entry.part)
        headers = {}
        if have and known is not None and known.validator:
            headers = {"Range": f"bytes={have}-", "If-Range": known.validator}
        with self._answer(address, headers, passing=(416,)) as response:
            about, span = answers.about_of(response), answers.span_of(response)
            continues = (
                response.status_code == 206
                and span is not None
                and span[0] == have
                and known is not None
                and known.is_version_of(about)
            )
            if not continues and response.status_code != 200:
                entry.forget()  # it is complete by another version, or odd: anew
                raise server.ServerError("unreachable", "it begins anew")
            entry.describe(about, address)
            total = about.size
            with refusals.explained(entry.folder):
                part = entry.part
                file = part.open("ab") if continues else part.open("wb")
            name = public(address).rpartition("/")[2]
            meter = Meter(f"{name}, MB", round((total or 0) / 1e6))
            meter.add(have // 1_000_000 if continues else 0)
            with file:
                counted = file.tell() // 1_000_000
                for chunk in self._chunks(response, None):
                    with refusals.explained(entry.folder):
                        file.write(chunk)
                    meter.add(file.tell() // 1_000_000 - counted)
                    counted = file.tell() // 1_000_000
                with refusals.explained(entry.folder):
                    file.flush()
                    os.fsync(file.fileno())
        if total is not None and _size(entry.part) != total:
            size = _size(entry.part)
            if size > total:
                entry.part.unlink()
            cause = f"{size:,} bytes came of {total:,}"
            raise server.ServerError("unreachable", cause)

    @contextlib.contextmanager
    def _answer(
        self,
        address: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        passing: tuple[int, ...] = (),
    ) -> Iterator[requests.Response]:
        """The answer to a question, redirects followed where they may lead.

        Raises:
            server.ServerError: If it is none.
        """
        if self.offline:
            raise server.ServerError(
                "missing", "--offline is set, and it is not in the cache"
            )
        method = "GET" if body is None else "POST"
        start = time.monotonic()
        response = self._asked(address, headers, method, body, anew=False)
        if response.status_code in answers.FORBIDDEN and self._signer is not None:
            response.close()
            response = self._asked(address, headers, method, body, anew=True)
        try:
            if response.status_code not in (200, 206, 304, *passing):
                raise answers.refusal(response)
            yield response
        finally:
            response.close()
            with self._lock:
                self.received[1] += time.monotonic() - start

    def _asked(
        self,
        address: str,
        headers: Mapping[str, str],
        method: str,
        body: bytes | None,
        *,
        anew: bool,
    ) -> requests.Response:
        target, origin = address, None
        if self._signer is not None:
            target = self._signer.signed(address, anew=anew)
        for _ in range(_MOST_REDIRECTS + 1):
            self.hosts.check(target, origin)
            secret = hosts_lib.token(hosts_lib.parsed(target))
            own = {"Authorization": f"Bearer {secret}"} if secret else {}
            response = self._session.request(
                method,
                target,
                data=body,
                headers={
                    "User-Agent": USER_AGENT,
                    "Accept-Encoding": "identity",
                    **headers,
                    **own,
                },
                stream=True,
                allow_redirects=False,
                timeout=self._patience.timeouts_s,
            )
            place = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not place:
                return response
            response.close()
            if method == "POST" and response.status_code < 307:
                method, body = "GET", None
            target, origin = urljoin(target, place), target
        raise server.ServerError("refused", f"more than {_MOST_REDIRECTS} redirects")

    def _chunks(
        self, response: requests.Response, most: int | None, *, unpack: bool = False
    ) -> Iterator[bytes]:
        """The body; urllib3 tells where it is shorter than its Content-Length."""
        packed = response.headers.get("Content-Encoding", "identity")
        if packed != "identity" and not unpack:  # ranges would be of other bytes
            raise server.ServerError("refused", f"its server compresses it ({packed})")
        count = 0
        for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=unpack):
            count += len(chunk)
            if most is not None and count > most:
                raise server.ServerError(
                    "refused", f"it sends more than {most:,} bytes"
                )
            with self._lock:
                self.received[0] += len(chunk)
            yield chunk


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
