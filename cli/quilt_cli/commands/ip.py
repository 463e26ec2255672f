"""`quiltctl ip`: which pod has an address, and on which node."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address

import click
from rich.console import Console
from rich.text import Text

from quilt_cli.api.read import together
from quilt_cli.commands.options import Result, cluster, output
from quilt_cli.core.addresses import Address, Place, locate
from quilt_cli.core.finding import EXIT_HEALTHY, EXIT_PROBLEMS
from quilt_cli.groups import command
from quilt_crds.names import QUILTENDPOINTS, QUILTNODE
from quilt_crds.wire import QuiltNode
from quilt_crds.wire_policy import QuiltEndpoints
from quilt_kube.sync import Client

_WORDS = {
    "node": "an address of the node itself",
    "free": "in the node's subnet, but no pod has it",
    "outside": "no pod's address, and in no node's subnet",
}


class AddressType(click.ParamType[Address]):
    """An IP address of either family."""

    name = "address"

    def convert(
        self, value: str | Address, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """Read it, or end with what is wrong."""
        try:
            return ip_address(value)
        except ValueError:
            self.fail(f"{value!r} is not an IP address", param, ctx)


@command("ip", "quiltctl ip 10.42.1.7", "quiltctl ip fd42:0:0:1::7 -o json")
@click.argument("address", type=AddressType())
@output
@cluster
def ip(client: Client, address: Address) -> Result:
    """Show which pod has ADDRESS, and on which node.

    Needs `network.endpoints.enabled` or `network.policy.enabled`.

    Exit code 0: a pod or a node has it; 1: nobody has; 2: cannot tell.
    """
    found, refused = together(
        {
            "endpoints": lambda: client.objects(QUILTENDPOINTS.path(), QuiltEndpoints),
            "nodes": lambda: client.objects(QUILTNODE.path(), QuiltNode),
        }
    )
    for error in refused.values():
        raise error
    place = locate(address, found["endpoints"], found["nodes"])
    return Result(place, partial(_show, place), EXIT_HEALTHY if place.taken else EXIT_PROBLEMS)


def _show(place: Place, out: Console) -> None:
    if place.what == "pod":
        text = Text.assemble(("pod ", "dim"), (f"{place.namespace}/{place.pod}", "bold"))
    else:
        text = Text(_WORDS[place.what])
    if place.node:
        text.append(" on node ", "dim").append(place.node, "bold")
    out.print(Text(f"{place.address}  ").append_text(text), soft_wrap=True)
