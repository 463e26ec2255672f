"""What the commands that start pods share: which image, and how their progress and failures are reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quilt_cli.commands.options import leave
from quilt_cli.connectivity.stage import ProbeError
from quilt_cli.core.finding import EXIT_CANNOT_TELL
from quilt_cli.core.objects import workload
from quilt_cli.output import console
from quilt_crds.names import NODE_DAEMONSET
from quilt_kube.sync import Client


def node_image(client: Client) -> str:
    """The image that every node of the mesh has; raises ProbeError without one."""
    query = {"fieldSelector": f"metadata.name={NODE_DAEMONSET}"}
    for raw in client.items("/apis/apps/v1/daemonsets", query):
        return workload("DaemonSet", raw).image
    raise ProbeError(f"there is no DaemonSet {NODE_DAEMONSET} whose image could be used; pass --image")


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """A line of progress on standard error; a test that cannot be run ends the command with 2."""
    out = console(stderr=True)
    try:
        with out.status("starting") as spinner:

            def tell(text: str) -> None:
                spinner.update(text)
                if not out.is_terminal:
                    out.print(text, style="dim")

            yield tell
    except ProbeError as error:
        out.print(f"[bold red]✗[/] cannot tell: {error}", soft_wrap=True)
        leave(EXIT_CANNOT_TELL)
