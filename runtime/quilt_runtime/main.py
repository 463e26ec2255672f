"""`quilt-runtime`: flags, start, signals."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from quilt_crds.names import RUNTIME_HEALTH_PORT
from quilt_log import log_as_json
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.requests import cluster_cidrs
from quilt_runtime.services.sockets import parse_tcp, require_loopback

T = TypeVar("T")
FILE = click.Path(path_type=Path)


def _checked(read: Callable[[Any], T]) -> Callable[[click.Context, click.Parameter, Any], T]:
    """Return a callback that reads a flag's value; what it refuses is the flag's error."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> T:
        try:
            return read(value)
        except RequestError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def _health(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()):
        raise RequestError(f"{text!r} must be HOST:PORT, or empty for none")
    return host.strip("[]"), int(port)


def _tls(
    tcp: tuple[tuple[str, int], ...], certificate: Path | None, key: Path | None, authority: Path | None
) -> tuple[Path, Path, Path] | None:
    """All three files or none; without them no address beyond loopback."""
    if certificate and key and authority:
        return certificate, key, authority
    if certificate or key or authority:
        raise click.UsageError("--tls-cert, --tls-key and --tls-client-ca belong together")
    try:
        for host, port in tcp:
            require_loopback(host, port)
    except RequestError as error:
        raise click.BadParameter(str(error), param_hint="--grpc-addr") from error
    return None


@click.command(
    context_settings={
        "auto_envvar_prefix": "QUILT",
        "max_content_width": 110,
        "help_option_names": ["-h", "--help"],
    }
)
@click.version_option(package_name="quilt-mesh")
@click.option(
    "--grpc-addr",
    multiple=True,
    callback=_checked(lambda texts: tuple(map(parse_tcp, texts))),
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
    callback=_checked(cluster_cidrs),
    show_default=True,
    help="Until the agent says otherwise; repeatable.",
)
@click.option("--proc-sys-net", type=click.Path(path_type=Path), default="/proc/sys/net", show_default=True)
@click.option(
    "--health-addr",
    default=f"127.0.0.1:{RUNTIME_HEALTH_PORT}",
    callback=_checked(_health),
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
    log_level: str,
    cleanup: bool,
    state_dir: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    **flags: Any,
) -> None:
    """Execute routes, own container addresses and serve CNI on this node."""
    from quilt_runtime.app import Settings
    from quilt_runtime.app import cleanup as clean

    log_as_json(log_level, sys.stdout)
    settings = Settings(
        state_dir=state_dir or flags["socket_dir"] / "state",
        tls=_tls(flags["grpc_addr"], tls_cert, tls_key, tls_client_ca),
        **flags,
    )
    try:
        if cleanup:
            for line in clean(settings) or ["nothing to remove"]:
                click.echo(line)
        else:
            from quilt_runtime.serve import serve

            asyncio.run(serve(settings))
    except (RequestError, OSError) as error:
        click.echo(f"quilt-runtime: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
