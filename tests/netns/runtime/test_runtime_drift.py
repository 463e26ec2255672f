"""What others break on the node is put right by itself; what is right is never touched."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from quilt_proto import node_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, eventually, ping, show, veths

REPAIRED = "quilt_runtime_drift_repairs_total"


@pytest.fixture
def pods(ready_node: Node, make_netns: Callable[[], Namespace]) -> tuple[Namespace, str, Namespace, str]:
    one, two = make_netns(), make_netns()
    return one, ready_node.add_pod(one), two, ready_node.add_pod(two)


def repaired(node: Node, kind: str) -> bool:
    return node.metric(f'{REPAIRED}{{kind="{kind}"}}') >= 1


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("ip link del quilt0", "bridge"),
        ("ip addr del 10.42.1.1/24 dev quilt0", "bridge_address"),
        ("ip addr flush dev quilt0", "bridge_address"),
        ("ip link set quilt0 down", "bridge_settings"),
        ("ip link set quilt0 mtu 1200", "bridge_settings"),
        ("ip link set quilt0 address 02:00:00:00:00:01", "bridge_settings"),
        ("ip link set qv0a2a0102 nomaster", "port"),
        ("ip link set qv0a2a0102 down", "port"),
        ("bridge link set dev qv0a2a0102 hairpin off", "port"),
        ("sysctl -qw net.ipv4.ip_forward=0", "ipv4/ip_forward"),
        ("sysctl -qw net.ipv4.conf.quilt0.forwarding=0", "ipv4/conf/quilt0/forwarding"),
        ("nft delete table inet quilt", "table"),
        ("nft flush ruleset", "table"),
        ("nft flush chain inet quilt postrouting", "table"),
    ],
)
def test_it_is_repaired_and_counted(
    ready_node: Node, pods: tuple[Namespace, str, Namespace, str], command: str, kind: str
) -> None:
    one, first, two, second = pods
    before = (show(ready_node.netns, "link", "show", "dev", "quilt0")[0]["address"], table(ready_node))
    ready_node.netns.run(*command.split())
    eventually(lambda: repaired(ready_node, kind), f"{kind} is repaired:\n{ready_node.log}")
    assert [event["kind"] for event in ready_node.events("drift_repaired")].count(kind) >= 1
    assert ready_node.config.GetStatus(node_pb2.GetStatusRequest()).repairs[kind] >= 1
    ping(one, second)
    ping(two, first)
    ping(ready_node.netns, first)
    after = (show(ready_node.netns, "link", "show", "dev", "quilt0")[0]["address"], table(ready_node))
    assert after == before


def table(node: Node) -> str:
    return node.netns.run("nft", "--stateless", "list", "table", "inet", "quilt")


@pytest.mark.kernel
def test_an_address_of_an_earlier_subnet_is_removed(ready_node: Node) -> None:
    """FIELD-BUGS 2: a node gets another subnet, the old bridge address stays."""
    ready_node.netns.run("ip", "addr", "add", "10.42.9.1/24", "dev", "quilt0")
    eventually(lambda: repaired(ready_node, "bridge_address"), "the stray address is removed")
    (link,) = show(ready_node.netns, "-4", "addr", "show", "dev", "quilt0")
    assert [address["local"] for address in link["addr_info"]] == ["10.42.1.1"]


def test_what_is_foreign_is_left_alone(ready_node: Node) -> None:
    ready_node.netns.run("ip", "link", "add", "br7", "type", "bridge")
    ready_node.netns.run("nft", "-f", "-", stdin="table inet other { chain c { tcp dport 1 drop; }; }")
    ready_node.netns.run("ip", "link", "del", "quilt0")
    eventually(lambda: repaired(ready_node, "bridge"), "the bridge is back")
    assert "tcp dport 1 drop" in ready_node.netns.run("nft", "list", "table", "inet", "other")
    assert show(ready_node.netns, "link", "show", "dev", "br7")


@contextmanager
def changes(node: Node) -> Iterator[Callable[[], list[str]]]:
    """Record what changes of links, addresses and routes; calling what it yields returns the lines so far."""
    log = node.directory / "monitor"
    command = ["ip", "netns", "exec", node.netns.name, "ip", "monitor", "link", "address", "route", "nexthop"]
    with log.open("wb") as out:
        monitor = subprocess.Popen(command, stdout=out)
    mtus = count(60000)

    def marked() -> bool:
        mark = f"mtu {next(mtus)}"
        node.netns.run("ip", "link", "set", "lo", *mark.split())
        return mark in log.read_text()

    def lines() -> list[str]:
        eventually(marked, "a change of the test's own shows in the record")
        return log.read_text().splitlines()

    try:
        lines()
        yield lines
    finally:
        monitor.kill()
        monitor.wait()


@pytest.mark.kernel
def test_nothing_is_written_when_nothing_differs(
    ready_node: Node, make_netns: Callable[[], Namespace]
) -> None:
    """FIELD-BUGS 9: rules flushed at restart; and everything else that a restart might disturb."""
    config = node_pb2.ConfigureRequest(
        cluster_cidrs=["10.42.0.0/16"], mtu=1450, vxlan_port=4789, overlay_sources=["198.18.0.2"]
    )
    assert ready_node.config.Configure(config).success
    # When this delay is over, 15 s after a port came up, the kernel tells of the port once more (its
    # br_forward_delay_timer_expired), though it forwarded all the time. Without a delay there is no timer.
    ready_node.netns.run("ip", "link", "set", "quilt0", "type", "bridge", "forward_delay", "0")
    one, two = make_netns(), make_netns()
    ready_node.add_pod(one)
    ping(one, ready_node.add_pod(two))
    for device in ("quilt0", *veths(ready_node)):
        # What the kernel tells of a link's state up to a second later, it tells at once when it is asked for
        # the state; before Linux 6.1 it does not, but the state is not shown either until it was reported.
        ready_node.netns.run("ethtool", device)
        eventually(
            lambda device=device: show(ready_node.netns, "link", "show", device)[0]["operstate"] == "UP",
            f"{device} is up",
        )
    with changes(ready_node) as lines:
        ready_node.stop()
        ready_node.start()
        ready_node.give_subnet()
        assert ready_node.config.Configure(config).success
        assert [line for line in lines() if "quilt0" in line or "qv" in line] == []
        assert ready_node.events("drift_repaired") == []
        ready_node.netns.run("ip", "link", "set", "quilt0", "mtu", "1400")
        assert any("quilt0" in line for line in lines()), "the record does show a change"


def test_the_bridge_keeps_its_mtu_whatever_its_ports_have(
    ready_node: Node, make_netns: Callable[[], Namespace]
) -> None:
    pod = make_netns()
    ready_node.add_pod(pod, mtu=1300)
    assert show(ready_node.netns, "link", "show", "dev", "quilt0")[0]["mtu"] == 1450
