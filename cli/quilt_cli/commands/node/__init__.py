"""`quiltctl node`: what is asked on a node, mostly by other commands in the container of its agent."""

from __future__ import annotations

import click

from quilt_cli.groups import Group


@click.group("node", cls=Group, folder=__name__, hidden=True, examples=("quiltctl node dump",))
def node() -> None:
    """Look at the node that this runs on; for other commands, and for who looks by hand."""
