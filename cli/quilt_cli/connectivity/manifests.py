"""The objects of a connectivity test; all are in one namespace of its own, and are deleted with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from quilt_cli.core.matrix import Source, Target
from quilt_cli.kernel.places import PROGRAMS

PORT = 8471
PART_OF = {"app.kubernetes.io/part-of": "quilt-connectivity"}
SERVER = {"app": "quilt-connectivity-server"}
ASKER = {"app": "quilt-connectivity-asker"}
_SCRIPT = files("quilt_cli.connectivity").joinpath("probe.py").read_text()
_COMMAND = ["python3", "-c", _SCRIPT]
_ANYWHERE = [{"operator": "Exists"}]


def namespace(name: str) -> dict[str, Any]:
    """The namespace; it admits pods on the hosts' network, for the hosts' own view."""
    labels = {**PART_OF, "pod-security.kubernetes.io/enforce": "privileged"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def service() -> dict[str, Any]:
    """One Service over all servers."""
    spec = {"selector": SERVER, "ports": [{"name": "tcp", "port": PORT}], "ipFamilyPolicy": "PreferDualStack"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "probe"}, "spec": spec}


def selector(labels: dict[str, str]) -> dict[str, str]:
    """Query for the pods with these labels."""
    return {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}


def servers(image: str, *, port: int = PORT, host: bool = False) -> dict[str, Any]:
    """A server on every node, whatever its taints; on the host's own network with `host`."""
    container = _container(image, "serve", str(port))
    container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    pod = _pod([container]) | {"nodeSelector": {"kubernetes.io/os": "linux"}}
    if host:
        pod |= {"hostNetwork": True, "dnsPolicy": "Default"}
    template = {"metadata": {"labels": SERVER}, "spec": pod}
    spec = {"selector": {"matchLabels": SERVER}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "server"}, "spec": spec}


def asker_name(source: Source, index: int) -> str:
    """Name of the pod that asks for a source; node names are too long to be part of it."""
    return f"{'host' if source.host else 'pod'}-{index}"


def asker(name: str, source: Source, image: str, targets: Sequence[Target]) -> dict[str, Any]:
    """A pod that asks its questions once and ends; it is bound to its node without the scheduler."""
    container = _container(image, "ask")
    container["env"] = [{"name": "QUILT_TARGETS", "value": json.dumps([item.wire() for item in targets])}]
    spec = _pod([container]) | {"nodeName": source.node, "restartPolicy": "Never"}
    if source.host:
        spec |= {"hostNetwork": True, "dnsPolicy": "Default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": ASKER}, "spec": spec}


def looker(name: str, node: str, image: str, arguments: Sequence[str]) -> dict[str, Any]:
    """A pod that runs `quiltctl check node` once, with the one capability that shows the firewall."""
    container = _container(image)
    container["command"] = ["quiltctl", "check", "node", "-o", "json", "--compact", *arguments]
    container["env"] = [{"name": "NODE_NAME", "value": node}]
    container["securityContext"]["capabilities"]["add"] = ["NET_ADMIN"]
    mounts = {"cni-conf": "/etc/cni/net.d", "run": "/run/quilt"}
    mounts |= {name.replace("/", "-"): f"/{name}" for name in PROGRAMS}
    container["volumeMounts"] = [
        {"name": volume, "mountPath": "/run/quilt" if volume == "run" else f"/host{path}", "readOnly": True}
        for volume, path in mounts.items()
    ]
    spec = _pod([container]) | {"nodeName": node, "restartPolicy": "Never", "hostNetwork": True}
    # Kubernetes gives capabilities to root only.
    spec["securityContext"] = {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}}
    spec["volumes"] = [
        {"name": volume, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
        for volume, path in mounts.items()
    ]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": ASKER}, "spec": spec}


def _container(image: str, *arguments: str) -> dict[str, Any]:
    return {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [*_COMMAND, *arguments],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _pod(containers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "containers": containers,
        "tolerations": _ANYWHERE,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
