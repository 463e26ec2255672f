"""`quiltctl multicast`: the agent's control socket for people, and what its commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import click
from rich.console import Console

from quilt_cli.commands.options import Function, Result, output
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


Draw = Callable[[Console], None]
Shown = str | Draw
"""Of a reply, for people: a sentence, or what draws it."""


def asking(request: str, fields: Callable[..., Raw] = dict) -> Callable[[Callable[..., Shown]], Function]:
    """The command gets the agent's reply to a request, and the flags; `fields` makes the request of these."""

    def decorated(command: Callable[..., Shown]) -> Function:
        @output
        @functools.wraps(command)
        def wrapped(**flags: Any) -> Result:
            with opened() as agent:
                reply = agent.ask(request, **fields(**flags))
            shown = command(reply, **flags)
            return Result(reply, _sentence(shown) if isinstance(shown, str) else shown)

        return wrapped

    return decorated


def opened() -> AbstractContextManager[ControlSocket]:
    """A connection to the agent whose socket the group was given."""
    return ControlSocket.opened(click.get_current_context().obj)


def _sentence(text: str) -> Draw:
    return lambda out: out.print(f"✓ {text}", markup=False, soft_wrap=True)


def table(sheet: Sheet, found: Iterable[Raw]) -> Draw:
    """A table of objects; without any, what the sheet says then."""

    def draw(out: Console) -> None:
        if rows := sheet.rows(found):
            print_table(out, tuple(sheet.columns), rows)
        else:
            out.print(sheet.empty, style="dim", markup=False)

    return draw
