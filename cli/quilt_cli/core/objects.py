"""Cluster objects, reduced to what the command decides on; unknown or missing fields read as empty.

Raw JSON in, frozen values out: an object that an older or newer version wrote must never stop a diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from quilt_crds.capacity import DEFAULT_PREFIX_LENGTH
from quilt_crds.names import DEFAULT_VNI, VXLAN_DEVICE, VXLAN_PORT

Raw = Mapping[str, Any]
# A container engine tells the same failure at three levels, each quoting the one below.
_MESSAGE_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of an object."""

    type: str
    status: str
    reason: str = ""
    message: str = ""

    @property
    def text(self) -> str:
        """What people read."""
        return self.message or self.reason or self.status


@dataclass(frozen=True, slots=True)
class KubeNode:
    """A Kubernetes Node; `addresses` are its IP addresses, InternalIP first; `pods` may run (0: unknown).

    `flannel` is the version of a kubelet that says that Flannel runs on its node, empty where none says so.
    """

    name: str
    ready: bool
    addresses: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    kernel: str = ""
    linux: bool = True
    pods: int = 0
    flannel: str = ""


@dataclass(frozen=True, slots=True)
class MeshNode:
    """A QuiltNode."""

    name: str
    phase: str
    subnets: tuple[str, ...]
    host_ip: str
    version: str
    conditions: Mapping[str, Condition]

    def is_(self, type_: str, status: str = "True") -> bool:
        """Whether a condition has that status."""
        held = self.conditions.get(type_)
        return held is not None and held.status == status


@dataclass(frozen=True, slots=True)
class Subnet:
    """A QuiltSubnet."""

    name: str
    cidr: str
    node: str
    phase: str
    host_ip: str


@dataclass(frozen=True, slots=True)
class Network:
    """The QuiltNetwork; `counts` are total, allocated, free and quarantined subnets."""

    name: str
    cidrs: tuple[str, ...]
    vni: int
    port: int
    device: str
    counts: Mapping[str, int]
    conditions: Mapping[str, Condition]
    prefix_length: int = DEFAULT_PREFIX_LENGTH


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or DaemonSet: how many pods it wants, has at the current version, and has ready."""

    kind: str
    namespace: str
    name: str
    wanted: int
    updated: int
    ready: int
    image: str = ""

    @property
    def about(self) -> str:
        """As people name it."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class SystemPod:
    """A pod of ours; `trouble` says why a container does not run, empty when all do."""

    namespace: str
    name: str
    node: str
    component: str
    ready: bool
    trouble: str = ""
    restarts: int = 0


def conditions(raw: Raw) -> dict[str, Condition]:
    """Conditions of an object by type."""
    found = {}
    for item in _status(raw).get("conditions") or []:
        kind = str(item.get("type", ""))
        found[kind] = Condition(
            kind,
            str(item.get("status", "")),
            str(item.get("reason") or ""),
            str(item.get("message") or ""),
        )
    return found


# Written by Flannel to each Node that it serves, also by one that is part of the kubelet's program (k3s).
_FLANNEL = "flannel.alpha.coreos.com/backend-type"


def kube_node(raw: Raw) -> KubeNode:
    """A Node."""
    status, spec = _status(raw), raw.get("spec") or {}
    addresses = sorted(status.get("addresses") or [], key=lambda item: item.get("type") != "InternalIP")
    info = status.get("nodeInfo") or {}
    ready = conditions(raw).get("Ready")
    annotations = (raw.get("metadata") or {}).get("annotations") or {}
    return KubeNode(
        name=_name(raw),
        ready=ready is not None and ready.status == "True",
        addresses=tuple(item["address"] for item in addresses if str(item.get("type", "")).endswith("IP")),
        pod_cidrs=tuple(spec.get("podCIDRs") or ()),
        kernel=str(info.get("kernelVersion") or ""),
        linux=info.get("operatingSystem", "linux") == "linux",
        flannel=str(info.get("kubeletVersion") or "a kubelet") if _FLANNEL in annotations else "",
        pods=int(pods) if (pods := str((status.get("capacity") or {}).get("pods", ""))).isdecimal() else 0,
    )


def mesh_node(raw: Raw) -> MeshNode:
    """A QuiltNode."""
    status = _status(raw)
    return MeshNode(
        name=_name(raw),
        phase=str(status.get("phase") or "Pending"),
        subnets=tuple(status.get("subnets") or ()),
        host_ip=str(status.get("hostIP") or ""),
        version=str(status.get("version") or ""),
        conditions=conditions(raw),
    )


def subnet(raw: Raw) -> Subnet:
    """A QuiltSubnet."""
    spec, mesh = raw.get("spec") or {}, raw.get("mesh") or {}
    return Subnet(
        name=_name(raw),
        cidr=str(spec.get("cidr") or ""),
        node=str(spec.get("node") or ""),
        phase=str(mesh.get("phase") or ""),
        host_ip=str(mesh.get("hostIP") or ""),
    )


def network(raw: Raw) -> Network:
    """A QuiltNetwork."""
    spec = raw.get("spec") or {}
    vxlan = spec.get("vxlan") or {}
    return Network(
        name=_name(raw),
        cidrs=(*(spec.get("clusterCIDRs") or ()), *(spec.get("clusterCIDRsV6") or ())),
        vni=int(vxlan.get("vni") or DEFAULT_VNI),
        port=int(vxlan.get("port") or VXLAN_PORT),
        device=str(vxlan.get("device") or VXLAN_DEVICE),
        counts={name: int(count) for name, count in (_status(raw).get("subnets") or {}).items()},
        conditions=conditions(raw),
        prefix_length=int(spec.get("nodePrefixLength") or DEFAULT_PREFIX_LENGTH),
    )


def workload(kind: str, raw: Raw) -> Workload:
    """A DaemonSet or Deployment."""
    status, spec = _status(raw), raw.get("spec") or {}
    if kind == "DaemonSet":
        counts = ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady")
        wanted, updated, ready = (int(status.get(name) or 0) for name in counts)
    else:
        wanted = int(spec.get("replicas", 1))
        updated, ready = (int(status.get(name) or 0) for name in ("updatedReplicas", "readyReplicas"))
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or [{}]
    namespace = str(raw["metadata"].get("namespace") or "")
    return Workload(
        kind, namespace, _name(raw), wanted, updated, ready, str(containers[0].get("image") or "")
    )


def system_pod(raw: Raw) -> SystemPod:
    """A pod of ours."""
    status = _status(raw)
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    ready = conditions(raw).get("Ready")
    labels = raw["metadata"].get("labels") or {}
    return SystemPod(
        namespace=str(raw["metadata"].get("namespace") or ""),
        name=_name(raw),
        node=str((raw.get("spec") or {}).get("nodeName") or ""),
        component=str(labels.get("app.kubernetes.io/component") or ""),
        ready=ready is not None and ready.status == "True",
        trouble=_trouble(status, containers),
        restarts=sum(int(item.get("restartCount") or 0) for item in containers),
    )


def _trouble(status: Raw, containers: Iterable[Raw]) -> str:
    for item in containers:
        if said := _container_trouble(item):
            return f"container {item['name']} {said}"
    if status.get("phase") in {"Pending", "Failed", "Unknown"}:
        unscheduled = [c for c in status.get("conditions") or [] if c.get("status") == "False"]
        said = next((c["message"] for c in unscheduled if c.get("message")), "")
        return f"{status['phase']}: {said}".rstrip(": ")
    return ""


def _container_trouble(container: Raw) -> str:
    state, before = container.get("state") or {}, container.get("lastState") or {}
    waiting, ended = state.get("waiting"), state.get("terminated") or before.get("terminated") or {}
    if waiting and waiting.get("reason") == "CrashLoopBackOff":
        count = container.get("restartCount") or 0
        return f"crashes: exit code {ended.get('exitCode', '?')}, restarted {count} times"
    if waiting and waiting.get("reason") not in {"ContainerCreating", "PodInitializing", None}:
        said = str(waiting.get("message") or "")
        said = said if len(said) <= _MESSAGE_SHOWN else said[:_MESSAGE_SHOWN] + "…"
        return f"waits: {waiting['reason']} {said}".strip()
    if state.get("terminated") and ended.get("exitCode"):
        return f"ended with exit code {ended['exitCode']}"
    return ""


def _status(raw: Raw) -> Mapping[str, Any]:
    found: Mapping[str, Any] = raw.get("status") or {}
    return found


def _name(raw: Raw) -> str:
    return str((raw.get("metadata") or {}).get("name") or "")
