"""`quilt multicast …rpf…`: where a source is upstream, and who says so."""

from __future__ import annotations

import click

from quilt_cli.commands.multicast import asking, done, multicast, show
from quilt_cli.control_socket import ControlSocket
from quilt_cli.core import multicast as shown

_SOURCE = click.option("--source", required=True, help="Address or prefix of sources.")


@multicast.command("set-rpf")
@click.option("--provider", required=True, help="disabled, static, or the absolute path of a Unix socket.")
@asking
def set_rpf(*, agent: ControlSocket, as_json: bool, provider: str) -> None:
    """Choose where RPF information comes from."""
    reply = agent.ask("SetRpfProvider", provider=provider)
    done(f"RPF provider: {reply['provider']}", reply, as_json=as_json)


@multicast.command("get-rpf")
@asking
def get_rpf(*, agent: ControlSocket, as_json: bool) -> None:
    """The RPF provider and its counters."""
    reply = agent.ask("GetRpfProvider")
    show(shown.settings(reply), reply, as_json=as_json)


@multicast.command("query-rpf")
@click.option("--source", required=True, help="Address of a source.")
@asking
def query_rpf(*, agent: ControlSocket, as_json: bool, source: str) -> None:
    """Look a source up as it is done for a Join."""
    reply = agent.ask("QueryRpf", source=source)
    found = reply.get("rpf")
    rows = ((source, *shown.rpf(found)),) if found else ()
    columns = ("SOURCE", "INTERFACE", "NEIGHBOR", "METRIC")
    show(shown.Sheet(columns, rows, str(reply.get("reason") or "no route")), reply, as_json=as_json)


@multicast.command("add-rpf-route")
@_SOURCE
@click.option("--interface", required=True, help="Interface towards them.")
@click.option("--neighbor", help="Next router on it.")
@click.option("--metric", type=int, help="Of several ways the lowest wins.")
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
    """Add a static way to sources; used while the provider is `static`."""
    info = {"upstream_interface": interface, "upstream_neighbor": neighbor, "metric": metric}
    reply = agent.ask("AddRpfRoute", source=source, rpf=info)
    done(f"{reply['source']} is upstream on {interface}", reply, as_json=as_json)


@multicast.command("remove-rpf-route")
@_SOURCE
@click.option("--interface", help="Only the way over this one.  [default: all ways]")
@asking
def remove_rpf_route(*, agent: ControlSocket, as_json: bool, source: str, interface: str | None) -> None:
    """Remove a static way to sources."""
    reply = agent.ask("RemoveRpfRoute", source=source, interface=interface)
    done(f"{reply['removed']} RPF routes of {reply['source']} removed", reply, as_json=as_json)


@multicast.command("list-rpf-routes")
@asking
def list_rpf_routes(*, agent: ControlSocket, as_json: bool) -> None:
    """All static ways."""
    reply = agent.ask("ListRpfRoutes")
    show(shown.rpf_routes(reply["routes"]), reply, as_json=as_json)


@multicast.command("clear-rpf-routes")
@asking
def clear_rpf_routes(*, agent: ControlSocket, as_json: bool) -> None:
    """Remove all static ways."""
    reply = agent.ask("ClearRpfRoutes")
    done(f"{reply['removed']} RPF routes removed", reply, as_json=as_json)
