"""`quiltctl multicast`: the agent's control socket for people."""

from __future__ import annotations

import click

from quilt_cli.control_socket import DEFAULT_SOCKET
from quilt_cli.groups import Group


@click.group(
    "multicast",
    cls=Group,
    folder=__name__,
    examples=(
        "quiltctl multicast groups",
        "kubectl -n quilt-system exec POD -c agent -- quiltctl multicast groups",
    ),
)
@click.option(
    "--socket",
    "path",
    default=DEFAULT_SOCKET,
    show_default=True,
    envvar="QUILT_CONTROL_SOCK",
    help="The agent's control socket.",
)
@click.pass_context
def multicast(context: click.Context, path: str) -> None:
    """Ask the agent of THIS node about multicast, or change it. As root.

    Exit code 0: done; 1: the agent refused; 2: the agent cannot be asked.
    """
    context.obj = path
