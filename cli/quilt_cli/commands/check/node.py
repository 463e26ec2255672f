"""`quiltctl check node`: what would break the mesh on the node that this runs on."""

from __future__ import annotations

import platform
from pathlib import Path

import click

from quilt_cli.commands.check import tell
from quilt_cli.commands.options import leave, output
from quilt_cli.core.finding import EXIT_CANNOT_TELL
from quilt_cli.core.node_checks import Expected
from quilt_cli.core.node_checks import check as judge
from quilt_cli.groups import command
from quilt_cli.kernel.facts import look
from quilt_cli.kernel.places import cni_folder
from quilt_cli.output import console
from quilt_crds.names import DEFAULT_CLUSTER_CIDRS, DEFAULT_VNI, VXLAN_DEVICE, VXLAN_PORT

_FOLDER = click.Path(path_type=Path)


@command(
    "node", "quiltctl check node --pre", "kubectl -n quilt-system exec POD -c agent -- quiltctl check node"
)
@click.option("--node-name", envvar="NODE_NAME", default=platform.node, help="Default: this host's name.")
@click.option("--device", default=VXLAN_DEVICE, show_default=True)
@click.option("--vni", type=int, default=DEFAULT_VNI, show_default=True)
@click.option("--port", type=int, default=VXLAN_PORT, show_default=True, help="UDP port between nodes.")
@click.option("--cluster-cidr", "cidrs", multiple=True, default=DEFAULT_CLUSTER_CIDRS, show_default=True)
@click.option("--cni-conf-dir", type=_FOLDER, help="Default: /etc/cni/net.d, of the host where mounted.")
@click.option("--run-dir", type=_FOLDER, default="/run/quilt", show_default=True)
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
    cni_conf_dir: Path | None,
    run_dir: Path,
    when: str | None,
    compact: bool,
    as_json: bool,
) -> None:
    """Look for what would break the mesh on THIS node. Best as root.

    Kernel, UDP port, MTU, firewall, sysctls, CNI configuration.
    """
    try:
        facts = look(port, cidrs, cni_conf_dir or cni_folder("etc/cni/net.d"), run_dir)
    except OSError as error:
        console(stderr=True).print(f"[bold red]✗[/] this node cannot be looked at: {error}", soft_wrap=True)
        leave(EXIT_CANNOT_TELL)
    installed = when == "post" or (when is None and (facts.runtime_answers or facts.bridge))
    want = Expected(node_name, device, vni, port, cidrs, installed)
    tell(judge(facts, want), f"node {node_name}", as_json=as_json, compact=compact)
