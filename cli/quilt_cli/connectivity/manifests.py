"""The objects of a connectivity test; all are in one namespace of its own, and are deleted with it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec

from quilt_cli.core.matrix import Source, Target
from quilt_cli.kernel.host import PROGRAMS

PORT = 8471
SERVER = {"app": "quilt-connectivity-server"}
ASKER = {"app": "quilt-connectivity-asker"}
_FOLDER = files("quilt_cli.connectivity")
_PROBE = ("python3", "-c", _FOLDER.joinpath("probe.py").read_text())
_PERF = ("python3", "-c", _FOLDER.joinpath("perf_probe.py").read_text())
_ON_HOST = {"hostNetwork": True, "dnsPolicy": "Default"}
_SECCOMP = {"type": "RuntimeDefault"}


def namespace(name: str) -> dict[str, Any]:
    """The namespace; it admits pods on the hosts' network, for the hosts' own view."""
    labels = {"app.kubernetes.io/part-of": "quilt-connectivity"}
    return _object("Namespace", name, labels | {"pod-security.kubernetes.io/enforce": "privileged"})


def service() -> dict[str, Any]:
    """One Service over all servers."""
    spec = {"selector": SERVER, "ports": [{"name": "tcp", "port": PORT}], "ipFamilyPolicy": "PreferDualStack"}
    return _object("Service", "probe", spec=spec)


def selector(labels: dict[str, str]) -> dict[str, str]:
    """Query for the pods with these labels."""
    return {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}


def servers(image: str, *, port: int = PORT, host: bool = False) -> dict[str, Any]:
    """A server on every node, whatever its taints; on the host's own network with `host`."""
    container = _container(image, *_PROBE, "serve", str(port))
    container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    pod = _pod(container, nodeSelector={"kubernetes.io/os": "linux"}, **_ON_HOST if host else {})
    template = {"metadata": {"labels": SERVER}, "spec": pod}
    spec = {"selector": {"matchLabels": SERVER}, "template": template}
    return _object("DaemonSet", "server", spec=spec) | {"apiVersion": "apps/v1"}


def asker(name: str, source: Source, image: str, targets: Sequence[Target]) -> dict[str, Any]:
    """A pod that asks its questions once and ends."""
    container = _container(image, *_PROBE, "ask")
    questions = msgspec.json.encode(targets).decode()
    container["env"] = [{"name": "QUILT_TARGETS", "value": questions}]
    return _once(name, source.node, container, **_ON_HOST if source.host else {})


def measured(who: Source, image: str) -> dict[str, Any]:
    """A pod that answers those that measure the way to it, until it is deleted."""
    container = _container(image, *_PERF, "serve", str(PORT))
    container["readinessProbe"] = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
    name = "measured-host" if who.host else "measured-pod"
    return _once(name, who.node, container, **_ON_HOST if who.host else {})


def measuring(name: str, who: Source, image: str, address: str, seconds: float) -> dict[str, Any]:
    """A pod that measures the way to an address once and ends."""
    container = _container(image, *_PERF, "measure", address, str(PORT), str(seconds))
    return _once(name, who.node, container, **_ON_HOST if who.host else {})


def looker(name: str, node: str, image: str, arguments: Sequence[str]) -> dict[str, Any]:
    """A pod that runs `quiltctl check node` once, with the one capability that shows the firewall."""
    container = _container(image, "quiltctl", "check", "node", "-o", "json", "--compact", *arguments)
    container["env"] = [{"name": "NODE_NAME", "value": node}]
    container["securityContext"]["capabilities"]["add"] = ["NET_ADMIN"]
    mounts = {"cni-conf": "/etc/cni/net.d", "run": "/run/quilt"}
    mounts |= {name.replace("/", "-"): f"/{name}" for name in PROGRAMS}
    container["volumeMounts"] = [
        {"name": volume, "mountPath": "/run/quilt" if volume == "run" else f"/host{path}", "readOnly": True}
        for volume, path in mounts.items()
    ]
    volumes = [
        {"name": volume, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
        for volume, path in mounts.items()
    ]
    # Kubernetes gives capabilities to root only.
    root = {"runAsUser": 0, "seccompProfile": _SECCOMP}
    return _once(name, node, container, hostNetwork=True, securityContext=root, volumes=volumes)


def _object(kind: str, name: str, labels: dict[str, str] | None = None, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": labels or {}}, **rest}


def _once(name: str, node: str, container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod that runs to its end; it is bound to its node without the scheduler."""
    pod = _pod(container, nodeName=node, restartPolicy="Never", **spec)
    return _object("Pod", name, ASKER, spec=pod)


def _container(image: str, *command: str) -> dict[str, Any]:
    return {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [*command],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _pod(container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """The spec of a pod with one container, that every node and namespace admits."""
    user = {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": _SECCOMP}
    return {
        "containers": [container],
        "tolerations": [{"operator": "Exists"}],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": user,
        **spec,
    }
