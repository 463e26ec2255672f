"""A few routes at a time over a packet socket, for the agent: a gRPC call needs several times as long to come
here (decision 33).

A packet is a request of RouteTable.ApplyRoutes, the next one back its response, as a call is answered. Only
root may connect. Who sends anything else is disconnected.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

from quilt_log import log
from quilt_proto import node_pb2
from quilt_runtime.app import Runtime
from quilt_runtime.services.answer import answers
from quilt_runtime.services.route_table import CALLS
from quilt_runtime.services.sockets import Acceptor, peer_uid

SOCKET = "routes.sock"
LONGEST = 64 << 10
"""Bytes: many times what a few routes need."""
_SERVICE = node_pb2.DESCRIPTOR.services_by_name["RouteTable"]


class RouteSocket:
    """Serves every connection, of which the agent has one, in a thread of its own until stopped."""

    def __init__(self, runtime: Runtime, socket_dir: Path) -> None:
        self._answer = answers(_SERVICE.methods_by_name["ApplyRoutes"], CALLS["ApplyRoutes"], runtime)
        path = socket_dir / SOCKET
        self._acceptor = Acceptor(path, self._begin, "routes-accept", socket.SOCK_SEQPACKET)
        self.wrong = self._acceptor.wrong
        self._served: dict[threading.Thread, socket.socket] = {}

    def start(self) -> None:
        """Listen; the socket is at its path when this returns."""
        self._acceptor.start(8)

    def stop(self) -> None:
        """Accept nothing more, answer what is under way, and disconnect everybody."""
        self._acceptor.stop()
        for thread, connection in list(self._served.items()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
            thread.join()

    def _begin(self, connection: socket.socket) -> None:
        if uid := peer_uid(connection):
            log.info("route_socket_refused", reason=f"only root may change routes, not uid {uid}")
            connection.close()
            return
        thread = threading.Thread(target=self._serve, args=(connection,), name="routes", daemon=True)
        self._served[thread] = connection
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                while data := connection.recv(LONGEST):
                    connection.sendall(self._answer(data))
        except (OSError, ValueError) as error:
            log.info("route_socket_disconnected", reason=str(error))
        finally:
            del self._served[threading.current_thread()]
