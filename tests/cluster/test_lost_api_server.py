"""One of two API servers disappears silently while a node dies.

The withdrawal reaches all the same the kernel of a node that watches this very server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from quilt_devcluster import Cluster
from quilt_devcluster.plan import API_PORT
from tests.support.mesh import NAMESPACE, Mesh, Pod, all_up, until
from tests.support.node_life import container_pid, led_from_elsewhere, renewals

_MUCH = 30_000
"""Bytes that come by no other connection of an agent within seconds."""
ALMOST_DOWN = 18.0
"""Seconds after a node's last heartbeat: it is withdrawn after 30, while the watch is dead."""


def received(mesh: Mesh, node: str) -> dict[str, int]:
    """{local port: bytes received} of the connections of a node's agent."""
    _, pid = container_pid(mesh, mesh.system_pod("node", node), "agent")
    lines = mesh.on(node, "ss", "-HtnipO", "state", "established").splitlines()
    found = {}
    for words in (line.split() for line in lines if f"pid={pid}," in line):
        count = next((word for word in words if word.startswith("bytes_received:")), "bytes_received:0")
        found[words[2].rpartition(":")[2]] = int(count.partition(":")[2])
    return found


def claims_ports(mesh: Mesh, node: str) -> list[str]:
    """Local port of the connection on which an agent watches the claims: what a claim holds comes by it.

    Empty when that watch was begun again meanwhile.
    """
    claim = ("quiltsubnet", mesh.subnets()[node]["metadata"]["name"])
    before = received(mesh, node)
    mesh.kubectl("annotate", *claim, f"quilt.io/touched={'x' * _MUCH}", "--overwrite")

    def grown() -> list[str]:
        after = received(mesh, node)
        return [port for port, count in after.items() if count >= before.get(port, count) + _MUCH]

    try:
        return until("a connection brought the claim", grown, timeout=20)
    except AssertionError:
        return []
    finally:
        mesh.kubectl("annotate", *claim, "quilt.io/touched-")


def watcher_of(mesh: Mesh, server: str, node: str) -> None:
    """Have the agent of a node watch the claims at the API server of a machine."""
    at_home = f"{mesh.cluster.node_ip(node)}:"

    def there() -> bool:
        lines = mesh.on(server, "ss", "-Htn", "sport", "=", f":{API_PORT}").splitlines()
        peers = {line.split()[4].removeprefix("[::ffff:").replace("]", "") for line in lines}
        ports = claims_ports(mesh, node)
        if not ports or any(at_home + port in peers for port in ports):
            return bool(ports)
        # A new Pod, as a container that is killed again and again waits longer each time.
        gone = mesh.system_pod("node", node)["metadata"]["name"]
        mesh.kubectl("delete", "pod", "-n", NAMESPACE, gone)
        until("the agent is back", lambda: all_up(mesh), timeout=120, every=0.5)
        return False

    until(f"the agent of {node} watches {server}", there, timeout=240)


@pytest.fixture
def victim(mesh: Mesh, pods: dict[str, Pod]) -> str:
    """A node beside those that carry the shared pods."""
    node = next((node for node in mesh.nodes() if node not in pods), None) or mesh.cluster.add_node()
    until("every node is Up", lambda: all_up(mesh), timeout=120, every=0.5)
    led_from_elsewhere(mesh, node)
    return node


@contextmanager
def dead(mesh: Mesh, node: str) -> Iterator[None]:
    """Its power is cut; it is alive again afterwards."""
    mesh.cluster.kill_node(node)
    try:
        yield
    finally:
        mesh.cluster.wait_api()
        mesh.cluster.start_node(node)
        until("every node is Up again", lambda: all_up(mesh), timeout=180, every=0.5)


@contextmanager
def cut_off(cluster: Cluster, server: str) -> Iterator[None]:
    """Neither FIN nor RST is sent, and nobody answers."""
    cluster.cut_off_apiserver(server)
    try:
        yield
    finally:
        cluster.restore_apiserver(server)


@contextmanager
def frozen(cluster: Cluster, server: str) -> Iterator[None]:
    """The kernel acknowledges, the API server says nothing."""
    cluster.pause_program(cluster.apiservers[server])
    try:
        yield
    finally:
        cluster.resume_program(cluster.apiservers[server])


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("lose", "patience"), [(cut_off, 30.0), (frozen, 90.0)], ids=["cut off", "frozen"])
def test_a_withdrawal_reaches_a_node_whose_api_server_went_without_a_word(
    mesh: Mesh,
    pods: dict[str, Pod],
    victim: str,
    lose: Callable[[Cluster, str], AbstractContextManager[None]],
    patience: float,
) -> None:
    """t5: A dead node's withdrawal reaches a node whose API server was cut off, or hangs."""
    _, server = mesh.cluster.apiservers
    watcher = next(node for node in reversed(pods) if node not in mesh.cluster.apiservers)
    cidr = mesh.subnets()[victim]["spec"]["cidr"]
    watcher_of(mesh, server, watcher)

    def knows() -> bool:
        return bool(mesh.on(watcher, "ip", "route", "show", cidr))

    with dead(mesh, victim):
        last = max(renewals(mesh, victim))
        time.sleep(max(0.0, last + ALMOST_DOWN - time.time()))
        assert knows()
        lost = time.monotonic()
        with lose(mesh.cluster, server):
            until("it is withdrawn", lambda: mesh.subnets()[victim]["mesh"]["phase"] == "Down", timeout=150)
            withdrawn = time.monotonic()
            until("the withdrawal arrives", lambda: not knows(), timeout=patience)
            arrived = time.monotonic()
    print(f"withdrawn {withdrawn - lost:.0f} s after the loss, arrived {arrived - withdrawn:.0f} s later")
