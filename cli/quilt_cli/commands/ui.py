"""`quiltctl ui`: the mesh as pages in a browser on this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path

import click

from quilt_cli.commands.options import cluster, output, wants_json
from quilt_cli.core.finding import CannotTellError
from quilt_cli.groups import command
from quilt_cli.output import console
from quilt_cli.ui.live import Live
from quilt_cli.ui.pages import ClusterPages
from quilt_cli.ui.server import LOOPBACK, Server
from quilt_crds.names import QUILTNETWORK, QUILTNODE, QUILTSUBNET
from quilt_kube.request import ApiError
from quilt_kube.sync import Client
from quilt_log import silence


@command("ui", "quiltctl ui", "quiltctl ui --no-browser --port 8321", "quiltctl ui --context production")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="On 127.0.0.1.  [default: a free one]")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@output
@cluster
def ui(client: Client, *, port: int, no_browser: bool) -> None:
    """Show the mesh in a browser: nodes, subnets, latency, Events.

    Serves pages on this machine's loopback until it is interrupted, to those who have the printed address.
    Nothing is served in the cluster, which is read with your own rights. Exit code 0: interrupted; 2: cannot
    tell.
    """
    # What a watch says is on the page.
    silence()
    _try(client)
    live = Live(client)
    try:
        server = Server(ClusterPages(client, live), port)
    except OSError as error:
        raise CannotTellError(f"{LOOPBACK}:{port} cannot be served: {error.strerror or error}") from error
    # A shell's background job would ignore the one, and the other would leave the file for the browser.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with closing(live), server, suppress(KeyboardInterrupt):
        live.start()
        _announce(server.url)
        with nullcontext() if no_browser or not _has_screen() else shown(server.url):
            server.serve_forever()


def _try(client: Client) -> None:
    """Ask for one object of each of our kinds, so that who may not read them learns it at once."""
    for kind in (QUILTNETWORK, QUILTNODE, QUILTSUBNET):
        try:
            client.get(kind.path(), {"limit": "1"})
        except ApiError as error:
            # Without the kinds the page says so, and follows an install.
            if not error.missing:
                raise


def _announce(url: str) -> None:
    if wants_json():
        click.echo(json.dumps({"url": url}))
    else:
        console().print(f"{url}\n[dim]Ctrl-C ends it.[/]", soft_wrap=True)


@contextmanager
def shown(url: str) -> Iterator[None]:
    """Have a browser show an address, by a file that leads there and that only its owner reads.

    The arguments of a program, and so the token in them, could be read by all users of the machine.
    """
    with tempfile.TemporaryDirectory(prefix="quiltctl-ui-") as folder:
        page = Path(folder) / "open.html"
        page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}">')
        webbrowser.open(page.as_uri())
        yield


def _has_screen() -> bool:
    """Whether a browser would open a window: one for terminals would take this one."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
