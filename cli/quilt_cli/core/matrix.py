"""Who should reach whom, and what the probes' answers say about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from quilt_cli.core.finding import Finding, fail, warn
from quilt_crds.names import BRIDGE_DEVICE, VXLAN_PORT

KUBELET_PORT = 10250


class Server(Struct, frozen=True):
    """A pod that answers: on which node, at which addresses (one per family), and its node's own address."""

    node: str
    addresses: tuple[str, ...]
    host: str = ""


class Services(Struct, frozen=True):
    """How the servers are reached together; empty where there is no such thing."""

    cluster_ip: str = ""
    name: str = ""


class Target(Struct, frozen=True):
    """One question: `label` is the node, or `Service`, or `DNS`; `way` is tcp, udp, knock or name."""

    label: str
    way: str
    host: str
    port: int


class Answer(Target, frozen=True):
    """A question with what became of it: milliseconds, and the path's MTU in bytes where it was measured."""

    ok: bool
    ms: float = 0.0
    mtu: int | None = None
    error: str = ""


class Source(Struct, frozen=True):
    """Who asked: the pod network's view of a node, or the node itself (`host`)."""

    node: str
    host: bool = False

    @property
    def label(self) -> str:
        """As people read it."""
        return f"{'node' if self.host else 'pod on'} {self.node}"


@dataclass(frozen=True, slots=True)
class Matrix:
    """All answers by who asked; `silent` says why a source or server gave none."""

    servers: tuple[Server, ...]
    answers: Mapping[Source, tuple[Answer, ...]]
    silent: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_answers(self) -> list[Answer]:
        """Those of everybody."""
        return [answer for given in self.answers.values() for answer in given]

    @property
    def cells(self) -> dict[tuple[Source, str], list[Answer]]:
        """The answers by who asked and about whom."""
        found: dict[tuple[Source, str], list[Answer]] = {}
        for source, given in self.answers.items():
            for answer in given:
                found.setdefault((source, answer.label), []).append(answer)
        return found

    @property
    def ok(self) -> bool:
        """Whether every question that matters was asked and answered well."""
        return not self.silent and all(answer.ok for answer in self.all_answers)

    def wire(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "kind": "QuiltConnectivity",
            "schema": 1,
            "healthy": self.ok,
            "asked": len(self.all_answers),
            "servers": self.servers,
            "results": [
                {"from": source.node, "fromHost": source.host, **msgspec.structs.asdict(answer)}
                for source, answers in self.answers.items()
                for answer in answers
            ],
            "findings": findings(self),
        }


def targets(source: Source, servers: Sequence[Server], services: Services, port: int) -> list[Target]:
    """What one source asks: every server by TCP and UDP at full size, every host, the Service, its name.

    A host's own view of Services depends on kube-proxy alone, and of names on its resolver: not asked there.
    """
    wanted = [
        Target(server.node, way, address, port)
        for server in servers
        for address in server.addresses
        for way in ("tcp", "udp")
    ]
    if source.host:
        return wanted
    wanted += [Target(server.node, "knock", server.host, KUBELET_PORT) for server in servers if server.host]
    if services.cluster_ip:
        wanted.append(Target("Service", "tcp", services.cluster_ip, port))
    if services.name:
        wanted.append(Target("DNS", "name", services.name, port))
    return wanted


def cell(found: Sequence[Answer]) -> tuple[bool, str]:
    """What one cell of the table says of its answers."""
    bad = [answer for answer in found if not answer.ok]
    if bad:
        return False, ", ".join(f"{_WORDS[answer.way]}: {answer.error}" for answer in bad)
    fastest = min(answer.ms for answer in found)
    sizes = [answer.mtu for answer in found if answer.mtu]
    return True, f"{fastest:.1f} ms" + (f", {min(sizes)} B" if sizes else "")


_WORDS = {"tcp": "TCP", "udp": "UDP at full MTU", "knock": "host", "name": "name"}


def findings(matrix: Matrix) -> list[Finding]:
    """What is wrong, by pair of nodes, and what to look at."""
    found = [
        fail("connectivity-silent", what, why, f"kubectl describe {what}")
        for what, why in matrix.silent.items()
    ]
    for (source, label), given in matrix.cells.items():
        if bad := [answer for answer in given if not answer.ok]:
            found.append(_finding(source, label, bad, matrix))
    return found


def _finding(source: Source, label: str, bad: Sequence[Answer], matrix: Matrix) -> Finding:
    about = f"{source.label} → {label}"
    message = cell(bad)[1]
    ways = {answer.way for answer in bad}
    if label == "Service":
        return fail("service", about, message, "kubectl -n kube-system get pods: does kube-proxy run?")
    if label == "DNS":
        return fail("dns", about, message, "kubectl -n kube-system get pods -l k8s-app=kube-dns -o wide")
    if ways == {"knock"}:
        return warn("host", about, message, f"does a firewall on {label} refuse pods?")
    if ways == {"udp"}:
        return fail("mtu", about, message, f"quiltctl check node   (on {source.node} and {label}: MTU)")
    hosts = {server.node: server.host for server in matrix.servers}
    way = f"from {hosts.get(source.node)} to {hosts.get(label)}"
    todo = f"does UDP {VXLAN_PORT} pass {way}? quiltctl check node on both"
    if source.node == label:
        todo = f"quiltctl check node   (on {label}: bridge {BRIDGE_DEVICE}, firewall)"
    return fail("pair", about, message, todo)
