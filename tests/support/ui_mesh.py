"""A simulated mesh of any size: its objects in the small API, and what its agents answer."""

from __future__ import annotations

from typing import Any

import msgspec

from quilt_cli.core.finding import fail, ok
from quilt_cli.core.latency import Measured, Peer
from quilt_crds.names import (
    CORE_EVENT,
    DAEMONSET,
    DEPLOYMENT,
    NODE,
    NODE_DAEMONSET,
    OPERATOR_DEPLOYMENT,
    POD,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
    claim_name,
    vtep_mac,
)
from tests.support.small_api import SmallApi

# Peers that each node watches.
WATCHED = 64
_WELL = {
    "Ready": "True",
    "SubnetAllocated": "True",
    "DataplaneInSync": "True",
    "RuntimeReady": "True",
    "PeersReachable": "True",
}
_LABELS = {"app.kubernetes.io/name": "quilt-mesh", "app.kubernetes.io/component": "node"}


class UiMesh:
    """`count` nodes that are well, in ranges that have room for as many again."""

    def __init__(self, count: int = 3) -> None:
        self.api = SmallApi()
        self.api.execute = self._execute
        self.names = [f"node-{number}" for number in range(1, count + 1)]
        self.failing: set[tuple[str, str]] = set()
        """Directions in which probes are lost."""
        self._range = "10.42.0.0/16" if count < 250 else "10.64.0.0/11"
        self._fill(count)
        for number, name in enumerate(self.names, start=1):
            self.node(name, number)

    def cidr(self, number: int) -> str:
        first, second = self._range.split(".")[:2]
        return f"{first}.{int(second) + number // 256}.{number % 256}.0/24"

    def node(self, name: str, number: int, phase: str = "Up", **changed: tuple[str, str]) -> None:
        """Write a node's objects; `changed` are conditions that are not as they should be."""
        host = f"192.0.{2 + number // 256}.{number % 256}"
        conditions = [
            {"type": type_, "status": status, "reason": "Well"} for type_, status in _WELL.items()
        ] + [{"type": type_, "status": "False", "message": changed[type_][1]} for type_ in changed]
        held = [item for item in conditions if item["type"] not in changed or "message" in item]
        status = {"hostIP": host, "phase": phase, "version": "0.1.0", "subnets": [self.cidr(number)]}
        self.api.put(QUILTNODE, name, status=status | {"conditions": held})
        spec = {"cidr": self.cidr(number), "network": "default", "node": name}
        mesh = {"phase": phase, "hostIP": host}
        self.api.put(QUILTSUBNET, claim_name(self.cidr(number)), spec=spec, mesh=mesh)
        ready = "True" if phase == "Up" else "Unknown"
        addresses = [{"type": "InternalIP", "address": host}]
        self.api.put(
            NODE, name, status={"addresses": addresses, "conditions": [{"type": "Ready", "status": ready}]}
        )
        self._pod(name, ready)

    def down(self, name: str) -> None:
        """Have a node be Down, and say so in an Event."""
        text = "neither the agent nor the kubelet renews its Lease; routes to this node are withdrawn"
        self.node(name, self.names.index(name) + 1, "Down", Ready=("NodeDown", text))
        self.event(name, "PhaseDown", text)

    def fail(self, source: str, target: str) -> None:
        """Have probes be lost in a direction."""
        self.failing.add((source, target))
        text = f"Probes through the overlay are lost: {source} → {target}."
        self.node(source, self.names.index(source) + 1, PeersReachable=("ProbesLost", text))
        self.event(source, "PathFailing", text)

    def release(self, number: int) -> None:
        """Have a subnet be in quarantine."""
        spec = {"cidr": self.cidr(number), "network": "default", "node": f"node-{number}"}
        mesh = {"phase": "Releasing", "releasedAt": "2030-01-01T00:00:00Z"}
        self.api.put(QUILTSUBNET, claim_name(self.cidr(number)), spec=spec, mesh=mesh)

    def event(self, name: str, reason: str, text: str, type_: str = "Warning") -> None:
        """Write an Event about a node."""
        number = len(self.api.of(CORE_EVENT))
        about = {"kind": "QuiltNode", "name": name}
        made = {
            "involvedObject": about, "type": type_, "reason": reason, "message": text,
            "eventTime": f"2030-01-01T00:00:{number % 60:02}.000000Z",
        }  # fmt: skip
        self.api.put(CORE_EVENT, f"{name}.{number}", namespace="default", **made)

    def _fill(self, count: int) -> None:
        slots = 256 if count < 250 else 8192
        subnets = {"total": slots - 2, "allocated": count, "free": slots - 2 - count}
        spec = {"clusterCIDRs": [self._range]}
        self.api.put(QUILTNETWORK, "default", spec=spec, status={"subnets": subnets})
        wanted = {"desiredNumberScheduled": count, "updatedNumberScheduled": count, "numberReady": count}
        self.api.put(DAEMONSET, NODE_DAEMONSET, namespace="quilt-system", status=wanted)
        ready = {"readyReplicas": 2, "updatedReplicas": 2}
        parts: dict[str, Any] = {"spec": {"replicas": 2}, "status": ready}
        self.api.put(DEPLOYMENT, OPERATOR_DEPLOYMENT, namespace="quilt-system", **parts)

    def _pod(self, name: str, ready: str) -> None:
        running: dict[str, Any] = {"state": {"running": {}}}
        parts: dict[str, Any] = {
            "metadata": {"labels": _LABELS},
            "spec": {"nodeName": name},
            "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": container, **running} for container in ("agent", "runtime")],
            },
        }
        self.api.put(POD, f"quilt-mesh-{name}", namespace="quilt-system", **parts)

    def _execute(self, pod: str, command: list[str]) -> bytes:
        name = pod.removeprefix("quilt-mesh-")
        if command[1] == "latency":
            return msgspec.json.encode(Measured(name, tuple(self._peers(name))))
        if command[1] == "node":
            return msgspec.json.encode(self._dump(name))
        about = f"node {name}"
        found = [ok("kernel", about, "Linux 6.1 with nexthop objects"), ok("mtu", about, "1500, pods 1450")]
        if any(name in pair for pair in self.failing):
            found.append(fail("forward", about, "the chain FORWARD drops", "iptables -L FORWARD"))
        return msgspec.json.encode({"kind": "QuiltCheck", "findings": found})

    def _dump(self, name: str) -> dict[str, Any]:
        """What a kernel holds: all that it should, but for FDB entries of peers that it fails to reach."""
        held: dict[str, Any] = {"kind": "QuiltNodeDump", "routes": [], "neighbors": [], "fdb": []}
        for item in self.api.of(QUILTSUBNET).values():
            spec, mesh = item["spec"], item["mesh"]
            if spec["node"] == name or mesh["phase"] != "Up":
                continue
            vtep, mac = spec["cidr"].removesuffix("/24"), vtep_mac("default", spec["node"])
            way = {"gateway": vtep, "dev": "vxlan100"}
            held["routes"].append({"dst": spec["cidr"], "type": "unicast", "protocol": 81, **way})
            held["neighbors"].append({"dst": vtep, "dev": "vxlan100", "lladdr": mac})
            if (name, spec["node"]) not in self.failing:
                held["fdb"].append({"mac": mac, "ifname": "vxlan100", "dst": mesh["hostIP"]})
        return held

    def _peers(self, name: str) -> list[Peer]:
        start = self.names.index(name)
        around = (self.names[(start + step) % len(self.names)] for step in range(1, WATCHED + 1))
        return [
            Peer(
                other,
                inward="failing" if (other, name) in self.failing else "ok",
                outward="failing" if (name, other) in self.failing else "ok",
                round_trip=None if (name, other) in self.failing else 0.0002 * (1 + (start + len(other)) % 9),
            )
            for other in dict.fromkeys(around)
            if other != name
        ]
