"""Whether the mesh can be installed beside a Flannel that serves the pods, to move over node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Self

from quilt_cli.core.cluster_facts import ClusterFacts
from quilt_cli.core.finding import Finding, fail, ok, unknown, warn
from quilt_cli.core.node_checks import overlaps
from quilt_cli.core.objects import at, text
from quilt_crds.names import DEFAULT_CLUSTER_CIDRS, DEFAULT_VNI, VXLAN_PORT

# Written by Flannel to each Node that it serves, also by one that is part of the kubelet's program (k3s).
ANNOTATION = "flannel.alpha.coreos.com/backend-type"
# What Flannel's backend for VXLAN uses on Linux, unless its net-conf.json says otherwise.
_VNI, _PORT = 1, 8472
_CNI_FILE = "10-flannel.conflist"
_K3S = DEFAULT_CLUSTER_CIDRS[0]  # Quilt Mesh's as well
# Findings of nodes about the order of CNI files, which is judged by the values here.
JUDGED_HERE = frozenset({"cni-foreign", "cni-other", "cni-absent", "podcidr-overlap"})


@dataclass(frozen=True, slots=True)
class Flannel:
    """A Flannel as its DaemonSet and its ConfigMap describe it.

    `name` is `DaemonSet namespace/name`, empty where it is part of the kubelet's program. `networks` are its
    ranges, empty where they could not be read; `cni_file` is the name of its CNI configuration.
    """

    name: str = ""
    networks: tuple[str, ...] = ()
    backend: str = "vxlan"
    vni: int = _VNI
    port: int = _PORT
    cni_file: str = _CNI_FILE

    @classmethod
    def read(cls, daemonset: Mapping[str, Any], configuration: Mapping[str, Any]) -> Self:
        """Of the DaemonSet as the API has it, and of the document net-conf.json."""
        backend = configuration.get("Backend") or {}
        ranges = (text(configuration, key) for key in ("Network", "IPv6Network"))
        return cls(
            f"DaemonSet {text(daemonset, 'metadata', 'namespace')}/{text(daemonset, 'metadata', 'name')}",
            tuple(filter(None, ranges)),
            text(backend, "Type") or "vxlan",
            int(backend.get("VNI") or _VNI),
            int(backend.get("Port") or _PORT),
            _cni_file(daemonset),
        )

    @property
    def about(self) -> str:
        """As people name it."""
        return self.name or "Flannel of the Nodes"


@dataclass(frozen=True, slots=True)
class Planned:
    """What the mesh will be installed with; the defaults are the chart's."""

    cidrs: tuple[str, ...] = DEFAULT_CLUSTER_CIDRS
    vni: int = DEFAULT_VNI
    port: int = VXLAN_PORT
    install: str = "always"
    cni_file: str = "10-quilt.conflist"

    @classmethod
    def read(cls, values: Mapping[str, Any], cidrs: Sequence[str]) -> Self:
        """Of the values for the chart; `cidrs` are those that count."""
        vxlan, cni = (at(values, *path) or {} for path in (("network", "vxlan"), ("cni",)))
        given = {"vni": vxlan.get("vni"), "port": vxlan.get("port")}
        given |= {"install": cni.get("install"), "cni_file": cni.get("confName")}
        return cls(tuple(cidrs), **{name: value for name, value in given.items() if value})


@dataclass(frozen=True, slots=True)
class Beside:
    """Both networks, and kube-proxy's clusterCIDR: None where it could not be read, empty for none."""

    flannel: Flannel | None
    mesh: Planned = field(default_factory=Planned)
    proxy_cidr: str | None = None


def judge(found: Sequence[Finding], facts: ClusterFacts, both: Beside) -> list[Finding]:
    """What was found of cluster and nodes, less what is judged here, and what is."""
    return [*(item for item in found if item.code not in JUDGED_HERE), *check(facts, both)]


def check(facts: ClusterFacts, both: Beside) -> list[Finding]:
    """All findings about the two networks side by side, the good ones included."""
    flannel = both.flannel
    if flannel is None:
        message = "neither a DaemonSet nor the Nodes' annotations tell of a Flannel"
        return [fail("beside-flannel", "cluster", message, "quiltctl check --pre, without --beside")]
    return [
        *_found(flannel),
        *_ranges(facts, flannel, both.mesh),
        *_vxlan(flannel, both.mesh),
        *_cni(flannel, both.mesh),
        *_kube_proxy(both),
    ]


def _found(flannel: Flannel) -> Iterator[Finding]:
    if not flannel.networks:
        message = f"its range cannot be read; where it is part of k3s that is {_K3S} by default"
        yield unknown("beside-flannel", flannel.about, message, "compare it with network.clusterCIDRs")
    else:
        what = f"{', '.join(flannel.networks)} by {flannel.backend}"
        yield ok("beside-flannel", flannel.about, f"it serves {what}, and {flannel.cni_file} on the nodes")
    if flannel.backend != "vxlan":
        message = f"its backend is {flannel.backend}; moving over was tried with vxlan alone"
        yield warn("beside-backend", flannel.about, message, "try it with two nodes first")


def _ranges(facts: ClusterFacts, flannel: Flannel, mesh: Planned) -> Iterator[Finding]:
    pods = [cidr for node in facts.nodes or () for cidr in node.spec.pod_cidrs]
    taken = [*flannel.networks, *pods]
    nodes = [ip for node in facts.nodes or () for ip in node.ips]
    clashes = [(cidr, theirs) for cidr in mesh.cidrs for theirs in taken if overlaps(theirs, [cidr])]
    if clashes:
        cidr, theirs = clashes[0]
        message = f"{cidr} overlaps {theirs}, which Flannel gives out{_as_k3s(theirs)}"
        free = _free([*taken, *nodes, *(facts.service_cidrs or ())])
        yield fail("beside-range", "clusterCIDRs", message, f"network.clusterCIDRs: [{free}]")
    else:
        message = (
            f"{', '.join(mesh.cidrs)} are apart from Flannel's; between pods of both networks the source is "
            "the sending node's address"
        )
        yield ok("beside-range", "clusterCIDRs", message)


def _as_k3s(cidr: str) -> str:
    return " (k3s' range by default, and Quilt Mesh's)" if overlaps(cidr, [_K3S]) else ""


def _free(taken: Sequence[str]) -> str:
    """A range of its own: the first of the usual kind that nobody uses."""
    candidates = (f"10.{number}.0.0/16" for number in range(42, 250, 10))
    return next((cidr for cidr in candidates if not any(overlaps(item, [cidr]) for item in taken)), "…")


def _vxlan(flannel: Flannel, mesh: Planned) -> Iterator[Finding]:
    theirs, own = (f"UDP {item.port} with VNI {item.vni}" for item in (flannel, mesh))
    if flannel.backend != "vxlan":
        return
    if (flannel.port, flannel.vni) == (mesh.port, mesh.vni):
        message = f"nothing distinguishes Flannel's packets from the mesh's: {own}"
        yield fail("beside-vxlan", "VXLAN", message, "set another network.vxlan.vni or network.vxlan.port")
    elif flannel.port == mesh.port:
        message = f"one port for both, {theirs} and VNI {mesh.vni}: their VNIs tell them apart"
        yield warn("beside-vxlan", "VXLAN", message, "set another network.vxlan.port")
    else:
        message = f"Flannel uses {theirs}, the mesh {own}, which firewalls have to let pass as well"
        yield ok("beside-vxlan", "VXLAN", message)


def _cni(flannel: Flannel, mesh: Planned) -> Iterator[Finding]:
    if mesh.install != "labelled":
        message = f"cni.install is {mesh.install}: not a label of each Node decides who serves its new pods"
        yield fail("beside-install", "CNI", message, "cni.install: labelled")
    if mesh.cni_file > flannel.cni_file:
        message = (
            f"{flannel.cni_file} comes before {mesh.cni_file}: new pods get Flannel's network everywhere"
        )
        yield fail("beside-cni", "CNI", message, "cni.confName: 05-quilt.conflist")
    else:
        message = f"where there is {mesh.cni_file} it comes before {flannel.cni_file}"
        yield ok("beside-cni", "CNI", message)


def _kube_proxy(both: Beside) -> Iterator[Finding]:
    proxy = both.proxy_cidr
    if proxy is None:
        yield unknown("beside-kube-proxy", "kube-proxy", "its clusterCIDR could not be read")
    elif proxy and not all(_inside(cidr, proxy) for cidr in both.mesh.cidrs):
        message = (
            f"its clusterCIDR is {proxy}: what pods of the mesh send to Services gets their node's address"
        )
        todo = f"once all nodes have moved, set it to {','.join(both.mesh.cidrs)}"
        yield warn("beside-kube-proxy", "kube-proxy", message, todo)
    else:
        yield ok("beside-kube-proxy", "kube-proxy", f"its clusterCIDR is {proxy or 'not set'}")


def _inside(cidr: str, ranges: str) -> bool:
    """Whether one of several ranges, between commas, contains `cidr`."""
    mine = ip_network(cidr)
    others = [ip_network(text.strip()) for text in ranges.split(",") if text.strip()]
    return any(
        mine.version == other.version and mine.network_address in other and mine.prefixlen >= other.prefixlen
        for other in others
    )


def _cni_file(daemonset: Mapping[str, Any]) -> str:
    """The file that its first containers write."""
    containers = at(daemonset, "spec", "template", "spec", "initContainers") or []
    words = [str(word) for item in containers for word in (item.get("args") or item.get("command") or [])]
    files = (word.rpartition("/")[2] for word in words if word.endswith((".conf", ".conflist")))
    return next(files, _CNI_FILE)
