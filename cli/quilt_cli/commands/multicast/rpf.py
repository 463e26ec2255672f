"""`quiltctl multicast …rpf…`: where a source is upstream, and who says so."""

from __future__ import annotations

import click

from quilt_cli.commands.multicast.asking import asking, done, show
from quilt_cli.control_socket import ControlSocket
from quilt_cli.core import multicast as shown
from quilt_cli.groups import command

_SOURCE = click.option("--source", required=True, help="Address or prefix of sources.")


@command(
    "set-rpf",
    "quiltctl multicast set-rpf --provider static",
    "quiltctl multicast set-rpf --provider /run/quilt/router.sock",
)
@click.option("--provider", required=True, help="disabled, static, or the absolute path of a Unix socket.")
@asking
def set_rpf(*, agent: ControlSocket, as_json: bool, provider: str) -> None:
    """Choose where RPF information comes from."""
    reply = agent.ask("SetRpfProvider", provider=provider)
    done(f"RPF provider: {reply['provider']}", reply, as_json=as_json)


@command("get-rpf", "quiltctl multicast get-rpf")
@asking
def get_rpf(*, agent: ControlSocket, as_json: bool) -> None:
    """Show the RPF provider and its counters."""
    reply = agent.ask("GetRpfProvider")
    show(shown.settings(reply), reply, as_json=as_json)


@command("query-rpf", "quiltctl multicast query-rpf --source 192.0.2.9")
@click.option("--source", required=True, help="Address of a source.")
@asking
def query_rpf(*, agent: ControlSocket, as_json: bool, source: str) -> None:
    """Look up a source as for a Join."""
    reply = agent.ask("QueryRpf", source=source)
    found = reply.get("rpf")
    rows = ((source, *shown.rpf(found)),) if found else ()
    columns = ("SOURCE", "INTERFACE", "NEIGHBOR", "METRIC")
    show(shown.Sheet(columns, rows, str(reply.get("reason") or "no route")), reply, as_json=as_json)


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
    *,
    agent: ControlSocket,
    as_json: bool,
    source: str,
    interface: str,
    neighbor: str | None,
    metric: int | None,
) -> None:
    """Add a static RPF route. It is used while the provider is `static`."""
    info = {"upstream_interface": interface, "upstream_neighbor": neighbor, "metric": metric}
    reply = agent.ask("AddRpfRoute", source=source, rpf=info)
    done(f"{reply['source']} is upstream on {interface}", reply, as_json=as_json)


@command("remove-rpf-route", "quiltctl multicast remove-rpf-route --source 192.0.2.0/24")
@_SOURCE
@click.option("--interface", help="Only that over this one.  [default: all]")
@asking
def remove_rpf_route(*, agent: ControlSocket, as_json: bool, source: str, interface: str | None) -> None:
    """Remove static RPF routes to a source."""
    reply = agent.ask("RemoveRpfRoute", source=source, interface=interface)
    done(f"{reply['removed']} RPF routes of {reply['source']} removed", reply, as_json=as_json)


@command("list-rpf-routes", "quiltctl multicast list-rpf-routes")
@asking
def list_rpf_routes(*, agent: ControlSocket, as_json: bool) -> None:
    """Show all static RPF routes."""
    reply = agent.ask("ListRpfRoutes")
    show(shown.rpf_routes(reply["routes"]), reply, as_json=as_json)


@command("clear-rpf-routes", "quiltctl multicast clear-rpf-routes")
@asking
def clear_rpf_routes(*, agent: ControlSocket, as_json: bool) -> None:
    """Remove all static RPF routes."""
    reply = agent.ask("ClearRpfRoutes")
    done(f"{reply['removed']} RPF routes removed", reply, as_json=as_json)
