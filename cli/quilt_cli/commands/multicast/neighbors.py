"""`quiltctl multicast …neighbor…`, `…-pim`: PIM neighbors, injected and learned, and where PIM is spoken."""

from __future__ import annotations

import click

from quilt_cli.commands.multicast.asking import asking, done, show
from quilt_cli.control_socket import ControlSocket
from quilt_cli.core import multicast as shown
from quilt_cli.groups import command
from quilt_cli.output import console

_ADDRESS = click.option("--address", required=True, help="IPv4 address of the neighbor.")
_INTERFACE = click.option("--interface", required=True, help="Interface that it is on.")


@command("add-neighbor", "quiltctl multicast add-neighbor --address 192.0.2.7 --interface eth1 --tag babel")
@_ADDRESS
@_INTERFACE
@click.option("--priority", type=int, help="In the election of the designated router.  [default: 1]")
@click.option("--tag", help="Who injected it, for example the routing daemon's name.")
@asking
def add_neighbor(
    *,
    agent: ControlSocket,
    as_json: bool,
    address: str,
    interface: str,
    priority: int | None,
    tag: str | None,
) -> None:
    """Inject or change a PIM neighbor. It is valid at once, without Hellos, until it is removed."""
    given = {"address": address, "interface": interface, "dr_priority": priority, "tag": tag}
    reply = agent.ask("AddExternalNeighbor", neighbor=given)
    done(f"{address} on {interface} is a neighbor", reply, as_json=as_json)


@command("remove-neighbor", "quiltctl multicast remove-neighbor --address 192.0.2.7 --interface eth1")
@_ADDRESS
@_INTERFACE
@asking
def remove_neighbor(*, agent: ControlSocket, as_json: bool, address: str, interface: str) -> None:
    """Remove an injected neighbor. What its own Hellos say stays."""
    reply = agent.ask("RemoveExternalNeighbor", address=address, interface=interface)
    done(f"{address} on {interface} is injected no longer", reply, as_json=as_json)


@command("external-neighbors", "quiltctl multicast external-neighbors")
@asking
def external_neighbors(*, agent: ControlSocket, as_json: bool) -> None:
    """Show injected neighbors, peers of the mesh included."""
    reply = agent.ask("ListExternalNeighbors")
    show(shown.neighbors(reply["neighbors"]), reply, as_json=as_json)


@command(
    "clear-neighbors",
    "quiltctl multicast clear-neighbors",
    "quiltctl multicast clear-neighbors --interface eth1",
)
@click.option("--interface", help="Only there.  [default: everywhere]")
@asking
def clear_neighbors(*, agent: ControlSocket, as_json: bool, interface: str | None) -> None:
    """Remove all injected neighbors. Peers of the mesh stay."""
    reply = agent.ask("ClearExternalNeighbors", interface=interface)
    done(f"{reply['removed']} neighbors removed", reply, as_json=as_json)


@command("neighbors", "quiltctl multicast neighbors", "quiltctl multicast neighbors -o json")
@asking
def neighbors(*, agent: ControlSocket, as_json: bool) -> None:
    """Show all PIM neighbors and designated routers."""
    reply = agent.ask("GetPimNeighbors")
    show(shown.neighbors(reply["neighbors"]), reply, as_json=as_json)
    if not as_json:
        for item in reply["interfaces"]:
            console().print(
                f"{item['interface']}: designated router {item['designated_router'] or 'none'}", markup=False
            )


@command(
    "enable-pim",
    "quiltctl multicast enable-pim --interface eth1",
    "quiltctl multicast enable-pim --interface eth1 --passive",
)
@_INTERFACE
@click.option("--priority", type=int, help="Our own, in the election of the designated router.  [default: 1]")
@click.option("--passive", is_flag=True, help="Listen only: where another router of this node speaks PIM.")
@asking
def enable_pim(
    *, agent: ControlSocket, as_json: bool, interface: str, priority: int | None, passive: bool
) -> None:
    """Speak PIM on an interface. Hello and Join/Prune are received, Hellos sent."""
    reply = agent.ask("EnablePim", interface=interface, dr_priority=priority, passive=passive)
    done(f"PIM on {interface}{', listening only' if passive else ''}", reply, as_json=as_json)


@command("disable-pim", "quiltctl multicast disable-pim --interface eth1")
@_INTERFACE
@asking
def disable_pim(*, agent: ControlSocket, as_json: bool, interface: str) -> None:
    """Stop PIM on an interface."""
    reply = agent.ask("DisablePim", interface=interface)
    done(f"no PIM on {interface}", reply, as_json=as_json)
