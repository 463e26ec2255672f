"""Who reaches whom: pods, nodes, Services, the world outside; and what nobody may do."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from quilt_devcluster.enter import inside
from tests.support.mesh import NAMESPACE, Mesh, Pod, pod_manifest, until

STRICT = ("net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter")
BRIDGE_CALLS = "net.bridge.bridge-nf-call-iptables"
# Outer UDP to the overlay port: VXLAN header, inner Ethernet, IPv4 and UDP to the traffic pod's port.
FORGE = """
import socket, struct, sys
node, mac, source, target = sys.argv[1:5]
payload = struct.pack("!Qd", 4242, 0.0)
udp = struct.pack("!HHHH", 7000, 7000, 8 + len(payload), 0) + payload
def total(data):
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return ~((words & 0xFFFF) + (words >> 16)) & 0xFFFF
def ip(check):
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, check,
                       socket.inet_aton(source), socket.inet_aton(target))
frame = bytes.fromhex(mac.replace(":", "")) + b"\\x02\\0\\0\\0\\0\\x01\\x08\\0" + ip(total(ip(0))) + udp
vxlan = struct.pack("!II", 0x08000000, 100 << 8) + frame
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(3):
    try:
        sender.sendto(vxlan, (node, 4789))
    except PermissionError:
        pass
"""
# Packets of the MTU in each direction, none of which may be fragmented: datagrams to the traffic pods, which
# count them, and a megabyte back over TCP. Prints the TCP payload of a packet towards each.
FULL_SIZE = """
import socket, struct, sys
mtu, marker, targets = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
for target in targets:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: IP_PMTUDISC_DO
    sender.sendto(struct.pack("!Qd", marker, 0.0).ljust(mtu - 28, b"x"), (target, 7000))
    stream = socket.create_connection((target, 8080), timeout=5)
    stream.sendall(b"GET /bulk HTTP/1.0\\r\\n\\r\\n")
    body = b"".join(iter(lambda: stream.recv(1 << 16), b"")).partition(b"\\r\\n\\r\\n")[2]
    assert len(body) == 1 << 20, (target, len(body))
    print(stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
"""
IP_AND_TCP = 20 + 32  # with the time stamp option
ECHO_SOURCE = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.client_address[0].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.HTTPServer(("", 8099), Handler)
print("ready", flush=True)
server.serve_forever()
"""


def service(mesh: Mesh, name: str, kind: str = "ClusterIP", **selector: str) -> dict[str, Any]:
    wanted = {"selector": selector, "ports": [{"port": 8080}], "type": kind}
    mesh.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": wanted})
    found: dict[str, Any] = mesh.get("service", name)["spec"]
    return found


def answers(mesh: Mesh, pod: Pod, address: str, names: set[str]) -> None:
    """The Service answers; a new one needs kube-proxy for a moment."""
    until(f"{pod.name} reaches {address}", lambda: mesh.http(pod, address) in names, timeout=120, every=0.3)


def received(mesh: Mesh, pod: Pod) -> dict[str, list[int]]:
    report = json.loads(mesh.on(pod.node, "curl", "-sf", f"http://{pod.ip}:8080/report"))
    found: dict[str, list[int]] = report["received"]
    return found


@pytest.fixture(scope="module")
def beside(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[Pod]:
    """A second pod on the first node."""
    first = next(iter(pods.values()))
    yield mesh.start_pods({"matrix-beside": first.node}, label="matrix")["matrix-beside"]
    mesh.delete_pods("matrix-beside")


def test_pods_reach_each_other_with_packets_of_the_full_mtu(
    mesh: Mesh, pods: dict[str, Pod], beside: Pod
) -> None:
    """On its own node and on others, by ICMP, TCP and UDP; none of the packets may be fragmented."""
    every = [*pods.values(), beside]
    for number, source in enumerate(every):
        others = [pod for pod in every if pod != source]
        mtu = int(mesh.kubectl("exec", source.name, "--", "cat", "/sys/class/net/eth0/mtu"))
        marker = 7_000_000 + number
        command = ("exec", source.name, "--", "python3", "-c", FULL_SIZE, str(mtu), str(marker))
        segments = mesh.kubectl(*command, *(pod.ip for pod in others)).split()
        assert segments == [str(mtu - IP_AND_TCP)] * len(others)
        for pod in others:
            mesh.ping(source, pod.ip, payload=mtu - 28)

            def arrived(source: Pod = source, pod: Pod = pod, marker: int = marker) -> bool:
                return marker in received(mesh, pod).get(source.ip, [])

            until(f"a full datagram of {source.name} reaches {pod.name}", arrived, timeout=120)


@contextmanager
def sysctls(mesh: Mesh, nodes: Iterable[str], values: dict[str, str]) -> Iterator[None]:
    """Set switches of these nodes, and set them back."""
    before = {(node, name): mesh.on(node, "sysctl", "-n", name).strip() for node in nodes for name in values}
    try:
        for node, name in before:
            mesh.on(node, "sysctl", "-qw", f"{name}={values[name]}")
        yield
    finally:
        for (node, name), value in before.items():
            mesh.on(node, "sysctl", "-qw", f"{name}={value}")


def test_every_node_reaches_every_pod_under_strict_reverse_path_checks(
    mesh: Mesh, pods: dict[str, Pod]
) -> None:
    """By its address, by a port of its node and by a NodePort of every node."""
    manifest = pod_manifest("matrix-host-port", next(iter(pods)), {"app": "matrix-host-port"})
    manifest["spec"]["containers"][0]["ports"] = [{"containerPort": 8080, "hostPort": 18081}]
    mesh.apply(manifest)
    (port,) = service(mesh, "matrix-node-port", "NodePort", app="traffic")["ports"]
    hosts = {node: mesh.quiltnode(node)["hostIP"] for node in pods}
    urls = [f"http://{pod.ip}:8080/" for pod in pods.values()]
    urls += [
        f"http://{mesh.running('matrix-host-port').ip}:8080/",
        f"http://{hosts[next(iter(pods))]}:18081/",
    ]
    urls += [f"http://{host}:{port['nodePort']}/" for host in hosts.values()]
    try:
        with sysctls(mesh, pods, dict.fromkeys(STRICT, "1")):
            for node, url in itertools.product(pods, urls):
                until(f"{node} reaches {url}", lambda n=node, u=url: mesh.reaches(n, u), timeout=120)  # type: ignore[misc]
    finally:
        mesh.kubectl("delete", "service", "matrix-node-port")
        mesh.delete_pods("matrix-host-port")


@pytest.mark.parametrize("calls", ["0", "1"])
def test_a_pod_reaches_its_own_service_and_itself_through_one(
    mesh: Mesh, pods: dict[str, Pod], beside: Pod, calls: str
) -> None:
    """Each pod itself; on the first node also the other pod there, in both directions."""
    first = next(iter(pods.values()))
    every = [*pods.values(), beside]
    for pod in every:
        mesh.kubectl("label", "pod", pod.name, f"alone={pod.name}", "--overwrite")
    try:
        with sysctls(mesh, pods, {BRIDGE_CALLS: calls}):
            addresses = {pod: service(mesh, f"only-{pod.name}", alone=pod.name)["clusterIP"] for pod in every}
            for source, target in [*zip(every, every, strict=True), (first, beside), (beside, first)]:
                answers(mesh, source, addresses[target], {target.name})
    finally:
        mesh.kubectl("delete", "service", *(f"only-{pod.name}" for pod in every))


def test_pods_cannot_inject_overlay_packets(mesh: Mesh, pods: dict[str, Pod], beside: Pod) -> None:
    first, second = list(pods.values())[:2]
    mac = mesh.on(second.node, "cat", "/sys/class/net/vxlan100/address").strip()
    host = mesh.quiltnode(second.node)["hostIP"]
    mesh.on(second.node, "curl", "-sf", "-X", "POST", f"http://{second.ip}:8080/reset")
    forged, genuine = (first.ip.rpartition(".")[0] + ending for ending in (".240", ".241"))
    mesh.kubectl("exec", first.name, "--", "python3", "-c", FORGE, host, mac, forged, second.ip)
    mesh.kubectl("exec", beside.name, "--", "python3", "-c", FORGE, host, mac, forged, second.ip)
    # The same from the node itself, which is a peer, arrives: so the packet is one that would have done it.
    mesh.on(first.node, "python3", "-c", FORGE, host, mac, genuine, second.ip)
    until("the node's own arrives", lambda: genuine in received(mesh, second), timeout=120)
    assert forged not in received(mesh, second)


@contextmanager
def outside(mesh: Mesh) -> Iterator[str]:
    """A host beyond the cluster that tells clients their address: the machine that the switch is on."""
    holder = mesh.cluster._state.pids["switch"]
    command = inside(holder, ["python3", "-c", ECHO_SOURCE])
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield f"{mesh.cluster._state.addresses.switch}"
    finally:
        process.kill()
        process.wait()


def test_addresses_are_kept_inside_and_masqueraded_outside(
    mesh: Mesh, pods: dict[str, Pod], beside: Pod
) -> None:
    script = "import sys,urllib.request as u;print(u.urlopen(sys.argv[1],timeout=5).read().decode())"
    with outside(mesh) as address:
        for pod in pods.values():
            url = f"http://{address}:8099/"
            seen = mesh.kubectl("exec", pod.name, "--", "python3", "-c", script, url).strip()
            assert seen == mesh.quiltnode(pod.node)["hostIP"], "outside sees the node"
    first, second = list(pods.values())[:2]
    for target in (beside, second):
        with mesh.flow([first, target], rate=50):
            until("datagrams arrive", lambda t=target: received(mesh, t), timeout=120)  # type: ignore[misc]
            assert set(received(mesh, target)) == {first.ip}, "pods see each other's own address"


def test_restarts_of_runtime_and_agent_lose_no_packet(mesh: Mesh, pods: dict[str, Pod], beside: Pod) -> None:
    with mesh.flow([*pods.values(), beside]) as flow:
        for node in pods:
            before = mesh.system_pod("node", node)
            name = before["metadata"]["name"]
            mesh.kubectl("delete", "pod", name, "-n", NAMESPACE, "--wait=false")
            uid = before["metadata"]["uid"]

            def back(node: str = node, uid: str = uid) -> bool:
                pod = mesh.system_pod("node", node)
                ready = {item["type"]: item["status"] for item in pod["status"].get("conditions", [])}
                return pod["metadata"]["uid"] != uid and ready.get("Ready") == "True"

            until(f"agent and runtime of {node} are back", back, timeout=90, every=0.5)
    flow.assert_complete(at_least=400)


def test_a_full_subnet_is_reported_and_recovers(mesh: Mesh, pods: dict[str, Pod]) -> None:
    """The 254th pod of a node gets a clear error and an Event; one that is deleted makes room.

    The addresses are taken over the runtime's own RPC; `make full-node` does it with as many pods.
    """
    node = list(pods)[-1]
    script = (
        "import sys, grpc\n"
        "from quilt_proto import node_pb2 as pb, node_pb2_grpc as rpc\n"
        "stub = rpc.IpamStub(grpc.insecure_channel('unix:/run/quilt/runtime.sock'))\n"
        "verb, count = sys.argv[1], int(sys.argv[2])\n"
        "done = 0\n"
        "for number in range(count):\n"
        "    owner = dict(container_id=f'filler-{number}', interface='eth0')\n"
        "    if verb == 'take': done += stub.AllocateIp(pb.AllocateIpRequest(**owner)).success\n"
        "    else: done += stub.ReleaseIp(pb.ReleaseIpRequest(**owner)).success\n"
        "print(done)\n"
    )

    def filler(verb: str, count: int) -> int:
        pod = mesh.system_pod("node", node)["metadata"]["name"]
        command = ("exec", "-n", NAMESPACE, pod, "-c", "runtime", "--", "python3", "-c", script)
        return int(mesh.kubectl(*command, verb, str(count)))

    def is_full() -> bool:
        events = mesh.get("events", "--field-selector", "involvedObject.name=matrix-254th")["items"]
        return any("253 of 253 are in use" in event.get("message", "") for event in events)

    assert 240 < filler("take", 253) < 253
    try:
        mesh.apply(pod_manifest("matrix-254th", node, {"app": "matrix-254th"}))
        until("an Event says that the subnet is full", is_full, timeout=60, every=0.5)
        assert filler("free", 1) == 1
        mesh.running("matrix-254th", timeout=120)
    finally:
        filler("free", 253)
        mesh.delete_pods("matrix-254th")


def test_row_23_a_foreign_conflist_that_would_win_is_reported(mesh: Mesh, pods: dict[str, Pod]) -> None:
    """FIELD-BUGS 23: a foreign conflist sorts first and wins, duplicate pod IPs."""
    node = list(pods)[-1]
    path = mesh.cluster.node_path(node, "/etc/cni/net.d/00-foreign.conflist")
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "foreign", "plugins": [{"type": "loopback"}]}))

    def reported() -> bool:
        return "00-foreign.conflist" in json.dumps(mesh.quiltnode(node).get("conditions", []))

    try:
        until("the node's condition names it", reported, timeout=90, every=0.5)
        done = subprocess.run(
            ["quiltctl", "--kubeconfig", str(mesh.cluster.kubeconfig), "status"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "00-foreign.conflist" in done.stdout, done.stdout + done.stderr
    finally:
        path.unlink()
    until("it is forgotten again", lambda: not reported(), timeout=90, every=0.5)
