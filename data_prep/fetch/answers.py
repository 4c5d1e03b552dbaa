"""Reads answers of servers: size, version, reason of a refusal, when to ask again."""

from __future__ import annotations

import dataclasses
import email.utils
import hashlib
import re
import time
from pathlib import Path

import requests
import urllib3

from data_prep.fetch import hosts as hosts_lib
from data_prep.fetch.cache import Version
from data_prep.fetch.hosts import public
from mmgr_jax.data import server
from mmgr_jax.errors import InputError

MOST_WAIT_S = 300.0
"""A server that asks for more time than this is not waited for."""
_PASSES = (408, 425, 429)
FORBIDDEN = (401, 403)
_CHUNK_BYTES = 2**20


class Unavailable(InputError):
    """A server did not give what was requested; says so in one sentence.

    Attributes:
        kind: The kind, as in `mmgr_jax.data.server.ServerError`.
    """

    def __init__(self, sentence: str, kind: str) -> None:
        """Takes the sentence."""
        super().__init__(sentence)
        self.kind = kind


@dataclasses.dataclass
class Busy(server.ServerError):
    """The server wants the next request after a number of seconds."""

    wait_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Checksum:
    """What a file must hold: `kind` "md5" or "sha256", and the number in hex."""

    kind: str
    value: str


def refusal(response: requests.Response) -> server.ServerError:
    """Returns the error that an HTTP status means."""
    status = response.status_code
    cause = f"HTTP status {status}"
    if status in (404, 410):
        return server.ServerError("missing", cause)
    if status in FORBIDDEN:
        return server.ServerError("forbidden", cause)
    if 400 <= status < 500 and status not in _PASSES:
        return server.ServerError("refused", cause)
    wait_s = _wait_s(response.headers.get("Retry-After", ""))
    if wait_s > MOST_WAIT_S:
        cause = f"{cause}, and it asks to wait for {wait_s:.0f} s"
        return server.ServerError("refused", cause)
    return Busy("unreachable", cause, wait_s)


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


def about_of(response: requests.Response) -> Version:
    """Returns size and version of a file from the head of an answer."""
    headers = response.headers
    size: int | None = None
    if response.status_code == 206:
        total = re.search(r"/(\d+)\s*$", headers.get("Content-Range", ""))
        size = int(total[1]) if total else None
    elif headers.get("Content-Length", "").isdigit():
        size = int(headers["Content-Length"])
    return Version(size, headers.get("ETag", ""), headers.get("Last-Modified", ""))


def span_of(response: requests.Response) -> tuple[int, int] | None:
    """Returns the first and last byte that is sent of a file; None: all of it."""
    match = re.match(r"bytes (\d+)-(\d+)/", response.headers.get("Content-Range", ""))
    return (int(match[1]), int(match[2])) if match else None


def check(address: str, path: Path, checksum: Checksum | None) -> str:
    """Returns the SHA-256 of a file after comparing it with what its source says.

    Raises:
        Unavailable: If the file differs; the file is removed.
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
                f"{public(address)}: its checksum is not the one that its source "
                f"names ({checksum.kind} {digest[:12]}..., not "
                f"{checksum.value[:12]}...), so the file was removed. Give the "
                "command again; if it fails again, tell its publisher.",
                "refused",
            )
    return digests["sha256"].hexdigest()


def sentence(address: str, failure: server.ServerError) -> str:
    """Says what happened and what to do."""
    remedy = {
        "missing": "Correct the address, or leave the source out",
        "forbidden": "The signature or token has expired or is missing: sign with "
        f"--sign, or give a token in {hosts_lib.TOKENS}, and give the command again",
        "refused": "Correct the address, or take another source",
        "unreachable": "Give the command again later: it goes on from here",
    }[failure.kind]
    return f"{public(address)}: cannot be fetched ({failure.cause}). {remedy}."


def cause_of(error: Exception, patience_s: float) -> str:
    """Says in a few plain words why a connection failed."""
    text = str(error)
    timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    if isinstance(error, timeouts) or "timed out" in text:
        return f"nothing came for {patience_s:.0f} s"
    if "IncompleteRead" in text or "InvalidChunkLength" in text:
        return "the answer was cut short"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not valid"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy of the environment does not answer"
    reason = re.search(r"Name or service|Connection refused|reset|aborted", text)
    return reason.group() if reason else f"no answer ({type(error).__name__})"
