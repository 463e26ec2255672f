"""HTTP for one user on one machine: files, JSON documents, and a stream of changes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec

from quilt_cli.core.board import Changes
from quilt_cli.core.finding import StoppedError
from quilt_cli.core.heat import Heat
from quilt_cli.core.node_page import NodePage
from quilt_cli.ui.guard import HEADERS, Guard
from quilt_kube.request import ApiError, UnreachableError

LOOPBACK: Final = "127.0.0.1"
_JSON = "application/json"
_TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
# Seconds after which a stream without news says so: a browser that is gone is noticed by that.
_PATIENCE = 15.0
# Seconds for a request to arrive.
_TIMEOUT = 30.0
Query = Mapping[str, str]


class Pages(Protocol):
    """What the pages show; what cannot be answered is StoppedError, ApiError or UnreachableError."""

    def changes(self, since: int, seconds: float) -> Changes | None:
        """Wait for something newer than that version; None where nothing comes within these seconds."""

    def latency(self, matching: str) -> Heat:
        """Return what the probes of nodes with this in their names measured."""

    def node(self, name: str) -> NodePage:
        """Return a node, its kernel looked at now."""


class Server(ThreadingHTTPServer):
    """Serves the pages on a port of the loopback, a free one for 0. Raises OSError where that is taken."""

    daemon_threads = True

    def __init__(self, pages: Pages, port: int = 0) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self.pages = pages
        self.guard = Guard(f"quilt-ui-{self.server_port}")
        self.files = _static()
        self.documents: dict[str, Callable[[Query], Any]] = {
            "/api/latency": lambda query: pages.latency(query.get("matching", "")),
            "/api/node": lambda query: pages.node(query.get("name", "")),
        }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report defects, and not that a browser left."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """The address of the first visit, with the token."""
        return f"http://{LOOPBACK}:{self.server_port}/?token={self.guard.token}"


class _Handler(BaseHTTPRequestHandler):
    """One connection; `server` is a Server."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT

    def do_GET(self) -> None:  # a name of http.server
        """Answer a request of a browser that is let in."""
        if not self.server.guard.admits(self.path, self.headers):
            text = "Open the address that `quiltctl ui` printed: its token is missing here, or another one.\n"
            self._send(HTTPStatus.FORBIDDEN, "text/plain", text.encode())
            return
        target = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(target.query).items()}
        if target.path == "/api/changes":
            self._stream(query)
        elif target.path in self.server.documents:
            self._document(self.server.documents[target.path], query)
        elif target.path in self.server.files:
            self._send(HTTPStatus.OK, *self.server.files[target.path])
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"There is no such page.\n")

    def _refuse(self) -> None:
        """Nothing is changed from here: all but reading is refused."""
        self.close_connection = True
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"Only GET is answered.\n", Allow="GET")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815  # names of http.server

    def _document(self, answer: Callable[[Query], Any], query: Query) -> None:
        try:
            found, status = answer(query), HTTPStatus.OK
        except (StoppedError, ApiError, UnreachableError) as error:
            found, status = {"error": str(error)}, HTTPStatus.BAD_GATEWAY
        self._send(status, _JSON, msgspec.json.encode(found))

    def _stream(self, query: Query) -> None:
        """Send changes as they come (server-sent events), from the version that the browser has seen."""
        seen = self.headers.get("Last-Event-ID") or query.get("since", "")
        since = int(seen) if seen.isdecimal() else 0
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while True:
                found = self.server.pages.changes(since, _PATIENCE)
                if found is None:
                    self.wfile.write(b":\n\n")
                    continue
                since = found.version
                self.wfile.write(b"id: %d\ndata: %b\n\n" % (since, msgspec.json.encode(found)))
        except OSError:
            return  # The browser is gone.

    def _send(self, status: HTTPStatus, kind: str, content: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.guard.introduced(self.path) and status == HTTPStatus.OK:
            self.send_header("Set-Cookie", self.server.guard.set_cookie())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def end_headers(self) -> None:
        """End the head, with what every answer carries."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        """What serves; no versions."""
        return "quiltctl"

    def log_message(self, *_: object) -> None:
        """Stay silent: the terminal is the user's."""


def _static() -> dict[str, tuple[str, bytes]]:
    """The files by their paths, `/` for the page, each with its type."""
    found = {}
    for file in (files("quilt_cli.ui") / "static").iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            found["/" if file.name == "index.html" else f"/{file.name}"] = (kind, file.read_bytes())
    return found
