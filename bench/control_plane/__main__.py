"""`python -m bench.control_plane load|chaos|life`: measure and torment the control plane.

One generator plays all agents against a real API server, whose etcd, operator and 50 watchers share the
machine. kube-controller-manager and the scheduler are stopped meanwhile: for them, nodes without kubelets
would be lost. Shares of a core are by each process' own clock; where they add up to the machine's cores,
these are the limit.

"The same writes alone" are the agents' three and the operator's two for each node, sent by the generator
with no operator. kube-controller-manager's node IPAM runs afterwards at its default settings, alone with
the API server, on fewer nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from bench.control_plane import agents, joins, node_ipam, plane, steady
from bench.control_plane.chaos import chaos
from bench.control_plane.life import life
from bench.control_plane.shares import memory_lines
from bench.control_plane.targets import targets
from bench.result import Line, Result, machine

TITLE = "The control plane with thousands of nodes"
MORE = 1000
"""Nodes that join one after the other, once all others have joined at once."""


def measure(nodes: int, watchers: int, peers: int, seconds: float, *, brief: bool) -> list[Line]:
    """All figures of one run, on two control planes one after the other; `brief`, on the first only."""
    lines: list[Line] = []
    wanted, more = targets(nodes), 0 if brief else MORE
    # Agents renew their Leases only while that is measured: until then nobody may be taken for dead.
    with plane.plane("load", "network.heartbeat.timeout=15m") as made, made.alone():
        lines += memory_lines(made, 0)
        asyncio.run(joins.hosts(made, nodes + more))
        with plane.operator(made) as operator:
            click.echo("joining at once", err=True)
            lines += asyncio.run(joins.at_once(made, operator, nodes, watchers, wanted.joined_s))
            click.echo("heartbeats", err=True)
            lines += asyncio.run(steady.heartbeats(made, operator, nodes, seconds, wanted))
            lines += asyncio.run(steady.documents(made, nodes))
            if more:
                click.echo("joining at a rate", err=True)
                lines += asyncio.run(joins.at_a_rate(made, 50, nodes + 1, more))
            click.echo("restart", err=True)
            lines += asyncio.run(steady.restart(operator, nodes + more, wanted.ready_s))
        if not brief:
            click.echo("the same writes alone", err=True)
            asyncio.run(agents.clear(made.wire()))
            lines += against(lines, *asyncio.run(joins.same_writes(made, nodes, watchers)))
    if peers and not brief:
        click.echo("kube-controller-manager", err=True)
        with plane.plane("load", allocate=True, chart=False) as made:
            lines += asyncio.run(node_ipam.node_ipam(made, peers))
    return lines


def against(lines: Sequence[Line], own: float, both: float) -> list[Line]:
    """What all joined in, against the agents' writes alone and these with the operator's (seconds)."""
    joined = next(line for line in lines if "nodes at once" in line.what)
    return [
        Line(what=f"{joined.what}, against all these writes, the operator's too, sent by the generator alone",
             value=joined.value, unit="s", against="same writes alone", other=both,
             target=1.5, target_is_ratio=True),
        Line(what="… against the agents' writes alone, of which there are three in five",
             value=joined.value, unit="s", against="agents' writes alone", other=own),
    ]  # fmt: skip


@click.command()
@click.option("--nodes", default=5000, show_default=True)
@click.option("--watchers", default=50, show_default=True)
@click.option(
    "--peer-nodes", default=1000, show_default=True, help="Nodes for kube-controller-manager; 0: none."
)
@click.option("--seconds", default=60.0, show_default=True, help="How long heartbeats are measured.")
@click.option("--brief", is_flag=True, help="Only joins at once, heartbeats, memory and the restart.")
@click.option("--save/--no-save", default=True, show_default=True)
def load(nodes: int, watchers: int, peer_nodes: int, seconds: float, *, brief: bool, save: bool) -> None:
    """Joins, heartbeats, restart, and the peer; a brief run is kept as that of its size."""
    lines = measure(nodes, watchers, peer_nodes, seconds, brief=brief)
    for line in lines:
        verdict = {None: "", True: "met", False: "MISSED"}[line.met]
        p99 = f"p50 {line.p50:.0f} p99 {line.p99:.0f} ms" if line.p50 is not None and line.p99 else ""
        ratio = f"{line.ratio:.2f} x {line.other:.1f}" if line.ratio and line.other else ""
        click.echo(f"{line.what}: {line.value:.3g} {line.unit} {ratio} {p99} {line.note} {verdict}")
    if save:
        kept(nodes, lines, brief=brief).save()


def kept(nodes: int, lines: list[Line], *, brief: bool) -> Result:
    """The result of a run."""
    _, everything, compared = (" ".join(part.split()) for part in (__doc__ or "").split("\n\n"))
    command = "python -m bench.control_plane load"
    if brief:
        return Result(
            name=f"control_plane_{nodes}",
            title=f"The control plane with {nodes:,} nodes",
            command=f"{command} --nodes {nodes} --brief",
            method=everything,
            machine=machine(),
            lines=lines,
        )
    method = f"{everything} {compared}"
    return Result(
        name="control_plane", title=TITLE, command=command, method=method, machine=machine(), lines=lines
    )


@click.group()
def main() -> None:
    """Measure and torment the control plane."""


main.add_command(load)
main.add_command(chaos)
main.add_command(life)

if __name__ == "__main__":
    main()
