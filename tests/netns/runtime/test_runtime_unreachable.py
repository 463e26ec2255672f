"""Addresses of the cluster without a route: refused by the node, never sent in clear to the gateway."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from quilt_proto import node_pb2

from .conftest import Namespace, Node, eventually

CIDRS = {"10.42.9.9": "10.42.0.0/16", "fd42:42:0:9::9": "fd42:42::/48"}
BEYOND = {"10.42.9.9": "198.18.0.254", "fd42:42:0:9::9": "2001:2::fe"}


def configure(node: Node, *cidrs: str) -> None:
    answer = node.config.Configure(node_pb2.ConfigureRequest(cluster_cidrs=cidrs))
    assert answer.success, answer.error


def way(node: Node, address: str, *more: str) -> str:
    """How the node would send to an address: the line of `ip route get`, or what it refuses with."""
    command = ["ip", "netns", "exec", node.netns.name, "ip", "route", "get", address, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip()


@pytest.fixture
def uplink(make_node: Callable[[], Node]) -> Node:
    """A node with a default gateway for both families, and a runtime that knows the cluster's CIDRs."""
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
    configure(node, *CIDRS.values())
    return node


@pytest.mark.parametrize("address", CIDRS)
def test_what_has_no_route_is_refused_and_what_has_one_is_sent_there(uplink: Node, address: str) -> None:
    """t14: What is sent to a cluster address without a route is refused, not sent to the default gateway."""
    assert "No route to host" in way(uplink, address)
    length = "128" if ":" in address else "32"
    uplink.netns.run("ip", "route", "add", f"{address}/{length}", "dev", "eth0")
    assert "dev eth0" in way(uplink, address)
    assert BEYOND[address] in way(uplink, "2001:db8::1" if ":" in address else "192.0.2.1")


def test_a_pod_is_told_at_once(uplink: Node, make_netns: Callable[[], Namespace]) -> None:
    """t14: A pod that sends to a cluster address without a route is told so at once."""
    uplink.give_subnet()
    pod = make_netns()
    uplink.add_pod(pod)
    command = ["ip", "netns", "exec", pod.name, "ping", "-c1", "-W20", "10.42.9.9"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert "Destination Host Unreachable" in said


def refused(node: Node) -> set[str]:
    """What the kernel refuses, as ip(8) shows it."""
    shown = node.netns.run("ip", "route", "show", "type", "unreachable")
    shown += node.netns.run("ip", "-6", "route", "show", "type", "unreachable")
    return {line.split()[1] for line in shown.splitlines() if "proto 81" in line}


@pytest.mark.parametrize("cidr", CIDRS.values())
def test_who_removes_it_is_answered(uplink: Node, cidr: str) -> None:
    """t14: The route that refuses is made again when others delete it, and counted as drift."""
    family = "-6" if ":" in cidr else "-4"
    uplink.netns.run("ip", family, "route", "flush", "type", "unreachable", "proto", "81", cidr)
    eventually(lambda: refused(uplink) == set(CIDRS.values()), f"{cidr} is refused again:\n{uplink.log}")
    kind = 'quilt_runtime_drift_repairs_total{kind="unreachable"}'
    eventually(lambda: uplink.metric(kind) >= 1, "it is counted")


def test_it_outlives_the_runtime_and_follows_the_network(uplink: Node) -> None:
    """t14: The routes that refuse outlive the runtime, and follow the cluster's CIDRs."""
    uplink.kill()
    assert refused(uplink) == set(CIDRS.values())
    uplink.netns.run("ip", "route", "flush", "type", "unreachable")
    uplink.start()
    assert refused(uplink) == set(CIDRS.values())
    configure(uplink, "10.64.0.0/12")
    assert refused(uplink) == {"10.64.0.0/12"}


def test_before_the_network_is_known_nothing_is_refused(node: Node) -> None:
    assert refused(node) == set()
    configure(node)
    assert refused(node) == {"10.42.0.0/16"}


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
