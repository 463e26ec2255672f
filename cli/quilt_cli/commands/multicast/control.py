"""The commands of `quiltctl multicast`: neighbors and PIM, RPF, groups, routes, settings and events."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from itertools import islice

import click
from rich.console import Console

from quilt_cli.commands.multicast import Shown, asking, opened, table
from quilt_cli.commands.options import output, wants_json
from quilt_cli.core.multicast import GROUPS, NEIGHBORS, ROUTES, RPF_ROUTES, SETTINGS, Raw, event, settings
from quilt_cli.groups import command
from quilt_cli.output import console

EVENT_TYPES = ("IgmpMembership", "PimNeighbor", "PimRoute", "MsdpSaCache")
_ADDRESS = click.option("--address", required=True, help="IPv4 address of the neighbor.")
_INTERFACE = click.option("--interface", required=True, help="Interface that it is on.")
_SOURCE = click.option("--source", required=True, help="Address or prefix of sources.")


@command("add-neighbor", "quiltctl multicast add-neighbor --address 192.0.2.7 --interface eth1 --tag babel")
@_ADDRESS
@_INTERFACE
@click.option(
    "--priority", "dr_priority", type=int, help="In the election of the designated router.  [default: 1]"
)
@click.option("--tag", help="Who injected it, for example the routing daemon's name.")
@asking("AddExternalNeighbor", lambda **flags: {"neighbor": flags})
def add_neighbor(reply: Raw, *, address: str, interface: str, **_: object) -> Shown:
    """Inject or change a PIM neighbor. It is valid at once, without Hellos, until it is removed."""
    return f"{address} on {interface} is a neighbor"


@command("remove-neighbor", "quiltctl multicast remove-neighbor --address 192.0.2.7 --interface eth1")
@_ADDRESS
@_INTERFACE
@asking("RemoveExternalNeighbor")
def remove_neighbor(reply: Raw, *, address: str, interface: str) -> Shown:
    """Remove an injected neighbor. What its own Hellos say stays."""
    return f"{address} on {interface} is injected no longer"


@command("external-neighbors", "quiltctl multicast external-neighbors")
@asking("ListExternalNeighbors")
def external_neighbors(reply: Raw) -> Shown:
    """Show injected neighbors, peers of the mesh included."""
    return table(NEIGHBORS, reply["neighbors"])


@command(
    "clear-neighbors",
    "quiltctl multicast clear-neighbors",
    "quiltctl multicast clear-neighbors --interface eth1",
)
@click.option("--interface", help="Only there.  [default: everywhere]")
@asking("ClearExternalNeighbors")
def clear_neighbors(reply: Raw, *, interface: str | None) -> Shown:
    """Remove all injected neighbors. Peers of the mesh stay."""
    return f"{reply['removed']} neighbors removed"


@command("neighbors", "quiltctl multicast neighbors", "quiltctl multicast neighbors -o json")
@asking("GetPimNeighbors")
def neighbors(reply: Raw) -> Shown:
    """Show all PIM neighbors and designated routers."""

    def draw(out: Console) -> None:
        table(NEIGHBORS, reply["neighbors"])(out)
        for item in reply["interfaces"]:
            router = item["designated_router"] or "none"
            out.print(f"{item['interface']}: designated router {router}", markup=False)

    return draw


@command(
    "enable-pim",
    "quiltctl multicast enable-pim --interface eth1",
    "quiltctl multicast enable-pim --interface eth1 --passive",
)
@_INTERFACE
@click.option(
    "--priority",
    "dr_priority",
    type=int,
    help="Our own, in the election of the designated router.  [default: 1]",
)
@click.option("--passive", is_flag=True, help="Listen only: where another router of this node speaks PIM.")
@asking("EnablePim")
def enable_pim(reply: Raw, *, interface: str, passive: bool, **_: object) -> Shown:
    """Speak PIM on an interface. Hello and Join/Prune are received, Hellos sent."""
    return f"PIM on {interface}{', listening only' if passive else ''}"


@command("disable-pim", "quiltctl multicast disable-pim --interface eth1")
@_INTERFACE
@asking("DisablePim")
def disable_pim(reply: Raw, *, interface: str) -> Shown:
    """Stop PIM on an interface."""
    return f"no PIM on {interface}"


@command(
    "set-rpf",
    "quiltctl multicast set-rpf --provider static",
    "quiltctl multicast set-rpf --provider /run/quilt/router.sock",
)
@click.option("--provider", required=True, help="disabled, static, or the absolute path of a Unix socket.")
@asking("SetRpfProvider")
def set_rpf(reply: Raw, *, provider: str) -> Shown:
    """Choose where RPF information comes from."""
    return f"RPF provider: {reply['provider']}"


@command("get-rpf", "quiltctl multicast get-rpf")
@asking("GetRpfProvider")
def get_rpf(reply: Raw) -> Shown:
    """Show the RPF provider and its counters."""
    return table(SETTINGS, settings(reply))


@command("query-rpf", "quiltctl multicast query-rpf --source 192.0.2.9")
@click.option("--source", required=True, help="Address of a source.")
@asking("QueryRpf")
def query_rpf(reply: Raw, *, source: str) -> Shown:
    """Look up a source as for a Join."""
    found = [{"source": source, **reply["rpf"]}] if reply.get("rpf") else []
    return table(replace(RPF_ROUTES, empty=str(reply.get("reason") or "no route")), found)


@command(
    "add-rpf-route",
    "quiltctl multicast add-rpf-route --source 192.0.2.0/24 --interface eth1 --neighbor 198.51.100.1",
)
@_SOURCE
@click.option("--interface", "upstream_interface", required=True, help="Interface towards them.")
@click.option("--neighbor", "upstream_neighbor", help="Next router on it.")
@click.option("--metric", type=int, help="Of several routes the lowest wins.")
@asking("AddRpfRoute", lambda source, **rpf: {"source": source, "rpf": rpf})
def add_rpf_route(reply: Raw, *, upstream_interface: str, **_: object) -> Shown:
    """Add a static RPF route. It is used while the provider is `static`."""
    return f"{reply['source']} is upstream on {upstream_interface}"


@command("remove-rpf-route", "quiltctl multicast remove-rpf-route --source 192.0.2.0/24")
@_SOURCE
@click.option("--interface", help="Only that over this one.  [default: all]")
@asking("RemoveRpfRoute")
def remove_rpf_route(reply: Raw, *, source: str, interface: str | None) -> Shown:
    """Remove static RPF routes to a source."""
    return f"{reply['removed']} RPF routes of {reply['source']} removed"


@command("list-rpf-routes", "quiltctl multicast list-rpf-routes")
@asking("ListRpfRoutes")
def list_rpf_routes(reply: Raw) -> Shown:
    """Show all static RPF routes."""
    found = [{"source": item.get("source"), **(item.get("rpf") or {})} for item in reply["routes"]]
    return table(RPF_ROUTES, found)


@command("clear-rpf-routes", "quiltctl multicast clear-rpf-routes")
@asking("ClearRpfRoutes")
def clear_rpf_routes(reply: Raw) -> Shown:
    """Remove all static RPF routes."""
    return f"{reply['removed']} RPF routes removed"


@command("groups", "quiltctl multicast groups", "quiltctl multicast groups -o json")
@asking("GetIgmpGroups")
def groups(reply: Raw) -> Shown:
    """Show groups with members, here and on other nodes."""
    return table(GROUPS, reply["groups"])


@command("routes", "quiltctl multicast routes", "quiltctl multicast routes -o json")
@asking("GetMroute")
def routes(reply: Raw) -> Shown:
    """Show multicast routes. The mesh's, and those that PIM neighbors joined."""
    return table(ROUTES, reply["routes"])


@command("config", "quiltctl multicast config")
@asking("GetConfig")
def config(reply: Raw) -> Shown:
    """Show the configuration in use, and counters."""

    def draw(out: Console) -> None:
        table(SETTINGS, settings(reply["config"]))(out)
        out.print()
        table(SETTINGS, settings(reply["counters"]))(out)

    return draw


@command("events", "quiltctl multicast events --type PimNeighbor --count 1")
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice(EVENT_TYPES),
    help="Only these; repeatable.  [default: all]",
)
@click.option("--count", type=click.IntRange(1), help="End after so many.")
@output
def events(*, types: tuple[str, ...], count: int | None) -> None:
    """Follow changes as they happen. With -o json: one object a line."""
    out = console()
    with opened() as agent, suppress(KeyboardInterrupt):
        agent.ask("Subscribe", events=list(types or EVENT_TYPES))
        for found in islice(agent.events(), count):
            if wants_json():
                click.echo(json.dumps(found, separators=(",", ":")))
            else:
                out.print(event(found), markup=False, soft_wrap=True)
