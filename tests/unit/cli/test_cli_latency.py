"""Latency: each direction by the end that knows it, and what fails by name."""

from __future__ import annotations

import threading
from socket import create_server

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from quilt_cli.commands.latency import show
from quilt_cli.core.finding import EXIT_CANNOT_TELL, EXIT_HEALTHY, EXIT_PROBLEMS
from quilt_cli.core.latency import Measured, Peer, measured, report
from quilt_cli.core.status import report as status
from quilt_cli.main import cli
from quilt_crds.wire import Condition, QuiltNode
from quilt_probes.core.view import NodeView, PeerView
from tests.support import cli_snapshots as some


def node(name: str, *peers: Peer) -> Measured:
    return Measured(name, peers)


def well(name: str, **changed: object) -> Peer:
    return Peer(**{"node": name, "inward": "ok", "outward": "ok", "round_trip": 0.0004} | changed)


def shown(*nodes: Measured) -> str:
    out = Console(width=100, no_color=True, record=True, quiet=True)
    with out.capture() as captured:
        out.quiet = False
        show(report(nodes, {}), out)
    return captured.get()


def test_a_healthy_mesh_is_a_matrix() -> None:
    nodes = (node("a", well("b")), node("b", well("a")))
    found = report(nodes, {})
    assert (found.exit_code, found.healthy, found.findings) == (EXIT_HEALTHY, True, ())
    assert [(path.source, path.target, path.round_trip) for path in found.paths] == [
        ("a", "b", 0.0004),
        ("b", "a", 0.0004),
    ]
    assert "0.40 ms" in shown(*nodes)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"outward": "failing", "inward": "ok"}, {"inward": "unknown", "outward": "unknown"}),
        ({"outward": "unknown"}, {"inward": "failing"}),
    ],
)
def test_a_direction_fails_where_either_end_says_so(a: dict[str, str], b: dict[str, str]) -> None:
    found = report((node("a", well("b", **a)), node("b", well("a", **b))), {})
    assert [(item.code, item.about) for item in found.findings] == [("path-failing", "a → b")]
    assert found.exit_code == EXIT_PROBLEMS


def test_a_narrow_path_is_a_finding_of_its_direction() -> None:
    found = report((node("a", well("b", narrow=True)),), {})
    assert [(item.code, item.about) for item in found.findings] == [("path-mtu", "a → b")]


def test_a_node_that_is_not_asked_is_unknown_and_nothing_known_is_no_health() -> None:
    found = report((Measured("a", (), "network.probes.enabled is false."),), {"b": "no answer"})
    assert [(item.about, item.message) for item in found.findings] == [
        ("Node a", "network.probes.enabled is false."),
        ("Node b", "no answer"),
    ]
    assert (found.exit_code, found.healthy) == (EXIT_CANNOT_TELL, None)


def test_many_nodes_are_the_worst_directions() -> None:
    names = [f"n{index}" for index in range(12)]
    nodes = [node(name, *(well(other) for other in names if other != name)) for name in names]
    assert "The worst 20 of 132 directions" in shown(*nodes)


def test_many_failing_directions_are_some_by_name_and_a_number() -> None:
    peers = [well(f"n{index}", outward="failing") for index in range(30)]
    found = report((node("a", *peers),), {})
    assert len(found.findings) == 11
    assert found.findings[-1].message == "20 more directions fail"


def test_what_agents_serve_is_what_is_read() -> None:
    served = NodeView("a", (PeerView("b", "ok", "failing", True, 0.1, 0.2, None),), "why")
    assert measured(msgspec.json.encode(served)) == Measured(
        "a", (Peer("b", "ok", "failing", True, 0.1, 0.2, None),), "why"
    )


def failing(index: int) -> QuiltNode:
    base = some.mesh_node(index)
    text = f"Probes through the overlay are lost: n{index} → n9."
    held = (*base.status.conditions, Condition("PeersReachable", "False", "ProbesLost", text))
    return msgspec.structs.replace(base, status=msgspec.structs.replace(base.status, conditions=held))


def test_status_names_pair_and_direction_of_few_nodes() -> None:
    found = status(some.healthy(mesh_nodes=(failing(1), some.mesh_node(2), some.mesh_node(3))))
    assert [(item.code, item.about, item.message) for item in found.findings] == [
        ("paths-failing", "QuiltNode n1", "Probes through the overlay are lost: n1 → n9.")
    ]
    many = status(some.healthy(mesh_nodes=tuple(failing(index) for index in range(1, 9))))
    named = [item.message for item in many.findings if item.code == "paths-failing"]
    assert len(named) == 4
    assert named[-1] == "5 more nodes report paths that fail"


def test_here_a_path_that_fails_is_an_answer_and_no_agent_is_none() -> None:
    served = msgspec.json.encode(NodeView("a", (PeerView("b", "ok", "failing", False, 0.0, 1.0, None),)))
    with create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                asked = connection.recv(4096)
                found = b"200 OK" if asked.startswith(b"GET /latency ") else b"404 Not Found"
                head = b"HTTP/1.0 " + found + b"\r\nContent-Type: application/json\r\n\r\n"
                connection.sendall(head + served)

        thread = threading.Thread(target=serve)
        thread.start()
        done = CliRunner().invoke(cli, ["latency", "--here", f"--port={port}", "-o", "json"])
        thread.join()
    assert done.exit_code == EXIT_HEALTHY
    assert measured(done.output.encode()).peers[0].outward == "failing"
    gone = CliRunner().invoke(cli, ["latency", "--here", f"--port={port}"])
    assert gone.exit_code == EXIT_CANNOT_TELL
