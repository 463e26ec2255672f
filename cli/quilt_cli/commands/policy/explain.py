"""`quiltctl policy explain`: which rule of which policy decides about a connection."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import click
from rich.console import Console
from rich.text import Text

from quilt_cli.api.read_policies import policies, rule_counters
from quilt_cli.commands.options import Result, cluster, output
from quilt_cli.commands.policy.list import OFF
from quilt_cli.core.finding import EXIT_HEALTHY, EXIT_PROBLEMS, CannotTellError
from quilt_cli.core.policies import Answer, Side, address_of, explain
from quilt_cli.core.rule_counters import deciding_nodes, with_counters
from quilt_cli.groups import command
from quilt_kube.sync import Client

_PROTOCOLS = ("TCP", "UDP", "SCTP")
# Somewhere outside of the cluster (RFC 5737).
_OUTSIDE = "192.0.2.1"


class PortType(click.ParamType[tuple[int, str]]):
    """A port and a protocol, as in `53/udp`; TCP where no protocol is given."""

    name = "port"

    def convert(
        self, value: str | tuple[int, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, str]:
        """Read it, or end with what is wrong."""
        if isinstance(value, tuple):
            return value
        number, _, protocol = value.partition("/")
        protocol = protocol.upper() or "TCP"
        if not number.isdecimal() or not 0 < int(number) < 65536 or protocol not in _PROTOCOLS:
            self.fail(f"{value!r} is not a port; write for example 53/udp", param, ctx)
        return int(number), protocol


@command(
    "explain",
    "quiltctl policy explain shop/db-0 --from shop/web-1 --port 5432/tcp",
    "quiltctl policy explain shop/web-1 --to 192.0.2.53 --port 53/udp",
    "quiltctl policy explain shop/web-1",
)
@click.argument("pod")
@click.option("--from", "client_", metavar="POD|IP", help=f"Who connects to POD.  [default: {_OUTSIDE}]")
@click.option("--to", "server", metavar="POD|IP", help="Whom POD connects to.")
@click.option("--port", type=PortType(), default="80/tcp", show_default=True, help="Of who is connected to.")
@output
@cluster
def explain_(
    client: Client, pod: str, client_: str | None, server: str | None, port: tuple[int, str]
) -> Result:
    """Show which rule decides about a connection to POD.

    POD is namespace/name. Both sides are asked: whom the client may connect to, and who the server lets in.

    Exit code 0: allowed; 1: denied; 2: cannot tell.
    """
    if client_ and server:
        raise click.UsageError("give --from or --to: POD is the other side")
    about, _, enforced = policies(client)
    own = address_of(about, pod)
    other = address_of(about, server or client_ or _OUTSIDE)
    if own.version != other.version:
        raise CannotTellError(f"{own} and {other} are of two families; give the IPv4 address")
    ends = (own, other) if server else (other, own)
    answer = explain(about, *ends, *port)
    counted, silent = rule_counters(client, deciding_nodes(answer) if enforced else ())
    answer = with_counters(answer, counted)
    exit_code = EXIT_HEALTHY if answer.allowed or not enforced else EXIT_PROBLEMS
    data = {"enforced": enforced, **_plain(answer), "notCounted": silent}
    return Result(data, partial(_show, answer, enforced, silent), exit_code)


def _plain(answer: Answer) -> dict[str, object]:
    return {name: getattr(answer, name) for name in answer.__struct_fields__}


def _show(answer: Answer, enforced: bool, silent: Mapping[str, str], out: Console) -> None:
    if not enforced:
        out.print(f"! {OFF}; with it:", style="yellow", markup=False, soft_wrap=True)
    word = Text("allowed", "green") if answer.allowed else Text("denied", "bold red")
    head = f"{answer.client} → {answer.server} {answer.port}/{answer.protocol.lower()}  "
    out.print(Text(head).append_text(word), soft_wrap=True)
    for side, who in ((answer.egress, answer.client), (answer.ingress, answer.server)):
        out.print(_line(side, who), soft_wrap=True)
    for node, why in sorted(silent.items()):
        out.print(f"  {node} does not tell its counters: {why}", style="dim", markup=False, soft_wrap=True)


def _line(side: Side, who: str) -> Text:
    sign = ("✓ ", "green") if side.allowed else ("✗ ", "bold red")
    rule = f", rule {side.rule + 1}" if side.rule is not None else ""
    counted = f" ({side.packets} packets on {side.node})" if side.packets is not None else ""
    policies_ = f": {', '.join(side.policies)}{rule}{counted}" if side.policies else ""
    return Text.assemble(
        "  ", sign, (f"{side.direction.lower():<8}", "bold"), f"of {who}: {side.reason}{policies_}"
    )
