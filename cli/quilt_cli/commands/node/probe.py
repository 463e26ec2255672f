"""`quiltctl node probe`: packets from this node to another and to pods, for `quiltctl trace`."""

from __future__ import annotations

import click
import msgspec

from quilt_cli.commands.options import Result, output
from quilt_cli.core.trace.probed import Probed
from quilt_cli.groups import command
from quilt_cli.kernel.exchange import probe
from quilt_cli.output import print_json


@command(
    "probe",
    "quiltctl node probe --own 10.42.1.0 --peer 10.42.2.0 --size 1450",
    "quiltctl node probe --knock tcp:80:10.42.2.5",
)
@click.option("--own", default="", metavar="IP", help="This node's address inside the mesh.")
@click.option("--peer", default="", metavar="IP", help="The other node's, which probes at the same time.")
@click.option("--size", type=int, default=0, help="Of the large packets, in bytes.")
@click.option("--seconds", type=float, default=8.0, show_default=True, help="At most.")
@click.option("--knock", "knocks", multiple=True, metavar="PROTO:PORT:IP", help="Who is to answer.")
@output
def probe_(*, own: str, peer: str, size: int, seconds: float, knocks: tuple[str, ...]) -> Result:
    """Send packets from THIS node, while its peer does so too."""
    found: Probed = probe(own, peer, size, seconds, knocks)
    return Result(msgspec.to_builtins(found), lambda _: print_json(found), compact=True)
