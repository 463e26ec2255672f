"""`quilt-runtime`: flags, start, signals."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.requests import parse_network
from quilt_runtime.services.sockets import parse_tcp

ENVIRONMENT = "QUILT"


def _tcp(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    try:
        return tuple(map(parse_tcp, value))
    except RequestError as error:
        raise click.BadParameter(str(error)) from error


def _health(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, int] | None:
    if not value:
        return None
    host, _, port = value.rpartition(":")
    if not (port.isascii() and port.isdigit()):
        raise click.BadParameter(f"{value!r} must be HOST:PORT, or empty for none")
    return host.strip("[]"), int(port)


def _cidrs(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(parse_network("Cluster CIDR", text)) for text in value)
    except RequestError as error:
        raise click.BadParameter(str(error)) from error


@click.command(context_settings={"auto_envvar_prefix": ENVIRONMENT, "max_content_width": 110})
@click.option(
    "--grpc-addr", multiple=True, callback=_tcp, help="Serve gRPC on this loopback HOST:PORT as well."
)
@click.option("--socket-dir", type=click.Path(path_type=Path), default="/run/quilt", show_default=True)
@click.option(
    "--state-dir", type=click.Path(path_type=Path), help="SQLite state.  [default: SOCKET_DIR/state]"
)
@click.option(
    "--cluster-cidr",
    multiple=True,
    default=NodeConfig().cluster_cidrs,
    callback=_cidrs,
    show_default=True,
    help="Until the agent says otherwise; repeatable.",
)
@click.option("--proc-sys-net", type=click.Path(path_type=Path), default="/proc/sys/net", show_default=True)
@click.option(
    "--health-addr", default="127.0.0.1:9471", callback=_health, show_default=True, help="Probes, metrics."
)
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
@click.option(
    "--cleanup-on-exit", is_flag=True, help="Remove our routes when stopping; they stay by default."
)
@click.option("--cleanup", is_flag=True, help="Remove everything of ours from this node, and stop.")
def main(
    grpc_addr: tuple[tuple[str, int], ...],
    socket_dir: Path,
    state_dir: Path | None,
    cluster_cidr: tuple[str, ...],
    proc_sys_net: Path,
    health_addr: tuple[str, int] | None,
    log_level: str,
    cleanup_on_exit: bool,
    cleanup: bool,
) -> None:
    """Execute routes, own container addresses and serve CNI on this node."""
    from quilt_runtime.app import Settings
    from quilt_runtime.app import cleanup as remove_everything
    from quilt_runtime.log import configure
    from quilt_runtime.serve import serve

    configure(log_level)
    settings = Settings(
        socket_dir=socket_dir,
        state_dir=state_dir or socket_dir / "state",
        proc_sys_net=proc_sys_net,
        cluster_cidrs=cluster_cidr,
        tcp=grpc_addr,
        health=health_addr,
        cleanup_on_exit=cleanup_on_exit,
    )
    try:
        if cleanup:
            for line in remove_everything(settings) or ["nothing to remove"]:
                click.echo(line)
        else:
            asyncio.run(serve(settings))
    except (RequestError, OSError) as error:
        click.echo(f"quilt-runtime: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
