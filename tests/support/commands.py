"""The command line on a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.mesh import Mesh

QUILTCTL = str(Path(sys.executable).with_name("quiltctl"))


def quiltctl(mesh: Mesh, *arguments: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    command = [QUILTCTL, "--kubeconfig", str(mesh.cluster.kubeconfig), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


LEFT = (
    "ip -o link show vxlan100; ip -o link show quilt0; ip route show proto 81; ip route show proto 82;"
    "ip nexthop show proto 81; ip nexthop show proto 82; nft list table inet quilt; ls /run/quilt;"
    "nft list table bridge quilt;"
    "ls /etc/cni/net.d/10-quilt.conflist /opt/cni/bin/quilt-cni; ip -o link show type veth | grep quilt"
)


def clean(mesh: Mesh, node: str) -> None:
    """Run the documented command on a node; nothing of the mesh is left."""
    import sys
    from pathlib import Path

    quiltctl = str(Path(sys.executable).with_name("quiltctl"))
    mesh.on(node, quiltctl, "cleanup", "--yes")
    assert mesh.on(node, "sh", "-c", f"({LEFT}) 2>/dev/null; true") == ""
