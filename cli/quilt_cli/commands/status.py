"""`quiltctl status`: the mesh at a glance, what is wrong with it, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.text import Text

from quilt_cli.api.read import snapshot
from quilt_cli.commands.options import Result, cluster, from_archive, output
from quilt_cli.core.status import Network, Peers, Report, Row, report
from quilt_cli.groups import command
from quilt_cli.output import print_findings, print_table
from quilt_crds.names import DOWN, PENDING, UP
from quilt_kube.sync import Client

_STYLES = {
    **dict.fromkeys((UP, "Ready"), "green"),
    **dict.fromkeys((DOWN, "absent", "NotReady", "Unresponsive"), "bold red"),
    PENDING: "yellow",
}
_COLUMNS = ("NODE", "STATUS", "SUBNET", "HOST-IP", "KUBERNETES", "AGENT", "RUNTIME", "PEERS")


@command(
    "status",
    "quiltctl status",
    "quiltctl status --context production -o json",
    "quiltctl status --from FILE",
)
@output
@from_archive
@cluster
def status(client: Client) -> Result:
    """Show nodes, subnets, what is wrong and what to do.

    Exit code 0: healthy; 1: something is wrong; 2: cannot tell.
    """
    found = report(snapshot(client))
    return Result(found, partial(show, found), found.exit_code)


def show(found: Report, out: Console) -> None:
    """The report for people."""
    if found.network is not None:
        out.print(_headline(found.network, found.nodes), soft_wrap=True)
        out.print()
    if found.nodes:
        print_table(out, _COLUMNS, map(_cells, found.nodes))
        out.print()
    print_findings(out, found.findings)
    for why, kinds in _unreadable(found).items():
        out.print(f"[dim]? not looked at: {', '.join(kinds)} ({why})[/]", soft_wrap=True)
    if not found.findings and found.nodes:
        out.print(f"[green]✓[/] the mesh is healthy: {len(found.nodes)} nodes")


def _unreadable(found: Report) -> dict[str, list[str]]:
    """Kinds by reason: in the agent's own pod it is several kinds for one reason."""
    reasons: dict[str, list[str]] = {}
    for kind, why in found.unreadable.items():
        reasons.setdefault("no permission" if "HTTP 403" in why else why, []).append(kind)
    return reasons


def _headline(network: Network, nodes: Sequence[Row]) -> Text:
    vxlan, counts = network.vxlan, network.subnets
    return Text.assemble(
        ("Network ", "bold"),
        f"{network.name}  {', '.join(network.cluster_cidrs)}  VNI {vxlan['vni']}, UDP {vxlan['port']}\n",
        ("Nodes   ", "bold"),
        f"{sum(row.phase == UP for row in nodes)} of {len(nodes)} Up\n",
        ("Subnets ", "bold"),
        f"{counts.allocated} allocated, {counts.free} free, "
        f"{counts.quarantined} quarantined, {counts.total} in all",
    )


def _cells(row: Row) -> tuple[Text | str, ...]:
    return (
        Text(row.name, "" if row.healthy else "bold red"),
        _word(row.phase),
        ", ".join(row.subnets) or "-",
        row.host_ip or "-",
        _word(row.kubernetes),
        _word(row.agent),
        _word(row.runtime),
        _peers(row.peers),
    )


def _word(text: str) -> Text:
    return Text(text or "-", _STYLES.get(text, ""))


def _peers(peers: Peers) -> Text:
    expected = peers.expected
    if expected is None:
        return Text("-")
    if peers.in_sync:
        return Text(f"{expected}/{expected} in sync", "green") if expected else Text("none")
    if peers.in_sync is None:
        return Text(f"{expected} expected, sync unknown", "yellow")
    return Text(f"{expected} expected, not in sync", "bold red")
