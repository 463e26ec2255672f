"""`quiltctl trace`: the way of a packet, what should be at each step, and the first that is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import click
import msgspec
from rich.console import Console
from rich.text import Text

from quilt_cli.api.read_trace import read_cluster, read_kernels, read_probes
from quilt_cli.api.recorded import Replaying
from quilt_cli.commands.options import Result, cluster, from_archive, output
from quilt_cli.core.trace.decided import policy_step, refusal, service_step, translated
from quilt_cli.core.trace.ends import Cluster, resolve, service_of
from quilt_cli.core.trace.host_steps import Asked
from quilt_cli.core.trace.site import Site, Want
from quilt_cli.core.trace.step import Step, Trace, Verdict
from quilt_cli.core.trace.way import Way, asking, trace
from quilt_cli.groups import command
from quilt_kube.sync import Client

_SIGNS = {Verdict.OK: ("✓", "green"), Verdict.BROKEN: ("✗", "bold red"), Verdict.UNKNOWN: ("?", "dim")}


@command(
    "trace",
    "quiltctl trace shop/web-1 shop/db-0 --port 5432",
    "quiltctl trace worker-1 worker-2",
    "quiltctl trace shop/web-1 10.96.0.10 --port 53 --proto udp",
    "quiltctl trace shop/web-1 shop/db-0 --from FILE",
)
@click.argument("src")
@click.argument("dst")
@click.option("--port", type=click.IntRange(1, 65535), help="Of DST; of a Service's address it is needed.")
@click.option(
    "--proto", type=click.Choice(["tcp", "udp", "icmp"]), help="Default: tcp with --port, else icmp."
)
@click.option("--ipv6", "-6", is_flag=True, help="By the IPv6 addresses of SRC and DST.")
@click.option("--no-probe", is_flag=True, help="Only look; send no packets.")
@output
@from_archive
@cluster
def trace_(
    client: Client, *, src: str, dst: str, port: int | None, proto: str | None, ipv6: bool, no_probe: bool
) -> Result:
    """Name the first broken step between SRC and DST.

    SRC and DST are pods (namespace/name), nodes, or addresses, DST a Service's too. Each step says what
    should be there and what the kernel holds. Then packets are sent between the nodes and to the pods;
    with --from none are, and the kernels are as they were.

    Exit code 0: sound; 1: a step is broken; 2: cannot tell.
    """
    protocol = proto or ("tcp" if port else "icmp")
    about = read_cluster(client)
    way = _way(client, about, (src, dst), protocol, port or 0, ipv6)
    if isinstance(client, Replaying):
        found = msgspec.structs.replace(trace(way), taken=client.taken)
    elif no_probe:
        found = trace(way)
    else:
        results = read_probes(client, about, way.sites, asking(way))
        before = {site.name: site.kernel for site in way.sites if site.kernel is not None}
        found = trace(replace(way, sites=_looked_at(client, about, way.sites)), results, before)
    return Result(found, partial(show, found), found.exit_code)


def _way(client: Client, about: Cluster, named: tuple[str, str], protocol: str, port: int, ipv6: bool) -> Way:
    version = 6 if ipv6 or any(":" in one for one in named) else 4
    source = resolve(about, named[0], version)
    service = service_of(about, named[1])
    behind = translated(about, service, named[1], port, protocol) if service is not None else None
    target = resolve(about, behind[0] if behind else named[1], version)
    inner = behind[1] if behind else port
    asked = Asked(source.address, target.address, protocol, inner)
    sites = _looked_at(client, about, (about.site(source.node, version), about.site(target.node, version)))
    decided: list[Step] = []
    if service is not None and behind is not None:
        decided.append(service_step(sites[0], service, named[1], port, behind))
    decided.append(policy_step(about, (source, target), asked))
    refusals = {
        sites[0].name: refusal(about, sites[1], source, replace(asked, port=0)),
        sites[1].name: refusal(about, sites[0], target, asked),
    }
    return Way(source, target, sites, Want(about.mesh.spec), asked, tuple(decided), refusals)


def _looked_at(client: Client, about: Cluster, sites: tuple[Site, Site]) -> tuple[Site, Site]:
    """The nodes with their kernels; one that is both ends is asked once."""
    once = {site.name: site for site in sites}
    looked = {site.name: site for site in read_kernels(client, about, tuple(once.values()))}
    return looked[sites[0].name], looked[sites[1].name]


def show(found: Trace, out: Console) -> None:
    """The steps for people, then what they come to."""
    out.print(Text(f"{found.source} → {found.target}, {found.way}", "bold"), soft_wrap=True)
    if found.taken:
        out.print(Text(f"as it was at {found.taken}; no packets were sent", "dim"), soft_wrap=True)
    out.print()
    wide = [max((len(text) for text in column), default=0) for column in _columns(found)]
    for number, step in enumerate(found.steps, 1):
        out.print(_line(number, step, wide), soft_wrap=True)
    out.print()
    for item in found.counters:
        if item.packets and "packets" not in item.what:
            out.print(f"! {item.node}: {item.what}: {item.packets} meanwhile", style="yellow", markup=False)
    out.print(_conclusion(found), soft_wrap=True)


def _columns(found: Trace) -> tuple[list[str], list[str]]:
    return [step.node or "-" for step in found.steps], [step.what for step in found.steps]


def _line(number: int, step: Step, wide: Sequence[int]) -> Text:
    """One step; what should be there on a second line, where that is not what is there."""
    sign, style = _SIGNS[step.verdict]
    well = step.verdict is Verdict.OK
    head = f" {number:>2}  {step.node or '-':<{wide[0]}}  {step.what:<{wide[1]}}  "
    expected = "" if well else f"\n{'':>6}expected: {step.expected}"
    return Text.assemble((sign, style), head, (step.found, "" if well else style), (expected, "dim"))


def _conclusion(found: Trace) -> Text:
    if (broken := found.broken) is not None:
        return Text.assemble(
            ("broken", "bold red"),
            f": step {found.number}, {broken.place}: {broken.found}; see: ",
            (broken.see, "cyan"),
        )
    if found.sound:
        return Text.assemble(("sound", "green"), f": {len(found.steps)} steps")
    first = next((step for step in found.steps if step.verdict is Verdict.UNKNOWN), None)
    why = f"{first.place}: {first.found}" if first is not None else ""
    return Text.assemble(("cannot tell", "yellow"), f": {why}")
