"""The commands of `quiltctl multicast`: neighbors and PIM, RPF, groups, routes, settings and events."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from itertools import islice

import click
from rich.console import Console

from quilt_cli.commands.multicast import asking, done, show, table
from quilt_cli.commands.options import Result, wants_json
from quilt_cli.control_socket import ControlSocket
from quilt_cli.core.multicast import GROUPS, NEIGHBORS, ROUTES, RPF_ROUTES, SETTINGS, event, settings
from quilt_cli.groups import command
from quilt_cli.output import console

EVENT_TYPES = ("IgmpMembership", "PimNeighbor", "PimRoute", "MsdpSaCache")
_ADDRESS = click.option("--address", required=True, help="IPv4 address of the neighbor.")
_INTERFACE = click.option("--interface", required=True, help="Interface that it is on.")
_SOURCE = click.option("--source", required=True, help="Address or prefix of sources.")


@command("add-neighbor", "quiltctl multicast add-neighbor --address 192.0.2.7 --interface eth1 --tag babel")
@_ADDRESS
@_INTERFACE
@click.option("--priority", type=int, help="In the election of the designated router.  [default: 1]")
@click.option("--tag", help="Who injected it, for example the routing daemon's name.")
@asking
def add_neighbor(
    agent: ControlSocket, *, address: str, interface: str, priority: int | None, tag: str | None
) -> Result:
    """Inject or change a PIM neighbor. It is valid at once, without Hellos, until it is removed."""
    given = {"address": address, "interface": interface, "dr_priority": priority, "tag": tag}
    return done(agent.ask("AddExternalNeighbor", neighbor=given), f"{address} on {interface} is a neighbor")


@command("remove-neighbor", "quiltctl multicast remove-neighbor --address 192.0.2.7 --interface eth1")
@_ADDRESS
@_INTERFACE
@asking
def remove_neighbor(agent: ControlSocket, *, address: str, interface: str) -> Result:
    """Remove an injected neighbor. What its own Hellos say stays."""
    reply = agent.ask("RemoveExternalNeighbor", address=address, interface=interface)
    return done(reply, f"{address} on {interface} is injected no longer")


@command("external-neighbors", "quiltctl multicast external-neighbors")
@asking
def external_neighbors(agent: ControlSocket) -> Result:
    """Show injected neighbors, peers of the mesh included."""
    reply = agent.ask("ListExternalNeighbors")
    return table(reply, NEIGHBORS, reply["neighbors"])


@command(
    "clear-neighbors",
    "quiltctl multicast clear-neighbors",
    "quiltctl multicast clear-neighbors --interface eth1",
)
@click.option("--interface", help="Only there.  [default: everywhere]")
@asking
def clear_neighbors(agent: ControlSocket, *, interface: str | None) -> Result:
    """Remove all injected neighbors. Peers of the mesh stay."""
    reply = agent.ask("ClearExternalNeighbors", interface=interface)
    return done(reply, f"{reply['removed']} neighbors removed")


@command("neighbors", "quiltctl multicast neighbors", "quiltctl multicast neighbors -o json")
@asking
def neighbors(agent: ControlSocket) -> Result:
    """Show all PIM neighbors and designated routers."""
    reply = agent.ask("GetPimNeighbors")

    def draw(out: Console) -> None:
        show(out, NEIGHBORS, reply["neighbors"])
        for item in reply["interfaces"]:
            router = item["designated_router"] or "none"
            out.print(f"{item['interface']}: designated router {router}", markup=False)

    return Result(reply, draw)


@command(
    "enable-pim",
    "quiltctl multicast enable-pim --interface eth1",
    "quiltctl multicast enable-pim --interface eth1 --passive",
)
@_INTERFACE
@click.option("--priority", type=int, help="Our own, in the election of the designated router.  [default: 1]")
@click.option("--passive", is_flag=True, help="Listen only: where another router of this node speaks PIM.")
@asking
def enable_pim(agent: ControlSocket, *, interface: str, priority: int | None, passive: bool) -> Result:
    """Speak PIM on an interface. Hello and Join/Prune are received, Hellos sent."""
    reply = agent.ask("EnablePim", interface=interface, dr_priority=priority, passive=passive)
    return done(reply, f"PIM on {interface}{', listening only' if passive else ''}")


@command("disable-pim", "quiltctl multicast disable-pim --interface eth1")
@_INTERFACE
@asking
def disable_pim(agent: ControlSocket, *, interface: str) -> Result:
    """Stop PIM on an interface."""
    return done(agent.ask("DisablePim", interface=interface), f"no PIM on {interface}")


@command(
    "set-rpf",
    "quiltctl multicast set-rpf --provider static",
    "quiltctl multicast set-rpf --provider /run/quilt/router.sock",
)
@click.option("--provider", required=True, help="disabled, static, or the absolute path of a Unix socket.")
@asking
def set_rpf(agent: ControlSocket, *, provider: str) -> Result:
    """Choose where RPF information comes from."""
    reply = agent.ask("SetRpfProvider", provider=provider)
    return done(reply, f"RPF provider: {reply['provider']}")


@command("get-rpf", "quiltctl multicast get-rpf")
@asking
def get_rpf(agent: ControlSocket) -> Result:
    """Show the RPF provider and its counters."""
    reply = agent.ask("GetRpfProvider")
    return table(reply, SETTINGS, settings(reply))


@command("query-rpf", "quiltctl multicast query-rpf --source 192.0.2.9")
@click.option("--source", required=True, help="Address of a source.")
@asking
def query_rpf(agent: ControlSocket, *, source: str) -> Result:
    """Look up a source as for a Join."""
    reply = agent.ask("QueryRpf", source=source)
    found = [{"source": source, **reply["rpf"]}] if reply.get("rpf") else []
    return table(reply, replace(RPF_ROUTES, empty=str(reply.get("reason") or "no route")), found)


@command(
    "add-rpf-route",
    "quiltctl multicast add-rpf-route --source 192.0.2.0/24 --interface eth1 --neighbor 198.51.100.1",
)
@_SOURCE
@click.option("--interface", required=True, help="Interface towards them.")
@click.option("--neighbor", help="Next router on it.")
@click.option("--metric", type=int, help="Of several routes the lowest wins.")
@asking
def add_rpf_route(
    agent: ControlSocket, *, source: str, interface: str, neighbor: str | None, metric: int | None
) -> Result:
    """Add a static RPF route. It is used while the provider is `static`."""
    info = {"upstream_interface": interface, "upstream_neighbor": neighbor, "metric": metric}
    reply = agent.ask("AddRpfRoute", source=source, rpf=info)
    return done(reply, f"{reply['source']} is upstream on {interface}")


@command("remove-rpf-route", "quiltctl multicast remove-rpf-route --source 192.0.2.0/24")
@_SOURCE
@click.option("--interface", help="Only that over this one.  [default: all]")
@asking
def remove_rpf_route(agent: ControlSocket, *, source: str, interface: str | None) -> Result:
    """Remove static RPF routes to a source."""
    reply = agent.ask("RemoveRpfRoute", source=source, interface=interface)
    return done(reply, f"{reply['removed']} RPF routes of {reply['source']} removed")


@command("list-rpf-routes", "quiltctl multicast list-rpf-routes")
@asking
def list_rpf_routes(agent: ControlSocket) -> Result:
    """Show all static RPF routes."""
    reply = agent.ask("ListRpfRoutes")
    found = [{"source": item.get("source"), **(item.get("rpf") or {})} for item in reply["routes"]]
    return table(reply, RPF_ROUTES, found)


@command("clear-rpf-routes", "quiltctl multicast clear-rpf-routes")
@asking
def clear_rpf_routes(agent: ControlSocket) -> Result:
    """Remove all static RPF routes."""
    reply = agent.ask("ClearRpfRoutes")
    return done(reply, f"{reply['removed']} RPF routes removed")


@command("groups", "quiltctl multicast groups", "quiltctl multicast groups -o json")
@asking
def groups(agent: ControlSocket) -> Result:
    """Show groups with members, here and on other nodes."""
    reply = agent.ask("GetIgmpGroups")
    return table(reply, GROUPS, reply["groups"])


@command("routes", "quiltctl multicast routes", "quiltctl multicast routes -o json")
@asking
def routes(agent: ControlSocket) -> Result:
    """Show multicast routes. The mesh's, and those that PIM neighbors joined."""
    reply = agent.ask("GetMroute")
    return table(reply, ROUTES, reply["routes"])


@command("config", "quiltctl multicast config")
@asking
def config(agent: ControlSocket) -> Result:
    """Show the configuration in use, and counters."""
    reply = agent.ask("GetConfig")

    def draw(out: Console) -> None:
        show(out, SETTINGS, settings(reply["config"]))
        out.print()
        show(out, SETTINGS, settings(reply["counters"]))

    return Result(reply, draw)


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
def events(agent: ControlSocket, *, types: tuple[str, ...], count: int | None) -> None:
    """Follow changes as they happen. With -o json: one object a line."""
    agent.ask("Subscribe", events=list(types or EVENT_TYPES))
    out = console()
    with suppress(KeyboardInterrupt):
        for found in islice(agent.events(), count):
            if wants_json():
                click.echo(json.dumps(found, separators=(",", ":")))
            else:
                out.print(event(found), markup=False, soft_wrap=True)
