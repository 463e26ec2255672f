"""Three nodes of a cluster with both families: a pod has both, and everything works over either."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest

from tests.support.commands import document, quiltctl
from tests.support.fresh import fresh_cluster
from tests.support.mesh import SOON, Mesh, Pod, install, pod_manifest, until

V6 = "fd42:42::/48"
ICMP_OVER = {4: 28, 6: 48}


@dataclass(frozen=True)
class Server:
    """A traffic pod, its address of each family, and how a URL has them."""

    pod: Pod
    addresses: dict[int, str]

    def host(self, family: int) -> str:
        return in_url(self.addresses[family])


ASK = """
import sys, urllib.request
for url in sys.argv[1:]:
    print(urllib.request.urlopen(url, timeout=3).read().decode())
"""


def ask(mesh: Mesh, pod: Pod, hosts: list[str]) -> list[str]:
    """Who answers at each of these, asked by a pod one after the other."""
    urls = [f"http://{host}:8080/" for host in hosts]
    return mesh.kubectl("exec", pod.name, "--", "python3", "-c", ASK, *urls).split()


def in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.fixture(scope="module")
def dual() -> Iterator[Mesh]:
    with fresh_cluster("dual", nodes=3, dual_stack=True, proxy_cluster_cidr=True) as cluster:
        mesh = Mesh(cluster)
        install(mesh, f"network.clusterCIDRsV6={{{V6}}}")
        yield mesh


@pytest.fixture(scope="module")
def servers(dual: Mesh) -> dict[str, Server]:
    """One on each node and a second on the first, which is on a port of the host too."""
    first = dual.nodes()[0]
    manifest = pod_manifest("second", first, {"app": "traffic", "alone": "yes"})
    manifest["spec"]["containers"][0]["ports"] = [{"containerPort": 8080, "hostPort": 18080}]
    dual.apply(manifest)
    pods = dual.start_pods({f"on-{node}": node for node in dual.nodes()})
    pods["second"] = dual.running("second")
    return {name: Server(pod, addresses(dual, name)) for name, pod in pods.items()}


def addresses(mesh: Mesh, pod: str) -> dict[int, str]:
    listed = [item["ip"] for item in mesh.get("pod", pod)["status"]["podIPs"]]
    return {ip_address(one).version: one for one in listed}


def test_every_node_has_a_subnet_of_each_family(dual: Mesh) -> None:
    for node in dual.nodes():
        networks = [ip_network(one) for one in dual.quiltnode(node)["subnets"]]
        assert sorted((one.version, one.prefixlen) for one in networks) == [(4, 24), (6, 64)]
    claims = [item["spec"]["cidr"] for item in dual.get("quiltsubnets")["items"]]
    assert len(set(claims)) == 2 * len(dual.nodes())


def test_a_pod_has_an_address_of_each_of_its_nodes_subnets(dual: Mesh, servers: dict[str, Server]) -> None:
    for server in servers.values():
        networks = [ip_network(one) for one in dual.quiltnode(server.pod.node)["subnets"]]
        assert set(server.addresses) == {4, 6}
        assert all(any(ip_address(a) in n for n in networks) for a in server.addresses.values())


@pytest.mark.parametrize("family", [4, 6])
def test_pods_reach_each_other_over_both(dual: Mesh, servers: dict[str, Server], family: int) -> None:
    for source in servers.values():
        assert ask(dual, source.pod, [each.host(family) for each in servers.values()]) == list(servers)
    one, other = servers[f"on-{dual.nodes()[0]}"], servers[f"on-{dual.nodes()[1]}"]
    mtu = int(dual.kubectl("exec", one.pod.name, "--", "cat", "/sys/class/net/eth0/mtu"))
    dual.ping(one.pod, other.addresses[family], payload=mtu - ICMP_OVER[family])


@pytest.mark.parametrize("family", [4, 6])
def test_nodes_reach_pods_over_both(dual: Mesh, servers: dict[str, Server], family: int) -> None:
    for node, server in itertools.product(dual.nodes(), servers.values()):
        assert dual.reaches(node, f"http://{server.host(family)}:8080/"), f"{node} to {server}"


def test_a_service_of_both_families(dual: Mesh, servers: dict[str, Server]) -> None:
    """Its only pod is on the first node: asked from there, by itself and from elsewhere."""
    ports = [{"port": 8080, "nodePort": 30080}]
    spec = {"type": "NodePort", "selector": {"alone": "yes"}, "ports": ports}
    spec["ipFamilyPolicy"] = "RequireDualStack"
    dual.kubectl("label", "pod", "second", "alone=yes", "--overwrite")
    dual.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "both"}, "spec": spec})
    cluster_ips = dual.get("service", "both")["spec"]["clusterIPs"]
    assert sorted(ip_address(one).version for one in cluster_ips) == [4, 6]
    # A redirect would come with the first packets and lead the next ones past the translation.
    hosts = [in_url(address) for address in cluster_ips] * 3
    for source in servers.values():

        def answers(pod: Pod = source.pod) -> bool:
            return ask(dual, pod, hosts) == ["second"] * len(hosts)

        until(f"{source.pod.name} reaches the Service over both", answers, timeout=120, every=0.5)
    for node, address in itertools.product(dual.nodes(), node_addresses(dual)):
        assert dual.reaches(node, f"http://{in_url(address)}:30080/"), f"{node} to {address}"


def test_a_host_port_of_both_families(dual: Mesh, servers: dict[str, Server]) -> None:
    first, asking = dual.nodes()[0], dual.nodes()[1]
    for address in node_addresses(dual, first):
        url = f"http://{in_url(address)}:18080/"
        assert dual.on(asking, "curl", "-gsf", "-m", "3", url) == "second"


def node_addresses(mesh: Mesh, node: str = "") -> list[str]:
    items = [item for item in mesh.get("nodes")["items"] if node in ("", item["metadata"]["name"])]
    listed = itertools.chain(*(item["status"]["addresses"] for item in items))
    found = [item["address"] for item in listed if item["type"] == "InternalIP"]
    assert {ip_address(one).version for one in found} == {4, 6}
    return found


DAMAGE = (
    "ip -6 addr flush dev quilt0",
    "ip -6 addr flush dev vxlan100",
    "ip -6 neigh flush dev vxlan100 nud permanent",
    "for to in $(ip -6 route show proto 81 type unicast | cut -d' ' -f1); do ip -6 route del $to; done",
    "ip link del vxlan100",
    "ip link del quilt0",
    "sysctl -qw net.ipv6.conf.all.forwarding=0",
    "sysctl -qw net.ipv6.conf.quilt0.disable_ipv6=1",
    "sysctl -qw net.ipv6.conf.vxlan100.disable_ipv6=1",
)


def kernel_state(mesh: Mesh, node: str) -> list[str]:
    """What the node's kernel holds of the mesh for IPv6, in a form that compares."""
    script = (
        "ip -o -6 addr show quilt0 | cut -d' ' -f2-; ip -o -6 addr show vxlan100 | cut -d' ' -f2-;"
        "ip -6 neigh show dev vxlan100 nud permanent; cat /proc/sys/net/ipv6/conf/all/forwarding;"
        "ip -o -6 route show | grep -E 'vxlan100|quilt0'; nft list table inet quilt"
    )
    return sorted(mesh.on(node, "sh", "-c", script).splitlines())


def test_damage_heals_at_once(dual: Mesh, servers: dict[str, Server]) -> None:
    node, other = dual.nodes()[:2]
    before = kernel_state(dual, node)
    for command in DAMAGE:
        # A flush fails where what it removes is back before it has looked whether it is gone.
        dual.on(node, "sh", "-c", command, check=False)
        until(f"all is back after `{command}`", lambda: kernel_state(dual, node) == before, SOON, 0.05)
        assert dual.reaches(other, f"http://{servers[f'on-{node}'].host(6)}:8080/"), command


def test_a_killed_runtime_and_agent_leave_traffic_alone(dual: Mesh, servers: dict[str, Server]) -> None:
    node, other = dual.nodes()[:2]
    target, source = servers[f"on-{node}"], servers[f"on-{other}"].pod
    count, every = 40, 0.05
    ping = ("ping", "-6", f"-c{count}", f"-i{every}", "-W1", "-q", target.addresses[6])
    dual.kubectl("delete", "pod", "-n", "quilt-system", dual.system_pod("node", node)["metadata"]["name"],
                 "--grace-period=0", "--force")  # fmt: skip
    output = dual.kubectl("exec", source.name, "--", *ping)
    assert f"{count} received" in output


def test_the_command_line_shows_both(dual: Mesh) -> None:
    def healthy() -> dict[str, object] | None:
        found = document(quiltctl(dual, "status", "-o", "json"))
        return found if found["healthy"] else None

    until("the status is healthy", healthy, timeout=60, every=0.5)
    shown = quiltctl(dual, "status").stdout
    for node in dual.nodes():
        assert ", ".join(dual.quiltnode(node)["subnets"]) in shown

    def passed() -> dict[str, object] | None:
        """Not at once: it wants the pod that replaces a killed one to be ready, which the status does not."""
        done = quiltctl(dual, "check", "-o", "json")
        return document(done) if done.returncode == 0 else None

    assert V6 in json.dumps(until("the check passes", passed, timeout=60, every=0.5)["findings"])
