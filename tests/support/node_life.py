"""Nodes, containers and leaders of a mesh, as they come and go."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from quilt_devcluster import binaries
from tests.support.mesh import NAMESPACE, Mesh, until

CTR = str(binaries.program("ctr"))


def container_pid(mesh: Mesh, pod: dict[str, Any], container: str) -> tuple[str, int]:
    """(node, host process id) of a running container; 0 while it does not run."""
    node = pod["spec"]["nodeName"]
    statuses = pod["status"].get("containerStatuses", [])
    identifiers = [item.get("containerID", "") for item in statuses if item["name"] == container]
    for line in mesh.on(node, CTR, "-n", "k8s.io", "tasks", "list").splitlines()[1:]:
        identifier, pid, *_ = line.split()
        if f"containerd://{identifier}" in identifiers:
            return node, int(pid)
    return node, 0


def renewals(mesh: Mesh, node: str) -> list[float]:
    """The Unix times of a node's two heartbeats."""
    times = []
    for namespace in ("quilt-node-lease", "kube-node-lease"):
        text = mesh.get("lease", node, "-n", namespace)["spec"]["renewTime"]
        times.append(datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC).timestamp())
    return times


@contextmanager
def phases(mesh: Mesh, node: str) -> Iterator[dict[str, float]]:
    """{phase: Unix time at which the QuiltNode's watch first reported it} while the block runs."""
    seen: dict[str, float] = {}
    template = "{.metadata.name} {.status.phase}{'\\n'}"
    command = ["get", "quiltnodes", node, "--watch", "-o", f"jsonpath={template}"]
    environment = {**os.environ, **mesh.cluster.environment()}
    program = str(binaries.program("kubectl"))
    process = subprocess.Popen([program, *command], env=environment, stdout=subprocess.PIPE, text=True)

    def follow() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            seen.setdefault(line.split()[-1], time.time())

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        process.terminate()
        process.wait()
        thread.join()


def led_from_elsewhere(mesh: Mesh, node: str) -> None:
    """Wait for a leader on another node that has seen both Leases of this one renewed.

    One that dies with the node is followed by one that gives every node a full time-out from then on, and so
    does one that has only begun.
    """

    def elsewhere() -> bool:
        pod = mesh.leader()
        if pod["spec"]["nodeName"] != node:
            return works(mesh, pod["spec"]["nodeName"])
        mesh.kubectl("delete", "pod", "-n", NAMESPACE, pod["metadata"]["name"])
        return False

    until("the leader is on another node and at work", elsewhere, timeout=120, every=0.5)
    since = time.time()
    until("both of its Leases were renewed", lambda: min(renewals(mesh, node)) > since, timeout=60)


def works(mesh: Mesh, node: str) -> bool:
    """Whether the operator on a node leads and has read the cluster's state: a standby is ready too."""
    probes = "http://127.0.0.1:9472"
    leads = "quilt_operator_leader 1.0" in mesh.on(node, "curl", "-sf", "-m", "5", f"{probes}/metrics")
    return leads and mesh.reaches(node, f"{probes}/readyz")


@contextmanager
def stopped(mesh: Mesh, node: str, *containers: str) -> Iterator[None]:
    """Stop containers of a node's pod (none given: agent and runtime); they continue after the block."""
    pod = mesh.system_pod("node", node)
    with ExitStack() as stack:
        for container in containers or ("agent", "runtime"):
            pid = str(container_pid(mesh, pod, container)[1])
            mesh.on(node, "kill", "-STOP", pid)
            stack.callback(mesh.on, node, "kill", "-CONT", pid)
        yield
