"""Thousands of watches as agents have them: each a TLS connection of its own.

What comes is read in a thread as it comes, by one loop for all, and counted; a delivery is timed from the
moment at which somebody noted that the object is written.
"""

from __future__ import annotations

import re
import resource
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from bench.controlplane import ControlPlane
from bench.node import Node, in_namespace
from bench.objects import ANYTHING
from quilt_kube.access import make_tls

_CHANGED = re.compile(rb'"type":"MODIFIED".*?"name":"([\w.-]+)"')
_DESCRIPTORS = 1000  # besides a socket for each


class Watchers:
    """Watches of a collection from entering on, one with each of these queries."""

    def __init__(self, control: ControlPlane, node: Node, collection: str, queries: Sequence[str]) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, len(queries) + _DESCRIPTORS), hard))
        self._control, self._node, self._token = control, node, control.token(ANYTHING)
        self._collection, self._queries, self._since = collection, queries, ""
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.written: dict[bytes, float] = {}
        """When each object was last written, by its name (perf_counter)."""
        self.delays: list[float] = []
        """Milliseconds from each of these to each delivery since it was emptied."""
        self.last: dict[bytes, float] = {}
        """Milliseconds to the last of an object's deliveries."""
        self.received = 0
        """Bytes of all that came, without TLS."""

    @property
    def open(self) -> int:
        """How many are open."""
        return len(self._selector.get_map())

    def __enter__(self) -> Self:
        tls = make_tls(self._control.authority)
        newest = self._control.admin.get(f"{self._collection}?limit=1").ok()
        self._since = newest["metadata"]["resourceVersion"]
        sockets = in_namespace(self._node.netns, lambda: [self._dial() for _ in self._queries])
        for plain, query in zip(sockets, self._queries, strict=True):
            stream = tls.wrap_socket(plain, server_hostname=self._control.address)
            stream.sendall(self._request(query))
            stream.setblocking(False)
            self._selector.register(stream, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def _dial(self) -> socket.socket:
        return socket.create_connection((self._control.address, self._control.port), 30)

    def _request(self, query: str) -> bytes:
        head = [
            f"GET {self._collection}?watch=true&allowWatchBookmarks=true&{query}"
            f"&resourceVersion={self._since} HTTP/1.0",
            f"Host: {self._control.address}",
            f"Authorization: Bearer {self._token}",
        ]
        return "\r\n".join([*head, "", ""]).encode()

    def _read(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.5):
                self._take(key.fileobj)

    def _take(self, stream: object) -> None:
        assert isinstance(stream, ssl.SSLSocket)
        try:
            while data := stream.recv(1 << 16):
                now = time.perf_counter()
                self.received += len(data)
                for name in _CHANGED.findall(data):
                    self.last[name] = (now - self.written.get(name, now)) * 1e3
                    self.delays.append(self.last[name])
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        # The API server ended it: nobody is there to see the next change.
        self._selector.unregister(stream)
        stream.close()
