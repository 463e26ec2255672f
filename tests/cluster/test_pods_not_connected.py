"""A pod that gets no network is an Event about its node, which says why and what to do; gone by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mesh import NAMESPACE, Mesh, Pod, pod_manifest, until
from tests.support.node_events import node_events

# All addresses of the node's subnet, from a client as third parties have it: in the runtime's container.
ADDRESSES = """
import grpc
from quilt_proto import node_pb2 as messages, node_pb2_grpc as services
ipam = services.IpamStub(grpc.insecure_channel("unix:/run/quilt/runtime.sock"))
for number in range(256):
    ipam.{do}(messages.{do}Request(container_id=f"filler{{number}}", interface="eth0"))
"""


def ask(mesh: Mesh, node: str, do: str) -> None:
    pod = mesh.system_pod("node", node)["metadata"]["name"]
    mesh.kubectl(
        "exec", "-n", NAMESPACE, pod, "-c", "runtime", "--", "python3", "-c", ADDRESSES.format(do=do)
    )


@pytest.fixture
def full(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """A node without a free address."""
    node = next(iter(pods))
    ask(mesh, node, "AllocateIp")
    yield node
    ask(mesh, node, "ReleaseIp")
    mesh.delete_pods("late")


@pytest.mark.timeout(600)
def test_a_node_without_a_free_address_says_so_in_an_event(mesh: Mesh, full: str) -> None:
    mesh.apply(pod_manifest("late", full, {"app": "late"}))

    def reported() -> bool:
        notes = node_events(mesh, "PodsNotConnected", full).values()
        return any("default/late: No free address in" in note and "remove pods" in note for note in notes)

    # The kubelet tries again at its own pace, and a pod is reported from the third attempt on.
    until("an Event names the pod, what failed and what to do", reported, timeout=240, every=1)
    ask(mesh, full, "ReleaseIp")
    mesh.running("late", timeout=240)
