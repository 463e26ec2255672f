"""`quilt check`: what would break the mesh. Of the cluster from anywhere, of a node on that node."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import click

from quilt_cli.api.client import ApiClient
from quilt_cli.api.read_cluster import cluster_facts
from quilt_cli.commands.options import cluster, leave, output
from quilt_cli.core import cluster_checks, finding
from quilt_cli.core.finding import EXIT_CANNOT_TELL, EXIT_HEALTHY, EXIT_PROBLEMS, Finding
from quilt_cli.output import console, counts, lines, print_json
from quilt_crds.names import VXLAN_DEVICE, VXLAN_PORT

DEFAULT_CIDRS = ("10.42.0.0/16",)
_FOLDER = click.Path(path_type=Path)


@click.group("check", invoke_without_command=True)
@click.option("--pre", "when", flag_value="pre", help="Before an install.  [default: while there is none]")
@click.option("--post", "when", flag_value="post", help="After an install.  [default: once there is one]")
@click.option("-n", "--namespace", default="quilt-system", show_default=True, help="Of the Helm release.")
@click.option(
    "--cluster-cidr",
    "cidrs",
    multiple=True,
    help="Range that the mesh will use; repeatable.  [default: the QuiltNetwork's, or 10.42.0.0/16]",
)
@output
@cluster
def check(
    client: ApiClient, *, when: str | None, namespace: str, cidrs: tuple[str, ...], as_json: bool
) -> None:
    """Look for what would break the mesh: versions, CRDs, other networks, overlapping ranges, roll-outs.

    Exit code 0: nothing would; 1: something would; 2: cannot tell.

    `quilt check node` looks at the node that it runs on.
    """
    facts = cluster_facts(client, namespace)
    network = facts.mesh.network
    ranges = cidrs or (network.cidrs if network else DEFAULT_CIDRS)
    chosen = when or ("post" if facts.mesh.installed and facts.mesh.agents else "pre")
    judge = cluster_checks.after if chosen == "post" else cluster_checks.before
    tell(judge(facts, ranges), f"cluster ({chosen}-install)", as_json=as_json)


@check.command("node")
@click.option("--node-name", envvar="NODE_NAME", default=platform.node, help="Default: this host's name.")
@click.option("--device", default=VXLAN_DEVICE, show_default=True)
@click.option("--vni", type=int, default=100, show_default=True)
@click.option("--port", type=int, default=VXLAN_PORT, show_default=True, help="UDP port between nodes.")
@click.option("--cluster-cidr", "cidrs", multiple=True, default=DEFAULT_CIDRS, show_default=True)
@click.option("--cni-conf-dir", type=_FOLDER, help="Default: /etc/cni/net.d, of the host where mounted.")
@click.option("--run-dir", type=_FOLDER, default="/run/quilt", show_default=True)
@click.option("--pre", "when", flag_value="pre", help="The mesh is not meant to run here yet.")
@click.option("--post", "when", flag_value="post", help="The mesh is meant to run here.")
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
    tell(judge(facts, want), f"node {node_name}", as_json=as_json)


def tell(found: Sequence[Finding], subject: str, *, as_json: bool) -> None:
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
            }
        )
    else:
        out = console()
        for line in lines(reversed(finding.worst_first(found))):
            out.print(line, soft_wrap=True)
        out.print()
        out.print(f"{subject}: ", end="")
        out.print(counts(finding.summary(found)))
        if os.geteuid() != 0 and subject.startswith("node"):
            out.print("[dim]as root more could be looked at[/]")
    leave(EXIT_HEALTHY if well else EXIT_PROBLEMS)
