"""`quiltctl connectivity perf`: throughput and latency between two nodes, in a table."""

from __future__ import annotations

from functools import partial

import click
from rich.console import Console

from quilt_cli.commands.options import Result, cluster, output
from quilt_cli.connectivity.performance import Wanted, measure
from quilt_cli.core.finding import EXIT_HEALTHY, EXIT_PROBLEMS
from quilt_cli.core.performance import Performance
from quilt_cli.groups import command
from quilt_cli.output import print_findings, print_table, progress
from quilt_kube.sync import Client

_SECONDS = click.FloatRange(1, 30)


@command(
    "perf",
    "quiltctl connectivity perf",
    "quiltctl connectivity perf --from node-a --to node-b --host --seconds 10 -o json",
)
@click.option("--from", "source", default="", help="Node that sends.  [default: the first]")
@click.option("--to", "target", default="", help="Node that answers.  [default: another one]")
@click.option("--host", is_flag=True, help="Measure between the nodes' own addresses too, to compare.")
@click.option(
    "--seconds", type=_SECONDS, default=3.0, show_default=True, help="For a stream and for requests, each."
)
@click.option("--image", help="Any image with python3.  [default: that of the DaemonSet quilt-mesh]")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for each pod.")
@click.option("--keep", is_flag=True, help="Leave the test's namespace for a look.")
@output
@cluster
def perf(
    client: Client,
    *,
    source: str,
    target: str,
    host: bool,
    seconds: float,
    image: str | None,
    timeout: float,
    keep: bool,
) -> Result:
    """Measure throughput and latency between two nodes.

    A pod on one node sends to a pod on the other, and a pod beside that one does the same: requests of 64
    bytes over TCP, one after the other, then one TCP stream, which is 8 GiB at most. Others have less
    bandwidth meanwhile. Between nodes of fast networks the figure is what one stream of a small Python
    program reaches, not what the network carries: compare it by `--host`. All of it is in a namespace of its
    own, which is removed afterwards.

    Exit code 0: measured; 1: a path could not be; 2: cannot tell.
    """
    wanted = Wanted(source, target, seconds, host)
    with progress() as tell:
        found = measure(client, image, wanted, tell, timeout=timeout, keep=keep)
    return Result(found.wire(), partial(show, found), EXIT_HEALTHY if found.ok else EXIT_PROBLEMS)


def show(found: Performance, out: Console) -> None:
    """The figures for people."""
    rows = []
    for path, figures in found.figures.items():
        share = found.share(path)
        rows.append(
            (
                path.source.label,
                path.target.label,
                "✗" if figures.error else _rate(figures.megabits),
                "-" if share is None else f"{share:.0%}",
                *("-" if figures.error else f"{us / 1000:.3f} ms" for us in (figures.p50Us, figures.p99Us)),
            )
        )
    if rows:
        print_table(out, ("FROM", "TO", "TCP STREAM", "OF THE NODES'", "ANSWER P50", "P99"), rows)
    print_findings(out, found.findings)


def _rate(megabits: float) -> str:
    return f"{megabits / 1000:.2f} Gbit/s" if megabits >= 1000 else f"{megabits:.0f} Mbit/s"
