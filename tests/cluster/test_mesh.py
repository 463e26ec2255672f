"""The main job: three nodes get their subnets, pods reach each other everywhere, a fourth node joins."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import pytest

from quilt_devcluster import DevclusterError
from quilt_devcluster.plan import switch_mac
from tests.support.mesh import Mesh, Pod, all_up, pod_manifest, until

SUBNETS = ["10.42.1.0/24", "10.42.2.0/24", "10.42.3.0/24"]


def test_every_node_is_up_with_a_subnet_of_its_own(mesh: Mesh) -> None:
    items = mesh.get("quiltnodes")["items"]
    assert sorted(itertools.chain(*(item["status"]["subnets"] for item in items))) == SUBNETS
    assert {item["status"]["phase"] for item in items} == {"Up"}


def test_the_columns_that_people_read(mesh: Mesh) -> None:
    header, *rows = mesh.kubectl("get", "quiltnodes").splitlines()
    assert header.split() == ["NAME", "STATUS", "SUBNET", "HOST-IP", "AGENT", "PEERS", "AGE"]
    assert all({"Up", "LeaseRenewed", "InSync"} <= set(row.split()) for row in rows)


def test_the_kernel_of_each_node_holds_its_two_peers(mesh: Mesh) -> None:
    claims = mesh.subnets()
    for node, own in claims.items():
        # A node may be in sync with those it knew when another came Up.
        def two_peers(node: str = node) -> tuple[str, str] | None:
            routes = mesh.on(node, "sh", "-c", "ip route show | grep vxlan100")
            fdb = mesh.on(node, "bridge", "fdb", "show", "dev", "vxlan100")
            return (routes, fdb) if len(routes.splitlines()) == len(fdb.splitlines()) == 2 else None

        routes, fdb = until(f"two routes and two FDB entries on {node}", two_peers, timeout=120)
        for peer, claim in claims.items():
            if peer != node:
                assert claim["spec"]["cidr"] in routes
                assert claim["mesh"]["hostIP"] in fdb
        assert own["spec"]["cidr"] in mesh.on(node, "ip", "route", "show", "dev", "quilt0")


def test_a_few_routes_go_over_the_packet_socket(mesh: Mesh) -> None:
    """Without it they would go by a call, and nobody would notice that it is broken."""
    for node in mesh.nodes():
        sockets = [line.split() for line in mesh.on(node, "cat", "/proc/net/unix").splitlines()]
        assert any("routes.sock" in line[-1] and line[5] == "03" for line in sockets), f"{node}: {sockets}"


def test_pods_reach_each_other_at_the_full_mtu(mesh: Mesh, pods: dict[str, Pod]) -> None:
    for source, target in itertools.permutations(pods.values(), 2):
        mtu = int(mesh.kubectl("exec", source.name, "--", "cat", "/sys/class/net/eth0/mtu"))
        mesh.ping(source, target.ip, payload=mtu - 28)
        assert mesh.http(source, target.ip) == target.name


def test_a_packet_over_the_mtu_is_refused_at_its_source(mesh: Mesh, pods: dict[str, Pod]) -> None:
    source, target = list(pods.values())[:2]
    with pytest.raises(DevclusterError, match=r"too long|too large"):
        mesh.ping(source, target.ip, payload=1473)


def test_nodes_and_pods_reach_each_other(mesh: Mesh, pods: dict[str, Pod]) -> None:
    for node, pod in itertools.product(pods, pods.values()):
        assert mesh.reaches(node, f"http://{pod.ip}:8080/"), f"{node} to {pod}"


def test_two_pods_of_one_node_reach_each_other(mesh: Mesh, pods: dict[str, Pod]) -> None:
    first = next(iter(pods.values()))
    beside = mesh.start_pods({"beside": first.node})["beside"]
    assert mesh.http(first, beside.ip) == "beside"
    assert mesh.http(beside, first.ip) == first.name
    mesh.delete_pods("beside")


def test_a_service_answers_by_its_dns_name(mesh: Mesh, pods: dict[str, Pod]) -> None:
    spec = {"selector": {"app": "traffic"}, "ports": [{"port": 8080}]}
    mesh.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "traffic"}, "spec": spec})
    names = {pod.name for pod in pods.values()}
    for pod in pods.values():

        def answers(pod: Pod = pod) -> bool:
            return mesh.http(pod, "traffic.default.svc.cluster.local") in names

        until(f"{pod.name} reaches the Service by name", answers, timeout=60, every=0.5)


def test_a_host_port_leads_to_its_pod(mesh: Mesh, pods: dict[str, Pod]) -> None:
    first, second = list(pods)[:2]
    manifest = pod_manifest("host-port", first, {"app": "host-port"})
    manifest["spec"]["containers"][0]["ports"] = [{"containerPort": 8080, "hostPort": 18080}]
    mesh.apply(manifest)
    mesh.running("host-port")
    address = mesh.quiltnode(first)["hostIP"]
    assert mesh.on(second, "curl", "-sf", "-m", "3", f"http://{address}:18080/") == "host-port"
    mesh.delete_pods("host-port")


def test_the_source_address_is_kept_inside_and_masqueraded_outside(mesh: Mesh, pods: dict[str, Pod]) -> None:
    first, second = list(pods.values())[:2]
    mesh.on(second.node, "nft", "list", "table", "inet", "quilt")
    with mesh.flow([first, second], rate=50):
        until("datagrams arrive", lambda: seen(mesh, second), timeout=120)
        assert seen(mesh, second) == [first.ip]


def seen(mesh: Mesh, pod: Pod) -> list[str]:
    report = json.loads(mesh.on(pod.node, "curl", "-sf", f"http://{pod.ip}:8080/report"))
    return sorted(report["received"])


def gateway_macs(mesh: Mesh, nodes: Iterable[str]) -> set[str]:
    """The MACs that nodes find their gateway under, each asked for again."""
    found = set()
    for node in nodes:
        (route,) = json.loads(mesh.on(node, "ip", "-j", "-4", "route", "show", "default"))
        show = ("neigh", "show", route["gateway"], "dev", route["dev"])
        mesh.on(node, "ip", "neigh", "flush", *show[2:])
        mesh.on(node, "ping", "-c1", "-W5", route["gateway"])
        (neighbour,) = json.loads(mesh.on(node, "ip", "-j", *show))
        found.add(neighbour["lladdr"])
    return found


def test_a_fourth_node_joins_without_touching_the_others(mesh: Mesh, pods: dict[str, Pod]) -> None:
    agents = {node: mesh.system_pod("node", node)["metadata"]["uid"] for node in pods}
    before, gateway = mesh.subnets(), gateway_macs(mesh, pods)
    assert gateway == {switch_mac(mesh.cluster._state.slot)}
    with mesh.flow(list(pods.values())) as flow:
        added = mesh.cluster.add_node()
        until("the fourth node is Up", lambda: all_up(mesh), timeout=120, every=0.5)
        fourth = mesh.start_pods({"traffic-fourth": added})["traffic-fourth"]
        for pod in pods.values():
            mesh.ping(pod, fourth.ip, payload=1422)
            assert mesh.http(fourth, pod.ip) == pod.name
    flow.assert_complete(at_least=400)
    after = mesh.subnets()
    assert after.pop(added)["spec"]["cidr"] == "10.42.4.0/24"
    assert after == before
    assert {node: mesh.system_pod("node", node)["metadata"]["uid"] for node in pods} == agents
    assert gateway_macs(mesh, [*pods, added]) == gateway
