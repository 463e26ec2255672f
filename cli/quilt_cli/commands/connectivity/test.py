"""`quiltctl connectivity test`: every pod and host to every pod, in a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import click
from rich.console import Console
from rich.text import Text

from quilt_cli.commands.options import Result, cluster, output
from quilt_cli.connectivity.run import run
from quilt_cli.core.finding import EXIT_HEALTHY, EXIT_PROBLEMS
from quilt_cli.core.matrix import Answer, Matrix, cell, findings
from quilt_cli.groups import command
from quilt_cli.output import print_findings, print_table, progress
from quilt_kube.sync import Client

# A wider table than this says nothing any more: of larger clusters only what is wrong is shown.
_TABLE_AT_MOST = 12


@command("test", "quiltctl connectivity test", "quiltctl connectivity test --no-hosts --keep -o json")
@click.option("--image", help="Any image with python3.  [default: that of the DaemonSet quilt-mesh]")
@click.option(
    "--hosts/--no-hosts", default=True, show_default=True, help="Ask from the nodes themselves too."
)
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for the test's pods.")
@click.option("--keep", is_flag=True, help="Leave the test's namespace for a look.")
@output
@cluster
def test(client: Client, *, image: str | None, hosts: bool, timeout: float, keep: bool) -> Result:
    """Let every pod and host reach every pod.

    A server runs on every node, and a pod and the host of every node ask all of them: TCP with 64 KiB each
    way, UDP at the full MTU without fragmentation, the hosts, a Service by its address and, where the cluster
    has DNS, by its name. Needs no internet: the image is one that every node has. All of it is in a namespace
    of its own, which is removed afterwards.

    Exit code 0: everything is reached; 1: something is not; 2: cannot tell.
    """
    with progress() as tell:
        found = run(client, image, tell, hosts=hosts, timeout=timeout, keep=keep)
    return Result(found.wire(), partial(show, found), EXIT_HEALTHY if found.ok else EXIT_PROBLEMS)


def show(matrix: Matrix, out: Console) -> None:
    """The answers for people."""
    if len(matrix.servers) <= _TABLE_AT_MOST:
        cells = matrix.cells
        labels = dict.fromkeys(label for _, label in cells)
        rows = [
            [Text(source.label), *(_cell(cells.get((source, label))) for label in labels)]
            for source in matrix.answers
        ]
        print_table(out, ("FROM \\ TO", *labels), rows)
        out.print()
    print_findings(out, findings(matrix))
    good = sum(answer.ok for answer in matrix.all_answers)
    style = "green" if matrix.ok else "bold red"
    out.print(
        f"[{style}]{good} of {len(matrix.all_answers)} questions answered[/], {len(matrix.servers)} nodes"
    )


def _cell(found: Sequence[Answer] | None) -> Text:
    if found is None:
        return Text("-", "dim")
    good, text = cell(found)
    return Text(f"✓ {text}" if good else f"✗ {text}", "green" if good else "bold red")
