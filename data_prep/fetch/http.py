"""Documents, files and parts of files over HTTPS: asked patiently, never half taken.

Every byte that a fetch brings comes through `Client`: STAC documents, blocks of images
that GDAL wants, Parquet, whole extracts. So one place knows who may be asked (`hosts`),
waits where a server asks for time, goes on where a connection was cut, and tells a body
that is too short from a whole one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import hashlib
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable
from urllib.parse import urljoin

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from data_prep.fetch import hosts as hosts_lib
from data_prep.fetch.cache import About, Cache, Entry
from data_prep.fetch.hosts import Hosts, public
from data_prep.running.progress import Meter
from mmgr_jax import __version__
from mmgr_jax.data import server
from mmgr_jax.disk import refusals
from mmgr_jax.errors import InputError

T = TypeVar("T")

USER_AGENT = f"mmgr-jax/{__version__} (data_prep.fetch)"
MOST_WAIT_S = 300.0
"""A server that asks for more time than this is not waited for."""
MOST_DOCUMENT_BYTES = 64 * 2**20
_CHUNK_BYTES = 2**20
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_PASSES = (408, 425, 429)
_FORBIDDEN = (401, 403)
_CONNECT_S = 15.0

log = logging.getLogger(__name__)


class Unavailable(InputError):
    """A server did not give what it was asked for, in one sentence.

    Attributes:
        kind: As of `mmgr_jax.data.server.ServerError`.
    """

    def __init__(self, sentence: str, kind: str) -> None:
        """Takes the sentence."""
        super().__init__(sentence)
        self.kind = kind


@dataclasses.dataclass
class _Busy(server.ServerError):
    """The server asks to be asked again later, in so many seconds."""

    wait_s: float = 0.0


@runtime_checkable
class Signer(Protocol):
    """Makes addresses that a server opens: with a signature behind them, say."""

    def signed(self, address: str, *, anew: bool) -> str:
        """The address to ask; `anew`: the last signature was refused."""
        ...


@dataclasses.dataclass(frozen=True)
class Checksum:
    """What a file must hold: `kind` "md5" or "sha256", and the number in hex."""

    kind: str
    value: str


class Client:
    """Asks servers, and keeps what they gave.

    Attributes:
        received: Bytes that came, and the seconds spent waiting for them.
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
        self._signer, self._waits_s, self._patience_s = signer, waits_s, patience_s
        self.received = [0, 0.0]
        self._lock = threading.Lock()
        self._session = requests.Session()  # proxies and certificates: environment
        self._session.auth = lambda request: request  # and no passwords of ~/.netrc
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(hosts))

    def document(
        self,
        address: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        keep: bool = True,
        fresh: bool = True,
    ) -> bytes:
        """A small document, such as an item of a catalogue.

        Args:
            address: Of the document.
            body: What is posted; None: it is got.
            headers: Of the question.
            keep: Keep it for `offline`; not what holds a secret.
            fresh: Ask whether a kept one is still the newest.

        Raises:
            Unavailable: If it cannot be had.
        """
        entry = self.cache.entry(address, body or b"")
        known = entry.about() if entry.body.is_file() else None
        if known is not None and keep and (self.offline or not fresh):
            return entry.body.read_bytes()
        asked = dict(headers or {})
        if known is not None and known.etag and body is None:
            asked["If-None-Match"] = known.etag

        def read() -> bytes:
            method = "GET" if body is None else "POST"
            with self._answer(address, asked, method, body) as response:
                if response.status_code == 304:
                    return entry.body.read_bytes()
                data = b"".join(self._chunks(response, MOST_DOCUMENT_BYTES))
                if keep:
                    entry.describe(_about(response), address)
                    entry.keep_body(data)
                return data

        return self._patiently(address, read)

    def part(self, address: str, first: int, last: int, known: About | None) -> bytes:
        """Bytes `first` to `last` of a file.

        Args:
            address: Of the file.
            first: Counted from 0.
            last: The last one, included.
            known: The version that is meant.

        Raises:
            Unavailable: If they cannot be had, or the server has another version.
        """
        headers = {"Range": f"bytes={first}-{last}"}
        if known is not None and known.validator:
            headers["If-Range"] = known.validator

        def read() -> bytes:
            with self._answer(address, headers) as response:
                about = _about(response)
                span = _span(response)
                if known is not None and known.contradicts(about):
                    cause = "it was changed on its server while it was read"
                    raise server.ServerError("refused", cause)
                if response.status_code != 206 or span is None:
                    raise server.ServerError("refused", "its server gives no ranges")
                end = last if about.size is None else min(last, about.size - 1)
                if span != (first, end):
                    cause = f"it sends bytes {span} in place of {(first, end)}"
                    raise server.ServerError("unreachable", cause)
                data = b"".join(self._chunks(response, end - first + 1))
                if len(data) != end - first + 1:
                    raise server.ServerError("unreachable", "the answer was cut short")
                return data

        return self._patiently(address, read)

    def look(self, address: str) -> tuple[About, bool]:
        """Size and version of a file, and whether its server gives ranges.

        Raises:
            Unavailable: If there is no such file, or the server does not answer.
        """

        def ask() -> tuple[About, bool]:
            with self._answer(address, {"Range": "bytes=0-0"}) as response:
                return _about(response), response.status_code == 206

        return self._patiently(address, ask)

    def file(self, address: str, checksum: Checksum | None = None) -> Path:
        """A whole file in the cache; what a cut connection left is gone on with.

        Args:
            address: Of the file.
            checksum: What it must hold, where its source says so.

        Raises:
            Unavailable: If it cannot be had, or holds something else.
        """
        entry = self.cache.entry(address)
        known = entry.about()
        if entry.body.is_file() and known is not None and known.sha256:
            if self.offline or self._is_newest(address, known):
                _check(address, entry.body, checksum)
                return entry.body
            entry.forget()
        tries = list(self._waits_s)
        while True:
            before = _size(entry.part)
            try:
                self._patiently(address, lambda: self._grow(address, entry), ())
                break
            except Unavailable as failure:
                if failure.kind != "unreachable" or not tries:
                    raise
                tries = list(self._waits_s) if _size(entry.part) > before else tries
                self._pause(address, failure.__cause__, tries.pop(0))
        about = entry.about() or About()
        digest = _check(address, entry.part, checksum)
        with refusals.explained(entry.folder):
            os.replace(entry.part, entry.body)
        size = entry.body.stat().st_size
        entry.note(dataclasses.replace(about, size=size, sha256=digest), address)
        return entry.body

    def _is_newest(self, address: str, known: About) -> bool:
        return known.is_version_of(self.look(address)[0])

    def _grow(self, address: str, entry: Entry) -> None:
        """Writes what a part lacks.

        Raises:
            server.ServerError: If less came than the server said.
        """
        known, have = entry.about(), _size(entry.part)
        headers = {}
        if have and known is not None and known.validator:
            headers = {"Range": f"bytes={have}-", "If-Range": known.validator}
        with self._answer(address, headers, passing=(416,)) as response:
            about, span = _about(response), _span(response)
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
                file = entry.part.open("ab" if continues else "wb")
            name = public(address).rpartition("/")[2]
            meter = Meter(f"{name}, MB", round((total or 0) / 1e6))
            meter.add(have // 1_000_000 if continues else 0)
            with file:
                told = file.tell() // 1_000_000
                for chunk in self._chunks(response, None):
                    with refusals.explained(entry.folder):
                        file.write(chunk)
                    meter.add(file.tell() // 1_000_000 - told)
                    told = file.tell() // 1_000_000
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
        method: str = "GET",
        body: bytes | None = None,
        passing: tuple[int, ...] = (),
    ) -> Iterator[requests.Response]:
        """The answer to a question, redirects followed where they may lead.

        Raises:
            server.ServerError: If it is none.
        """
        if self.offline:
            raise server.ServerError("missing", "--offline, and it is not in the cache")
        start = time.monotonic()
        response = self._asked(address, headers, method, body, anew=False)
        if response.status_code in _FORBIDDEN and self._signer is not None:
            response.close()
            response = self._asked(address, headers, method, body, anew=True)
        try:
            if response.status_code not in (200, 206, 304, *passing):
                raise _refusal(response)
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
                timeout=(min(_CONNECT_S, self._patience_s), self._patience_s),
            )
            place = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not place:
                return response
            response.close()
            if method == "POST" and response.status_code < 307:
                method, body = "GET", None
            target, origin = urljoin(target, place), target
        raise server.ServerError("refused", f"more than {_MOST_REDIRECTS} redirects")

    def _chunks(self, response: requests.Response, most: int | None) -> Iterator[bytes]:
        """The body; urllib3 tells where it is shorter than its Content-Length."""
        count = 0
        for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
            count += len(chunk)
            if most is not None and count > most:
                raise server.ServerError(
                    "refused", f"it sends more than {most:,} bytes"
                )
            with self._lock:
                self.received[0] += len(chunk)
            yield chunk

    def _patiently(
        self,
        address: str,
        ask: Callable[[], T],
        waits_s: Sequence[float] | None = None,
    ) -> T:
        """An answer, asked for again while the server may come to itself.

        Raises:
            Unavailable: If it does not.
        """
        failure = server.ServerError("unreachable", "not asked")
        for wait_s in (*(self._waits_s if waits_s is None else waits_s), None):
            try:
                return ask()
            except server.ServerError as error:
                failure = error
            except (
                requests.RequestException,
                urllib3.exceptions.HTTPError,
                OSError,
            ) as error:
                failure = server.ServerError("unreachable", self._cause(error))
            if failure.kind != "unreachable" or wait_s is None:
                break
            self._pause(address, failure, wait_s)
        raise Unavailable(_sentence(address, failure), failure.kind) from failure

    def _pause(
        self, address: str, failure: BaseException | None, wait_s: float
    ) -> None:
        wait_s *= random.uniform(0.75, 1.25)
        if isinstance(failure, _Busy):
            wait_s = max(wait_s, failure.wait_s)
        log.info("%s: %s; again in %.1f s", public(address), failure, wait_s)
        time.sleep(wait_s)

    def _cause(self, error: Exception) -> str:
        text = str(error)
        timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
        if isinstance(error, timeouts) or "timed out" in text:
            return f"nothing came for {self._patience_s:.0f} s"
        if "IncompleteRead" in text or "InvalidChunkLength" in text:
            return "the answer was cut short"
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return "its certificate is not valid"
        if isinstance(error, requests.exceptions.ProxyError):
            return "the proxy of the environment does not answer"
        reason = re.search(r"Name or service|Connection refused|reset|aborted", text)
        return reason.group() if reason else f"no answer ({type(error).__name__})"


class _Adapter(HTTPAdapter):
    """Connections that see whom they have reached before they say anything."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        super().__init__(max_retries=0, pool_maxsize=16)

    def init_poolmanager(self, *given: Any, **options: Any) -> None:
        super().init_poolmanager(*given, **options)
        hosts = self._hosts

        class Plain(HTTPConnection):
            def _new_conn(self) -> Any:
                return _seen(hosts, self, super()._new_conn())

        class Secure(HTTPSConnection):
            def _new_conn(self) -> Any:
                return _seen(hosts, self, super()._new_conn())

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain  # pyright: ignore[reportAssignmentType]

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure  # pyright: ignore[reportAssignmentType]

        pools = {"http": PlainPool, "https": SecurePool}
        self.poolmanager.pool_classes_by_scheme = pools


def _seen(hosts: Hosts, connection: Any, line: Any) -> Any:
    try:
        hosts.check_peer(connection.host, connection.port, line.getpeername()[0])
    except InputError:
        line.close()
        raise
    return line


def _refusal(response: requests.Response) -> server.ServerError:
    status = response.status_code
    cause = f"HTTP status {status}"
    if status in (404, 410):
        return server.ServerError("missing", cause)
    if status in _FORBIDDEN:
        return server.ServerError("forbidden", cause)
    if 400 <= status < 500 and status not in _PASSES:
        return server.ServerError("refused", cause)
    wait_s = _wait_s(response.headers.get("Retry-After", ""))
    if wait_s > MOST_WAIT_S:
        cause = f"{cause}, and it asks to wait for {wait_s:.0f} s"
        return server.ServerError("refused", cause)
    return _Busy("unreachable", cause, wait_s)


def _wait_s(text: str) -> float:
    """Retry-After: seconds, or a date."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(
            0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        )
    except (TypeError, ValueError):
        return 0.0


def _about(response: requests.Response) -> About:
    headers = response.headers
    size: int | None = None
    if response.status_code == 206:
        total = re.search(r"/(\d+)\s*$", headers.get("Content-Range", ""))
        size = int(total[1]) if total else None
    elif headers.get("Content-Length", "").isdigit():
        size = int(headers["Content-Length"])
    return About(size, headers.get("ETag", ""), headers.get("Last-Modified", ""))


def _span(response: requests.Response) -> tuple[int, int] | None:
    """First and last byte of what is sent of a file; None: all of it."""
    match = re.match(r"bytes (\d+)-(\d+)/", response.headers.get("Content-Range", ""))
    return (int(match[1]), int(match[2])) if match else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check(address: str, path: Path, checksum: Checksum | None) -> str:
    """The SHA-256 of a file that is what its source says.

    Raises:
        Unavailable: If it is not; the file is removed.
    """
    digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with path.open("rb") as file:
        while block := file.read(_CHUNK_BYTES):
            for digest in digests.values():
                digest.update(block)
    if checksum is not None:
        digest = digests[checksum.kind].hexdigest()
        if digest != checksum.value.lower():
            path.unlink()
            raise Unavailable(
                f"{public(address)}: holds other bytes than its source says "
                f"({checksum.kind} {digest[:12]}..., not {checksum.value[:12]}...), so "
                "it was removed. Give the command again; if that stays, tell its "
                "publisher.",
                "refused",
            )
    return digests["sha256"].hexdigest()


def _sentence(address: str, failure: server.ServerError) -> str:
    remedy = {
        "missing": "Correct the address, or leave the source out",
        "forbidden": "The signature or token has expired or is missing: sign with "
        f"--sign, or give a token in {hosts_lib.TOKENS}, and give the command again",
        "refused": "Correct the address, or take another source",
        "unreachable": "Give the command again later: it goes on from here",
    }[failure.kind]
    return f"{public(address)}: cannot be had ({failure.cause}). {remedy}."
