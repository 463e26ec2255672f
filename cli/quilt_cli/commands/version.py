"""`quiltctl version`: the command's own version and the mesh's."""

from __future__ import annotations

import click

from quilt_cli.api.read import snapshot
from quilt_cli.commands.options import VERSION, access, connected, output
from quilt_cli.core.versions import Versions, versions
from quilt_cli.groups import command
from quilt_cli.output import console, print_json


@command("version", "quiltctl version", "quiltctl version --client -o json")
@click.option("--client", "only_client", is_flag=True, help="Ask no cluster.")
@output
@access
def version(*, only_client: bool, as_json: bool, kubeconfig: str | None, kube_context: str | None) -> None:
    """Show the versions of this command and of the mesh.

    Exit code 0: shown; 2: the cluster cannot be asked.
    """
    if not as_json:
        _line("Client", VERSION)
    if only_client:
        if as_json:
            print_json({"kind": "QuiltVersion", "schema": 1, "client": VERSION})
        return
    with connected(kubeconfig, kube_context, as_json=as_json) as client:
        found = versions(VERSION, snapshot(client))
    if as_json:
        print_json(found.wire())
    else:
        _show(found)


def _show(found: Versions) -> None:
    if found.installed:
        agents = (f"{name} ({count} nodes)" for name, count in (found.agents or {}).items())
        _line("Agents", ", ".join(agents))
        _line("Operator", found.operator)
        _line("Chart", found.chart)
    console().print(found.skew, soft_wrap=True)


def _line(part: str, text: str) -> None:
    console().print(f"{part + ':':<10}{text or 'unknown'}", markup=False, soft_wrap=True)
