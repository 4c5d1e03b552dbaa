"""A folder served over HTTP by the standard library, with ranges, and with faults."""

import contextlib
import http.server
import re
import socket
import threading
import urllib.parse
import zlib


class Folder(http.server.ThreadingHTTPServer):
    """Serves the files of `root`.

    Attributes:
        faults: Name of a file -> what goes wrong at its next GETs, in turn: "cut"
            (the connection ends within the body), "stall" (it sleeps within the body),
            "other range" (bytes that nobody asked for), a status such as 500, a status
            with headers; None: nothing.
        etags: Whether it tells versions of a file apart.
        admits: Given path, query and headers of a question, whether it is answered;
            others get 403.
        pages: Given path and query of a question, the bytes of a page that is no file,
            such as a listing; None: there is none.
        gets: Name of a file -> how often it was asked for.
        sent: Name of a file -> bytes of it that were sent.
        queries: Those that came.
        ranges: Whether parts of files can be had.
    """

    daemon_threads = True

    def __init__(self, root):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.ranges, self.etags = root, True, False
        self.admits = lambda path, query, headers: True
        self.pages = lambda path, query: None
        self.ended = threading.Event()
        self.lines = []
        self.faults, self.gets, self.sent, self.queries = {}, {}, {}, set()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def get_request(self):
        line, address = super().get_request()
        self.lines.append(line)
        return line, address

    def handle_error(self, request, client_address):
        """Connections that are cut are meant to be."""


@contextlib.contextmanager
def serving(root):
    """A `Folder` at work."""
    folder = Folder(root)
    thread = threading.Thread(target=folder.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield folder
    finally:
        folder.ended.set()
        folder.shutdown()
        folder.server_close()
        for line in folder.lines:  # those that wait for another question
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Folder

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body):
        url = urllib.parse.urlsplit(self.path)
        self.server.queries.add(url.query)
        path = self.server.root / urllib.parse.unquote(url.path).lstrip("/")
        fault = None
        if body:
            self.server.gets[path.name] = self.server.gets.get(path.name, 0) + 1
            fault = next(iter(self.server.faults.get(path.name, ())), None)
            self.server.faults[path.name] = self.server.faults.get(path.name, [])[1:]
        if not self.server.admits(url.path, url.query, self.headers):
            fault = 403
        if isinstance(fault, tuple):
            return self._head(fault[0], 0, fault[1])
        page = self.server.pages(url.path, url.query)
        if isinstance(fault, int) or (page is None and not path.is_file()):
            return self._head(fault or 404, 0)
        data = path.read_bytes() if page is None else page
        headers = {}
        if self.server.etags:
            headers["ETag"] = tag = f'"{zlib.crc32(data):x}"'
            if self.headers.get("If-None-Match") == tag:
                return self._head(304, 0, headers)
            if self.headers.get("If-Range", tag) != tag:
                del self.headers["Range"]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and self.server.ranges:
            first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
            if first >= len(data):
                return self._head(416, 0, headers)
            if fault == "other range":
                first += 1
            part = data[first : last + 1]
            end = first + len(part) - 1
            headers["Content-Range"] = f"bytes {first}-{end}/{len(data)}"
            status, data = 206, part
        else:
            status = 200
        size = len(data)
        data = data[: size // 2] if fault in ("cut", "stall") else data
        if body:  # counted before anything is sent: some do not wait for the body
            self.server.sent[path.name] = self.server.sent.get(path.name, 0) + len(data)
        self._head(status, size, headers)
        if body:
            self.wfile.write(data)
            self.wfile.flush()
            if fault == "stall":
                self.server.ended.wait(5)
            if fault in ("cut", "stall"):
                self.close_connection = True

    def _head(self, status, length, headers=()):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
