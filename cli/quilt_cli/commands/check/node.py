"""`quiltctl check node`: what would break the mesh on the node that this runs on."""

from __future__ import annotations

import platform
from pathlib import Path

import click

from quilt_cli.commands.check import judged
from quilt_cli.commands.options import Result, cni_conf_dir, output, run_dir
from quilt_cli.core.finding import StoppedError
from quilt_cli.core.node_checks import Expected
from quilt_cli.core.node_checks import check as judge
from quilt_cli.groups import command
from quilt_cli.kernel.facts import look
from quilt_crds.names import DEFAULT_CLUSTER_CIDRS, DEFAULT_VNI, VXLAN_DEVICE, VXLAN_PORT


@command(
    "node", "quiltctl check node --pre", "kubectl -n quilt-system exec POD -c agent -- quiltctl check node"
)
@click.option("--node-name", envvar="NODE_NAME", default=platform.node, help="Default: this host's name.")
@click.option("--device", default=VXLAN_DEVICE, show_default=True)
@click.option("--vni", type=int, default=DEFAULT_VNI, show_default=True)
@click.option("--port", type=int, default=VXLAN_PORT, show_default=True, help="UDP port between nodes.")
@click.option("--cluster-cidr", "cidrs", multiple=True, default=DEFAULT_CLUSTER_CIDRS, show_default=True)
@cni_conf_dir
@run_dir
@click.option("--pre", "when", flag_value="pre", help="The mesh is not meant to run here yet.")
@click.option("--post", "when", flag_value="post", help="The mesh is meant to run here.")
@click.option("--compact", is_flag=True, help="JSON on one line.")
@output
def node(
    *,
    node_name: str,
    device: str,
    vni: int,
    port: int,
    cidrs: tuple[str, ...],
    cni_conf: Path,
    run: Path,
    when: str | None,
    compact: bool,
) -> Result:
    """Look for what would break the mesh on THIS node. Best as root.

    Kernel, UDP port, MTU, firewall, sysctls, CNI configuration.
    """
    try:
        facts = look(port, cidrs, cni_conf, run)
    except OSError as error:
        raise StoppedError(f"this node cannot be looked at: {error}") from error
    installed = when == "post" or (when is None and (facts.runtime_answers or facts.bridge))
    want = Expected(node_name, device, vni, port, cidrs, installed)
    return judged(judge(facts, want), f"node {node_name}", compact=compact)
