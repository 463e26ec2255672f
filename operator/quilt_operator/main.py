"""The quilt-operator command. What only a running operator needs is imported by it: `--help` always works."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import click

from quilt_crds.names import OPERATOR_HEALTH_PORT
from quilt_kube.access import AccessError
from quilt_kube.listwatch import SILENCE
from quilt_log import log_as_json


@click.command(
    context_settings={
        "auto_envvar_prefix": "QUILT",
        "show_default": True,
        "help_option_names": ["-h", "--help"],
    }
)
@click.option(
    "--namespace",
    envvar=["QUILT_NAMESPACE", "POD_NAMESPACE"],
    default="quilt-system",
    help="Namespace of the release: leader Lease and network ConfigMap.",
)
@click.option(
    "--identity",
    envvar=["QUILT_IDENTITY", "POD_NAME"],
    default=None,
    show_default="host name",
    help="Unique name of this replica in the election.",
)
@click.option("--network", default="default", help="Name of the QuiltNetwork to serve.")
@click.option(
    "--health-addr",
    default=f"127.0.0.1:{OPERATOR_HEALTH_PORT}",
    help="host:port of /healthz, /readyz, /metrics.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
)
@click.option(
    "--watch-silence",
    type=click.FloatRange(min=1),
    default=SILENCE,
    help="Seconds of silence after which a watch is opened again; API servers send something each minute.",
)
@click.option(
    "--multicast-secret",
    default="",
    show_default="none",
    help="Secret for the agents' multicast key, created where it is absent.",
)
@click.option(
    "--audit-interval",
    type=click.FloatRange(min=1),
    default=300,
    help="Seconds between looks for what was deleted while a watch was away.",
)
@click.option(
    "--kubeconfig",
    default="",
    show_default="the Pod's account",
    help="Outside of a cluster: how to reach the API.",
)
@click.version_option(package_name="quilt-mesh")
def cli(identity: str | None, log_level: str, kubeconfig: str, **flags: Any) -> None:
    """Hand out node subnets and withdraw the routes of nodes that died."""
    from quilt_operator.api.client import find_access
    from quilt_operator.app import run
    from quilt_operator.leader import Options
    from quilt_operator.probes import ConfigurationError

    log_as_json(log_level, sys.stderr)
    options = Options(identity=identity or socket.gethostname(), **flags)
    try:
        sys.exit(asyncio.run(run(options, find_access(kubeconfig))))
    except (AccessError, ConfigurationError) as error:
        raise click.ClickException(str(error)) from error


def main() -> None:
    """Run the command line."""
    cli()
