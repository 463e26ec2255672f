"""Small clusters that are written out, for examples: what is asked of the judges, who have to agree."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import msgspec

from quilt_policy.cluster_objects import ClusterNetworkPolicy
from quilt_policy.compile import Compiler
from quilt_policy.evaluate import evaluate
from quilt_policy.objects import NetworkPolicy, Pod
from quilt_policy.program import Program
from quilt_policy.verdicts import Connection, Verdict
from tests.support.policy_interpreter import permits
from tests.support.policy_scene import HERE, Scene

Json = dict[str, Any]


def pod(
    name: str,
    namespace: str = "shop",
    *,
    node: str = HERE,
    labels: dict[str, str] | None = None,
    ports: Iterable[tuple[str, str, int]] = (),
    sidecar: Iterable[tuple[str, str, int]] = (),
    host_network: bool = False,
) -> Pod:
    """A pod, by default of the compiler's node; ports are names, protocols and numbers."""
    containers, beside = (
        [{"ports": [{"name": n, "protocol": p, "containerPort": number} for n, p, number in each]}]
        for each in (ports, sidecar)
    )
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "labels": labels or {}},
            "spec": {
                "nodeName": node,
                "hostNetwork": host_network,
                "containers": containers,
                "initContainers": [{**beside[0], "restartPolicy": "Always"}],
            },
        },
        Pod,
    )


def policy(name: str, namespace: str = "shop", **spec: Any) -> NetworkPolicy:
    """A NetworkPolicy; the spec's fields as they are on the wire."""
    spec = {"podSelector": {}, **spec}
    return msgspec.convert({"metadata": {"name": name, "namespace": namespace}, "spec": spec}, NetworkPolicy)


def cluster_policy(name: str, **spec: Any) -> ClusterNetworkPolicy:
    """A ClusterNetworkPolicy, by default of the Admin tier and about every pod."""
    spec = {"tier": "Admin", "priority": 0, "subject": {"namespaces": {}}, **spec}
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterNetworkPolicy)


def scene(*objects: Pod | NetworkPolicy | ClusterNetworkPolicy, **namespaces: dict[str, str]) -> Scene:
    """A cluster of three nodes with these objects and labels of namespaces, every pod with its address."""
    found = Scene(namespaces=dict(namespaces), nodes={"n1": {}, "n2": {}, "n3": {}})
    for one in objects:
        if isinstance(one, Pod):
            found.pods[one.name] = one
            found.connected.add(one.name)
        elif isinstance(one, NetworkPolicy):
            found.policies[one.name] = one
        else:
            found.cluster[one.name] = one
    return found


def program_of(found: Scene) -> Program:
    """What its node enforces when the operator reported everybody."""
    compiler = found.compiled()
    found.report(compiler, compiler.selectors)
    return compiler.program()


def ask(found: Scene, client: str, server: str, protocol: str = "TCP", port: int = 80) -> Verdict:
    """The verdict on a connection between pods (by name) or addresses, in IPv4; of both judges.

    What the compiler's node does not judge is left to the evaluator.
    """
    compiler: Compiler = found.compiled()
    found.report(compiler, compiler.selectors)
    verdict = Verdict(*_judged(found, compiler.program(), client, server, protocol, port, version=0))
    if client in found.with_address and server in found.with_address:
        twin = Verdict(*_judged(found, compiler.program(), client, server, protocol, port, version=1))
        assert twin.allowed == verdict.allowed
    return verdict


def _judged(
    found: Scene, program: Program, client: str, server: str, protocol: str, port: int, *, version: int
) -> tuple[Any, Any]:
    ends = [
        found.addresses(name)[version] if name in found.with_address else ip_address(name)
        for name in (client, server)
    ]
    connection, node = Connection(ends[0], ends[1], protocol, port), found.node()
    verdict = evaluate(found.world(), connection)
    egress, ingress = permits(program, node, connection)
    if connection.client in node.pods:
        assert egress is verdict.egress.allowed, verdict.egress
    if connection.server in node.pods:
        assert ingress is verdict.ingress.allowed, verdict.ingress
    return verdict.egress, verdict.ingress
