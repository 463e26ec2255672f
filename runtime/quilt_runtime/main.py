"""`quilt-runtime`: flags, start, signals."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quilt_crds.names import RUNTIME_HEALTH_PORT
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.requests import cluster_cidrs
from quilt_runtime.core.tls import TlsFiles
from quilt_runtime.services.sockets import parse_tcp, require_loopback

if TYPE_CHECKING:
    from quilt_runtime.app import Settings

ENVIRONMENT = "QUILT"
FILE = click.Path(path_type=Path)


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
        return cluster_cidrs(value)
    except RequestError as error:
        raise click.BadParameter(str(error)) from error


def _tls(tcp: tuple[tuple[str, int], ...], *files: Path | None) -> TlsFiles | None:
    """All three files or none; without them no address beyond loopback."""
    given = [path for path in files if path is not None]
    if len(given) == len(files):
        return TlsFiles(*given)
    if given:
        raise click.UsageError("--tls-cert, --tls-key and --tls-client-ca belong together")
    try:
        for host, port in tcp:
            require_loopback(host, port)
    except RequestError as error:
        raise click.BadParameter(str(error), param_hint="--grpc-addr") from error
    return None


@click.command(
    context_settings={
        "auto_envvar_prefix": ENVIRONMENT,
        "max_content_width": 110,
        "help_option_names": ["-h", "--help"],
    }
)
@click.version_option(package_name="quilt-mesh")
@click.option(
    "--grpc-addr",
    multiple=True,
    callback=_tcp,
    help="Serve gRPC on this HOST:PORT as well; beyond loopback only with the three --tls flags.",
)
@click.option("--tls-cert", type=FILE, help="Our certificate (PEM): --grpc-addr then is mutual TLS.")
@click.option("--tls-key", type=FILE, help="Its key.")
@click.option("--tls-client-ca", type=FILE, help="The authority that clients' certificates come from.")
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
    "--health-addr",
    default=f"127.0.0.1:{RUNTIME_HEALTH_PORT}",
    callback=_health,
    show_default=True,
    help="Probes, metrics.",
)
@click.option(
    "--masquerade/--no-masquerade",
    default=True,
    show_default=True,
    help="Pods leave the cluster under this node's address.",
)
@click.option(
    "--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]), show_default=True
)
@click.option(
    "--cleanup-on-exit", is_flag=True, help="Remove our routes when stopping; they stay by default."
)
@click.option("--cleanup", is_flag=True, help="Remove everything of the mesh from this node, and stop.")
def main(
    grpc_addr: tuple[tuple[str, int], ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    socket_dir: Path,
    state_dir: Path | None,
    cluster_cidr: tuple[str, ...],
    proc_sys_net: Path,
    health_addr: tuple[str, int] | None,
    masquerade: bool,
    log_level: str,
    cleanup_on_exit: bool,
    cleanup: bool,
) -> None:
    """Execute routes, own container addresses and serve CNI on this node."""
    from quilt_runtime.app import Settings
    from quilt_runtime.log import configure

    configure(log_level)
    settings = Settings(
        socket_dir=socket_dir,
        state_dir=state_dir or socket_dir / "state",
        proc_sys_net=proc_sys_net,
        cluster_cidrs=cluster_cidr,
        tcp=grpc_addr,
        tls=_tls(grpc_addr, tls_cert, tls_key, tls_client_ca),
        health=health_addr,
        cleanup_on_exit=cleanup_on_exit,
        masquerade=masquerade,
    )
    _run(settings, _clean if cleanup else _serve)


def _run(settings: Settings, act: Callable[[Settings], None]) -> None:
    try:
        act(settings)
    except (RequestError, OSError) as error:
        click.echo(f"quilt-runtime: {error}", err=True)
        sys.exit(1)


def _clean(settings: Settings) -> None:
    from quilt_runtime.app import cleanup

    for line in cleanup(settings) or ["nothing to remove"]:
        click.echo(line)


def _serve(settings: Settings) -> None:
    from quilt_runtime.serve import serve

    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
