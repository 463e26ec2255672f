"""`python -m bench.control_plane load|chaos|life`: measure and torment the control plane.

One generator plays all agents against a real API server, whose etcd, operator and 50 watchers share the
machine. kube-controller-manager and the scheduler are stopped meanwhile: for them, nodes without kubelets
would be lost. "The same writes alone" are the agents' three and the operator's two for each node, sent by the
generator with no operator. kube-controller-manager's node IPAM runs afterwards at its default settings, alone
with the API server, on fewer nodes.
"""

from __future__ import annotations

import asyncio

import click

from bench.control_plane import agents, joins, node_ipam, plane, steady
from bench.control_plane.chaos import chaos
from bench.control_plane.life import life
from bench.result import Line, Result, machine

TITLE = "The control plane with thousands of nodes"


def measure(nodes: int, watchers: int, peers: int, seconds: float) -> list[Line]:
    """All figures of one run, on two control planes one after the other."""
    lines: list[Line] = []
    # Agents renew their Leases only while that is measured: until then nobody may be taken for dead.
    with plane.plane("load", "network.heartbeat.timeout=15m") as made, made.alone():
        asyncio.run(joins.hosts(made, nodes + 1000))
        with plane.operator(made) as operator:
            click.echo("joining at once", err=True)
            lines += asyncio.run(joins.at_once(made, operator, nodes, watchers))
            click.echo("heartbeats", err=True)
            lines += asyncio.run(steady.heartbeats(made, operator, nodes, seconds))
            click.echo("joining at a rate", err=True)
            lines += asyncio.run(joins.at_a_rate(made, 50, nodes + 1, 1000))
            lines += asyncio.run(steady.restart(operator, nodes + 1000))
        click.echo("the same writes alone", err=True)
        asyncio.run(agents.clear(made.wire()))
        own, both = asyncio.run(joins.same_writes(made, nodes, watchers))
    taken = lines[0].value
    lines[1:1] = [
        Line(what="… against all these writes, the operator's too, sent by the generator alone", value=taken,
             unit="s", against="same writes alone", other=both, target=1.5, target_is_ratio=True),
        Line(what="… against the agents' writes alone, of which there are three in five", value=taken,
             unit="s", against="agents' writes alone", other=own),
    ]  # fmt: skip
    if peers:
        click.echo("kube-controller-manager", err=True)
        with plane.plane("load", allocate=True, chart=False) as made:
            lines += asyncio.run(node_ipam.node_ipam(made, peers))
    return lines


@click.command()
@click.option("--nodes", default=5000, show_default=True)
@click.option("--watchers", default=50, show_default=True)
@click.option(
    "--peer-nodes", default=1000, show_default=True, help="Nodes for kube-controller-manager; 0: none."
)
@click.option("--seconds", default=60.0, show_default=True, help="How long heartbeats are measured.")
@click.option("--save/--no-save", default=True, show_default=True)
def load(nodes: int, watchers: int, peer_nodes: int, seconds: float, *, save: bool) -> None:
    """Joins, heartbeats, restart, and the peer."""
    lines = measure(nodes, watchers, peer_nodes, seconds)
    for line in lines:
        verdict = {None: "", True: "met", False: "MISSED"}[line.met]
        p99 = f"p50 {line.p50:.0f} p99 {line.p99:.0f} ms" if line.p50 is not None and line.p99 else ""
        ratio = f"{line.ratio:.2f} x {line.other:.1f}" if line.ratio and line.other else ""
        click.echo(f"{line.what}: {line.value:.3g} {line.unit} {ratio} {p99} {line.note} {verdict}")
    if save:
        method = " ".join((__doc__ or "").partition("\n\n")[2].split())
        command = "python -m bench.control_plane load"
        result = Result(
            name="control_plane", title=TITLE, command=command, method=method, machine=machine(), lines=lines
        )
        result.save()


@click.group()
def main() -> None:
    """Measure and torment the control plane."""


main.add_command(load)
main.add_command(chaos)
main.add_command(life)

if __name__ == "__main__":
    main()
