"""Watches of Leases that break at any point, in any way: every renewal is noticed."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quilt_kube.access import Access
from quilt_kube.backoff import Backoff
from quilt_operator.api import following
from quilt_operator.api.leases import LeaseWatch

# An ERROR of this code after the events, a line that nobody understands, half a line, or just the end.
ENDS = (410, 500, 504, "garbage", "half", "over")
NODES = [f"node-{number}" for number in range(12)]


class Server:
    """Leases, of which each watch but the last tells some renewals in one write and then ends."""

    def __init__(self, plan: Sequence[tuple[int, str | int]]) -> None:
        self._plan = list(plan)
        self._version = 10
        self._history: list[tuple[int, str]] = []
        self._at_the_end = 0
        self.leases = dict.fromkeys(NODES, 10)
        self.over = threading.Event()

    @property
    def renewed(self) -> set[str]:
        """Names of the Leases that were renewed, each once."""
        return {name for _, name in self._history}

    def list(self) -> bytes:
        items = [_lease(name, version) for name, version in self.leases.items()]
        return json.dumps({"metadata": {"resourceVersion": str(self._version)}, "items": items}).encode()

    def watch(self, since: int) -> bytes:
        count, end = self._plan.pop(0) if self._plan else (0, "")
        done = len(self._history)
        for name in NODES[done : done + count]:
            self._version += 1
            self.leases[name] = self._version
            self._history.append((self._version, name))
        lines = [
            json.dumps({"type": "MODIFIED", "object": _lease(name, version)}) + "\n"
            for version, name in self._history
            if version > since
        ]
        if isinstance(end, int):
            lines.append(json.dumps({"type": "ERROR", "object": {"code": end}}) + "\n")
        lines += {"garbage": ["}{\n"], "half": ['{"type"']}.get(str(end), [])
        self._at_the_end += not end
        if self._at_the_end > 1:  # what the first such watch reported was received
            self.over.set()
        return "".join(lines).encode()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # http.server's name
                fields = dict(parse_qsl(self.path.partition("?")[2]))
                watch = "watch" in fields
                body = server.watch(int(fields["resourceVersion"])) if watch else server.list()
                self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + body)

        return Handler


def _lease(name: str, version: int) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": str(version)},
        "spec": {"renewTime": f"at {version}"},
    }


def noticed(server: Server) -> set[str]:
    """Names whose renewal a LeaseWatch reported, by the time the server has no more to tell."""
    renewed: list[str] = []
    with (
        pytest.MonkeyPatch.context() as patch,
        ThreadingHTTPServer(("127.0.0.1", 0), server.handler()) as served,
    ):
        patch.setattr(following, "_EVERY", 0.002)
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        access = Access(f"http://127.0.0.1:{served.server_port}")
        watch = LeaseWatch(access, "leases", renewed.extend, lambda: None)
        watch._backoff = Backoff(0.001, 0.002)
        watch.start()
        assert server.over.wait(60)
        watch.stop()
        watch.join()
        served.shutdown()
    return set(renewed)


@settings(max_examples=20)
@given(plan=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(ENDS)), max_size=6))
def test_no_renewal_is_lost_by_a_broken_watch(plan: list[tuple[int, str | int]]) -> None:
    """t7: However the operator's watches of Leases break, it notices every renewal."""
    server = Server(plan)
    assert noticed(server) == server.renewed


def test_renewals_that_come_together_with_an_error_count() -> None:
    """t7: A renewal that one read delivers together with an ERROR counts for the operator."""
    assert noticed(Server([(2, 500)])) == set(NODES[:2])
