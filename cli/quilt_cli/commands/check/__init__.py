"""`quiltctl check`: what would break the mesh or its upgrade, of the cluster and by pods of its nodes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from quilt_cli.api.read_cluster import cluster_facts
from quilt_cli.api.read_flannel import read_flannel, read_proxy_cidr
from quilt_cli.api.recorded import Replaying
from quilt_cli.chart_folder import read_chart, read_values
from quilt_cli.commands.options import FOLDER, VERSION, Result, cluster, from_archive, output
from quilt_cli.core import beside_flannel, cluster_checks, finding, upgrade_checks
from quilt_cli.core.beside_flannel import Beside, Planned
from quilt_cli.core.chart import own_chart
from quilt_cli.core.cluster_facts import ClusterFacts
from quilt_cli.core.finding import EXIT_HEALTHY, EXIT_PROBLEMS, Finding, Level, ok
from quilt_cli.core.node_checks import Expected
from quilt_cli.core.objects import at
from quilt_cli.groups import Group
from quilt_cli.output import counts, print_findings, progress
from quilt_crds.names import DEFAULT_CLUSTER_CIDRS
from quilt_crds.wire_network import QuiltNetworkSpec, VxlanSpec
from quilt_kube.sync import Client

UPGRADE = "upgrade"


@click.group(
    "check",
    cls=Group,
    folder=__name__,
    invoke_without_command=True,
    examples=(
        "quiltctl check --pre",
        "quiltctl check --pre --nodes --image registry.example/quilt-mesh-node:0.1.0",
        "quiltctl check --pre --beside flannel --values beside-flannel.yaml",
        "quiltctl check --upgrade",
        "quiltctl check --upgrade --chart helm/quilt-mesh --values quilt-values.yaml",
        "quiltctl check -o json",
        "quiltctl check --nodes --from FILE",
    ),
)
@click.option("--pre", "when", flag_value="pre", help="Before an install.  [default: while none is there]")
@click.option("--post", "when", flag_value="post", help="After an install.  [default: once there is one]")
@click.option("--upgrade", "when", flag_value=UPGRADE, help="Before an upgrade to this command's version.")
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
@click.option("--chart", type=FOLDER, help="For --upgrade: the folder of the chart to upgrade to.")
@click.option("--values", type=FOLDER, help="Values for the chart, as `helm get values -o yaml`, or `-`.")
@click.option(
    "--beside", type=click.Choice(["flannel"]), help="Whether it can be installed while this serves the pods."
)
@output
@from_archive
@cluster
def check(
    client: Client,
    *,
    chart: Path | None,
    values: Path | None,
    beside: str | None,
    when: str | None,
    namespace: str,
    cidrs: tuple[str, ...],
    node_prefix_length: int | None,
    nodes: bool,
    image: str | None,
) -> Result:
    """Look for what would break the mesh.

    Versions, CRDs, other networks, overlapping ranges, roll-outs.

    With --upgrade what would be in the way of one: versions too far apart, nodes that are not well, CRDs,
    values that the chart no longer has.

    With --nodes also kernels, firewalls, MTU, sysctls and CNI files of all nodes, and before an install
    whether UDP 4789 passes between them.

    Exit code 0: nothing would; 1: something would; 2: cannot tell.

    `quiltctl check node` looks at the node that it runs on.
    """
    facts = cluster_facts(client, namespace)
    given = read_values(values) if values is not None else None
    if when == UPGRADE:
        return _upgrade(facts, chart, given)
    ranges, length = _planned(facts.mesh.spec, given, cidrs, node_prefix_length)
    post = when == "post" or (when is None and facts.mesh.agents is not None)
    look = cluster_checks.after if post else partial(cluster_checks.before, prefix_length=length)
    found = look(facts, ranges, beside_flannel=beside is not None)
    if nodes:
        found += _by_pods(client, image, facts.mesh.spec.vxlan, ranges, installed=post)
    if beside:
        found = _beside_flannel(client, facts, found, Planned.read(given or {}, ranges))
    return judged(found, f"cluster ({'post' if post else 'pre'}-install)")


def _planned(
    spec: QuiltNetworkSpec, given: Mapping[str, Any] | None, cidrs: tuple[str, ...], length: int | None
) -> tuple[tuple[str, ...], int]:
    """Ranges and length of subnets: by the flags, else by the given values, else the network's."""
    network = at(given, "network") or {}
    both = ("clusterCIDRs", "clusterCIDRsV6")
    ranges = tuple(cidr for name in both for cidr in network.get(name) or ())
    return cidrs or ranges or spec.cidrs, length or network.get("nodePrefixLength") or spec.node_prefix_length


def _by_pods(
    client: Client, image: str | None, vxlan: VxlanSpec, ranges: tuple[str, ...], *, installed: bool
) -> list[Finding]:
    from quilt_cli.connectivity.run import check_nodes

    if isinstance(client, Replaying):
        return client.checked()
    want = Expected("", vxlan.device, vxlan.vni, vxlan.port, ranges, installed)
    with progress() as tell:
        return check_nodes(client, image, want, tell)


def _beside_flannel(
    client: Client, facts: ClusterFacts, found: Sequence[Finding], mesh: Planned
) -> list[Finding]:
    both = Beside(read_flannel(client), mesh, read_proxy_cidr(client))
    return beside_flannel.judge(found, facts, both)


def _upgrade(facts: ClusterFacts, folder: Path | None, given: Mapping[str, Any] | None) -> Result:
    chart = read_chart(folder) if folder is not None else own_chart(VERSION)
    return judged(upgrade_checks.check(facts, chart, VERSION, given), f"upgrade to {chart.version}")


def judged(found: Sequence[Finding], subject: str, *, compact: bool = False) -> Result:
    """The answer that findings are: the worst last where a person looks."""
    well = finding.healthy(found)
    document = {
        "kind": "QuiltCheck",
        "schema": 1,
        "subject": subject,
        "healthy": well,
        "summary": finding.summary(found),
        "findings": finding.worst_first(found),
    }

    def draw(out: Console) -> None:
        print_findings(out, finding.worst_first(_shortened(found))[::-1])
        out.print()
        out.print(f"{subject}: ", end="")
        out.print(counts(found))
        if os.geteuid() != 0 and subject.startswith("node"):
            out.print("[dim]as root more could be looked at[/]")

    return Result(document, draw, EXIT_HEALTHY if well else EXIT_PROBLEMS, compact)


def _shortened(found: Sequence[Finding]) -> list[Finding]:
    """For people: what is well on several nodes is one line, for it hides what is not."""
    well = [item for item in found if item.level is Level.OK and item.about.startswith("node ")]
    names = dict.fromkeys(item.about.removeprefix("node ") for item in well)
    if len(names) < 2:
        return list(found)
    text = f"{len(well)} checks are ok on {', '.join(names)}"
    return [ok("nodes", "nodes", text), *(item for item in found if item not in well)]
