"""Thousands of watches of QuiltPeers as agents have them: each a TLS connection, with labels of its own.

What comes is read in a thread as it comes, by one loop for all, and counted; a delivery is timed from the
moment at which somebody noted that the object is written.
"""

from __future__ import annotations

import random
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
from quilt_crds.names import QUILTPEERS, SELECTOR_LABEL
from quilt_kube.access import make_tls

EACH = 60
"""Labels that one watch selects."""
_CHANGED = re.compile(rb'"type":"MODIFIED".*?"name":"(\w+)-0"')
_DESCRIPTORS = 1000  # besides a socket for each


class Watchers:
    """So many watches, from entering on, of the objects with these hashes."""

    def __init__(self, control: ControlPlane, node: Node, count: int, hashes: Sequence[str]) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + _DESCRIPTORS), hard))
        self._control, self._node, self._token = control, node, control.token(ANYTHING)
        self._count, self._hashes, self._since = count, hashes, ""
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.written: dict[bytes, float] = {}
        """When each object was last written, by its hash (perf_counter)."""
        self.delays: list[float] = []
        """Milliseconds from each of these to each delivery since it was emptied."""

    @property
    def open(self) -> int:
        """How many are open."""
        return len(self._selector.get_map())

    def __enter__(self) -> Self:
        tls = make_tls(self._control.authority)
        chance = random.Random(1)
        newest = self._control.admin.get(f"{QUILTPEERS.path()}?limit=1").ok()
        self._since = newest["metadata"]["resourceVersion"]
        sockets = in_namespace(self._node.netns, lambda: [self._dial() for _ in range(self._count)])
        for plain in sockets:
            stream = tls.wrap_socket(plain, server_hostname=self._control.address)
            stream.sendall(self._request(chance.sample(self._hashes, min(EACH, len(self._hashes)))))
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

    def _request(self, hashes: Sequence[str]) -> bytes:
        selector = f"{SELECTOR_LABEL}%20in%20({','.join(hashes)})".replace("/", "%2F")
        head = [
            f"GET {QUILTPEERS.path()}?watch=true&allowWatchBookmarks=true&labelSelector={selector}"
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
                for name in _CHANGED.findall(data):
                    self.delays.append((now - self.written.get(name, now)) * 1e3)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        # The API server ended it: nobody is there to see the next change.
        self._selector.unregister(stream)
        stream.close()
