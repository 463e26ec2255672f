"""`quiltctl node dump`: what this node's kernel says of its network, as one JSON document."""

from __future__ import annotations

import platform
from pathlib import Path

import click

from quilt_cli.commands.options import Result, cni_conf_dir, output
from quilt_cli.core.finding import StoppedError
from quilt_cli.groups import command
from quilt_cli.kernel.node_dump import node_dump
from quilt_cli.output import print_json


@command(
    "dump", "quiltctl node dump", "kubectl -n quilt-system exec POD -c agent -- quiltctl node dump -o json"
)
@click.option("--node-name", envvar="NODE_NAME", default=platform.node, help="Default: this host's name.")
@cni_conf_dir
@output
def dump(*, node_name: str, cni_conf: Path) -> Result:
    """Print what THIS node's kernel holds, as JSON. Best as root.

    Links, addresses, routes, rules, next hops, neighbors, FDB, MDB, packet filter with counters, sysctls,
    connection tracking, CNI files without secrets. With -o json on one line.
    """
    try:
        found = node_dump(node_name, cni_conf)
    except OSError as error:
        raise StoppedError(f"this node cannot be looked at: {error}") from error
    return Result(found, lambda _: print_json(found), compact=True)
