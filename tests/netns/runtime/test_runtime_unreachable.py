"""What the agent has refused where no route leads is never sent in clear to the gateway, while it says so."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from quilt_proto import node_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node

CIDRS = {"10.42.9.9": "10.42.0.0/16", "fd42:42:0:9::9": "fd42:42::/48"}
BEYOND = {"10.42.9.9": "198.18.0.254", "fd42:42:0:9::9": "2001:2::fe"}


def refuse(node: Node, *cidrs: str, no_longer: tuple[str, ...] = ()) -> list[str]:
    """Ask for it as the agent does; returns each item's error."""
    request = node_pb2.ApplyRoutesRequest(unreachable=cidrs, no_longer_unreachable=no_longer)
    return [result.error for result in node.routes.ApplyRoutes(request).results]


def way(node: Node, address: str, *more: str) -> str:
    """How the node would send to an address: the line of `ip route get`, or what it refuses with."""
    command = ["ip", "netns", "exec", node.netns.name, "ip", "route", "get", address, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip()


@pytest.fixture
def uplink(make_node: Callable[[], Node]) -> Node:
    """A node with a default gateway for both families, which was asked to refuse the cluster's CIDRs."""
    node = make_node()
    for command in (
        "ip link add eth0 type veth peer name switch",
        "ip link set switch up",
        "ip link set eth0 up",
        "ip addr add 198.18.0.1/24 dev eth0",
        "ip addr add 2001:2::1/64 dev eth0 nodad",
        "ip neigh add 198.18.0.254 lladdr 02:00:00:00:00:fe dev eth0",
        "ip route add default via 198.18.0.254",
        "ip -6 route add default via 2001:2::fe dev eth0",
    ):
        node.netns.run(*command.split())
    node.start()
    assert refuse(node, *CIDRS.values()) == ["", ""]
    return node


@pytest.mark.parametrize("address", CIDRS)
def test_what_has_no_route_is_refused_and_what_has_one_is_sent_there(uplink: Node, address: str) -> None:
    """t14: What is sent to a cluster address without a route is refused, not sent to the default gateway."""
    assert "No route to host" in way(uplink, address)
    length = "128" if ":" in address else "32"
    uplink.netns.run("ip", "route", "add", f"{address}/{length}", "dev", "eth0")
    assert "dev eth0" in way(uplink, address)
    assert BEYOND[address] in way(uplink, "2001:db8::1" if ":" in address else "192.0.2.1")


def test_a_pod_is_notified_at_once(uplink: Node, make_netns: Callable[[], Namespace]) -> None:
    """t14: A pod that sends to a cluster address without a route gets an ICMP error at once."""
    uplink.give_subnet()
    pod = make_netns()
    uplink.add_pod(pod)
    command = ["ip", "netns", "exec", pod.name, "ping", "-c1", "-W20", "10.42.9.9"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert "Destination Host Unreachable" in output


def refused(node: Node) -> set[str]:
    """What the kernel refuses, as ip(8) shows it."""
    shown = node.netns.run("ip", "route", "show", "type", "unreachable")
    shown += node.netns.run("ip", "-6", "route", "show", "type", "unreachable")
    return {line.split()[1] for line in shown.splitlines() if "proto 81" in line}


def test_it_outlives_the_runtime_and_is_removed_on_request(uplink: Node) -> None:
    """t14: The routes that refuse outlive the runtime, and follow what is asked, each item by itself."""
    uplink.kill()
    assert refused(uplink) == set(CIDRS.values())
    uplink.start()
    assert refused(uplink) == set(CIDRS.values())
    errors = refuse(uplink, "10.64.0.0/12", "nonsense", no_longer=("10.42.0.0/16", "10.99.0.0/16"))
    assert (errors[0], errors[2:]) == ("", ["", ""])
    assert "nonsense" in errors[1]
    assert refused(uplink) == {"10.64.0.0/12", "fd42:42::/48"}


def test_again_changes_nothing_and_a_route_of_the_same_prefix_stays(uplink: Node) -> None:
    uplink.netns.run("ip", "route", "add", "10.42.0.0/16", "dev", "eth0")
    assert refuse(uplink, *CIDRS.values()) == ["", ""]
    assert "dev eth0" in way(uplink, "10.42.9.9")
    assert refuse(uplink, no_longer=("10.42.0.0/16",)) == [""]
    assert "dev eth0" in way(uplink, "10.42.9.9")


def test_before_it_is_asked_for_nothing_is_refused(node: Node) -> None:
    assert node.config.Configure(node_pb2.ConfigureRequest(cluster_cidrs=["10.42.0.0/16"])).success
    assert refused(node) == set()


@pytest.mark.parametrize("how", ["quilt_runtime", "quilt_cli"])
def test_cleaning_up_removes_it(uplink: Node, how: str) -> None:
    """t14: What cleans a node up, the runtime's program or quilt's, removes the routes that refuse."""
    assert refused(uplink) == set(CIDRS.values())
    uplink.stop()
    arguments = {
        "quilt_runtime": ["--cleanup", f"--socket-dir={uplink.socket_dir}"],
        "quilt_cli": ["cleanup", "--yes", f"--run-dir={uplink.socket_dir}"]
        + [f"--{name}={uplink.directory}/{name}" for name in ("cni-conf-dir", "cni-bin-dir", "cni-src-dir")],
    }[how]
    uplink.netns.run(sys.executable, "-m", how, *arguments)
    assert "unreachable" not in uplink.netns.run("sh", "-c", "ip route; ip -6 route")
