"""The socket over which agents tell each other about members: checks, rates, and the clockwork of Sync.

Bound to the node's VTEP address, so that everything is sent by the mesh and answers come from where they
must.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from quilt_crds.names import MULTICAST_PORT
from quilt_log import log
from quilt_multicast.core.sync import News, Sync
from quilt_multicast.core.wire import LARGEST, Body, Envelope, WireError, decode, encode
from quilt_multicast.metrics import MulticastMetrics

# Datagrams a second that a sender may come with, and how many at once; what is over is not even looked at.
RATE, BURST = 200.0, 400.0
_READS_AT_ONCE = 256

MakeSocket = Callable[[], socket.socket]


def udp_socket() -> socket.socket:
    """Make the socket, in the caller's network namespace."""
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


class Exchange:
    """Carries a Sync's conversation; `receive(news)`, to be set, gets what peers' members became."""

    def __init__(
        self,
        sync: Sync,
        key: bytes,
        metrics: MulticastMetrics,
        make_socket: MakeSocket = udp_socket,
    ) -> None:
        self._sync = sync
        self._key = key
        self._metrics = metrics
        self.receive: Callable[[News], object] = lambda _news: None
        self._make_socket = make_socket
        self._sock: socket.socket | None = None
        self._bound = ""
        self._buckets: dict[str, tuple[float, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._knows = False
        self.problem = ""

    def set_peers(self, vtep: str, peers: Iterable[str]) -> set[str]:
        """Follow who is in the mesh, and from which address this node speaks; return who is gone."""
        gone = self._sync.set_peers(vtep, peers, time.monotonic())
        self._buckets = {name: held for name, held in self._buckets.items() if name in self._sync.peers}
        self._bind(vtep)
        self._pump()
        return gone

    def change(self, group: str, member: bool) -> None:
        """Tell the peers that this node has members of a group now, or none any more."""
        self._sync.change(group, member, time.monotonic())
        self._pump()

    def speak(self) -> None:
        """Begin to tell, as this node's members are known: before, peers would take it to have none."""
        self._knows = True
        self._pump()

    def complete(self) -> bool:
        """Whether every peer has reported its members."""
        return all(peer.version for peer in self._sync.peers.values())

    def close(self) -> None:
        """Stop talking and listening."""
        self._unbind()
        self._pump()

    def _bind(self, vtep: str) -> None:
        if vtep == self._bound and (self._sock is not None or not vtep):
            return
        self._unbind()
        self._bound = vtep
        if not vtep:
            return
        sock = self._make_socket()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.setsockopt(socket.SOL_IP, socket.IP_FREEBIND if hasattr(socket, "IP_FREEBIND") else 15, 1)
            sock.bind((vtep, MULTICAST_PORT))
        except OSError as error:
            sock.close()
            self.problem = f"Cannot listen on {vtep}:{MULTICAST_PORT} for peers' members: {error.strerror}."
            log.warning("multicast_port_taken", error=self.problem)
            return
        self.problem = ""
        self._sock = sock
        self._loop.add_reader(sock.fileno(), self._read)

    def _unbind(self) -> None:
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def _pump(self) -> None:
        """Send what is due and come back for the rest; not any more once nothing can be sent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sock is None or not self._knows:
            return
        for envelope, body in self._sync.due(time.monotonic()):
            self._send(envelope, body)
        at = self._sync.next_due()
        if at is not None:
            self._timer = self._loop.call_later(max(0.0, at - time.monotonic()), self._pump)

    def _send(self, envelope: Envelope, body: Body) -> None:
        if self._sock is None:
            return
        data = encode(self._key, envelope, body)
        # What cannot be sent now is lost like any datagram: it is sent again.
        with suppress(OSError):
            self._sock.sendto(data, (envelope.receiver, MULTICAST_PORT))
            self._metrics.datagrams.labels("sent", type(body).__name__).inc()

    def _read(self) -> None:
        now = time.monotonic()
        for _ in range(_READS_AT_ONCE):
            if self._sock is None:
                return
            try:
                data, (source, _port) = self._sock.recvfrom(LARGEST + 1)
            except BlockingIOError:
                break
            except OSError:
                continue
            self._take(data, source, now)
        self._pump()

    def _take(self, data: bytes, source: str, now: float) -> None:
        refused = self._metrics.refused_datagrams
        if source not in self._sync.peers:
            refused.labels("stranger").inc()
        elif not self._admit(source, now):
            refused.labels("rate").inc()
        else:
            try:
                envelope, body = decode(self._key, data)
            except WireError as error:
                refused.labels("key" if str(error) == "wrong key" else "malformed").inc()
                return
            if envelope.sender != source:
                refused.labels("malformed").inc()
                return
            self._metrics.datagrams.labels("received", type(body).__name__).inc()
            news, answer = self._sync.receive(envelope, body, now)
            if answer is not None:
                self._send(*self._sync.answer(source, answer))
            if news is not None and (news.added or news.removed):
                self.receive(news)

    def _admit(self, source: str, now: float) -> bool:
        tokens, at = self._buckets.get(source, (BURST, now))
        tokens = min(BURST, tokens + (now - at) * RATE)
        self._buckets[source] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1

    def end_silent(self) -> None:
        """Report peers that fell silent as without members; to be called every second or so."""
        for news in self._sync.silent(time.monotonic()):
            log.warning("multicast_peer_silent", vtep=news.vtep, groups=len(news.removed))
            self.receive(news)
