"""`quiltctl cleanup` on a node that a real runtime worked on leaves it as if nothing had ever been there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from quilt_proto import runtime_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, eventually, make_vxlan

LISTED = (
    "ip -o link | sed 's/^[0-9]*: //'", "ip -4 route show table all", "ip nexthop", "ip neigh", "ip rule",
    "bridge fdb | grep -v permanent", "nft -s list ruleset",
)  # fmt: skip


def everything(node: Node) -> dict[str, str]:
    return {command: node.netns.run("sh", "-c", f"{command} || true") for command in LISTED}


def test_quilt_cleanup_leaves_nothing(node: Node, make_netns: Callable[[], Namespace]) -> None:
    node.stop()
    node.netns.run("nft", "delete", "table", "inet", "quilt")
    node.netns.run("iptables-nft", "-P", "FORWARD", "DROP")
    before = everything(node)
    node.start()
    node.give_subnet()
    make_vxlan(node.netns)
    request = runtime_pb2.InjectRouteRequest(destination="10.42.2.0/24", via_interface="vxlan100")
    assert node.contract.InjectRoute(request).success
    for _ in range(3):
        node.add_pod(make_netns())
    eventually(lambda: "quilt0" in node.netns.run("iptables-nft", "-S", "FORWARD"), "accept rules are there")
    node.stop()
    command = [
        *("ip", "netns", "exec", node.netns.name, sys.executable, "-m", "quilt_cli", "cleanup", "--yes"),
        *(
            f"--{folder}={node.directory}/{folder}"
            for folder in ("cni-conf-dir", "cni-bin-dir", "cni-src-dir")
        ),
        f"--run-dir={node.socket_dir}",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert everything(node) == before
    assert not node.socket_dir.exists() or list(node.socket_dir.iterdir()) == []
