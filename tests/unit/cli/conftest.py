"""The shared modules of these tests are found beside them: importlib imports put no folder on the path."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.support.cli_fakeapi import FakeApi


@pytest.fixture
def api() -> Iterator[FakeApi]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            path, query = urlsplit(self.path)[2:4]
            known = {**fake.answers, **fake.selected} if "labelSelector" in query else fake.answers
            fake.seen.append((self.command, self.path, dict(self.headers)))
            status, body = known.get(path, (404, {"message": f"{path} not found"}))
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815  # names of http.server

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake = FakeApi(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()
