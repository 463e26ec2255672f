"""The pages of a simulated mesh, served as `quiltctl ui` serves them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from quilt_cli.ui.live import Live
from quilt_cli.ui.pages import ClusterPages
from quilt_cli.ui.server import Server
from quilt_kube.sync import Client
from tests.support.ui_mesh import UiMesh


@dataclass(frozen=True, slots=True)
class Served:
    """Where the pages are, and how to call what changes the mesh."""

    server: Server
    live: Live
    call: Callable[..., None]

    def page(self, name: str) -> str:
        """The address of a page, for who has the cookie."""
        return f"http://127.0.0.1:{self.server.server_port}/#/{name}"


@contextmanager
def served(mesh: UiMesh) -> Iterator[Served]:
    """Serve the pages of a mesh that is read already."""
    with mesh.api.served_beside() as (access, call):
        client = Client(access, agent="test")
        with closing(Live(client)) as live, Server(ClusterPages(client, live)) as server:
            live.start()
            assert live.changes(0, 60.0) is not None
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            yield Served(server, live, call)
            server.shutdown()
            thread.join()
