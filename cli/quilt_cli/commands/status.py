"""`quiltctl status`: the mesh at a glance, what is wrong with it, and what to do."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from quilt_cli.api.read import snapshot
from quilt_cli.commands.options import cluster, leave, output
from quilt_cli.core.status import Report, Row, report
from quilt_cli.groups import command
from quilt_cli.output import console, lines, print_json, print_table
from quilt_crds.names import DOWN, PENDING, UP
from quilt_kube.sync import Client

_STYLES = {
    UP: "green",
    "Ready": "green",
    DOWN: "bold red",
    "absent": "bold red",
    "NotReady": "bold red",
    "Unresponsive": "bold red",
    PENDING: "yellow",
}
_COLUMNS = ("NODE", "STATUS", "SUBNET", "HOST-IP", "KUBERNETES", "AGENT", "RUNTIME", "PEERS")


@command("status", "quiltctl status", "quiltctl status --context production -o json")
@output
@cluster
def status(client: Client, *, as_json: bool) -> None:
    """Show nodes, subnets, what is wrong and what to do.

    Exit code 0: healthy; 1: something is wrong; 2: cannot tell.
    """
    found = report(snapshot(client))
    if as_json:
        print_json(found.wire())
    else:
        show(found, console())
    leave(found.exit_code)


def show(found: Report, out: Console) -> None:
    """The report for people."""
    if found.network is not None:
        out.print(_headline(found), soft_wrap=True)
        out.print()
    if found.rows:
        print_table(out, _COLUMNS, map(_cells, found.rows))
        out.print()
    for line in lines(found.findings):
        out.print(line, soft_wrap=True)
    for why, kinds in _unreadable(found).items():
        out.print(f"[dim]? not looked at: {', '.join(kinds)} ({why})[/]", soft_wrap=True)
    if not found.findings and found.rows:
        out.print(f"[green]✓[/] the mesh is healthy: {len(found.rows)} nodes")


def _unreadable(found: Report) -> dict[str, list[str]]:
    """Kinds by reason: in the agent's own pod it is several kinds for one reason."""
    reasons: dict[str, list[str]] = {}
    for kind, why in found.unreadable.items():
        reasons.setdefault("no permission" if "HTTP 403" in why else why, []).append(kind)
    return reasons


def _headline(found: Report) -> Text:
    network, spec = found.network, found.spec
    assert network is not None
    counts = network.status.subnets
    up = sum(1 for row in found.rows if row.phase == UP)
    return Text.assemble(
        ("Network ", "bold"),
        f"{network.name}  {', '.join(spec.cidrs)}  VNI {spec.vxlan.vni}, UDP {spec.vxlan.port}\n",
        ("Nodes   ", "bold"),
        f"{up} of {len(found.rows)} Up\n",
        ("Subnets ", "bold"),
        f"{counts.allocated} allocated, {counts.free} free, "
        f"{counts.quarantined} quarantined, {counts.total} in all",
    )


def _cells(row: Row) -> tuple[Text | str, ...]:
    return (
        Text(row.node, "" if row.ok else "bold red"),
        _word(row.phase),
        ", ".join(row.subnets) or "-",
        row.host_ip or "-",
        _word(row.kubernetes),
        _word(row.agent),
        _word(row.runtime),
        _peers(row),
    )


def _word(text: str) -> Text:
    return Text(text or "-", _STYLES.get(text, ""))


def _peers(row: Row) -> Text:
    if row.peers is None:
        return Text("-")
    if row.in_sync and not row.peers:
        return Text("none")
    if row.in_sync:
        return Text(f"{row.peers}/{row.peers} in sync", "green")
    state = "not in sync" if row.in_sync is False else "sync unknown"
    return Text(f"{row.peers} expected, {state}", "bold red" if row.in_sync is False else "yellow")
