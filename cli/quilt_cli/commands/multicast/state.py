"""`quiltctl multicast groups`, `routes`, `config`, `events`: what the agent does, and as it changes."""

from __future__ import annotations

import click

from quilt_cli.commands.multicast.asking import asking, show
from quilt_cli.control_socket import ControlSocket
from quilt_cli.core import multicast as shown
from quilt_cli.groups import command
from quilt_cli.output import console, print_json

EVENT_TYPES = ("IgmpMembership", "PimNeighbor", "PimRoute", "MsdpSaCache")


@command("groups", "quiltctl multicast groups", "quiltctl multicast groups -o json")
@asking
def groups(*, agent: ControlSocket, as_json: bool) -> None:
    """Show groups with members, here and on other nodes."""
    reply = agent.ask("GetIgmpGroups")
    show(shown.groups(reply["groups"]), reply, as_json=as_json)


@command("routes", "quiltctl multicast routes", "quiltctl multicast routes -o json")
@asking
def routes(*, agent: ControlSocket, as_json: bool) -> None:
    """Show multicast routes. The mesh's, and those that PIM neighbors joined."""
    reply = agent.ask("GetMroute")
    show(shown.routes(reply["routes"]), reply, as_json=as_json)


@command("config", "quiltctl multicast config")
@asking
def config(*, agent: ControlSocket, as_json: bool) -> None:
    """Show the configuration in use, and counters."""
    reply = agent.ask("GetConfig")
    if as_json:
        print_json(reply)
        return
    show(shown.settings(reply["config"]), reply, as_json=False)
    console().print()
    show(shown.settings(reply["counters"]), reply, as_json=False)


@command("events", "quiltctl multicast events --type PimNeighbor --count 1")
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
