"""CNI with the real plugin binary: pods reach each other, no address is ever lost or given twice."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quilt_proto import node_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, eventually, held, ping, show, veths

Make = Callable[[], Namespace]


@pytest.mark.kernel(short=True)
def test_pods_reach_each_other_and_the_gateway(ready_node: Node, make_netns: Make) -> None:
    one, two = make_netns(), make_netns()
    first, second = ready_node.add_pod(one), ready_node.add_pod(two)
    assert (first, second) == ("10.42.1.2", "10.42.1.3")
    ping(one, second)
    ping(two, first, "-M", "do", "-s", str(1450 - 28))
    ping(one, "10.42.1.1")
    ping(ready_node.netns, first)
    ping(one, first)


@pytest.mark.kernel
def test_a_pod_is_configured_as_its_result_says(ready_node: Node, make_netns: Make) -> None:
    pod = make_netns()
    result = ready_node.cni(
        "ADD", pod.name, pod.path, version="1.1.0", mtu=1300, dns={"nameservers": ["10.96.0.10"]}
    )
    bridge, host, inside = result.document["interfaces"]
    (link,) = show(pod, "addr", "show", "dev", "eth0")
    assert inside == {"name": "eth0", "mac": link["address"], "sandbox": pod.path, "mtu": 1300}
    assert link["mtu"] == 1300
    assert [(a["local"], a["prefixlen"]) for a in link["addr_info"] if a["family"] == "inet"] == [
        ("10.42.1.2", 32)
    ]
    assert (bridge["name"], host["name"]) == ("quilt0", "qv0a2a0102")
    assert result.document["ips"] == [{"address": "10.42.1.2/32", "gateway": "10.42.1.1", "interface": 2}]
    assert result.document["dns"] == {"nameservers": ["10.96.0.10"]}
    assert {route["dst"] for route in show(pod, "route")} == {"default", "10.42.1.1"}
    (port,) = show(ready_node.netns, "-d", "link", "show", "dev", host["name"])
    assert port["linkinfo"]["info_slave_data"]["hairpin"] is True


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_every_version_is_answered_in_its_own_words(ready_node: Node, make_netns: Make, version: str) -> None:
    pod = make_netns()
    result = ready_node.cni("ADD", pod.name, pod.path, version=version)
    assert result.document["cniVersion"] == version
    assert ("version" in result.document["ips"][0]) == version.startswith("0.")


def test_an_unknown_version_is_refused_and_version_needs_no_runtime(
    ready_node: Node, make_netns: Make
) -> None:
    pod = make_netns()
    refused = ready_node.cni("ADD", pod.name, pod.path, version="9.9.9")
    assert (refused.code, refused.document["code"]) == (1, 1)
    ready_node.stop()
    assert "1.1.0" in ready_node.cni("VERSION").document["supportedVersions"]


def test_add_asks_to_try_again_until_there_is_a_subnet(node: Node, make_netns: Make) -> None:
    pod = make_netns()
    assert node.cni("ADD", pod.name, pod.path).document["code"] == 11
    assert node.cni("STATUS", version="1.1.0").document["code"] == 50
    node.give_subnet()
    assert node.cni("STATUS", version="1.1.0").code == 0
    node.add_pod(pod)


def test_add_again_gives_the_same_address(ready_node: Node, make_netns: Make) -> None:
    pod = make_netns()
    first = ready_node.add_pod(pod)
    pod.run("ip", "link", "del", "eth0")
    assert ready_node.add_pod(pod) == first
    ping(pod, "10.42.1.1")


@pytest.mark.kernel
def test_a_failed_add_leaves_nothing(ready_node: Node, make_netns: Make) -> None:
    pod = make_netns()
    pod.run("ip", "link", "add", "eth0", "type", "bridge")
    refused = ready_node.cni("ADD", pod.name, pod.path)
    assert refused.code == 1
    assert "eth0 already exists" in refused.document["msg"]
    assert held(ready_node) == {}
    assert veths(ready_node) == []


@pytest.mark.kernel
def test_delete_is_idempotent_and_needs_no_namespace(ready_node: Node, make_netns: Make) -> None:
    pod = make_netns()
    ready_node.add_pod(pod)
    for netns in ("", "/run/netns/gone", pod.path):
        assert ready_node.cni("DEL", pod.name, netns).code == 0
    assert held(ready_node) == {}
    assert veths(ready_node) == []


def test_a_released_address_rests(ready_node: Node, make_netns: Make) -> None:
    one, two = make_netns(), make_netns()
    first = ready_node.add_pod(one)
    ready_node.cni("DEL", one.name)
    assert ready_node.add_pod(two) != first


def test_a_reused_address_is_reached_at_once(ready_node: Node, make_netns: Make) -> None:
    one, two = make_netns(), make_netns()
    address = ready_node.add_pod(one, runtimeConfig={"ips": ["10.42.1.50"]})
    ping(ready_node.netns, address)
    ready_node.cni("DEL", one.name)
    assert ready_node.add_pod(two, runtimeConfig={"ips": ["10.42.1.50"]}) == address
    ping(ready_node.netns, address)  # who kept the old MAC would ask for a new one after 5 s and more


def test_static_address_and_mac(ready_node: Node, make_netns: Make) -> None:
    one, two = make_netns(), make_netns()
    wish = {"ips": ["10.42.1.77/24"], "mac": "0a:58:0a:2a:01:4d"}
    assert ready_node.add_pod(one, runtimeConfig=wish) == "10.42.1.77"
    assert show(one, "link", "show", "dev", "eth0")[0]["address"] == wish["mac"]
    taken = ready_node.cni("ADD", two.name, two.path, runtimeConfig=wish)
    assert taken.code == 1
    assert one.name in taken.document["msg"]


@pytest.mark.kernel
def test_check_notices_what_was_changed(ready_node: Node, make_netns: Make) -> None:
    pod = make_netns()
    result = ready_node.cni("ADD", pod.name, pod.path).document
    assert ready_node.cni("CHECK", pod.name, pod.path, prevResult=result).code == 0
    pod.run("ip", "route", "del", "default")
    broken = ready_node.cni("CHECK", pod.name, pod.path, prevResult=result)
    assert broken.code == 1
    assert "default route" in broken.document["msg"]


def test_garbage_collection_frees_what_nobody_owns(ready_node: Node, make_netns: Make) -> None:
    kept, lost = make_netns(), make_netns()
    ready_node.add_pod(kept)
    ready_node.add_pod(lost)
    ready_node.ipam.AllocateIp(node_pb2.AllocateIpRequest(container_id="other", interface="eth0"))
    ready_node.netns.run("ip", "link", "add", "qv0a2a01c8", "type", "veth", "peer", "name", "orphan")
    valid = {"cni.dev/valid-attachments": [{"containerID": kept.name, "ifname": "eth0"}]}
    assert ready_node.cni("GC", version="1.1.0", **valid).code == 0
    assert set(held(ready_node)) == {kept.name, "other"}
    assert veths(ready_node) == ["qv0a2a0102"]


@pytest.mark.kernel
def test_concurrent_adds_and_deletes_are_all_right(ready_node: Node, make_netns: Make) -> None:
    pods = [make_netns() for _ in range(24)]
    with ThreadPoolExecutor(12) as pool:
        addresses = list(pool.map(ready_node.add_pod, pods))
        assert len(set(addresses)) == len(pods)
        assert held(ready_node) == dict(zip((pod.name for pod in pods), addresses, strict=True))
        ping(pods[0], addresses[-1])
        assert all(result.code == 0 for result in pool.map(lambda pod: ready_node.cni("DEL", pod.name), pods))
    assert held(ready_node) == {}
    assert veths(ready_node) == []


def test_a_full_subnet_says_how_full(make_node: Callable[[], Node], make_netns: Make) -> None:
    node = make_node()
    node.start()
    assert node.config.Configure(node_pb2.ConfigureRequest(node_prefix_length=28)).success
    node.give_subnet("10.42.1.0/28")
    for number in range(13):
        assert node.ipam.AllocateIp(
            node_pb2.AllocateIpRequest(container_id=f"c{number}", interface="eth0")
        ).success
    pod = make_netns()
    full = node.cni("ADD", pod.name, pod.path)
    assert full.code == 1
    assert "13 of 13 are in use" in full.document["msg"]
    node.ipam.ReleaseIp(node_pb2.ReleaseIpRequest(container_id="c3", interface="eth0"))
    assert node.add_pod(pod) == "10.42.1.5"


def test_descriptors_do_not_pile_up(ready_node: Node, make_netns: Make) -> None:
    pod = make_netns()
    assert ready_node.process is not None
    descriptors = Path(f"/proc/{ready_node.process.pid}/fd")

    def churn() -> int:
        for _ in range(5):
            ready_node.add_pod(pod)
            assert ready_node.cni("ADD", pod.name, pod.path, version="0.1.0").code == 1
            assert ready_node.cni("ADD", pod.name, pod.path, interface="lo").code == 1
            assert ready_node.cni("DEL", pod.name).code == 0
        return len(list(descriptors.iterdir()))

    churn()
    before = churn()
    churn()
    # An answer is sent before what belonged to its request is closed.
    eventually(lambda: len(list(descriptors.iterdir())) <= before, "no more are open than before")


def test_only_root_may_ask(ready_node: Node) -> None:
    ready_node.directory.chmod(0o755)
    script = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
        "print(s.recv(4096).decode())"
    )
    path = ready_node.socket_dir / "cni.sock"
    assert (path.stat().st_mode & 0o777, ready_node.socket_dir.stat().st_mode & 0o777) == (0o600, 0o700)
    # Even with the file permissions out of the way, the peer's uid is checked.
    for directory in (ready_node.socket_dir, *ready_node.socket_dir.parents[:-1]):
        directory.chmod(directory.stat().st_mode | 0o111)
    path.chmod(0o666)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", script, str(path)],
        capture_output=True,
        text=True,
    )
    assert "only root" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"nonsense\n", b"[]\n", b"{}\n", b'{"verb":1,"env":{},"config":""}\n', b"\xff\n"]
)
def test_a_malformed_request_is_answered_with_an_error(ready_node: Node, line: bytes) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(ready_node.socket_dir / "cni.sock"))
        client.sendall(line)
        client.shutdown(socket.SHUT_WR)
        assert b'"code"' in client.recv(4096)
    assert ready_node.cni("STATUS", version="1.1.0").code == 0
