"""Connectivity: who is asked what, and what failed answers come to."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from quilt_cli.connectivity import manifests
from quilt_cli.core.matrix import Answer, Matrix, Server, Services, Source, Target, findings, targets

SERVERS = (Server("a", ("10.42.1.2",), "192.0.2.1"), Server("b", ("10.42.2.2", "fd42::2"), "192.0.2.2"))
SERVICES = Services("10.96.0.9", "probe.ns.svc")


def matrix(*given: Answer) -> Matrix:
    return Matrix(SERVERS, {Source("a"): given})


def test_a_pod_asks_every_server_both_ways_every_host_the_service_and_its_name() -> None:
    asked = targets(Source("a"), SERVERS, SERVICES, 8471)
    assert [(item.label, item.way, item.host) for item in asked] == [
        ("a", "tcp", "10.42.1.2"),
        ("a", "udp", "10.42.1.2"),
        ("b", "tcp", "10.42.2.2"),
        ("b", "udp", "10.42.2.2"),
        ("b", "tcp", "fd42::2"),
        ("b", "udp", "fd42::2"),
        ("a", "knock", "192.0.2.1"),
        ("b", "knock", "192.0.2.2"),
        ("Service", "tcp", "10.96.0.9"),
        ("DNS", "name", "probe.ns.svc"),
    ]


def test_a_host_asks_pods_alone_and_nobody_asks_what_the_cluster_lacks() -> None:
    assert {item.way for item in targets(Source("a", host=True), SERVERS, SERVICES, 1)} == {"tcp", "udp"}
    assert {item.label for item in targets(Source("a"), SERVERS, Services(), 1)} == {"a", "b"}


@pytest.mark.parametrize(
    ("label", "way", "code", "todo"),
    [
        ("b", "tcp", "pair", "UDP 4789 pass from 192.0.2.1 to 192.0.2.2"),
        ("a", "tcp", "pair", "bridge quilt0"),
        ("b", "udp", "mtu", "MTU"),
        ("b", "knock", "host", "firewall"),
        ("Service", "tcp", "service", "kube-proxy"),
        ("DNS", "name", "dns", "kube-dns"),
    ],
)
def test_a_failed_answer_points_at_its_likely_cause(label: str, way: str, code: str, todo: str) -> None:
    found = matrix(Answer(label, way, "x", 1, ok=False, error="timed out"))
    (finding,) = findings(found)
    assert finding.code == code
    assert todo in finding.todo
    assert "timed out" in finding.message
    assert not found.ok


def test_a_source_that_never_answered_is_a_failure() -> None:
    found = Matrix(SERVERS, {}, {"node c": "its test server does not run"})
    assert not found.ok
    assert [item.about for item in findings(found)] == ["node c"]


def test_manifests_keep_within_what_restricted_namespaces_allow() -> None:
    pod = manifests.servers("image")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert "hostNetwork" not in pod
    host = manifests.asker("host-0", Source("a", host=True), "image", [])
    assert host["spec"]["hostNetwork"]
    assert host["spec"]["nodeName"] == "a"


@pytest.fixture
def server_port() -> Iterator[int]:
    """A real echo server on loopback, run as in a pod."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = manifests.servers("image")["spec"]["template"]["spec"]["containers"][0]["command"]
    server = subprocess.Popen([sys.executable, *command[1:-1], str(port)])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            break
        except OSError:
            assert server.poll() is None
    yield port
    server.kill()
    server.wait()


def test_the_probe_itself_answers_and_asks(server_port: int) -> None:
    # Bound while it is asked, and never listening: nobody else can come to answer there.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
        asked = [
            Target("a", "tcp", "127.0.0.1", server_port),
            Target("a", "udp", "127.0.0.1", server_port),
            Target("a", "knock", "127.0.0.1", nobody),
            Target("a", "name", "localhost", server_port),
            Target("b", "tcp", "127.0.0.1", nobody),
        ]
        container = manifests.asker("pod-0", Source("a"), "image", asked)["spec"]["containers"][0]
        env = {item["name"]: item["value"] for item in container["env"]} | {"QUILT_ATTEMPTS": "5"}
        command = [sys.executable, *container["command"][1:]]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60)
    found = msgspec.json.decode(done.stdout.splitlines()[-1], type=list[Answer])
    assert [answer.ok for answer in found] == [True, True, True, True, False]
    assert (found[1].mtu or 0) > 1000
    assert "refused" in found[4].error
