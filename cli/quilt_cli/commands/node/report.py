"""`quiltctl node report`: what `quiltctl sysdump` asks of each node, in one answer."""

from __future__ import annotations

import platform
from pathlib import Path

import click

from quilt_cli.commands.options import Result, cni_conf_dir, output
from quilt_cli.groups import command
from quilt_cli.kernel.node_report import node_report
from quilt_cli.output import print_json
from quilt_crds.names import AGENT_HEALTH_PORT, RUNTIME_HEALTH_PORT


@command("report", "quiltctl node report")
@click.option("--node-name", envvar="NODE_NAME", default=platform.node, help="Default: this host's name.")
@click.option("--agent-port", type=int, default=AGENT_HEALTH_PORT, show_default=True)
@click.option("--runtime-port", type=int, default=RUNTIME_HEALTH_PORT, show_default=True)
@cni_conf_dir
@output
def report(*, node_name: str, agent_port: int, runtime_port: int, cni_conf: Path) -> Result:
    """Print what THIS node's kernel, agent and runtime tell, as JSON.

    `quiltctl sysdump` asks each node by it. With -o json on one line.
    """
    found = node_report(node_name, cni_conf, agent_port, runtime_port)
    return Result(found, lambda _: print_json(found), compact=True)
