"""Who reaches whom: pods, nodes, Services, the world outside; and what nobody may do."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from mesh import NAMESPACE, Mesh, Pod, until

from quilt_devcluster.enter import inside

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
ECHO_SOURCE = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.client_address[0].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
print("ready", flush=True)
http.server.HTTPServer(("", 8099), Handler).serve_forever()
"""


def service(mesh: Mesh, name: str, app: str, **spec: Any) -> dict[str, Any]:
    wanted = {"selector": {"app": app}, "ports": [{"port": 8080}], **spec}
    mesh.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": wanted})
    found: dict[str, Any] = mesh.get("service", name)["spec"]
    return found


def answers(mesh: Mesh, pod: Pod, address: str, names: set[str]) -> None:
    """The Service answers; a new one takes kube-proxy a moment."""
    until(f"{pod.name} reaches {address}", lambda: mesh.http(pod, address) in names, timeout=30, every=0.3)


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


def test_every_node_reaches_every_pod_under_strict_reverse_path_checks(
    mesh: Mesh, pods: dict[str, Pod]
) -> None:
    names = ("net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter")
    before = {(node, name): mesh.on(node, "sysctl", "-n", name).strip() for node in pods for name in names}
    try:
        for node in pods:
            mesh.on(node, "sysctl", "-qw", *(f"{name}=1" for name in names))
        for node, pod in itertools.product(pods, pods.values()):
            assert mesh.reaches(node, f"http://{pod.ip}:8080/"), f"{node} to {pod}"
    finally:
        for (node, name), value in before.items():
            mesh.on(node, "sysctl", "-qw", f"{name}={value}")


def test_a_node_port_leads_to_a_pod_from_every_node(mesh: Mesh, pods: dict[str, Pod]) -> None:
    (port,) = service(mesh, "matrix-node-port", "traffic", type="NodePort")["ports"]
    addresses = {node: mesh.quiltnode(node)["hostIP"] for node in pods}
    for source, target in itertools.product(pods, addresses.values()):
        url = f"http://{target}:{port['nodePort']}/"
        until(f"{source} reaches {url}", lambda s=source, u=url: mesh.reaches(s, u), timeout=30)  # type: ignore[misc]
    mesh.kubectl("delete", "service", "matrix-node-port")


@pytest.mark.parametrize("calls", ["0", "1"])
def test_a_pod_reaches_its_own_service_and_itself_through_one(
    mesh: Mesh, pods: dict[str, Pod], beside: Pod, calls: str
) -> None:
    first = next(iter(pods.values()))
    before = mesh.on(first.node, "sysctl", "-n", BRIDGE_CALLS).strip()
    mesh.on(first.node, "sysctl", "-qw", f"{BRIDGE_CALLS}={calls}")
    try:
        address = service(mesh, "matrix", "matrix")["clusterIP"]
        answers(mesh, first, address, {beside.name})
        answers(mesh, beside, address, {beside.name})
    finally:
        mesh.on(first.node, "sysctl", "-qw", f"{BRIDGE_CALLS}={before}")
        mesh.kubectl("delete", "service", "matrix")


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
    until("the node's own arrives", lambda: genuine in received(mesh, second), timeout=5)
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
            until("datagrams arrive", lambda t=target: received(mesh, t), timeout=5)  # type: ignore[misc]
            assert set(received(mesh, target)) == {first.ip}, "pods see each other's own address"


def test_restarts_of_runtime_and_agent_lose_no_packet(mesh: Mesh, pods: dict[str, Pod], beside: Pod) -> None:
    with mesh.flow([*pods.values(), beside]) as flow:
        for node in list(pods)[:2]:
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


def test_a_full_subnet_is_told_and_mended(mesh: Mesh, pods: dict[str, Pod]) -> None:
    """The 254th pod of a node gets a clear error and an Event; one that goes makes room.

    The addresses are taken over the runtime's own RPC, as 253 pods would take minutes to start here.
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

    def told() -> bool:
        events = mesh.get("events", "--field-selector", "involvedObject.name=matrix-254th")["items"]
        return any("253 of 253 are in use" in event.get("message", "") for event in events)

    from mesh import pod_manifest

    assert 240 < filler("take", 253) < 253
    try:
        mesh.apply(pod_manifest("matrix-254th", node, {"app": "matrix-254th"}))
        until("an Event says that the subnet is full", told, timeout=60, every=0.5)
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
        told = subprocess.run(
            ["quilt", "--kubeconfig", str(mesh.cluster.kubeconfig), "status"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "00-foreign.conflist" in told.stdout, told.stdout + told.stderr
    finally:
        path.unlink()
    until("it is forgotten again", lambda: not reported(), timeout=90, every=0.5)
