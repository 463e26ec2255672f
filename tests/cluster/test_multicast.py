"""Multicast between ordinary pods of three nodes: who gets what, once; agents that die; turned off again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.mesh import ROOT, SOON, Mesh, Pod, all_up, install, pod_manifest, until
from tests.support.node_life import phases

GROUP = "239.129.1.1"
ALIAS = "224.1.1.1"
LEFT = "239.129.1.9"
# No stream runs yet, and one node after the other would take three times as long.
AT_ONCE = "node.maxUnavailable=100%"
# A node is Down soon after its agent falls silent, whatever its kubelet says.
HEARTBEAT = "network.heartbeat.source=Agent,network.heartbeat.interval=2s,network.heartbeat.timeout=10s"
SCRIPT = ROOT / "tests/support/multicast_pod.py"


@dataclass(frozen=True)
class Talker:
    """A pod that runs multicast_pod.py, spoken to from its node."""

    mesh: Mesh
    pod: Pod

    def post(self, path: str) -> dict[str, Any]:
        return self._curl("-X", "POST", f"http://{self.pod.ip}:8080{path}")

    def report(self) -> dict[str, Any]:
        return self._curl(f"http://{self.pod.ip}:8080/report")

    def received(self, group: str, source: Talker) -> tuple[int, int]:
        """(packets, distinct packets) of a group from a pod."""
        count, distinct, _ = self.report()["received"].get(group, {}).get(source.pod.ip, [0, 0, 0])
        return int(count), int(distinct)

    def _curl(self, *arguments: str) -> dict[str, Any]:
        text = self.mesh.on(self.pod.node, "curl", "-sf", "-m", "10", *arguments)
        answer: dict[str, Any] = json.loads(text)
        assert "error" not in answer, answer
        return answer


def metric(mesh: Mesh, node: str, name: str) -> float:
    text = mesh.on(node, "curl", "-sf", "http://127.0.0.1:9470/metrics")
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def copies(mesh: Mesh, talker: Talker) -> float:
    """Entries of the VXLAN device of a pod's node."""
    return metric(mesh, talker.pod.node, "quilt_multicast_copies")


def agent(mesh: Mesh, node: str) -> str:
    """Process id of a node's agent; empty while none runs."""
    return mesh.on(node, "pgrep", "-x", "quilt-agent", check=False).strip()


def successor_of(process: str, now: str) -> str:
    """The process id if it is another one's."""
    return "" if now == process else now


def vxlan_packets(mesh: Mesh, node: str) -> int:
    """Received and sent by the node's VXLAN device, agents' own few included."""
    files = "/sys/class/net/vxlan100/statistics/rx_packets /sys/class/net/vxlan100/statistics/tx_packets"
    return sum(int(line) for line in mesh.on(node, "sh", "-c", f"cat {files}").split())


@pytest.fixture(scope="module")
def talkers(mesh: Mesh) -> Iterator[dict[str, Talker]]:
    """Multicast turned on, and pods without any capability: two on the first node, one on each other."""
    install(mesh, "network.multicast.enabled=true", AT_ONCE, HEARTBEAT)
    nodes = mesh.nodes()[:3]
    placed = {"mc-1": nodes[0], "mc-1b": nodes[0], "mc-2": nodes[1], "mc-2b": nodes[1], "mc-3": nodes[2]}
    for name, node in placed.items():
        manifest = pod_manifest(name, node, {"app": "multicast"})
        container = manifest["spec"]["containers"][0]
        container["command"] = ["python3", "-c", SCRIPT.read_text()]
        container["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        mesh.apply(manifest)
    yield {name: Talker(mesh, mesh.running(name)) for name in placed}
    mesh.delete_pods(*placed)
    install(mesh, AT_ONCE)
    install(mesh)
    for node in nodes:
        until("nothing of multicast is left", lambda node=node: nothing_left(mesh, node), timeout=60)


def nothing_left(mesh: Mesh, node: str) -> bool:
    details = mesh.on(node, "ip", "-d", "link", "show", "quilt0")
    rules = mesh.on(node, "sh", "-c", "ip mrule list; nft list table inet quilt")
    return "mcast_querier 0" in details and "8181" not in rules and '"multicast_from_pod" drop' not in rules


def test_every_member_gets_the_stream_once_and_no_one_else(mesh: Mesh, talkers: dict[str, Talker]) -> None:
    sender, same_node, far, far_too, bystander = talkers.values()
    members = (same_node, far, far_too)
    for member in members:
        member.post(f"/join?group={GROUP}")
    far.post(f"/listen?group={ALIAS}")
    # The third node has a member of a group with the same MAC, and a listener that did not join.
    bystander.post(f"/join?group={ALIAS}")
    bystander.post(f"/listen?group={GROUP}")
    until(
        "members are known",
        lambda: metric(mesh, sender.pod.node, 'quilt_multicast_groups{where="remote"}') == 2,
        30,
    )
    sender.post("/reset")
    before = vxlan_packets(mesh, bystander.pod.node)
    began = time.monotonic()
    # While an agent is asked what to do with a new flow the kernel keeps four of its packets: slowly first.
    sender.post(f"/stream?group={GROUP}&rate=5")
    for member in (far, far_too):
        until("the flow is known", lambda member=member: member.received(GROUP, sender)[0], 30)
    sender.post("/stop")
    sender.post(f"/stream?group={GROUP}&rate=500")
    until("so many are sent", lambda: sender.report()["sent"][GROUP] >= 1000, 30)
    sender.post("/stop")
    sent = sender.report()["sent"][GROUP]
    for member in members:
        until("everything has arrived", lambda member=member: member.received(GROUP, sender)[0] >= sent, 10)
        assert member.received(GROUP, sender) == (sent, sent)
    assert bystander.received(GROUP, sender) == bystander.received(ALIAS, sender) == (0, 0)
    assert far.received(ALIAS, sender) == (0, 0)
    # Agents' own datagrams: a digest a second to and from each of two or three peers.
    crossed = vxlan_packets(mesh, bystander.pod.node) - before
    assert crossed < 20 * (time.monotonic() - began)


def test_a_pods_interface_says_whose_it_is(mesh: Mesh, talkers: dict[str, Talker]) -> None:
    """By this the agent knows whose namespace participates."""
    for name, talker in talkers.items():
        assert f"alias default/{name}\n" in mesh.on(talker.pod.node, "ip", "link", "show", "type", "veth")


def test_the_last_leave_ends_replication(mesh: Mesh, talkers: dict[str, Talker]) -> None:
    sender, _, far, far_too, _ = talkers.values()
    sender.post(f"/stream?group={GROUP}&rate=200")
    until("a copy is made", lambda: copies(mesh, sender) == 1, 30)
    far.post(f"/leave?group={GROUP}")
    far_too.post(f"/leave?group={GROUP}")
    until("no copy is left", lambda: copies(mesh, sender) == 0, SOON)
    sender.post("/stop")


def test_a_killed_agent_recovers_under_load(mesh: Mesh, talkers: dict[str, Talker]) -> None:
    """Sender's and member's; who leaves while the agent is away has no copy afterwards."""
    sender, _, far, far_too, third = talkers.values()
    far.post(f"/join?group={GROUP}")
    sender.post(f"/stream?group={GROUP}&rate=100")
    sender.post(f"/stream?group={LEFT}&rate=50")
    for victim, quitter in ((sender, third), (far, far_too)):
        node = victim.pod.node
        quitter.post(f"/join?group={LEFT}")
        until("both streams are copied", lambda: copies(mesh, sender) == 2, 30)
        far.post("/reset")
        process = agent(mesh, node)
        mesh.on(node, "kill", "-9", process)
        quitter.post(f"/leave?group={LEFT}")
        until("another runs", lambda: successor_of(process, agent(mesh, node)), 40, every=0.02)  # noqa: B023
        until("no stale copy is left", lambda: copies(mesh, sender) == 1, SOON)
        until("every node is in sync", lambda: all_up(mesh), 60)
        came, _, lost = far.report()["received"][GROUP][sender.pod.ip]
        # The runtime keeps the kernel's table: the stream does not even pause.
        assert lost < 100
        until("the stream continues", lambda: far.received(GROUP, sender)[0] > came, SOON)  # noqa: B023
    sender.post("/stop")


def test_members_of_a_node_that_is_down_are_purged(mesh: Mesh, talkers: dict[str, Talker]) -> None:
    sender, _, _, _, third = talkers.values()
    third.post(f"/join?group={GROUP}")
    sender.post(f"/stream?group={GROUP}&rate=100")
    until("both nodes get a copy", lambda: copies(mesh, sender) == 2, 30)
    node = third.pod.node
    process = agent(mesh, node)
    with phases(mesh, node) as seen:
        until("the watch runs", lambda: "Up" in seen, timeout=120)
        mesh.on(node, "kill", "-STOP", process)
        try:
            until("the node is Down", lambda: "Down" in seen, timeout=25, every=0.02)
            until("one copy is left", lambda: copies(mesh, sender) == 1, SOON)
        finally:
            mesh.on(node, "kill", "-CONT", process)
    until("it is back", lambda: copies(mesh, sender) == 2, 60)
    until("every node is in sync", lambda: all_up(mesh), 60)
    sender.post("/stop")
