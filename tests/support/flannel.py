"""Flannel on a cluster of the tests: its manifest, its program from its Go module, its pods' plugins."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from bench import flannel
from quilt_devcluster import binaries
from tests.support.mesh import Mesh

MANIFEST = Path(__file__).with_name("kube-flannel.yml")
PLUGIN = Path(__file__).with_name("flannel_plugin.py")
NETWORK = "10.244.0.0/16"
# What finds anything of Flannel's on a node, by its devices, rules, routes and files.
LEFT = (
    "ip -o link | grep -E 'flannel|cni0'; ip route | grep -E 'flannel|cni0';"
    "(iptables-save; ip6tables-save; nft list ruleset) | grep -i flannel;"
    "ls -d /etc/cni/net.d/*flannel* /opt/cni/bin/flannel /run/flannel"
    " /var/lib/cni/flannel /var/lib/cni/networks/cbr0"
)


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of a manifest."""
    return [item for item in yaml.safe_load_all(text) if item]


def place(mesh: Mesh) -> None:
    """Put Flannel's programs on every node, and the plugins that a distribution brings."""
    program = flannel.program(lambda _: None)
    for node in mesh.nodes():
        mesh.on(node, "mkdir", "-p", "/opt/flannel", "/opt/cni/bin")
        for source, target in (
            (program, "/opt/flannel/flanneld"),
            (PLUGIN, "/opt/flannel/flannel"),
            *((binaries.cni_plugin_dir() / name, f"/opt/cni/bin/{name}") for name in binaries.CNI_PLUGINS),
        ):
            path = mesh.cluster.node_path(node, target)
            shutil.copyfile(source, path)
            path.chmod(0o755)


def left(mesh: Mesh, node: str) -> str:
    """What of Flannel is on a node."""
    return mesh.on(node, "sh", "-c", f"({LEFT}) 2>/dev/null; true")
