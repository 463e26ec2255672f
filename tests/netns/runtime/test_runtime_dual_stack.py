"""A node with a subnet of each family: pods have both, at once, and both are kept."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from quilt_proto import node_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, eventually, ping, show

Make = Callable[[], Namespace]
CIDRS = ("10.42.0.0/16", "fd42:42::/48")
SUBNET6 = "fd42:42:0:1::/64"
FORWARDING = "net.ipv6.conf.all.forwarding"


def configure(node: Node, subnet6: str = SUBNET6) -> str:
    request = node_pb2.ConfigureRequest(cluster_cidrs=CIDRS, subnet_v6=subnet6)
    error: str = node.config.Configure(request).error
    return error


@pytest.fixture
def dual(ready_node: Node) -> Node:
    assert configure(ready_node) == ""
    return ready_node


@pytest.mark.kernel
def test_pods_reach_each_other_the_gateway_and_the_node_at_once(dual: Node, make_netns: Make) -> None:
    one, two = make_netns(), make_netns()
    dual.add_pod(one)
    result = dual.cni("ADD", two.name, two.path, version="1.1.0")
    ping(one, "fd42:42:0:1::3", "-6")
    ping(two, "fd42:42:0:1::2", "-6", "-M", "do", "-s", str(1450 - 48))
    ping(one, "fd42:42:0:1::1", "-6")
    ping(dual.netns, "fd42:42:0:1::2", "-6")
    for netns, device in ((one, "eth0"), (two, "eth0"), (dual.netns, "quilt0")):
        (link,) = show(netns, "-6", "addr", "show", "dev", device)
        (held,) = (address for address in link["addr_info"] if address["local"].startswith("fd42:"))
        assert held["nodad"], "duplicate address detection lasts a second"
    ips = [(ip["address"], ip["gateway"]) for ip in result.document["ips"]]
    assert ips == [("10.42.1.3/32", "10.42.1.1"), ("fd42:42:0:1::3/128", "fd42:42:0:1::1")]
    assert {route["dst"] for route in result.document["routes"]} == {"0.0.0.0/0", "::/0"}


def test_forwarding_leaves_the_hosts_own_router_advertisements_on(ready_node: Node, make_netns: Make) -> None:
    netns = ready_node.netns
    netns.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "far")
    assert netns.run("sysctl", "-n", FORWARDING).strip() == "0"
    before = netns.run("sysctl", "-n", "net.ipv6.conf.far.accept_ra").strip()
    netns.run("sysctl", "-qw", "net.ipv6.conf.far.accept_ra=0")
    assert configure(ready_node) == ""
    assert netns.run("sysctl", "-n", FORWARDING).strip() == "1"
    assert (before, netns.run("sysctl", "-n", "net.ipv6.conf.uplink.accept_ra").strip()) == ("1", "2")
    assert netns.run("sysctl", "-n", "net.ipv6.conf.far.accept_ra").strip() == "0"
    assert netns.run("sysctl", "-n", "net.ipv6.conf.quilt0.accept_ra").strip() == "0"


@pytest.mark.kernel
def test_a_node_without_ipv6_is_as_ever(ready_node: Node, make_netns: Make) -> None:
    pod = make_netns()
    result = ready_node.cni("ADD", pod.name, pod.path)
    assert len(result.document["ips"]) == len(result.document["routes"]) == 1
    # A kernel without IPv6 has no such switch.
    assert ready_node.netns.run("sysctl", "-n", "-e", FORWARDING).strip() in ("0", "")
    (link,) = show(ready_node.netns, "addr", "show", "dev", "quilt0")
    assert [a["family"] for a in link["addr_info"]] == ["inet"]
    table = ready_node.netns.run("nft", "list", "table", "inet", "quilt")
    assert 'redirect_to_pod" drop' not in table
    assert "@cluster_v6" not in table


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("ip -6 addr del fd42:42:0:1::1/64 dev quilt0", "bridge_address"),
        ("ip -6 addr del fe80::1/64 dev quilt0", "bridge_address"),
        ("ip -6 addr flush dev quilt0", "bridge_address"),
        ("ip link del quilt0", "bridge_address"),
        ("ip link set quilt0 down", "bridge_address"),
        (f"sysctl -qw {FORWARDING}=0", "ipv6/conf/all/forwarding"),
        ("sysctl -qw net.ipv6.conf.quilt0.disable_ipv6=1", "ipv6/conf/quilt0/disable_ipv6"),
    ],
)
def test_drift_is_repaired(dual: Node, make_netns: Make, command: str, kind: str) -> None:
    one, two = make_netns(), make_netns()
    dual.add_pod(one)
    dual.add_pod(two)
    dual.netns.run(*command.split())
    sample = f'quilt_runtime_drift_repairs_total{{kind="{kind}"}}'
    eventually(lambda: dual.metric(sample) >= 1, f"{kind} is repaired:\n{dual.log}")
    ping(one, "fd42:42:0:1::3", "-6")
    ping(dual.netns, "fd42:42:0:1::2", "-6")


def test_check_wants_what_add_gave(ready_node: Node, make_netns: Make) -> None:
    before, after = make_netns(), make_netns()
    early = ready_node.cni("ADD", before.name, before.path).document
    configure(ready_node)
    late = ready_node.cni("ADD", after.name, after.path).document
    assert ready_node.cni("CHECK", before.name, before.path, prevResult=early).code == 0
    assert ready_node.cni("CHECK", after.name, after.path, prevResult=late).code == 0
    after.run("ip", "-6", "route", "del", "default")
    broken = ready_node.cni("CHECK", after.name, after.path, prevResult=late)
    assert "no default route via fd42:42:0:1::1" in broken.document["msg"]


def test_static_addresses_of_either_family(dual: Node, make_netns: Make) -> None:
    one, two, three = make_netns(), make_netns(), make_netns()
    assert dual.add_pod(one, runtimeConfig={"ips": ["fd42:42:0:1::32"]}) == "10.42.1.50"
    both = {"ips": ["10.42.1.51/24", "fd42:42:0:1::33"]}
    assert dual.add_pod(two, runtimeConfig=both) == "10.42.1.51"
    apart = dual.cni("ADD", three.name, three.path, runtimeConfig={"ips": ["10.42.1.9", "fd42:42:0:1::8"]})
    assert "do not go together" in apart.document["msg"]
    far = dual.cni("ADD", three.name, three.path, runtimeConfig={"ips": ["fd42:42:0:1::ffff"]})
    assert "first 256 addresses" in far.document["msg"]


def test_the_rpc_gives_both(dual: Node) -> None:
    answer = dual.ipam.AllocateIp(node_pb2.AllocateIpRequest(container_id="vm", interface="tap0"))
    assert list(answer.addresses) == ["10.42.1.2/32", "fd42:42:0:1::2/128"]
    assert (answer.gateway, answer.gateway_v6) == ("10.42.1.1", "fd42:42:0:1::1")
    assert dual.config.GetStatus(node_pb2.GetStatusRequest()).subnet_v6 == SUBNET6


@pytest.mark.parametrize(
    ("subnet6", "reason"),
    [
        ("10.42.2.0/24", "IPv6 subnet must be IPv6, got 10.42.2.0/24"),
        ("fd43::/64", "IPv6 subnet fd43::/64 must be within the cluster's IPv6 CIDRs: fd42:42::/48"),
        ("fd42:42::1/64", "has host bits set"),
        ("fd42:42:0:1::/124", "fewer addresses than 10.42.1.0/24"),
    ],
)
def test_a_wrong_subnet_is_refused(ready_node: Node, subnet6: str, reason: str) -> None:
    assert reason in configure(ready_node, subnet6)


def test_another_subnet_waits_for_the_pods_to_go(dual: Node, make_netns: Make) -> None:
    pod = make_netns()
    dual.add_pod(pod)
    assert "cannot change from fd42:42:0:1::/64" in configure(dual, "fd42:42:0:2::/64")
    dual.cni("DEL", pod.name)
    assert configure(dual, "fd42:42:0:2::/64") == ""
    (link,) = show(dual.netns, "addr", "show", "dev", "quilt0")
    assert {a["local"] for a in link["addr_info"]} == {"10.42.1.1", "fd42:42:0:2::1", "fe80::1"}


def test_a_pod_does_not_take_another_for_its_router(dual: Node, make_netns: Make) -> None:
    pod = make_netns()
    dual.add_pod(pod)
    assert pod.run("sysctl", "-n", "net.ipv6.conf.eth0.accept_ra").strip() == "0"
    assert dual.netns.run("sysctl", "-n", "net.ipv6.conf.default.accept_ra").strip() == "1"


@pytest.mark.parametrize("lost", [False, True])
def test_a_killed_runtime_restores_both(dual: Node, make_netns: Make, lost: bool) -> None:
    one, two = make_netns(), make_netns()
    dual.add_pod(one)
    dual.kill()
    if lost:
        for file in (dual.socket_dir / "state").iterdir():
            file.unlink()
    dual.start()
    result = dual.cni("ADD", two.name, two.path)
    assert [ip["address"] for ip in result.document["ips"]] == ["10.42.1.3/32", "fd42:42:0:1::3/128"]
    ping(two, "fd42:42:0:1::2", "-6")


def test_pods_leave_masqueraded_and_keep_their_address_inside(dual: Node, make_netns: Make) -> None:
    pod, outside = make_netns(), make_netns()
    dual.add_pod(pod)
    dual.netns.run(
        "ip", "link", "add", "uplink", "type", "veth", "peer", "name", "eth0", "netns", outside.name
    )
    dual.netns.run("ip", "addr", "add", "fd00::1/64", "dev", "uplink", "nodad")
    dual.netns.run("ip", "link", "set", "uplink", "up")
    for address in ("fd00::2/64", "fd42:42:0:2::5/128"):
        outside.run("ip", "addr", "add", address, "dev", "eth0", "nodad")
    outside.run("ip", "link", "set", "eth0", "up")
    dual.netns.run("ip", "route", "add", "fd42:42:0:2::/64", "via", "fd00::2", "dev", "uplink")
    outside.run("ip", "route", "add", "fd42:42:0:1::/64", "via", "fd00::1", "dev", "eth0")
    outside.run("nft", "-f", "-", stdin=COUNTERS)
    # Until both ends have found out that the link is up.
    eventually(lambda: _pings(pod, "fd00::2"), "the outside answers")
    ping(pod, "fd42:42:0:2::5", "-6")
    counters = json.loads(outside.run("nft", "-j", "list", "counters"))["nftables"]
    packets = {entry["counter"]["name"]: entry["counter"]["packets"] for entry in counters[1:]}
    assert packets["node"] > 0
    assert packets["pod"] == 1


COUNTERS = """table ip6 seen {
  counter node {}
  counter pod {}
  chain input { type filter hook input priority 0;
    icmpv6 type echo-request ip6 saddr fd00::1 counter name node
    icmpv6 type echo-request ip6 saddr fd42:42:0:1::2 counter name pod
  }
}
"""


def _pings(pod: Namespace, address: str) -> bool:
    try:
        pod.run("ping", "-6", "-c1", "-W1", address)
    except Exception:  # whatever the fixture raises for a failed command
        return False
    return True
