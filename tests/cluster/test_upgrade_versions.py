"""From an earlier version to this one, node after node, and back: pods go on talking, subnets stay theirs.

QUILT_UPGRADE_FROM names another commit to come from.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from typing import Any

import pytest

from quilt_devcluster import Cluster, earlier, product
from quilt_devcluster.earlier import Earlier
from tests.support.fresh import fresh_cluster
from tests.support.mesh import CHART, NAMESPACE, Mesh, Pod, all_up, in_sync, release, rolled_out, until

# The first time images of the earlier version are built.
pytestmark = pytest.mark.timeout(1800)
# Before subnets of any length, the untracked overlay and the bridge guard: what a node may meet beside it.
FROM = os.environ.get("QUILT_UPGRADE_FROM", "f9ccd392fb2c199466150306fc2010c8a0cc9fbb")
RATE = 200
SECONDS = 15
AT_LEAST = 10 * RATE


@pytest.fixture(scope="module")
def before() -> Earlier:
    return earlier.ensure(FROM, lambda _: None)


@pytest.fixture(scope="module")
def aged(before: Earlier) -> Iterator[Mesh]:
    """Three nodes with the earlier version, which needs forwarding hosts; the images of both are there."""
    archives = product.build(lambda _: None)
    everything = [*before.images, *archives]
    with fresh_cluster("upgrade", nodes=3, images=everything, host_forwarding=True) as cluster:
        yield installed(cluster, before)


def installed(cluster: Cluster, before: Earlier) -> Mesh:
    mesh = Mesh(cluster)
    release(mesh, before.chart, before.tag)
    rolled_out(mesh)
    return mesh


@pytest.fixture(scope="module")
def pods(aged: Mesh) -> list[Pod]:
    """A traffic pod on each node, made by the earlier version."""
    return list(aged.start_pods({f"traffic-{node}": node for node in aged.nodes()}).values())


@contextmanager
def undisturbed(mesh: Mesh, pods: list[Pod]) -> Iterator[None]:
    """No packet between the pods is lost meanwhile, no claim changes, no pod gets another address."""
    claims = {node: claim["spec"] for node, claim in mesh.subnets().items()}
    assert len(claims) == len(mesh.nodes())
    with mesh.flow(pods, RATE) as flow:
        began = time.monotonic()
        yield
        # A quick machine is done before many packets were sent; some seconds afterwards are watched, too.
        time.sleep(max(0.0, began + SECONDS - time.monotonic()))
    flow.assert_complete(at_least=AT_LEAST)
    assert {node: claim["spec"] for node, claim in mesh.subnets().items()} == claims
    for pod in pods:
        status = mesh.get("pod", pod.name)["status"]
        assert status["podIP"] == pod.ip
        assert [container["restartCount"] for container in status["containerStatuses"]] == [0]


def reach_each_other(mesh: Mesh, pods: list[Pod]) -> None:
    """Each pod gets an answer from each other one; whether every packet arrives is the flows' to say."""
    for source, target in permutations(pods, 2):
        what = f"{source.name} on {source.node} reaches {target.name} on {target.node}"
        until(what, lambda one=source, other=target: mesh.http(one, other.ip) == other.name, timeout=60)


def image(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0]["image"]).rpartition(":")[2]


def versions(mesh: Mesh) -> list[str]:
    """The tags of the images that the nodes run, in the order of the nodes."""
    return [image(mesh.system_pod("node", node)) for node in mesh.nodes()]


def replace(mesh: Mesh, node: str) -> None:
    """Delete the node's pod, and wait until its successor is Ready and says that the dataplane is in sync."""
    gone = mesh.system_pod("node", node)["metadata"]["name"]
    mesh.kubectl("delete", "pod", "-n", NAMESPACE, gone)

    def succeeded() -> bool:
        pod = mesh.system_pod("node", node)
        conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions", [])}
        return pod["metadata"]["name"] != gone and conditions.get("Ready") == "True"

    until(f"{node} has a new pod", succeeded, timeout=120, every=0.5)
    until(f"{node} is in sync", lambda: in_sync(mesh.quiltnode(node)), timeout=60, every=0.5)


def test_an_upgrade_node_by_node_loses_no_packet(aged: Mesh, pods: list[Pod], before: Earlier) -> None:
    first, *others = aged.nodes()
    with undisturbed(aged, pods):
        release(aged, CHART, "dev", "node.updateStrategy=OnDelete")
        aged.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/quilt-operator", "--timeout=240s")
        assert versions(aged) == [before.tag] * 3
        replace(aged, first)
        assert versions(aged) == ["dev", before.tag, before.tag]
        mixed = aged.start_pods({f"mixed-{node}": node for node in (first, others[0])})
        reach_each_other(aged, [*mixed.values(), pods[2]])
        for node in others:
            replace(aged, node)
    assert versions(aged) == ["dev"] * 3
    until("every node is in sync", lambda: all_up(aged), timeout=60, every=0.5)
    reach_each_other(aged, [*pods, *mixed.values()])


def test_pods_of_the_earlier_version_can_be_deleted(aged: Mesh, pods: list[Pod]) -> None:
    """The pod of the second node and one that was made meanwhile go; one comes in their place."""
    node = pods[1].node
    aged.delete_pods(pods[1].name, f"mixed-{node}")
    left_clean(aged, node)
    pods[1] = aged.start_pods({f"after-{node}": node})[f"after-{node}"]
    reach_each_other(aged, pods)


def test_a_roll_back_loses_no_packet(aged: Mesh, pods: list[Pod], before: Earlier) -> None:
    with undisturbed(aged, pods):
        aged.cluster.helm("rollback", "quilt", "1", "-n", NAMESPACE)
        rolled_out(aged)
    assert versions(aged) == [before.tag] * 3
    after = aged.start_pods({f"back-{node}": node for node in aged.nodes()})
    reach_each_other(aged, [*pods, *after.values()])
    aged.delete_pods(*after, *(pod.name for pod in pods))
    for node in aged.nodes():
        left_clean(aged, node)


def left_clean(mesh: Mesh, node: str) -> None:
    """No interface of a deleted pod stays; a Pod of no grace period is deleted before its network."""
    until(f"{node} has no other", lambda: interfaces(mesh, node) == own_pods(mesh, node), timeout=120)


def interfaces(mesh: Mesh, node: str) -> int:
    """How many pods have an interface on a node."""
    return len(mesh.on(node, "sh", "-c", "ip -o link show type veth | grep ' qv' || true").splitlines())


def own_pods(mesh: Mesh, node: str) -> int:
    """How many pods with a network of their own a node has."""
    listed = mesh.get("pods", "-A", f"--field-selector=spec.nodeName={node}")["items"]
    return sum(not item["spec"].get("hostNetwork", False) for item in listed)
