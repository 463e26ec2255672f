"""Whichever process dies, no packet between pods is lost and everything converges again by itself.

Datagrams run at 200 a second in every direction between pods on different nodes from ten seconds before a
fault until sixty seconds after it. Beside these, the agent of another node stays away for five minutes, as by
an image that cannot be pulled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.mesh import NAMESPACE, Flow, Mesh, Pod, all_up, load_product, until
from tests.support.node_life import CTR, container_pid

BEFORE, AFTER, RATE = 10, 60, 200
OUTAGE = 300
NODE_IMAGE = "docker.io/library/quilt-mesh-node:dev"


def watched_for(seconds: float) -> None:
    """Let the flow under observation run; its length is part of what the test states."""
    time.sleep(max(0.0, seconds))


def kill_container(mesh: Mesh, component: str, container: str, node: str | None = None) -> None:
    """kill -9, and wait until the kubelet has started another."""
    pod = mesh.system_pod(component, node)
    name = pod["metadata"]["name"]
    node, pid = container_pid(mesh, pod, container)
    assert pid
    mesh.on(node, "kill", "-9", str(pid))

    def again() -> bool:
        return container_pid(mesh, mesh.get("pod", name, "-n", NAMESPACE), container)[1] not in (0, pid)

    until(f"{container} of {name} was started again", again, timeout=120, every=1)


@dataclass
class Outage:
    """A node whose agent cannot be started, and the datagrams that flow meanwhile."""

    node: str
    flow: Flow
    began: float
    stack: ExitStack


@pytest.fixture(scope="module", autouse=True)
def outage(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[Outage]:
    """Take the image from a fourth node and then its agent's pod, as when a registry is away."""
    node = next((node for node in mesh.nodes() if node not in pods), None) or mesh.cluster.add_node()
    until("four nodes are Up", lambda: all_up(mesh), timeout=120, every=0.5)
    first = next(iter(pods))
    ends = list(mesh.start_pods({"outage-a": node, "outage-b": first}, label="outage").values())
    mesh.on(node, CTR, "-n", "k8s.io", "images", "rm", "--sync", NODE_IMAGE)
    with ExitStack() as stack:
        flow = stack.enter_context(mesh.flow(ends, RATE))
        pod = mesh.system_pod("node", node)["metadata"]["name"]
        mesh.kubectl("delete", "pod", "-n", NAMESPACE, pod, "--wait=false")
        yield Outage(node, flow, time.monotonic(), stack)
    mesh.delete_pods("outage-a", "outage-b")


FAULTS: dict[str, Callable[[Mesh, dict[str, Pod]], None]] = {
    "none, as the control": lambda mesh, pods: None,
    "agent": lambda mesh, pods: kill_container(mesh, "node", "agent", next(iter(pods))),
    "runtime": lambda mesh, pods: kill_container(mesh, "node", "runtime", next(iter(pods))),
    "operator": lambda mesh, pods: kill_container(
        mesh, "operator", "operator", mesh.leader()["spec"]["nodeName"]
    ),
    "kube-apiserver": lambda mesh, pods: mesh.cluster.kill_apiserver(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_packet_is_lost_when_this_dies(mesh: Mesh, pods: dict[str, Pod], fault: str) -> None:
    with mesh.flow(list(pods.values()), RATE) as flow:
        watched_for(BEFORE)
        FAULTS[fault](mesh, pods)
        struck = time.monotonic()
        watched_for(struck + AFTER - time.monotonic())
    flow.assert_complete(at_least=(BEFORE + AFTER) * RATE * 9 // 10)
    until("the API server answers", lambda: mesh.kubectl("get", "--raw", "/readyz"), timeout=60)
    for node in pods:
        until(f"{node} is in sync", lambda node=node: is_in_sync(mesh, node), timeout=60, every=0.5)


def is_in_sync(mesh: Mesh, node: str) -> bool:
    """Whether the agent on a node says ready by its own probe, and its QuiltNode says Up."""
    return mesh.reaches(node, "http://127.0.0.1:9470/readyz") and mesh.quiltnode(node)["phase"] == "Up"


@pytest.mark.timeout(OUTAGE + 300)  # alone, it waits for the whole outage
def test_an_agent_that_stays_away_costs_no_packet(mesh: Mesh, outage: Outage) -> None:
    watched_for(outage.began + OUTAGE - time.monotonic())
    waiting = mesh.system_pod("node", outage.node)["status"]["containerStatuses"]
    condition = mesh.condition(outage.node, "AgentUnresponsive")
    phase = mesh.quiltnode(outage.node)["phase"]
    outage.stack.close()
    assert {item["state"]["waiting"]["reason"] for item in waiting} <= {"ErrImagePull", "ImagePullBackOff"}
    assert condition.get("status") == "True"
    assert phase == "Up"
    outage.flow.assert_complete(at_least=OUTAGE * RATE * 9 // 10)
    load_product(mesh)
    pod = mesh.system_pod("node", outage.node)["metadata"]["name"]
    mesh.kubectl("delete", "pod", "-n", NAMESPACE, pod)
    until("all nodes are in sync again", lambda: all_up(mesh), timeout=120, every=0.5)

    # What its former agent reported last may have been that all is well.
    def responds() -> bool:
        return bool(mesh.condition(outage.node, "AgentUnresponsive")["status"] == "False")

    until("its agent responds again", responds, timeout=60, every=0.5)
