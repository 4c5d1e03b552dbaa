"""Fetches files of a folder on object storage block by block, with fsspec.

Messages of a server or a library may contain a signed address. `_public` removes
queries and passwords before any message is shown.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
import random
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from mmgr_jax.addresses import is_address, signed_query
from mmgr_jax.errors import InputError
from mmgr_jax.extras import install

T = TypeVar("T")

BLOCK_BYTES = 8 * 2**20
PATIENCE_S = 60.0  # time limit for a block
WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # waits between tries
FEW_WAITS_S = WAITS_S[:3]  # waits where an answer is not necessary

_CONNECTIONS = threading.BoundedSemaphore(16)  # for all folders together
_CLIENTS = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "http": "aiohttp",
    "https": "aiohttp",
}
_PASSES = (408, 425, 429)  # the 4xx statuses that are temporary
_FORBIDDEN = (401, 403)
_NO_CREDENTIALS = re.compile(r"Credential|RefreshError|InvalidAccessKey")


@dataclasses.dataclass
class ServerError(Exception):
    """A server did not give a file or a listing.

    Attributes:
        kind: "missing": there is no such file. "forbidden": the right to read is
            missing. "refused": another try gives the same answer. "unreachable":
            another try may succeed later.
        cause: The reason, without queries and passwords.
    """

    kind: str
    cause: str

    def __str__(self) -> str:
        return self.cause


class Server:
    """The files of one folder.

    Attributes:
        address: The folder, such as "s3://bucket/city/records".
        stopped: Set when answers are no longer needed.
    """

    def __init__(self, address: str, waits_s: Sequence[float] | None = None) -> None:
        """Prepares the client; it does not connect yet.

        Args:
            address: The folder, without a query; see `addresses.checked`.
            waits_s: Seconds to wait between tries; None: `WAITS_S`.

        Raises:
            InputError: If the package for this kind of address is not installed.
        """
        self.address, self.stopped = address, threading.Event()
        self._waits_s = WAITS_S if waits_s is None else waits_s
        self._files, self._root = _opened(address)
        query = signed_query(address)
        self._query = f"?{query}" if query else ""

    def read(self, name: str) -> bytes:
        """Returns the content of a small file.

        Raises:
            ServerError: If the server does not give it.
        """
        return self._patiently(lambda: self._cat(name))

    def size_bytes(self, name: str) -> int | None:
        """Returns the size of a file; None if the server does not give it.

        Raises:
            ServerError: If the server does not answer, or refuses.
        """
        size = self._patiently(lambda: self._files.info(self._url(name)).get("size"))
        return None if size is None else int(size)

    def fetch(self, name: str, path: Path, sha256: str, size: int | None) -> None:
        """Fetches a file; it gets its own name only when it is complete.

        Until then it has another name in the same folder. After an interruption the
        fetch continues from there, if the server supports ranges.

        Args:
            name: Name of the file on the server.
            path: Local file to write.
            sha256: SHA-256 of the content; "" if unknown.
            size: Size of the file in bytes; None if unknown.

        Raises:
            ServerError: If the server does not give it, or its content is different.
        """
        part = part_of(path)
        if part.exists() and (size is None or part.stat().st_size > size):
            part.unlink()
        continued = part.exists() and part.stat().st_size > 0
        digest = self._complete(name, part, size)
        if sha256 and digest != sha256 and continued:  # begun from another version
            part.unlink()
            digest = self._complete(name, part, size)
        if sha256 and digest != sha256:
            part.unlink()
            cause = f"other bytes than its manifest says (sha256 {digest[:12]}...)"
            raise ServerError("refused", cause)
        os.replace(part, path)

    def folders_with(self, name: str) -> list[str]:
        """Lists folders that match `address` as a pattern and contain the file `name`.

        Raises:
            ServerError: If the server does not list them.
        """
        paths = self._patiently(lambda: self._files.glob(f"{self._root}/{name}"))
        scheme = self.address.partition("://")[0]
        folders = [path.removesuffix(f"/{name}") for path in sorted(paths)]
        return [
            path if is_address(path) else f"{scheme}://{path.lstrip('/')}"
            for path in folders
        ]

    def _complete(self, name: str, part: Path, size: int | None) -> str:
        """Fetches the rest of a partial file; returns the SHA-256 of the whole."""
        digest = hashlib.sha256()
        have = 0
        with part.open("a+b") as file:
            file.seek(0)
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
                have += len(block)
            while size is None or have < size:
                if self.stopped.is_set():
                    raise ServerError("unreachable", "stopped")
                end = None if size is None else min(have + BLOCK_BYTES, size)
                block = self._block(name, have, end)
                if end is None or len(block) > end - have:  # no support for ranges
                    file.truncate(0)
                    digest, have, size = hashlib.sha256(), 0, len(block)
                file.write(block)
                digest.update(block)
                have += len(block)
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest()

    def _block(self, name: str, start: int, end: int | None) -> bytes:
        def read() -> bytes:
            limits = {} if end is None else {"start": start, "end": end}
            block = self._cat(name, **limits)
            if not block:
                raise ConnectionError("it sends nothing")
            return block

        return self._patiently(read)

    def _cat(self, name: str, **limits: int) -> bytes:
        patience: dict[str, Any] = {}
        if self._files.async_impl:
            patience["timeout"] = PATIENCE_S
        return self._files.cat_file(self._url(name), **limits, **patience)

    def _url(self, name: str) -> str:
        name = quote(name) if self._root.startswith("http") else name
        return f"{self._root.rstrip('/')}/{name}{self._query}"

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Returns the server's answer; tries again after temporary errors.

        Raises:
            ServerError: Without the library's error, whose text may hold secrets.
        """
        failure = ServerError("unreachable", "not asked")
        for wait_s in (*self._waits_s, None):
            try:
                with _CONNECTIONS:
                    return ask()
            except Exception as error:  # each client library has its own errors
                failure = ServerError(_kind(error), _cause(error))
            if failure.kind != "unreachable" or wait_s is None:
                break
            if self.stopped.wait(wait_s * random.uniform(0.75, 1.25)):
                break
        raise failure


def part_of(path: Path) -> Path:
    """Returns the path of a file while it is incomplete."""
    return path.with_name(f"{path.name}.part")


def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and its name for the folder."""
    protocol = address.partition("://")[0]
    client = _CLIENTS.get(protocol)
    try:
        if client:
            importlib.import_module(client)
        from fsspec.core import url_to_fs

        options: dict[str, Any] = {"use_listings_cache": False}
        if protocol in ("http", "https"):
            options["encoded"] = True  # signatures are not encoded again
        return url_to_fs(address, **options)
    except ImportError as error:
        wanted = f"{client} (and fsspec)" if client else "another library"
        raise InputError(
            f"{address}: reading {protocol}:// needs {wanted}, which is not installed: "
            f"{install('remote')} brings s3fs for s3://, gcsfs for gs:// and aiohttp "
            "for https://. Or mount the bucket and name the folder."
        ) from error
    except Exception as error:
        cause = _cause(error)
    raise InputError(
        f"{address}: cannot be opened ({cause}). Addresses begin with gs://, s3:// or "
        "https://."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status in an error, whichever library raised it."""
    statuses = [getattr(error, "status", None) or getattr(error, "code", None)]
    for one in _chain(error):  # aiohttp's inner errors have codes of their own
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            statuses.append(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    known = [int(str(one)) for one in statuses if str(one).isdigit()]
    return known[0] if known else None


def _kind(error: Exception) -> str:
    """See `ServerError.kind`."""
    status = _status(error)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return "missing"
    names = " ".join(type(one).__name__ for one in _chain(error))
    if (
        isinstance(error, PermissionError)
        or status in _FORBIDDEN
        or _NO_CREDENTIALS.search(names)
    ):
        return "forbidden"
    if status is not None and 400 <= status < 500 and status not in _PASSES:
        return "refused"
    wrong = (ValueError, TypeError, NotImplementedError, ImportError)
    return "refused" if isinstance(error, wrong) else "unreachable"


def _cause(error: Exception) -> str:
    """The reason of an error in a few words, without secrets."""
    status = _status(error)
    if status is not None:
        return f"HTTP status {status}"
    if isinstance(error, TimeoutError) and not str(error):
        return f"nothing came for {PATIENCE_S:.0f} s"
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return _public(first)[:200]


def _public(text: str) -> str:
    """A text without the queries of addresses and without the part before an @."""
    text = re.sub(r"://[^/\s@]*@", "://", text)
    return re.sub(r"\?[^\s'\")]*", "?...", text)
