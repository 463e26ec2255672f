"""The dataplane of a real cluster: peers on one link without encapsulation; the underlay's MTU followed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.mesh import CHART, NAMESPACE, Mesh, Pod, until


def set_direct_routing(mesh: Mesh, *, on: bool) -> None:
    """Change the setting as its user does: in the chart's values."""
    value = f"network.vxlan.directRouting={str(on).lower()}"
    mesh.cluster.helm("upgrade", "quilt", str(CHART), "-n", NAMESPACE, "--reuse-values", "--set", value)


def way(mesh: Mesh, node: str, address: str) -> str:
    """The interface by which a node sends to an address."""
    found: str = json.loads(mesh.on(node, "ip", "-j", "route", "get", address))[0]["dev"]
    return found


def overlay_packets(mesh: Mesh, node: str) -> int:
    """How many packets a node's VXLAN device has carried, in either direction."""
    statistics = "/sys/class/net/vxlan100/statistics"
    text = mesh.on(node, "cat", f"{statistics}/rx_packets", f"{statistics}/tx_packets")
    return sum(map(int, text.split()))


@contextmanager
def direct_routing(mesh: Mesh) -> Iterator[None]:
    set_direct_routing(mesh, on=True)
    try:
        yield
    finally:
        set_direct_routing(mesh, on=False)


@contextmanager
def loose_reverse_path(mesh: Mesh, nodes: list[str]) -> Iterator[None]:
    """Let packets in by another way than answers leave; strictly filtered they are lost during a change."""
    devices = ("eth0", "vxlan100")

    def set_all(value: int) -> None:
        files = [f"/proc/sys/net/ipv4/conf/{device}/rp_filter" for device in devices]
        for node in nodes:
            mesh.on(node, "sh", "-c", " && ".join(f"echo {value} > {file}" for file in files))

    set_all(2)
    try:
        yield
    finally:
        set_all(1)


def all_by(mesh: Mesh, pods: list[Pod], *, overlay: bool) -> bool:
    """Whether every node sends to every other node's pod by the overlay, or none does."""
    ways = {way(mesh, a.node, b.ip) for a in pods for b in pods if a is not b}
    return ways == {"vxlan100"} if overlay else "vxlan100" not in ways


def test_nodes_on_one_link_need_no_encapsulation(mesh: Mesh, pods: dict[str, Pod]) -> None:
    ends = list(pods.values())[:2]
    assert all_by(mesh, ends, overlay=True)
    # Not a datagram is lost while the way changes, there and back.
    with loose_reverse_path(mesh, [pod.node for pod in ends]), mesh.flow(ends) as flow:
        with direct_routing(mesh):
            until("pods are reached by the link", lambda: all_by(mesh, ends, overlay=False), timeout=60)
            before = [overlay_packets(mesh, pod.node) for pod in ends]
            for one, other in (ends, reversed(ends)):
                for _ in range(20):
                    assert mesh.reaches(one.node, f"http://{other.ip}:8080/")
                assert mesh.http(one, other.ip)
            assert [overlay_packets(mesh, pod.node) for pod in ends] == before
        until("pods are reached by the overlay", lambda: all_by(mesh, ends, overlay=True), timeout=60)
    flow.assert_complete(at_least=100)


def mtu(mesh: Mesh, node: str, device: str) -> int:
    """An interface's MTU."""
    found: int = json.loads(mesh.on(node, "ip", "-j", "link", "show", device))[0]["mtu"]
    return found


def test_a_changed_underlay_mtu_reaches_device_bridge_and_new_pods(mesh: Mesh, pods: dict[str, Pod]) -> None:
    node = next(iter(pods))
    host = mesh.quiltnode(node)["hostIP"]
    addresses = json.loads(mesh.on(node, "ip", "-j", "address", "show"))
    nic = next(a["ifname"] for a in addresses if host in {i["local"] for i in a["addr_info"]})
    usual = mtu(mesh, node, nic)
    mesh.on(node, "ip", "link", "set", nic, "mtu", "1400")
    try:
        for device in ("vxlan100", "quilt0"):
            until(f"{device} follows", lambda name=device: mtu(mesh, node, name) == 1350, timeout=120)
        (pod,) = mesh.start_pods({"narrow": node}).values()
        shown = mesh.kubectl("exec", pod.name, "--", "cat", "/sys/class/net/eth0/mtu")
        assert int(shown) == 1350
        mesh.delete_pods(pod.name)
    finally:
        mesh.on(node, "ip", "link", "set", nic, "mtu", str(usual))
    until("the MTU is as before", lambda: mtu(mesh, node, "quilt0") == usual - 50, timeout=120)
