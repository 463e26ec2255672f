"""What it costs one node to know who is a member of what, at 1,000 nodes with 50 groups each.

The agent's own code on both ends of the loopback: encoding, authentication, socket and checks. A node sends
100 digests a second and receives as many; a change is sent to 999 peers, each of which acknowledges; a node
that starts receives the 50 groups of each of 999 peers.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from bench.result import Line, Result, median
from quilt_multicast.core.members import RemoteMembers
from quilt_multicast.core.sync import Sync, digest_interval
from quilt_multicast.core.wire import Ack, Body, Digest, Envelope, Full, decode, encode

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Multicast members at 1,000 nodes"
NODES = 1000
GROUPS = 50
KEY = b"k" * 43


def measure(bench: Bench) -> Result:
    rounds = bench.rounds(20)
    node = Node()
    start = median([Node().learn_all() for _ in range(max(2, rounds // 4))])
    node.learn_all()
    change = [node.change(number) for number in range(rounds)]
    digests = [node.digests(100) for _ in range(rounds)]
    return Result(
        lines=[
            Line(what="100 digests sent and 100 taken, each second", value=median(digests) * 1e3, unit="ms"),
            Line(what="a change sent to 999 peers, acknowledged", value=median(change) * 1e3, unit="ms"),
            Line(what="all groups of 999 peers taken in", value=start * 1e3, unit="ms"),
            Line(what="bytes of a digest, UDP payload", value=node.digest_bytes, unit="bytes"),
            Line(what="bytes of 50 groups, UDP payload", value=node.full_bytes, unit="bytes"),
            Line(what="seconds between digests to a peer", value=digest_interval(NODES - 1), unit="s"),
        ]
    )


class Node:
    """One node among 999 imagined ones; every datagram passes through a socket."""

    def __init__(self) -> None:
        self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._in.bind(("127.0.0.1", 0))
        self._port = self._in.getsockname()[1]
        self._peers = [f"10.{42 + number // 250}.{number % 250}.0" for number in range(1, NODES)]
        self._sync = Sync(1000, lambda: 4096)
        self._sync.set_peers("10.42.0.0", self._peers, 0.0)
        self._members = RemoteMembers()
        self._now = 0.0
        self._counter = 0
        self._groups = tuple(f"239.1.{number}.1" for number in range(GROUPS))
        other = Sync(1, lambda: 4096)
        for group in self._groups:
            other.change(group, True, 0.0)
        self._others = other
        envelope = Envelope("10.42.1.0", "10.42.0.0", 1, 1)
        self.digest_bytes = len(encode(KEY, envelope, self._digest()))
        self.full_bytes = len(encode(KEY, envelope, self._full()))

    def learn_all(self) -> float:
        return self._take_from_all(self._full())

    def change(self, number: int) -> float:
        """Seconds for a change and everybody's acknowledgement."""
        self._now += 1.0
        self._settle()
        started = time.perf_counter()
        self._sync.change(f"239.2.0.{number + 1}", True, self._now)
        self._send_due()
        sent = time.perf_counter() - started
        return sent + self._take_from_all(Ack(self._sync.boot, self._sync.version))

    def digests(self, count: int) -> float:
        """Seconds for so many digests out and in."""
        taken = self._take_from_all(self._digest(), self._peers[:count])
        started = time.perf_counter()
        for peer in self._peers[:count]:
            self._counter += 1
            envelope = Envelope("10.42.0.0", peer, 1000, self._counter)
            self._out.sendto(encode(KEY, envelope, self._digest()), ("127.0.0.1", self._port))
        sent = time.perf_counter() - started
        self._drain(count)
        return taken + sent

    def _settle(self) -> None:
        self._send_due()
        self._take_from_all(Ack(self._sync.boot, self._sync.version))

    def _send_due(self) -> None:
        for envelope, body in self._sync.due(self._now):
            self._out.sendto(encode(KEY, envelope, body), ("127.0.0.1", self._port))
            self._in.recv(2000)  # its cost is the receiver's: it is the other node's work

    def _take_from_all(self, body: Body, peers: list[str] | None = None) -> float:
        spent = 0.0
        for peer in peers or self._peers:
            self._counter += 1
            data = encode(KEY, Envelope(peer, "10.42.0.0", 5, self._counter), body)
            self._out.sendto(data, ("127.0.0.1", self._port))
            started = time.perf_counter()
            envelope, found = decode(KEY, self._in.recv(2000))
            news, answer = self._sync.receive(envelope, found, self._now)
            if answer is not None:
                encode(KEY, *self._sync.answer(peer, answer))
            if news is not None:
                self._members.change(news.vtep, news.added, news.removed)
            spent += time.perf_counter() - started
        return spent

    def _drain(self, count: int) -> None:
        for _ in range(count):
            self._in.recv(2000)

    def _digest(self) -> Digest:
        return Digest(self._others.version, self._others._sum)

    def _full(self) -> Full:
        return Full(self._others.version, self._others._sum, 0, 0xFFFFFFFF, self._groups)
