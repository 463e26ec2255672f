"""`quiltctl trace` of a real cluster: ten planted faults, each named as exactly the step that is broken.

Where agent or runtime would repair what is planted they are stopped meanwhile (SIGSTOP): what runs in their
container still answers.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from quilt_cli.core.trace.site import interface_of
from quilt_crds.names import vtep_mac
from quilt_devcluster.enter import inside
from tests.support import forward_wall
from tests.support.commands import document, quiltctl
from tests.support.mesh import Mesh, Pod, until
from tests.support.node_life import stopped

NAMED = 60.0
"""Seconds within which `quiltctl status` names what nobody repairs."""


@dataclass(frozen=True)
class Pair:
    """Two pods on two nodes, and what their nodes hold of each other."""

    mesh: Mesh
    source: Pod
    target: Pod

    @property
    def values(self) -> dict[str, str]:
        """What scripts name: `peer` of the source's node is the target's."""
        subnet = self.mesh.subnets()[self.target.node]["spec"]["cidr"]
        return {
            "subnet": subnet,
            "vtep": subnet.partition("/")[0],
            "mac": vtep_mac("default", self.target.node),
            "host": self.mesh.cluster.node_ip(self.target.node),
            "port": interface_of(self.source.ip),
            "all": self.mesh.on(self.source.node, "sysctl", "-n", "net.ipv4.conf.all.rp_filter").strip(),
        }

    def trace(self, *flags: str) -> dict[str, Any]:
        ends = (f"default/{self.source.name}", f"default/{self.target.name}")
        return document(quiltctl(self.mesh, "trace", *ends, "--port=8080", "-o", "json", *flags))

    def broken(self, *flags: str) -> tuple[str, str] | None:
        """Code of the first broken step and its node, or the direction that it names."""
        found = self.trace(*flags)
        if found["number"] is None:
            return None
        step = found["steps"][found["number"] - 1]
        return step["code"], step["node"] or step["what"]


@pytest.fixture
def pair(mesh: Mesh, pods: dict[str, Pod]) -> Pair:
    source, target = list(pods.values())[:2]
    return Pair(mesh, source, target)


# (what is done on the source's node, what undoes it where that is not repaired, the step's code)
REPAIRED = {
    "route": ("ip route del {subnet}", "", "route"),
    "next hop": (
        "ip nexthop replace id $(ip nexthop show proto 81 | grep 'via {vtep} ' | cut -d' ' -f2)"
        " via 10.42.254.0 dev vxlan100 onlink proto 81",
        "",
        "nexthop",
    ),
    "neighbor": ("ip neigh del {vtep} dev vxlan100", "", "neighbor"),
    "FDB": ("bridge fdb del {mac} dev vxlan100 dst {host}", "", "fdb"),
    "guard entry": ("nft flush set bridge quilt own_v4", "", "guard"),
    "overlay MTU": ("ip link set vxlan100 mtu 1000", "", "mtu"),
    "rp_filter": (
        "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.vxlan100.rp_filter=1",
        "sysctl -qw net.ipv4.conf.all.rp_filter={all}",
        "rp_filter",
    ),
    "bridge port": ("ip link set {port} nomaster", "", "port"),
}


@pytest.mark.parametrize("fault", REPAIRED)
def test_what_would_be_repaired_is_named(pair: Pair, fault: str) -> None:
    script, undo, code = REPAIRED[fault]
    node = pair.source.node
    values = pair.values
    with stopped(pair.mesh, node):
        pair.mesh.on(node, "sh", "-ec", script.format(**values))
        try:
            assert pair.broken("--no-probe") == (code, node)
        finally:
            if undo:
                pair.mesh.on(node, "sh", "-ec", undo.format(**values))
    until("it is repaired", lambda: pair.broken("--no-probe") is None, timeout=60, every=1)


def test_a_forward_drop_is_named_by_trace_and_by_status(pair: Pair) -> None:
    """Nobody repairs it: it is another's rule."""
    node = pair.source.node

    def is_named() -> bool:
        return forward_wall.NAMED in quiltctl(pair.mesh, "status").stdout

    with forward_wall.wall(pair.mesh, node):
        assert pair.broken() == ("forward", node)
        until("status names it", is_named, timeout=NAMED, every=1)
    until("status forgets it", lambda: not is_named(), timeout=NAMED, every=1)


def on_the_switch(mesh: Mesh) -> Callable[..., None]:
    """What runs a command where the nodes' underlay is."""
    holder = mesh.cluster._state.pids["switch"]

    def run(*command: str) -> None:
        subprocess.run(inside(holder, command), check=True, capture_output=True)

    return run


def test_udp_4789_dropped_one_way_in_the_underlay_is_named_by_trace_and_by_status(pair: Pair) -> None:
    switch = on_the_switch(pair.mesh)
    source, target = (pair.mesh.cluster.node_ip(pod.node) for pod in (pair.source, pair.target))
    switch("nft", "add table bridge cut")
    switch("nft", "add chain bridge cut f { type filter hook forward priority 0 ; }")
    try:
        switch("nft", f"add rule bridge cut f ip saddr {source} ip daddr {target} udp dport 4789 drop")
        direction = f"{pair.source.node} → {pair.target.node}"
        assert pair.broken() == ("underlay", f"packets {direction}")
        until("status names it", lambda: direction in quiltctl(pair.mesh, "status").stdout, NAMED, every=1)
    finally:
        switch("nft", "delete table bridge cut")
    until("status forgets it", lambda: direction not in quiltctl(pair.mesh, "status").stdout, NAMED, every=1)


def test_sound_pairs_are_sound(pair: Pair) -> None:
    """In every way in which ends are named."""
    source, target = pair.source, pair.target
    for ends in (
        (f"default/{source.name}", f"default/{target.name}"),
        (source.node, target.node),
        (source.ip, target.ip),
        (f"default/{source.name}", source.node),
    ):
        done = quiltctl(pair.mesh, "trace", *ends)
        assert done.returncode == 0, done.stdout
        assert "sound: " in done.stdout


def test_a_services_address_is_translated_to_an_endpoint(pair: Pair) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    spec = {"selector": {"app": "traffic"}, "ports": ports}
    pair.mesh.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "traced"}, "spec": spec})
    try:
        address = pair.mesh.get("service", "traced")["spec"]["clusterIP"]
        ends = (f"default/{pair.source.name}", address, "--port=80")

        def sound() -> bool:
            """Once the endpoints are known and kube-proxy has them."""
            return quiltctl(pair.mesh, "trace", *ends).returncode == 0

        until("the way is sound", sound, timeout=60, every=1)
        steps = document(quiltctl(pair.mesh, "trace", *ends, "-o", "json"))["steps"]
        assert steps[0]["code"] == "service"
        assert f"{address} port 80 → " in steps[0]["expected"]
    finally:
        pair.mesh.kubectl("delete", "service", "traced")
