"""Cluster objects, reduced to what the command decides on; unknown or missing fields read as empty.

Raw JSON in, frozen values out: an object that an older or newer version wrote must never stop a diagnosis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quilt_crds.names import READY

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


def at(raw: Any, *keys: str) -> Any:
    """Return what is below `keys`, None where a level is missing."""
    for key in keys:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw


def text(raw: Any, *keys: str) -> str:
    """Return the text below `keys`, empty without one."""
    return str(at(raw, *keys) or "")


def workload(kind: str, raw: Raw) -> Workload:
    """A DaemonSet or Deployment."""
    if kind == "DaemonSet":
        names = ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady")
        wanted, updated, ready = (int(at(raw, "status", name) or 0) for name in names)
    else:
        wanted = int((raw.get("spec") or {}).get("replicas", 1))
        updated, ready = (int(at(raw, "status", name) or 0) for name in ("updatedReplicas", "readyReplicas"))
    containers = at(raw, "spec", "template", "spec", "containers") or [{}]
    return Workload(
        kind=kind,
        namespace=text(raw, "metadata", "namespace"),
        name=text(raw, "metadata", "name"),
        wanted=wanted,
        updated=updated,
        ready=ready,
        image=text(containers[0], "image"),
        version=text(raw, "metadata", "labels", "app.kubernetes.io/version"),
        chart=text(raw, "metadata", "labels", "helm.sh/chart"),
    )


def system_pod(raw: Raw) -> SystemPod:
    """A pod of the mesh."""
    conditions = at(raw, "status", "conditions") or ()
    return SystemPod(
        namespace=text(raw, "metadata", "namespace"),
        name=text(raw, "metadata", "name"),
        node=text(raw, "spec", "nodeName"),
        component=text(raw, "metadata", "labels", "app.kubernetes.io/component"),
        ready=any((item.get("type"), item.get("status")) == (READY, "True") for item in conditions),
        trouble=_trouble(raw.get("status") or {}),
    )


def _trouble(status: Raw) -> str:
    for item in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if trouble := _container_trouble(item):
            return f"container {item['name']} {trouble}"
    if status.get("phase") in {"Pending", "Failed", "Unknown"}:
        unscheduled = [c for c in status.get("conditions") or [] if c.get("status") == "False"]
        reason = next((c["message"] for c in unscheduled if c.get("message")), "")
        return f"{status['phase']}: {reason}".rstrip(": ")
    return ""


def _container_trouble(container: Raw) -> str:
    reason, stopped = text(container, "state", "waiting", "reason"), at(container, "state", "terminated")
    ended = stopped or at(container, "lastState", "terminated") or {}
    if reason == "CrashLoopBackOff":
        count = container.get("restartCount") or 0
        return f"crashes: exit code {ended.get('exitCode', '?')}, restarted {count} times"
    if reason not in {"ContainerCreating", "PodInitializing", ""}:
        message = text(container, "state", "waiting", "message")
        message = message if len(message) <= _MESSAGE_SHOWN else message[:_MESSAGE_SHOWN] + "…"
        return f"waits: {reason} {message}".strip()
    if stopped and ended.get("exitCode"):
        return f"ended with exit code {ended['exitCode']}"
    return ""
