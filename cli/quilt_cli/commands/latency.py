"""`quiltctl latency`: loss and latency between all nodes, as their agents' probes measured them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path as FilePath

import click
from rich.console import Console
from rich.text import Text

from quilt_cli.api.read_latency import read_latency
from quilt_cli.commands.options import Result, access, connected, from_archive, output
from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.latency import Measured, Path, Report, badness, measured, report
from quilt_cli.groups import command
from quilt_cli.kernel.host import fetched
from quilt_cli.output import print_findings, print_table
from quilt_crds.names import AGENT_HEALTH_PORT, LATENCY_PATH

# Nodes of which a matrix fits on a screen; of more the worst directions are listed.
_MATRIX = 10
_WORST = 20


@command("latency", "quiltctl latency", "quiltctl latency -o json", "quiltctl latency --here")
@output
@click.option("--here", is_flag=True, help="Of this node alone, asked of its agent; needs no API server.")
@click.option(
    "--port", type=int, default=AGENT_HEALTH_PORT, show_default=True, help="For --here: the agent's metrics."
)
@from_archive
@access
def latency(
    *, here: bool, port: int, archive: FilePath | None, kubeconfig: str | None, kube_context: str | None
) -> Result:
    """Show loss and latency between nodes, of the last minute.

    Rows send, columns receive; latency is there and back. In meshes of more than 64 nodes each node watches a
    changing share of the others. Exit code 0: no direction fails, or with --here the agent answers; 1: some
    fail; 2: cannot tell.
    """
    if here:
        found = _ask_here(port)
        # What was measured is asked for, often by the command for all nodes: a path that fails is an answer.
        return Result(found, partial(show, report([found], {})))
    with connected(kubeconfig, kube_context, archive) as client:
        judged = report(*read_latency(client))
    return Result(judged, partial(show, judged), judged.exit_code)


def _ask_here(port: int) -> Measured:
    url = f"http://127.0.0.1:{port}{LATENCY_PATH}"
    try:
        return measured(fetched(port, LATENCY_PATH))
    except (OSError, ValueError) as error:
        raise CannotTellError(f"the agent does not answer at {url}: {error}") from error


def show(found: Report, out: Console) -> None:
    """The report for people."""
    if found.paths and len(found.nodes) <= _MATRIX:
        cells = {(path.source, path.target): path for path in found.paths}
        rows: list[list[str | Text]] = [
            [source, *(_cell(cells, source, to) for to in found.nodes)] for source in found.nodes
        ]
        print_table(out, ("FROM \\ TO", *found.nodes), rows)
        out.print()
    elif found.paths:
        worst = sorted(found.paths, key=badness, reverse=True)[:_WORST]
        out.print(f"The worst {len(worst)} of {len(found.paths)} directions:")
        print_table(out, ("FROM", "TO", ""), [(path.source, path.target, _text(path)) for path in worst])
        out.print()
    print_findings(out, found.findings)
    if not found.findings and found.healthy:
        out.print(f"[green]✓[/] all probed paths work: {len(found.paths)} directions")


def _cell(cells: Mapping[tuple[str, str], Path], source: str, target: str) -> Text:
    path = cells.get((source, target))
    return _text(path) if path else Text("" if source == target else "-")


def _text(path: Path) -> Text:
    if path.state == "failing":
        return Text("lost", "bold red")
    if path.state != "ok":
        return Text("?", "yellow")
    parts = [] if path.round_trip is None else [f"{path.round_trip * 1000:.2f} ms"]
    if path.loss:
        parts.append(f"{path.loss:.0%} lost")
    if path.narrow:
        parts.append("full size lost")
    style = "bold red" if path.narrow else "yellow" if path.loss else "green"
    return Text(", ".join(parts) or "ok", style)
