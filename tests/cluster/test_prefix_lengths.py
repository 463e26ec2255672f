"""Node subnets of other lengths than /24, cut by the operator or by kube-controller-manager."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from tests.support.commands import clean
from tests.support.fresh import fresh_cluster
from tests.support.mesh import NAMESPACE, Mesh, install, until

KINDS = ("quiltnodes", "quiltsubnets", "quiltnetworks")


@pytest.fixture(scope="module")
def bare() -> Iterator[Mesh]:
    """Three nodes whose podCIDRs are /25, nothing installed."""
    with fresh_cluster("lengths", nodes=3, allocate_node_cidrs=True, node_cidr_length=25) as cluster:
        yield Mesh(cluster)


def remove(mesh: Mesh) -> None:
    """Uninstall by the book, the address plan included, which cannot be changed."""
    mesh.cluster.helm("uninstall", "quilt", "-n", NAMESPACE, "--wait", "--timeout", "120s")
    mesh.kubectl("delete", "--all", ",".join(KINDS), "--timeout=60s")
    pods = ("pods", "-n", NAMESPACE)
    until("no Pod of the chart is left", lambda: not mesh.get(*pods)["items"], timeout=60)
    for node in mesh.nodes():
        clean(mesh, node)


@pytest.mark.parametrize(
    ("length", "values"),
    [
        (25, ("network.nodePrefixLength=25",)),
        (22, ("network.nodePrefixLength=22",)),
        (25, ("network.ipam.mode=kubernetes",)),
    ],
    ids=["quilt-25", "quilt-22", "kubernetes-25"],
)
def test_three_nodes_with_subnets_of_this_length_are_up_and_pods_reach_each_other(
    bare: Mesh, length: int, values: tuple[str, ...]
) -> None:
    """t11: With node subnets of /25 or /22, or podCIDRs of /25, nodes come Up and pods reach each other."""
    install(bare, *values)
    subnets = {node: IPv4Network(claim["spec"]["cidr"]) for node, claim in bare.subnets().items()}
    assert {subnet.prefixlen for subnet in subnets.values()} == {length}
    if "network.ipam.mode=kubernetes" in values:
        cut = {item["metadata"]["name"]: item["spec"]["podCIDR"] for item in bare.get("nodes")["items"]}
        assert {node: str(subnet) for node, subnet in subnets.items()} == cut
    pods = bare.start_pods({f"length-{node}": node for node in bare.nodes()})
    for pod in pods.values():
        assert pod.ip in {str(address) for address in subnets[pod.node]}
        for other in pods.values():
            until(
                f"{pod.name} reaches {other.name}",
                lambda source=pod, target=other: bare.http(source, target.ip) == target.name,
                timeout=120,
            )
    bare.delete_pods(*pods)
    remove(bare)
