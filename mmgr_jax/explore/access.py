"""Checks who may ask the server, and for which bytes, by a request's head alone.

A page of another site cannot read this city, for three reasons. It does not know the
token. If DNS was pointed to this server, the Host is another name. A browser states
from which site a request comes.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Mapping
from http import HTTPStatus

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Refusal(Exception):
    """Refuses a request with a status and a sentence.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        """Takes the status and the sentence."""
        super().__init__(sentence)
        self.status = status


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    if _is_address(host):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


def refuse_host(given: str | None, host: str) -> None:
    """Refuses a request if its Host is a name that others may point here.

    Browsers that came here through DNS rebinding send the name of the other site.

    Args:
        given: The Host header.
        host: Host that the server listens on.
    """
    name, _, port = (given or "").rpartition(":")
    if not port.isdecimal() or "]" in port:
        name = given or ""
    name = name.strip("[]").lower()
    if is_loopback(host):
        allowed = is_loopback(name)
    else:  # whoever comes has the token, too
        own = {host.lower(), socket.gethostname().lower()}
        allowed = _is_address(name) or name in own
    if not allowed:
        raise Refusal(HTTPStatus.FORBIDDEN, "This server is not known by that name.")


def without_token(path: str, token: str) -> str:
    """Removes the token from the start of a path; "" means that no token is needed."""
    path = path.removeprefix("/")
    if not token:
        return path
    given, slash, rest = path.partition("/")
    if not hmac.compare_digest(given.encode(), token.encode()) or not slash:
        raise Refusal(
            HTTPStatus.FORBIDDEN, "The address lacks the token that was printed."
        )
    return rest


def refuse_other_sites(headers: Mapping[str, str], *, page: bool) -> None:
    """Refuses requests from a page of another site.

    Programs other than browsers do not send these headers, and are not refused.

    Args:
        headers: Headers of the request.
        page: Whether the request is for the page itself, which a link may open.
    """
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    opened = page and headers.get("Sec-Fetch-Mode") == "navigate"
    own = origin in (None, f"http://{headers.get('Host')}")
    if not own or (site not in (None, "same-origin", "none") and not opened):
        raise Refusal(HTTPStatus.FORBIDDEN, "Not for pages of other sites.")


def byte_range(headers: Mapping[str, str], size: int, tag: str) -> range | None:
    """Finds the range of bytes that a request wants; None: all bytes.

    RFC 9110 lets a server ignore other units and several ranges, as this one does.

    Args:
        headers: Of the request.
        size: Number of bytes of the whole.
        tag: Entity tag of the whole.

    Raises:
        Refusal: If the range begins after the end; it states only the size.
    """
    match = _RANGE.fullmatch(headers.get("Range", "").strip().lower())
    if not match or match.groups() == ("", "") or headers.get("If-Range", tag) != tag:
        return None
    first, last = match.groups()
    if first == "":
        wanted = range(max(size - int(last), 0), size)
    elif last and int(last) < int(first):
        return None
    else:
        wanted = range(int(first), min(int(last) + 1, size) if last else size)
    if not wanted:
        raise Refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, str(size))
    return wanted


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
