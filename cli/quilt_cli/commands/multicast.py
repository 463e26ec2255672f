"""`quilt multicast`: the agent's control socket for people. Neighbours, RPF and events of THIS node."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from quilt_cli.commands.options import leave, output
from quilt_cli.control_socket import (
    DEFAULT_SOCKET,
    ControlRefusedError,
    ControlSocket,
    ControlUnreachableError,
)
from quilt_cli.core import multicast as shown
from quilt_cli.core.finding import EXIT_CANNOT_TELL, EXIT_PROBLEMS
from quilt_cli.core.multicast import Sheet
from quilt_cli.output import console, print_json, table

EVENT_TYPES = ("IgmpMembership", "PimNeighbor", "PimRoute", "MsdpSaCache")


@click.group("multicast")
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
    """Multicast on THIS node: groups, routes, PIM neighbors, RPF, events. As root.

    In a cluster: kubectl -n quilt-system exec POD -c agent -- quilt multicast groups

    Exit code 0: done; 1: the agent refused; 2: the agent cannot be asked.
    """
    context.obj = path


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command gets the connection as `agent`; errors become a sentence and an exit code."""

    @output
    @functools.wraps(command)
    def wrapped(*, as_json: bool, **flags: Any) -> Any:
        path: str = click.get_current_context().obj
        with told(as_json=as_json), ControlSocket(path) as agent:
            return command(agent=agent, as_json=as_json, **flags)

    return wrapped


@contextmanager
def told(*, as_json: bool) -> Iterator[None]:
    """Errors as people and programs read them, with the exit code that goes with each."""
    try:
        yield
    except ControlRefusedError as error:
        message, code = str(error), EXIT_PROBLEMS
    except ControlUnreachableError as error:
        message, code = f"cannot ask the agent: {error}", EXIT_CANNOT_TELL
    else:
        return
    if as_json:
        print_json({"error": message})
    else:
        console(stderr=True).print(f"✗ {message}", style="bold red", markup=False, soft_wrap=True)
    leave(code)


def show(sheet: Sheet, document: Any, *, as_json: bool) -> None:
    """A table for people, the document for programs."""
    if as_json:
        print_json(document)
        return
    if not sheet.rows:
        console().print(sheet.empty, style="dim", markup=False)
        return
    made = table(*sheet.columns)
    for row in sheet.rows:
        made.add_row(*row)
    console().print(made)


def done(text: str, document: Any, *, as_json: bool) -> None:
    """A sentence for people, the document for programs."""
    if as_json:
        print_json(document)
    else:
        console().print(f"✓ {text}", markup=False, soft_wrap=True)


@multicast.command("groups")
@asking
def groups(*, agent: ControlSocket, as_json: bool) -> None:
    """Groups that have members, in pods of this node and on other nodes."""
    reply = agent.ask("GetIgmpGroups")
    show(shown.groups(reply["groups"]), reply, as_json=as_json)


@multicast.command("routes")
@asking
def routes(*, agent: ControlSocket, as_json: bool) -> None:
    """Multicast routes: the mesh's, and those that PIM neighbors joined."""
    reply = agent.ask("GetMroute")
    show(shown.routes(reply["routes"]), reply, as_json=as_json)


@multicast.command("config")
@asking
def config(*, agent: ControlSocket, as_json: bool) -> None:
    """The control plane's configuration as it runs, and its counters."""
    reply = agent.ask("GetConfig")
    if as_json:
        print_json(reply)
        return
    show(shown.settings(reply["config"]), reply, as_json=False)
    console().print()
    show(shown.settings(reply["counters"]), reply, as_json=False)


@multicast.command("events")
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice(EVENT_TYPES),
    help="Only these; repeatable.  [default: all]",
)
@click.option("--count", type=click.IntRange(1), help="End after so many.")
@asking
def events(*, agent: ControlSocket, as_json: bool, types: tuple[str, ...], count: int | None) -> None:
    """Follow changes as they happen. With -o json: one object a line."""
    agent.ask("Subscribe", events=list(types or EVENT_TYPES))
    seen = 0
    try:
        for found in agent.events():
            if as_json:
                click.echo(shown.line(found))
            else:
                console().print(shown.event(found), markup=False, soft_wrap=True)
            seen += 1
            if seen == count:
                return
    except KeyboardInterrupt:
        return


# The rest of the commands hang themselves into the group.
from quilt_cli.commands import multicast_neighbors, multicast_rpf  # noqa: E402

__all__ = ["multicast", "multicast_neighbors", "multicast_rpf"]
