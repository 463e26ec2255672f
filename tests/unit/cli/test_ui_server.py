"""The pages' server: who is let in, what every answer carries, what is asked and what comes."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.message import Message
from typing import Any

import pytest

from quilt_cli.core.board import Board, Changes
from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.heat import Heat, heat
from quilt_cli.core.latency import Measured, report
from quilt_cli.core.node_page import NodePage
from quilt_cli.core.status import report as status
from quilt_cli.ui.guard import Guard
from quilt_cli.ui.server import Server
from tests.support import cli_snapshots as some

FILES = ("/", "/app.js", "/style.css", "/icon.svg")
DOCUMENTS = ("/api/latency", "/api/node?name=n1")


class Pages:
    """Pages of a healthy mesh, of which nothing changes until the board is written to."""

    def __init__(self) -> None:
        self.board = Board("test")
        snapshot = some.healthy()
        self.board.show(status(snapshot), snapshot, (), {})

    def changes(self, since: int, seconds: float) -> Changes | None:
        return self.board.since(since) if self.board.version != since else None

    def latency(self, matching: str) -> Heat:
        return heat(report([Measured("n1")], {}), matching)

    def node(self, name: str) -> NodePage:
        raise CannotTellError(f"the mesh has no node {name}")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(Pages()) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def asked(
    server: Server, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)) as connection:
        connection.request(method, path, headers=headers or {})
        yield connection.getresponse()


def cookie(server: Server) -> dict[str, str]:
    return {"Cookie": f"other=1; {server.guard.cookie}={server.guard.token}"}


@pytest.mark.parametrize("path", [*FILES, *DOCUMENTS, "/api/changes", "/nothing"])
@pytest.mark.parametrize("token", ["", "wrong", "another_of_the_same_length_as_a_token_has_x"])
def test_a_missing_or_wrong_token_is_403_whatever_is_asked(server: Server, path: str, token: str) -> None:
    sign = "&" if "?" in path else "?"
    wrong = {"Cookie": f"{server.guard.cookie}={token}"} if token else {}
    for target, headers in ((path, wrong), (f"{path}{sign}token={token}", {})):
        with asked(server, target, headers) as answer:
            assert answer.status == 403
            assert b"quiltctl ui" in answer.read()
            assert "Set-Cookie" not in answer.headers


def test_the_first_visit_sets_a_cookie_that_no_script_and_no_other_site_has(server: Server) -> None:
    with asked(server, server.url.partition(str(server.server_port))[2]) as answer:
        assert answer.status == 200
        kept, *flags = answer.headers["Set-Cookie"].split("; ")
        assert kept == f"{server.guard.cookie}={server.guard.token}"
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(flags)
        assert str(server.server_port) in server.guard.cookie
    for path in FILES:
        with asked(server, path, cookie(server)) as answer:
            assert answer.status == 200
            assert "Set-Cookie" not in answer.headers


def test_the_token_in_an_address_opens_the_page_alone(server: Server) -> None:
    for path in (*FILES[1:], *DOCUMENTS, "/api/changes"):
        with asked(server, f"{path}{'&' if '?' in path else '?'}token={server.guard.token}") as answer:
            assert answer.status == 403


@pytest.mark.parametrize(
    ("host", "admitted"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8080", True),
        ("localhost:1", True),
        ("", False),
        ("rebound.example", False),
        ("rebound.example:80", False),
        ("127.0.0.1.example", False),
        ("127.0.0.1@rebound.example", False),
        ("[::1", False),
    ],
)
def test_only_names_of_this_machine_are_answered(host: str, admitted: bool) -> None:
    guard = Guard("c")
    headers: Message[str, str] = Message()
    headers["Host"] = host
    headers["Cookie"] = f"c={guard.token}"
    assert guard.admits("/", headers) is admitted
    assert guard.admits(f"/?token={guard.token}", headers) is admitted


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_port_has_nothing_fetched_with_the_cookie(server: Server, site: str) -> None:
    with asked(server, "/api/latency", cookie(server) | {"Sec-Fetch-Site": site}) as answer:
        assert answer.status == 403
    with asked(server, "/api/latency", cookie(server) | {"Sec-Fetch-Site": "same-origin"}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("path", ["/", "/api/latency", "/nothing", "/api/changes"])
def test_every_answer_keeps_the_browser_to_what_is_served_here(server: Server, path: str) -> None:
    for headers in (cookie(server), {}):
        with asked(server, path, headers) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self';")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Server"] == "quiltctl"


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_only_get_is_answered(server: Server, method: str) -> None:
    with asked(server, "/", cookie(server), method) as answer:
        assert answer.status in {405, 501}
        assert b"app.js" not in answer.read()


def test_the_port_is_of_the_loopback_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_documents_are_json_and_what_cannot_be_found_out_is_an_error(server: Server) -> None:
    with asked(server, "/api/latency?matching=n", cookie(server)) as answer:
        assert answer.headers["Content-Type"].startswith("application/json")
        found = json.loads(answer.read())
        assert (found["nodes"], found["matching"]) == (["n1"], "n")
    with asked(server, "/api/node?name=n%3C9", cookie(server)) as answer:
        assert answer.status == 502
        assert json.loads(answer.read()) == {"error": "the mesh has no node n<9"}
    with asked(server, "/../server.py", cookie(server)) as answer:
        assert answer.status == 404


def stream(answer: http.client.HTTPResponse) -> tuple[int, dict[str, Any]]:
    """The next event: its version, and its data."""
    lines = iter(answer.readline, b"")
    version = next(int(line[4:]) for line in lines if line.startswith(b"id: "))
    return version, json.loads(next(lines).removeprefix(b"data: "))


def test_changes_are_everything_once_and_then_what_is_other(server: Server) -> None:
    assert isinstance(server.pages, Pages)
    with asked(server, "/api/changes", cookie(server)) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        version, first = stream(answer)
        assert sorted(first["nodes"]["changed"]) == ["n1", "n2", "n3"]
        assert first["overview"]["healthy"] is True
        changed = some.healthy(mesh_nodes=(some.mesh_node(1), some.mesh_node(2, "Down"), some.mesh_node(3)))
        server.pages.board.show(status(changed), changed, (), {})
        newer, second = stream(answer)
    assert newer > version
    assert sorted(second["nodes"]["changed"]) == ["n2"]
    assert second["overview"]["healthy"] is False
    assert "subnets" not in second
    for path, headers in (
        (f"/api/changes?since={version}", {}),
        ("/api/changes", {"Last-Event-ID": str(version)}),
    ):
        with asked(server, path, cookie(server) | headers) as answer:
            assert stream(answer)[1]["nodes"] == second["nodes"]
