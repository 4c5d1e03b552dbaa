"""A small web server for one city, for use by the person who started it.

By default it listens on this machine alone. If it listens on another address, every
path begins with a random token. It serves a fixed table of names: no path of a request
ever reaches the file system. Requests from other sites are refused by Host, Origin and
Fetch Metadata.
"""

from __future__ import annotations

import logging
import re
import secrets
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from mmgr_jax.errors import InputError
from mmgr_jax.explore import access, served
from mmgr_jax.explore.access import Refusal
from mmgr_jax.explore.served import ServedCity
from mmgr_jax.terminal import visible

MOST_BODY = 4 * 2**20
"""Bytes of a request: 64 vectors of 16,384 numbers."""

IDLE_S = 60
"""A connection that says nothing for so long is closed."""

_AT_ONCE = 2  # products: each keeps all cores busy
_BINARY = "application/octet-stream"
_TILE = re.compile(r"tiles/(\d{1,2})/(\d{1,8})/(\d{1,8})\.mvt")
_PICTURE = re.compile(r"picture/(\d{1,8})\.webp")
_NOTHING = "default-src 'none'; frame-ancestors 'none'"

log = logging.getLogger(__name__)

Body = bytes | memoryview


class CityServer(ThreadingHTTPServer):
    """Answers requests about one city until it is closed.

    Attributes:
        city: The city.
        token: Token at the start of every path; "" on a loopback address.
        url: Address of the page.
    """

    daemon_threads = True

    def __init__(
        self, city: ServedCity, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """Starts to listen.

        Args:
            city: The city.
            host: Address or name of this machine; 127.0.0.1: no other machine can
                connect.
            port: Port to listen on; 0: any free port.

        Raises:
            InputError: If the port is taken, or the host is not a name of this machine.
        """
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"--host={host} --port={port}: {error}. Name another port, or 0 for "
                "any that is free; allowed hosts: addresses of this machine."
            ) from error
        self.city, self.host = city, host
        self.token = "" if access.is_loopback(host) else secrets.token_urlsafe(24)
        shown = f"[{host}]" if ":" in host else host
        path = f"{self.token}/" if self.token else ""
        self.url = f"http://{shown}:{self.server_port}/{path}"
        self.stamp = secrets.token_hex(8)  # part of ETags: other bytes after a restart
        self.computing = threading.BoundedSemaphore(_AT_ONCE)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores broken connections, which are nobody's fault."""
        log.debug("a connection ended", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: CityServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _refuse_method(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "Allowed: GET, HEAD and POST.")

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method

    def _answer(self, answer: Callable[[str], None]) -> None:
        try:
            access.refuse_host(self.headers.get("Host"), self.server.host)
            path = access.without_token(self.path, self.server.token)
            access.refuse_other_sites(dict(self.headers), page=path == "")
            answer(path)
        except Refusal as refusal:
            self._refuse(refusal.status, str(refusal))
        except InputError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))

    # ---- what there is ----

    def _get(self, path: str) -> None:
        city = self.server.city
        if path == "":
            self._send(city.page, "text/html; charset=utf-8", csp=city.policy)
        elif path == "city.json":
            self._send(city.about, "application/json")
        elif path == "basemap.webp":
            self._send(city.picture, "image/webp", name=path)
        elif path == "regions.pmtiles":
            self._send(city.tiles.data, _BINARY, name=path)
        elif path.startswith("array/") and path[6:] in city.arrays:
            values = city.arrays[path[6:]]
            self._send(served.raw(values), _BINARY, name=path)
        elif match := _TILE.fullmatch(path):
            self._send_tile(*map(int, match.groups()))
        elif match := _PICTURE.fullmatch(path):
            region = int(match.group(1))
            if region >= city.num_regions:
                raise Refusal(HTTPStatus.NOT_FOUND, "No such region.")
            self._send(city.tile_of(region), "image/webp")
        else:
            raise Refusal(HTTPStatus.NOT_FOUND, "No such name.")

    def _send_tile(self, zoom: int, x: int, y: int) -> None:
        tile = self.server.city.tiles.tile(zoom, x, y)
        kind = "application/vnd.mapbox-vector-tile"
        if tile is None:
            self._head(HTTPStatus.NO_CONTENT, kind, None)
        else:
            self._send(tile, kind, encoding="gzip")

    def _post(self, path: str) -> None:
        body = self._body()
        city = self.server.city
        what, _, matrix = path.partition("/")
        if what in ("values", "outlines") and not matrix:
            regions = self._regions(body)
            answer = city.values if what == "values" else city.outlines
            self._send(answer(regions), _BINARY)
        elif what in ("rows", "products") and matrix in city.matrices:
            if what == "rows":
                result = city.rows(matrix, self._regions(body))
            else:
                vectors = self._vectors(body, city.matrices[matrix].shape[1])
                with self.server.computing:
                    result = city.products(matrix, vectors)
            self._send(served.raw(result), _BINARY)
        else:
            raise Refusal(HTTPStatus.NOT_FOUND, "No such name.")

    def _body(self) -> bytes:
        if self.headers.get("Content-Type") != _BINARY:
            # Pages of other sites may not send this type unasked.
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Allowed: {_BINARY}.")
        length = self.headers.get("Content-Length") or ""
        if not re.fullmatch(r"\d{1,9}", length) or "Transfer-Encoding" in self.headers:
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing.")
        if int(length) > MOST_BODY:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Allowed: {MOST_BODY} bytes."
            )
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refusal(HTTPStatus.BAD_REQUEST, "The request ended early.")
        return body

    def _regions(self, body: bytes) -> np.ndarray:
        if len(body) % 4:
            raise Refusal(
                HTTPStatus.BAD_REQUEST, "Allowed: four bytes for each region."
            )
        regions = np.frombuffer(body, "<u4").astype(np.int64)
        served.refuse_regions(regions, self.server.city.num_regions)
        return regions

    def _vectors(self, body: bytes, width: int) -> np.ndarray:
        count, rest = divmod(len(body), 4 * width)
        if rest or not 1 <= count <= served.MOST_VECTORS:
            raise Refusal(
                HTTPStatus.BAD_REQUEST,
                f"Vectors of {width} float32, {served.MOST_VECTORS} at most.",
            )
        return np.frombuffer(body, "<f4").reshape(count, width)

    # ---- how it is sent ----

    def _send(
        self,
        body: Body,
        kind: str,
        *,
        name: str = "",
        csp: str = "",
        encoding: str = "",
    ) -> None:
        """Sends content, or the requested range of it if the content has a `name`."""
        size, status = len(body), HTTPStatus.OK
        more = {"Content-Encoding": encoding} if encoding else {}
        sent = range(size)
        if name:
            tag = f'"{self.server.stamp}"'
            more |= {"Accept-Ranges": "bytes", "ETag": tag}
            head = self.command == "HEAD"  # RFC 9110: a range is of GET alone
            wanted = access.byte_range({} if head else dict(self.headers), size, tag)
            if wanted is not None:
                sent, status = wanted, HTTPStatus.PARTIAL_CONTENT
                ends = f"{sent.start}-{sent.stop - 1}"
                more["Content-Range"] = f"bytes {ends}/{size}"
        self._head(status, kind, len(sent), csp=csp, more=more)
        if self.command != "HEAD":
            self.wfile.write(body[sent.start : sent.stop])

    def _head(
        self,
        status: HTTPStatus,
        kind: str,
        size: int | None,
        *,
        csp: str = "",
        more: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        if size is not None:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(size))
        policy = f"{csp}; frame-ancestors 'none'" if csp else _NOTHING
        for name, value in {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            **(more or {}),
        }.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answers in one line and ends the connection, since a body may be unread."""
        self.close_connection = True
        more = {}
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            more["Allow"] = "GET, HEAD, POST"
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            more["Content-Range"] = f"bytes */{sentence}"
        body = f"{visible(sentence)}\n".encode()
        self._head(status, "text/plain; charset=utf-8", len(body), more=more)
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Answers what the library refuses, without HTML or parts of the request."""
        self.request_version = "HTTP/1.1"  # a broken line has none yet
        status = HTTPStatus(code)
        self._refuse(status, status.phrase)

    def version_string(self) -> str:
        """Keeps the version of the server short."""
        return "mmgr-jax"

    def log_message(self, format: str, *args: Any) -> None:
        """Logs a message that helps to find a fault."""
        log.debug("%s", visible(format % args))
