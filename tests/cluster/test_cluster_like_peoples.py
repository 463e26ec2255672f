"""The shared cluster is no kinder than people's: what the other tests are worth rests on it."""

from __future__ import annotations

import json

from tests.support.mesh import Mesh, until

TAINT = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
IPV4 = "/proc/sys/net/ipv4"


def test_the_control_plane_is_on_a_tainted_node_of_the_mesh(mesh: Mesh) -> None:
    first, *others = mesh.get("nodes")["items"]
    assert TAINT in first["spec"]["taints"]
    assert TAINT["key"] in first["metadata"]["labels"]
    assert not any(TAINT in node["spec"].get("taints", []) for node in others)
    assert mesh.quiltnode(first["metadata"]["name"])["phase"] == "Up"


def test_two_api_servers_are_behind_the_kubernetes_service(mesh: Mesh) -> None:
    servers = {mesh.cluster.node_ip(node) for node in mesh.cluster.apiservers}
    assert len(servers) == 2

    def counted() -> bool:
        slices = mesh.get("endpointslices", "-l", "kubernetes.io/service-name=kubernetes")["items"]
        found = {address for item in slices for end in item["endpoints"] for address in end["addresses"]}
        return found == servers

    until("both are endpoints", counted, timeout=120)


def test_every_host_filters_by_the_reverse_path_and_forwards_by_the_meshs_doing(mesh: Mesh) -> None:
    for node in mesh.nodes():
        settings = [
            f"{IPV4}/conf/{name}" for name in ("all/rp_filter", "default/rp_filter", "eth0/rp_filter")
        ]
        assert mesh.on(node, "cat", *settings).split() == ["1", "1", "1"]
        assert mesh.on(node, "cat", f"{IPV4}/ip_forward").strip() == "1"
    # Turned on beforehand, and then off for what comes later: each device of the mesh has its own.
    prepared = mesh.nodes()[1]
    assert mesh.on(prepared, "cat", f"{IPV4}/conf/default/forwarding").strip() == "0"


def test_kubelets_run_as_many_pods_as_they_do_by_default(mesh: Mesh) -> None:
    assert {node["status"]["capacity"]["pods"] for node in mesh.get("nodes")["items"]} == {"110"}


def test_kube_proxy_does_not_know_the_pod_networks(mesh: Mesh) -> None:
    for node in mesh.nodes():
        configured = json.loads(mesh.on(node, "curl", "-sf", "http://127.0.0.1:10249/configz"))
        found = configured["kubeproxy.config.k8s.io"]
        assert found["clusterCIDR"] == ""
        assert found["mode"] == "nftables"
