"""Clean-up on a real kernel: all of the mesh is removed, nothing else is, and twice does no harm."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest


class Namespace(Protocol):
    name: str

    def run(self, *command: str, stdin: str | None = None) -> str: ...


OURS = (
    "link add vxlan100 type vxlan id 100 dstport 4789 local 198.18.0.1 nolearning",
    "link set vxlan100 up",
    "link add quilt0 type bridge",
    "link set quilt0 up",
    "link add qv0a2a0105 type veth peer name peer0",
    "link set qv0a2a0105 master quilt0",
    "nexthop add id 7 via 10.42.2.0 dev vxlan100 onlink proto 81",
    "route add 10.42.2.0/24 nhid 7 proto 81",
    "route add 10.99.0.0/24 dev quilt0 proto 82",
)
THEIRS = (
    "link add dummy-bridge type bridge",
    "link set dummy-bridge up",
    "link add vxlan7 type vxlan id 7 dstport 8472 local 198.18.0.1",
    "link set vxlan7 up",
    "link add qvxyz type veth peer name other0",
    "nexthop add id 9 dev dummy-bridge proto 4",
    "route add 10.77.0.0/24 dev dummy-bridge proto 4",
)


def quilt(netns: Namespace, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        "ip", "netns", "exec", netns.name, sys.executable, "-m", "quilt_cli", "cleanup",
        "--cni-conf-dir", f"{root}/net.d", "--cni-bin-dir", f"{root}/bin", "--cni-src-dir", f"{root}/src",
        "--run-dir", f"{root}/run", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("net.d", "bin", "src", "run/state"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "net.d/10-quilt.conflist").write_text("{}")
    (tmp_path / "net.d/99-other.conflist").write_text("{}")
    (tmp_path / "bin/quilt-cni").write_text("quilt")
    for folder, loopback, portmap in (("bin", "quilt", "theirs"), ("src", "quilt", "quilt")):
        (tmp_path / folder / "loopback").write_text(loopback)
        (tmp_path / folder / "portmap").write_text(portmap)
    (tmp_path / "run/state/state.db").write_text("rows")
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def listing(netns: Namespace) -> str:
    return netns.run(
        "sh", "-c", "ip -o link | cut -d: -f2; ip route; ip nexthop; nft list tables", stdin=None
    )


def test_what_the_mesh_made_is_removed_and_the_rest_stays(
    make_netns: Callable[[], Namespace], root: Path
) -> None:
    netns = make_netns()
    for line in THEIRS:
        netns.run("ip", *line.split())
    netns.run("nft", "add", "table", "inet", "theirs")
    before = listing(netns)
    for line in OURS:
        netns.run("ip", *line.split())
    for table in ("quilt", "quilt-policy"):
        netns.run("nft", "add", "table", "inet", table)

    shown = quilt(netns, root, "--dry-run", "-o", "json")
    kinds = [item["kind"] for item in json.loads(shown.stdout)["leftovers"]]
    assert kinds == [
        "file",
        "routes",
        "nexthops",
        "veths",
        "link",
        "link",
        "nftables",
        "nftables",
        "file",
        "file",
        "state",
    ]
    assert (root / "net.d/10-quilt.conflist").exists()

    done = quilt(netns, root, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert listing(netns) == before
    assert names(root / "net.d") == ["99-other.conflist"]
    assert names(root / "bin") == ["portmap"]
    assert not (root / "run").exists()
    assert "portmap" in done.stdout

    again = quilt(netns, root, "--yes")
    assert again.returncode == 0
    assert "nothing of Quilt Mesh" in again.stdout


def test_it_asks_before_it_removes(make_netns: Callable[[], Namespace], root: Path) -> None:
    netns = make_netns()
    refused = quilt(netns, root)
    assert refused.returncode == 1
    assert "Remove all of this?" in refused.stdout
    assert (root / "bin/quilt-cni").exists()


def test_it_refuses_while_the_runtime_runs(make_netns: Callable[[], Namespace], root: Path) -> None:
    import socket

    netns = make_netns()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(f"{root}/run/runtime.sock")
        server.listen()
        refused = quilt(netns, root, "--yes")
    assert refused.returncode == 2
    assert "helm uninstall" in refused.stderr
    assert (root / "bin/quilt-cni").exists()


def test_a_node_is_looked_at(make_netns: Callable[[], Namespace], tmp_path: Path) -> None:
    netns = make_netns()
    for line in THEIRS[:4]:
        netns.run("ip", *line.split())
    chain = "chain f { type filter hook forward priority 0; policy drop; }"
    netns.run("nft", "-f", "-", stdin=f"table ip x {{ {chain}; }}")
    shown = netns.run(
        "sh", "-c", f"{sys.executable} -m quilt_cli check node --vni 7 --port 8472 -o json "
        f"--cni-conf-dir {tmp_path} --run-dir {tmp_path}; true",
    )  # fmt: skip
    found = {item["code"]: item["level"] for item in json.loads(shown)["findings"]}
    assert found["vni-taken"] == "fail"
    assert found["forward-drop"] == "fail"
    assert found["device-vxlan"] == "ok"
    assert found["cni"] == "ok"
