"""What a stolen token of a node's agent allows to read and to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network

import msgspec

from quilt_crds.names import QUILTENDPOINTS
from quilt_crds.wire_policy import QuiltPeers
from tests.support.controlplane import Api, ControlPlane
from tests.support.mesh import Mesh, Pod
from tests.support.rights import REVIEWS, Right, rights


def agent(mesh: Mesh, node: str) -> Api:
    """The API, asked with the stolen token of a node's agent."""
    pod = mesh.system_pod("node", node)["metadata"]
    bound = (
        "--bound-object-kind=Pod",
        f"--bound-object-name={pod['name']}",
        f"--bound-object-uid={pod['uid']}",
    )
    return ControlPlane(mesh.cluster).account("quilt-agent", *bound)


def granted(mesh: Mesh, account: Api) -> set[Right]:
    """What an account may do that not every account may, as the API server itself reports."""
    token = mesh.kubectl("create", "token", "default", "-n", "default").strip()
    anybody = Api(mesh.cluster.kubeconfig, token)
    found = {}
    for item in mesh.get("namespaces")["items"]:
        name = item["metadata"]["name"]
        found[name] = set(_reviewed(account, name)) - set(_reviewed(anybody, name))
    everywhere = set.intersection(*found.values())
    return everywhere | {
        right._replace(namespace=name) for name, own in found.items() for right in own - everywhere
    }


def _reviewed(account: Api, namespace: str) -> Iterator[Right]:
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
    status = account.create(REVIEWS, review | {"spec": {"namespace": namespace}}).ok()["status"]
    yield from rights(status["resourceRules"])
    for rule in status["nonResourceRules"]:
        yield from (Right("", path, verb) for path in rule["nonResourceURLs"] for verb in rule["verbs"])


@contextmanager
def forging(mesh: Mesh, account: Api, node: str) -> Iterator[Callable[[dict[Pod, str]], None]]:
    """What writes a node's QuiltEndpoints as an account, with addresses of some pods; its own at the end."""
    path = QUILTENDPOINTS.path(node)
    own = mesh.get("quiltendpoints", node)["spec"]

    def publish(pods: dict[Pod, str]) -> None:
        names = {pod.name for pod in pods}
        endpoints = [one for one in own["endpoints"] if one["name"] not in names]
        for pod, address in pods.items():
            uid = mesh.get("pod", pod.name)["metadata"]["uid"]
            endpoints.append({"uid": uid, "namespace": "default", "name": pod.name, "address": address})
        account.merge(path, {"spec": own | {"pods": len(endpoints), "endpoints": endpoints}}).ok()

    try:
        yield publish
    finally:
        account.merge(path, {"spec": own}).ok()


def address_of(mesh: Mesh, node: str, number: int) -> str:
    """An address of a node's subnet."""
    return str(IPv4Network(mesh.subnets()[node]["spec"]["cidr"])[number])


def peers(mesh: Mesh) -> set[str]:
    """All addresses that any QuiltPeers names."""
    items = (msgspec.convert(item, QuiltPeers) for item in mesh.get("quiltpeers")["items"])
    return {str(IPv4Address(address)) for item in items for address in item.spec.addresses}
