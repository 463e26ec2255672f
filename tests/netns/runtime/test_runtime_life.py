"""Start, sockets, stop and clean-up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quilt_proto import node_pb2, runtime_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import TIMEOUT, Node, eventually, make_vxlan, show


def test_sockets_are_protected(node: Node) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in node.socket_dir.glob("*.sock")}
    assert modes == {"runtime.sock": 0o660, "cni.sock": 0o600, "keep.sock": 0o600, "routes.sock": 0o600}
    assert node.socket_dir.stat().st_mode & 0o777 == 0o700


def test_a_predecessor_that_stops_late_removes_nothing(node: Node) -> None:
    old = node.process
    assert old is not None
    node.start("--health-addr=127.0.0.1:9571")
    old.terminate()
    old.wait(TIMEOUT)
    node.give_subnet()
    assert node.cni("STATUS", version="1.1.0").code == 0
    node.stop()
    assert list(node.socket_dir.glob("*.sock")) == []


@pytest.mark.parametrize(
    "address", ["0.0.0.0:50051", "192.0.2.1:50051", "[::]:50051", "localhost:50051", "50051", "::1:50051"]
)
def test_plain_tcp_beyond_loopback_is_refused(address: str) -> None:
    command = [sys.executable, "-m", "quilt_runtime", "--grpc-addr", address]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"Address '{address}'" in done.stderr


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--tls-cert=/none"], "belong together"),
        (
            ["--tls-cert=/none", "--tls-key=/none", "--tls-client-ca=/none"],
            "Cannot use the certificates /none",
        ),
    ],
)
def test_tls_without_its_files_is_refused(tmp_path: Path, flags: list[str], reason: str) -> None:
    options = [f"--socket-dir={tmp_path}", "--health-addr=", "--grpc-addr=127.0.0.1:0", *flags]
    command = ["unshare", "--net", sys.executable, "-m", "quilt_runtime", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in {1, 2}
    assert reason in done.stderr


def test_a_taken_port_is_named(make_node: Callable[[], Node]) -> None:
    node = make_node()
    node.start("--grpc-addr=[::1]:50051")
    command = [
        *("ip", "netns", "exec", node.netns.name, sys.executable, "-m", "quilt_runtime"),
        *(f"--socket-dir={node.directory / 'other'}", "--health-addr=", "--grpc-addr=[::1]:50051"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Cannot listen on [::1]:50051" in done.stderr


def test_a_successor_waits_until_its_predecessor_is_gone(make_node: Callable[[], Node]) -> None:
    node = make_node()
    node.start("--grpc-addr=127.0.0.1:50051")
    first = node.process
    assert first is not None

    def stop_first() -> None:
        eventually(lambda: '"waits_for_port"' in node.log, "the successor waits")
        first.terminate()

    with ThreadPoolExecutor() as pool:
        stopping = pool.submit(stop_first)
        node.start("--grpc-addr=127.0.0.1:50051")
        stopping.result()
    assert first.wait(TIMEOUT) == 0
    node.give_subnet()


def test_probes_and_metrics(node: Node) -> None:
    def get(path: str) -> str:
        return node.netns.run("curl", "-s", "-w", " %{http_code}", f"http://127.0.0.1:9471{path}")

    assert get("/healthz").endswith("200")
    assert get("/nothing").endswith("404")
    assert "no pod subnet yet" in get("/readyz")
    node.give_subnet()
    assert get("/readyz").endswith("200")
    assert node.metric("quilt_runtime_addresses_capacity") == 253
    assert node.metric('quilt_runtime_rpc_duration_seconds_count{method="ConfigureNodeSubnet"}') == 1


def inject(node: Node) -> None:
    make_vxlan(node.netns)
    request = runtime_pb2.InjectRouteRequest(destination="10.42.2.0/24", via_interface="vxlan100")
    assert node.contract.InjectRoute(request).success


def test_routes_stay_over_a_stop(node: Node) -> None:
    inject(node)
    assert node.stop() == 0
    assert show(node.netns, "route", "show", "10.42.2.0/24")


def test_routes_go_with_cleanup_on_exit(make_node: Callable[[], Node]) -> None:
    node = make_node()
    node.start("--cleanup-on-exit")
    inject(node)
    assert node.stop() == 0
    assert show(node.netns, "route", "show", "10.42.2.0/24") == []
    assert show(node.netns, "nexthop") == []


@pytest.mark.kernel
def test_cleanup_leaves_a_clean_node(ready_node: Node, make_netns: Callable[[], Namespace]) -> None:
    inject(ready_node)
    ready_node.add_pod(make_netns())
    ready_node.netns.run("ip", "route", "add", "10.99.0.0/24", "dev", "vxlan100")
    ready_node.stop()
    command = (sys.executable, "-m", "quilt_runtime", "--cleanup", f"--socket-dir={ready_node.socket_dir}")
    output = ready_node.netns.run(*command)
    assert "quilt0" in output
    assert [link["ifname"] for link in show(ready_node.netns, "link")] == ["lo", "vxlan100"]
    assert [route["dst"] for route in show(ready_node.netns, "route")] == ["10.99.0.0/24"]
    assert show(ready_node.netns, "nexthop") == []
    assert ready_node.netns.run("nft", "list", "tables") == ""
    assert [path for path in ready_node.socket_dir.rglob("*") if path.is_file()] == []
    assert "nothing to remove" in ready_node.netns.run(*command)


@pytest.mark.kernel
def test_status_tells_what_is_wrong_and_that_it_is_repaired(ready_node: Node) -> None:
    def problems() -> list[str]:
        return list(ready_node.config.GetStatus(node_pb2.GetStatusRequest()).problems)

    netns = ready_node.netns
    ready_node.stop()
    netns.run("ip", "link", "del", "quilt0")
    netns.run("ip", "link", "add", "quilt0", "type", "veth", "peer", "name", "other")
    ready_node.start()
    eventually(
        lambda: any("quilt0 exists and is no bridge" in problem for problem in problems()), "it is reported"
    )
    assert ready_node.cni("STATUS", version="1.1.0").document["code"] == 51
    netns.run("ip", "link", "del", "quilt0")
    eventually(lambda: problems() == [], "it is repaired")
    assert show(netns, "-4", "addr", "show", "dev", "quilt0")[0]["addr_info"][0]["local"] == "10.42.1.1"


def test_net_admin_is_the_only_capability(ready_node: Node, make_netns: Callable[[], Namespace]) -> None:
    """Everything in this folder runs so; here the kernel says it, after the runtime did all its work."""
    ready_node.add_pod(make_netns())
    inject(ready_node)
    assert ready_node.process is not None
    status = Path(f"/proc/{ready_node.process.pid}/status").read_text()
    held = {
        line.split()[0]: int(line.split()[1], 16) for line in status.splitlines() if line.startswith("Cap")
    }
    cap_net_admin = 1 << 12
    assert held["CapEff:"] == held["CapPrm:"] == held["CapBnd:"] == cap_net_admin
