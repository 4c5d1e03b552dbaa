"""Decides which hosts a fetch may ask, and which parts of an address may be stored.

A catalogue, a redirect or a name server must not choose the hosts this machine talks
to. A host is asked only where the command, or a preset that it names, allows it. Hosts
of the local network are asked only where the command itself names them with their port.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from typing import Protocol, runtime_checkable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mmgr_jax.errors import InputError

TOKENS = "MMGR_FETCH_TOKENS"
"""Environment variable: `host=token`, several separated by spaces; sent as a bearer."""

_PORTS = {"http": 80, "https": 443}
_SECRET = re.compile(
    r"x-(amz|goog)-.*|sig|signature|s[eptrv]|spr|sk[a-z]{1,3}|expires|key-pair-id|"
    r"policy|awsaccesskeyid|googleaccessid|.*token.*|.*key|.*secret.*|password|pwd",
    re.IGNORECASE,
)


@runtime_checkable
class Signer(Protocol):
    """Makes addresses that a server accepts, for example with a signature."""

    def signed(self, address: str, *, anew: bool) -> str:
        """Returns the address to ask; `anew`: the last signature was refused."""
        ...


@dataclasses.dataclass(frozen=True)
class Host:
    """The host that an address names."""

    name: str
    port: int
    scheme: str

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine, by its IP address or as localhost."""
        number = _number(self.name)
        return self.name == "localhost" or bool(number and number.is_loopback)


class Hosts:
    """The hosts that may be asked."""

    def __init__(self, named: Iterable[str] = (), known: Iterable[str] = ()) -> None:
        """Allows hosts.

        Args:
            named: Addresses and hosts that the command names, such as
                "https://example.org/catalog.json", "example.org",
                ".example.org" (all below it) and "http://127.0.0.1:8000".
            known: Hosts of presets: never in the local network.

        Raises:
            InputError: If one of them is no host.
        """
        self._names = {name.lower() for name in known}
        self._named: set[tuple[str, int]] = set()
        for place in named:
            host = parsed(place if "://" in place else f"https://{place}")
            self._names.add(host.name)
            self._named.add((host.name, host.port))

    def check(self, address: str, origin: str | None = None) -> None:
        """Refuses an address that must not be asked.

        Args:
            address: The address to ask.
            origin: The address that redirects there.

        Raises:
            InputError: If it must not be asked; it says what would allow it, if
                anything can.
        """
        host = parsed(address)
        by = f" ({public(origin)} redirects there)" if origin else ""
        shown = public(address)
        is_named = (host.name, host.port) in self._named
        moved = origin is not None and parsed(origin) != host
        is_local = host.name == "localhost" or _is_local(host.name)
        if (is_local and not is_named) or (moved and (is_local or _resolves(host))):
            raise InputError(
                f"{shown}{by}: lies in the local network, to which no redirect, "
                "catalogue or preset may lead. Give this address yourself if you "
                "mean it."
            )
        if host.scheme != "https" and not (host.is_loopback and is_named):
            raise InputError(
                f"{shown}{by}: only https:// is allowed; http:// works only for a "
                "server on this machine, named with its port."
            )
        if not (host.name in self._names or self._below(host.name)):
            raise InputError(
                f"{shown}{by}: its host {host.name} is not among those that this "
                f"command names. If you trust it, add --allow_hosts={host.name}."
            )

    def check_peer(self, name: str, port: int, number: str) -> None:
        """Refuses a connection to the local network under an outside name.

        Args:
            name: The host in the address.
            port: Its port.
            number: The IP address that answers.

        Raises:
            InputError: If the command itself does not name that host and port.
        """
        if _is_local(number) and (name.lower(), port) not in self._named:
            raise InputError(
                f"{name}: its name leads to {number} in the local network, to which "
                "no catalogue or preset may lead. Give this address yourself if you "
                "mean it."
            )

    def _below(self, name: str) -> bool:
        return any(
            name.endswith(end) for end in self._names if end.startswith(".") and end[1:]
        )


def parsed(address: str) -> Host:
    """Returns the host that an address names.

    Raises:
        InputError: If the text is no address, or holds a password; the message does not
            repeat it.
    """
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname or port is None:
        raise InputError(
            f"{public(address)!r}: cannot be fetched; give an address that begins "
            "with https:// and names a host."
        )
    if "@" in parts.netloc:
        raise InputError(
            f"{public(address)}: holds a user name or password. Put a token into "
            f"{TOKENS} (host=token), and give the address without them."
        )
    return Host(parts.hostname.lower(), port, parts.scheme)


def public(address: str | None) -> str:
    """Returns an address without passwords and secrets, to show and store."""
    try:
        parts = urlsplit(address or "")
    except ValueError:
        return re.sub(r"[?#].*", "?...", re.sub(r"//[^/]*@", "//", address or ""))
    return urlunsplit(
        (
            parts.scheme,
            parts.netloc.rpartition("@")[2],
            parts.path,
            _without_secrets(parts.query),
            "",
        )
    )


def token(host: Host) -> str | None:
    """Returns the environment's token for a host."""
    for pair in os.environ.get(TOKENS, "").split():
        name, _, secret = pair.partition("=")
        if name.lower() == host.name and secret:
            return secret
    return None


def _without_secrets(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    kept = [(key, value) for key, value in pairs if not _SECRET.fullmatch(key)]
    return query if kept == pairs else urlencode(kept)


def _number(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        number = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return None
    return getattr(number, "ipv4_mapped", None) or number


def _is_local(name: str) -> bool:
    number = _number(name)
    return number is not None and (not number.is_global or number.is_multicast)


def _resolves(host: Host) -> bool:
    """Whether a name leads to the local network; one that leads nowhere does not."""
    try:
        entries = socket.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_is_local(str(entry[4][0])) for entry in entries)
