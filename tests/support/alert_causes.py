"""Causes of the chart's alerts in the mesh's own programs and objects, planted and undone again.

Each yields the node that its alerts name, empty where they are about the mesh. Causes that are packets, or
tables of the kernel, are in `alert_packets`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from threading import Event

import grpc

from quilt_crds.names import API_VERSION, BRIDGE_DEVICE, VXLAN_DEVICE, claim_name
from quilt_devcluster import DevclusterError
from quilt_proto.node_pb2 import AllocateIpRequest, ReleaseIpRequest
from quilt_proto.node_pb2_grpc import IpamStub
from tests.support.mesh import NAMESPACE, Mesh, Pod, pod_manifest, until
from tests.support.node_life import stopped

Cause = Callable[[Mesh, dict[str, Pod]], AbstractContextManager[str]]
"""The pods are one on each of three nodes."""


@contextmanager
def repeating(act: Callable[[], object], every: float = 0.5) -> Iterator[None]:
    """Act again and again, with so many seconds between, while the block runs; what fails is tried again."""
    over = Event()

    def run() -> None:
        while not over.wait(every):
            with suppress(DevclusterError):
                act()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run)
        try:
            yield
        finally:
            over.set()


# Nodes and the operator.


@contextmanager
def _silence(mesh: Mesh, node: str) -> Iterator[None]:
    """Neither agent nor kubelet renews a Lease."""
    with stopped(mesh, node, "agent"):
        mesh.cluster.stop_kubelet(node)
        try:
            yield
        finally:
            mesh.cluster.start_kubelet(node)


@contextmanager
def node_is_silent(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """The third node."""
    with _silence(mesh, list(pods)[2]):
        yield ""


@contextmanager
def all_nodes_are_silent(mesh: Mesh, _: dict[str, Pod]) -> Iterator[str]:
    """The operator runs on, and finds that hard to believe."""
    with ExitStack() as stack:
        for node in mesh.nodes():
            stack.enter_context(_silence(mesh, node))
        yield ""


@contextmanager
def nobody_leads(mesh: Mesh, _: dict[str, Pod]) -> Iterator[str]:
    """No operator runs."""
    operator = ("-n", NAMESPACE, "deployment/quilt-operator")
    replicas = mesh.get(*operator)["spec"]["replicas"]
    mesh.kubectl("scale", *operator, "--replicas=0")
    try:
        yield ""
    finally:
        mesh.kubectl("scale", *operator, f"--replicas={replicas}")


# Claims.


@contextmanager
def _claim_of_another_network(mesh: Mesh, cidr: str) -> Iterator[str]:
    """A claim from before the network was what it is: admission would refuse it, and is off for a moment."""
    binding = ("validatingadmissionpolicybinding", "quilt-subnet-in-network")
    held = mesh.get(*binding)
    claim = {
        "apiVersion": API_VERSION,
        "kind": "QuiltSubnet",
        "metadata": {"name": claim_name(cidr)},
        "spec": {"cidr": cidr, "network": "former", "node": "ghost"},
        "mesh": {"phase": "Down"},
    }

    def is_admitted() -> bool:
        mesh.apply(claim)
        return True

    mesh.kubectl("delete", *binding)
    try:
        try:
            until("the claim is admitted", is_admitted, timeout=60, every=0.5)
        finally:
            kept = {key: held["metadata"][key] for key in ("name", "labels", "annotations")}
            mesh.kubectl("create", "-f", "-", stdin=json.dumps({**held, "metadata": kept}))
        yield ""
    finally:
        mesh.kubectl("delete", "quiltsubnet", claim_name(cidr), "--ignore-not-found")


def claim_is_faulty(mesh: Mesh, _: dict[str, Pod]) -> AbstractContextManager[str]:
    """A claim of a subnet outside of the network's ranges."""
    return _claim_of_another_network(mesh, "10.43.7.0/24")


def subnets_are_exhausted(mesh: Mesh, _: dict[str, Pod]) -> AbstractContextManager[str]:
    """A claim of all that is not claimed yet, and more."""
    return _claim_of_another_network(mesh, "10.42.0.0/16")


# Agents.


@contextmanager
def agent_hears_nothing(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """The agent of a node without an operator is cut off from the API server, as a pod comes to its node.

    The kubelet asks the API server by its own address, the agent by that of the Service.
    """

    def without_operator() -> str | None:
        operators = mesh.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator")["items"]
        taken = {pod["spec"].get("nodeName") for pod in operators}
        return next((name for name in pods if name not in taken), None)

    node = until("one of the nodes has no operator", without_operator, timeout=120, every=0.5)
    service = mesh.get("service", "kubernetes")["spec"]["clusterIP"]
    mesh.on(node, "nft", "add table ip deaf")
    try:
        for hook in ("input", "output"):
            mesh.on(node, "nft", f"add chain ip deaf {hook} {{ type filter hook {hook} priority 0 ; }}")
            mesh.on(node, "nft", f"add rule ip deaf {hook} ct original ip daddr {service} drop")
        mesh.apply(pod_manifest("waits", node, {"app": "waits"}))
        yield node
    finally:
        mesh.on(node, "nft", "delete table ip deaf")
        mesh.delete_pods("waits")


@contextmanager
def vni_is_taken(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """Another program of the third node has made a device of the overlay's VNI and port."""
    node = list(pods)[2]
    with stopped(mesh, node, "agent"):
        mesh.on(node, "ip", "link", "del", VXLAN_DEVICE)
        mesh.on(node, "ip", "link", "add", "other0", "type", "vxlan", "id", "100", "dstport", "4789")
    try:
        yield node
    finally:
        mesh.on(node, "ip", "link", "del", "other0")


@contextmanager
def much_is_changed(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """All the time a route of the agent's is removed, and the MTU of the runtime's bridge is changed."""
    node, other = list(pods)[1], next(iter(pods))
    subnet = str(mesh.quiltnode(other)["subnets"][0])

    def change() -> None:
        mesh.on(node, "ip", "route", "del", subnet, check=False)
        mesh.on(node, "ip", "link", "set", BRIDGE_DEVICE, "mtu", "1400")

    with repeating(change):
        yield node


# Runtimes.


@contextmanager
def runtime_hangs(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """That of the first node."""
    node = next(iter(pods))
    with stopped(mesh, node, "runtime"):
        yield node


@contextmanager
def addresses_are_few(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """Somebody who is no container engine has taken 19 of 20 addresses of the second node."""
    node = list(pods)[1]
    socket = mesh.cluster.node_path(node, "/run/quilt/runtime.sock")
    owners = [f"somebody-{number}" for number in range(240)]
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        ipam = IpamStub(channel)
        try:
            for owner in owners:
                assert ipam.AllocateIp(AllocateIpRequest(container_id=owner, interface="eth0")).success
            yield node
        finally:
            for owner in owners:
                ipam.ReleaseIp(ReleaseIpRequest(container_id=owner, interface="eth0"))


@contextmanager
def cni_fails(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """A container engine of the third node wishes for an address that is not the node's, again and again."""
    node = list(pods)[2]
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "elsewhere",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": "/proc/self/ns/net",
        "CNI_PATH": "/opt/cni/bin",
        "CNI_ARGS": "IP=192.0.2.1",
    }
    command = ["env", *(f"{key}={value}" for key, value in environment.items()), "/opt/cni/bin/quilt-cni"]
    config = json.dumps({"cniVersion": "1.0.0", "name": "quilt", "type": "quilt-cni"})

    def ask() -> None:
        mesh.cluster.exec(node, command, stdin=config, check=False)

    with repeating(ask):
        yield node
