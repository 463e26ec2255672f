"""`quiltctl multicast`: the agent's control socket for people, and what its commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import click
from rich.console import Console

from quilt_cli.commands.options import Result, output
from quilt_cli.control_socket import DEFAULT_SOCKET, ControlSocket
from quilt_cli.core.multicast import Raw, Sheet
from quilt_cli.groups import Group
from quilt_cli.output import print_table


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


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command gets the connection to the agent, and answers with a Result."""

    @output
    @functools.wraps(command)
    def wrapped(**flags: Any) -> Any:
        with ControlSocket.opened(click.get_current_context().obj) as agent:
            return command(agent, **flags)

    return wrapped


def done(reply: Raw, text: str) -> Result:
    """The agent's reply as a sentence."""
    return Result(reply, lambda out: out.print(f"✓ {text}", markup=False, soft_wrap=True))


def table(reply: Raw, sheet: Sheet, found: Iterable[Raw]) -> Result:
    """The agent's reply as a table of what is found in it."""
    return Result(reply, lambda out: show(out, sheet, found))


def show(out: Console, sheet: Sheet, found: Iterable[Raw]) -> None:
    """A table for people."""
    if rows := sheet.rows(found):
        print_table(out, tuple(sheet.columns), rows)
    else:
        out.print(sheet.empty, style="dim", markup=False)
