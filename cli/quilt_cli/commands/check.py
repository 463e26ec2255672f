"""`quilt check`: what would break the mesh. Of the cluster from anywhere, of a node on that node."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import click

from quilt_cli.api.read_cluster import cluster_facts
from quilt_cli.commands.options import cluster, leave, output
from quilt_cli.core import cluster_checks, finding
from quilt_cli.core.finding import EXIT_CANNOT_TELL, EXIT_HEALTHY, EXIT_PROBLEMS, Finding, Level, ok
from quilt_cli.core.objects import Network
from quilt_cli.output import console, counts, lines, print_json
from quilt_crds.capacity import DEFAULT_PREFIX_LENGTH
from quilt_crds.names import DEFAULT_CLUSTER_CIDRS, DEFAULT_VNI, VXLAN_DEVICE, VXLAN_PORT
from quilt_kube.sync import Client

_FOLDER = click.Path(path_type=Path)


@click.group("check", invoke_without_command=True)
@click.option("--pre", "when", flag_value="pre", help="Before an install.  [default: while there is none]")
@click.option("--post", "when", flag_value="post", help="After an install.  [default: once there is one]")
@click.option("-n", "--namespace", default="quilt-system", show_default=True, help="Of the Helm release.")
@click.option(
    "--cluster-cidr",
    "cidrs",
    multiple=True,
    help="Range that the mesh will use; repeatable.  [default: the QuiltNetwork's, or "
    + ", ".join(DEFAULT_CLUSTER_CIDRS)
    + "]",
)
@click.option(
    "--node-prefix-length",
    type=click.IntRange(16, 28),
    help="Length of the subnets that nodes will get.  [default: the QuiltNetwork's, or 24]",
)
@click.option("--nodes", is_flag=True, help="Look at every node too, by a pod on each.")
@click.option("--image", help="For --nodes: the node image.  [default: that of the DaemonSet quilt-mesh]")
@output
@cluster
def check(
    client: Client,
    *,
    when: str | None,
    namespace: str,
    cidrs: tuple[str, ...],
    node_prefix_length: int | None,
    nodes: bool,
    image: str | None,
    as_json: bool,
) -> None:
    """Look for what would break the mesh: versions, CRDs, other networks, overlapping ranges, roll-outs.

    With --nodes also kernels, firewalls, MTU, sysctls and CNI files of all nodes, and before an install
    whether UDP 4789 passes between them.

    Exit code 0: nothing would; 1: something would; 2: cannot tell.

    `quilt check node` looks at the node that it runs on.
    """
    facts = cluster_facts(client, namespace)
    network = facts.mesh.network
    ranges = cidrs or (network.cidrs if network else DEFAULT_CLUSTER_CIDRS)
    post = when == "post" or (when is None and facts.mesh.agents is not None)
    length = node_prefix_length or (network.prefix_length if network else DEFAULT_PREFIX_LENGTH)
    found = cluster_checks.after(facts, ranges) if post else cluster_checks.before(facts, ranges, length)
    if nodes:
        found += _nodes(client, image, network, ranges, installed=post)
    tell(found, f"cluster ({'post' if post else 'pre'}-install)", as_json=as_json)


def _nodes(
    client: Client, image: str | None, network: Network | None, cidrs: Sequence[str], *, installed: bool
) -> list[Finding]:
    from quilt_cli.commands.probing import node_image, telling
    from quilt_cli.connectivity.nodes import Settings
    from quilt_cli.connectivity.nodes import check as look

    vni, port, device = (
        (network.vni, network.port, network.device) if network else (DEFAULT_VNI, VXLAN_PORT, VXLAN_DEVICE)
    )
    with telling() as progress:
        settings = Settings(image or node_image(client), port, vni, device, tuple(cidrs), installed)
        return look(client, settings, progress)


@check.command("node")
@click.option("--node-name", envvar="NODE_NAME", default=platform.node, help="Default: this host's name.")
@click.option("--device", default=VXLAN_DEVICE, show_default=True)
@click.option("--vni", type=int, default=100, show_default=True)
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
    """Look at THIS node: kernel, UDP port, MTU, firewall, sysctls, CNI configuration. Best as root.

    In a cluster: kubectl -n quilt-system exec POD -c agent -- quilt check node
    """
    from quilt_cli.core.node_checks import Expected
    from quilt_cli.core.node_checks import check as judge
    from quilt_cli.kernel.facts import look
    from quilt_cli.kernel.places import cni_folder

    try:
        facts = look(port, cidrs, cni_conf_dir or cni_folder("etc/cni/net.d"), run_dir)
    except OSError as error:
        console(stderr=True).print(f"[bold red]✗[/] this node cannot be looked at: {error}", soft_wrap=True)
        leave(EXIT_CANNOT_TELL)
    installed = when == "post" or (when is None and (facts.runtime_answers or facts.bridge))
    want = Expected(node_name, device, vni, port, cidrs, installed)
    tell(judge(facts, want), f"node {node_name}", as_json=as_json, compact=compact)


def tell(found: Sequence[Finding], subject: str, *, as_json: bool, compact: bool = False) -> None:
    """Print findings, the worst last where a person looks, and leave with the matching code."""
    well = finding.healthy(found)
    if as_json:
        print_json(
            {
                "kind": "QuiltCheck",
                "schema": 1,
                "subject": subject,
                "healthy": well,
                "summary": finding.summary(found),
                "findings": finding.wire(finding.worst_first(found)),
            },
            compact=compact,
        )
    else:
        out = console()
        for line in lines(reversed(finding.worst_first(_shortened(found)))):
            out.print(line, soft_wrap=True)
        out.print()
        out.print(f"{subject}: ", end="")
        out.print(counts(finding.summary(found)))
        if os.geteuid() != 0 and subject.startswith("node"):
            out.print("[dim]as root more could be looked at[/]")
    leave(EXIT_HEALTHY if well else EXIT_PROBLEMS)


def _shortened(found: Sequence[Finding]) -> list[Finding]:
    """For people: what is well on several nodes is one line, for it hides what is not."""
    well = [item for item in found if item.level is Level.OK and item.about.startswith("node ")]
    names = dict.fromkeys(item.about.removeprefix("node ") for item in well)
    if len(names) < 2:
        return list(found)
    text = f"{len(well)} checks are ok on {', '.join(names)}"
    return [ok("nodes", "nodes", text), *(item for item in found if item not in well)]
