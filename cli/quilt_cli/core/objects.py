"""Cluster objects, reduced to what the command decides on; unknown or missing fields read as empty.

Raw JSON in, frozen values out: an object that an older or newer version wrote must never stop a diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from quilt_crds.names import READY
from quilt_crds.wire import Condition, find_condition
from quilt_kube.listwatch import convert

Raw = Mapping[str, Any]
# A container engine tells the same failure at three levels, each quoting the one below.
_MESSAGE_SHOWN = 120


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
    version: str = ""
    chart: str = ""

    @property
    def about(self) -> str:
        """As people name it."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class SystemPod:
    """A pod of the mesh; `trouble` is why a container does not run, empty when all do."""

    namespace: str
    name: str
    node: str
    component: str
    ready: bool
    trouble: str = ""
    restarts: int = 0


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
    labels = raw["metadata"].get("labels") or {}
    return Workload(
        kind=kind,
        namespace=str(raw["metadata"].get("namespace") or ""),
        name=_name(raw),
        wanted=wanted,
        updated=updated,
        ready=ready,
        image=str(containers[0].get("image") or ""),
        version=str(labels.get("app.kubernetes.io/version") or ""),
        chart=str(labels.get("helm.sh/chart") or ""),
    )


def system_pod(raw: Raw) -> SystemPod:
    """A pod of the mesh."""
    status = _status(raw)
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    ready = find_condition((convert(item, Condition) for item in status.get("conditions") or ()), READY)
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
        if trouble := _container_trouble(item):
            return f"container {item['name']} {trouble}"
    if status.get("phase") in {"Pending", "Failed", "Unknown"}:
        unscheduled = [c for c in status.get("conditions") or [] if c.get("status") == "False"]
        reason = next((c["message"] for c in unscheduled if c.get("message")), "")
        return f"{status['phase']}: {reason}".rstrip(": ")
    return ""


def _container_trouble(container: Raw) -> str:
    state, before = container.get("state") or {}, container.get("lastState") or {}
    waiting, ended = state.get("waiting"), state.get("terminated") or before.get("terminated") or {}
    if waiting and waiting.get("reason") == "CrashLoopBackOff":
        count = container.get("restartCount") or 0
        return f"crashes: exit code {ended.get('exitCode', '?')}, restarted {count} times"
    if waiting and waiting.get("reason") not in {"ContainerCreating", "PodInitializing", None}:
        message = str(waiting.get("message") or "")
        message = message if len(message) <= _MESSAGE_SHOWN else message[:_MESSAGE_SHOWN] + "…"
        return f"waits: {waiting['reason']} {message}".strip()
    if state.get("terminated") and ended.get("exitCode"):
        return f"ended with exit code {ended['exitCode']}"
    return ""


def _status(raw: Raw) -> Mapping[str, Any]:
    found: Mapping[str, Any] = raw.get("status") or {}
    return found


def _name(raw: Raw) -> str:
    return str((raw.get("metadata") or {}).get("name") or "")
