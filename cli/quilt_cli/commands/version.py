"""`quiltctl version`: the command's own version and the mesh's."""

from __future__ import annotations

from functools import partial

import click
from rich.console import Console

from quilt_cli.api.read import snapshot
from quilt_cli.commands.options import VERSION, Result, access, connected, output, wants_json
from quilt_cli.core.versions import Versions, versions
from quilt_cli.groups import command
from quilt_cli.output import console


@command("version", "quiltctl version", "quiltctl version --client -o json")
@click.option("--client", "only_client", is_flag=True, help="Ask no cluster.")
@output
@access
def version(*, only_client: bool, kubeconfig: str | None, kube_context: str | None) -> Result:
    """Show the versions of this command and of the mesh.

    Exit code 0: shown; 2: the cluster cannot be asked.
    """
    if not wants_json():
        _line(console(), "Client", VERSION)
    if only_client:
        return Result({"kind": "QuiltVersion", "schema": 1, "client": VERSION}, lambda _: None)
    with connected(kubeconfig, kube_context) as client:
        found = versions(VERSION, snapshot(client))
    return Result(found, partial(_show, found))


def _show(found: Versions, out: Console) -> None:
    if found.installed:
        _line(out, "Agents", ", ".join(f"{name} ({count} nodes)" for name, count in found.agents.items()))
        _line(out, "Operator", found.operator)
        _line(out, "Chart", found.chart)
    out.print(found.skew, soft_wrap=True)


def _line(out: Console, part: str, text: str) -> None:
    out.print(f"{part + ':':<10}{text or 'unknown'}", markup=False, soft_wrap=True)
