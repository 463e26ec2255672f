"""Keeping every node's view of every other node's groups true, over datagrams that may be lost.

A node's own groups have a version that grows with each change. To each peer it sends what that peer lacks,
at once and again until acknowledged, and now and then a digest, so that one that missed everything notices.
Nothing here waits or sends: `due` returns what is to be sent now, `next_due` when to come back.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from quilt_multicast.core.wire import Ack, Body, Delta, Digest, Envelope, Full, full_state, group_sum

# How many changes are kept for deltas; a peer further behind gets all groups.
HISTORY = 1024
_DELTA_MOST = 200
# The highest boot number, 250,000 years of microseconds: who claims to know a higher one is not believed, and
# at this one it is the counter that grows from start to start.
LAST_BOOT = 1 << 63
# Seconds between boot numbers that a peer makes this node take, doubling up to the last: each has all groups
# sent again to all peers.
_BOOT_PAUSE = (0.2, 60.0)
# Seconds until what was not acknowledged is sent again, doubling up to the last.
_AGAIN = (0.05, 2.0)


def digest_interval(peers: int) -> float:
    """Seconds between digests to a peer: a node sends at most 100 a second, however large the mesh."""
    return max(1.0, peers * 0.01)


def patience(peers: int) -> float:
    """Seconds without a word after which a peer's members count no longer; a restart must fit in."""
    return max(15.0, 3.5 * digest_interval(peers))


def push_pause(peers: int) -> float:
    """Seconds that changes are collected after a push: bounds what churn costs in a large mesh."""
    return max(0.005, peers * 0.0002)


@dataclass(slots=True)
class PeerState:
    """What is known of and by one peer."""

    vtep: str
    # As a sender: what the peer holds of this node.
    acked: int = 0
    again: float = _AGAIN[0]
    due: float = 0.0
    last_state: float = -1.0
    digest_at: float = 0.0
    # As a receiver: what we hold of the peer's.
    boot: int = 0
    counter: int = 0
    version: int = 0
    received_at: float = 0.0
    sum: int = 0
    groups: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class News:
    """What a datagram reported about its sender's groups."""

    vtep: str
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


class Sync:
    """The conversation with all peers. Times are seconds of any monotonic clock."""

    def __init__(self, boot: int, most_groups: Callable[[], int]) -> None:
        self.boot = boot
        self._began = boot
        self._boot_due, self._boot_pause = float("-inf"), _BOOT_PAUSE[0]
        self._most_groups = most_groups
        self._counter = 0
        self.vtep = ""
        self.version = 1
        self._sum = 0
        self.groups: set[str] = set()
        self._log: deque[tuple[int, str, bool]] = deque(maxlen=HISTORY)
        self.peers: dict[str, PeerState] = {}
        self._heap: list[tuple[float, str]] = []
        self._pushed = -1.0

    # -- what is so here --------------------------------------------------------------------
    def set_peers(self, vtep: str, peers: Iterable[str], now: float) -> set[str]:
        """Follow who is in the mesh; return the peers that are gone."""
        wanted = set(peers)
        self.vtep = vtep
        gone = self.peers.keys() - wanted
        for name in gone:
            del self.peers[name]
        for name in wanted - self.peers.keys():
            self.peers[name] = PeerState(name, digest_at=now, received_at=now)
            self._push(self.peers[name], now)
        return gone

    def change(self, group: str, member: bool, now: float) -> None:
        """Take in that this node has members of a group now, or none any more."""
        if member == (group in self.groups):
            return
        (self.groups.add if member else self.groups.discard)(group)
        self.version += 1
        self._sum ^= group_sum(group)
        self._log.append((self.version, group, member))
        at = max(now, self._pushed + push_pause(len(self.peers)))
        for peer in self.peers.values():
            if peer.due > at:
                peer.again = _AGAIN[0]
                self._push(peer, at)

    # -- what is to be sent -----------------------------------------------------------------
    def next_due(self) -> float | None:
        """Return when `due` should be asked next."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[tuple[Envelope, Body]]:
        """Return what is to be sent now."""
        found: list[tuple[Envelope, Body]] = []
        while self._heap and self._heap[0][0] <= now:
            _, name = heapq.heappop(self._heap)
            peer = self.peers.get(name)
            if peer is None or min(peer.due, peer.digest_at) > now:
                continue
            found += [(self._envelope(name), body) for body in self._for_peer(peer, now)]
            heapq.heappush(self._heap, (min(peer.due, peer.digest_at), name))
        return found

    def _for_peer(self, peer: PeerState, now: float) -> list[Body]:
        bodies: list[Body] = []
        if peer.due <= now:
            if peer.acked < self.version:
                bodies += self._lacking(peer.acked)
                self._pushed = peer.last_state = now
                peer.due = now + peer.again
                peer.again = min(_AGAIN[1], peer.again * 2)
            else:
                peer.due = float("inf")
        if peer.digest_at <= now:
            peer.digest_at = now + digest_interval(len(self.peers))
            if not bodies:
                bodies.append(Digest(self.version, self._sum))
        return bodies

    def _lacking(self, held: int) -> list[Body]:
        if held and self._log and self._log[0][0] <= held + 1:
            changed = {group: member for version, group, member in self._log if version > held}
            if len(changed) <= _DELTA_MOST:
                added = tuple(group for group, member in changed.items() if member)
                removed = tuple(group for group, member in changed.items() if not member)
                return [Delta(held, self.version, self._sum, added, removed)]
        return list(full_state(self.version, self._sum, list(self.groups)))

    def _envelope(self, receiver: str) -> Envelope:
        self._counter += 1
        return Envelope(self.vtep, receiver, self.boot, self._counter)

    def _push(self, peer: PeerState, at: float) -> None:
        """Send a peer what it lacks at a time."""
        peer.due = at
        heapq.heappush(self._heap, (at, peer.vtep))

    # -- what is received ----------------------------------------------------------------------
    def receive(self, envelope: Envelope, body: Body, now: float) -> tuple[News | None, Ack | None]:
        """Take in a datagram whose authenticity was checked; return its news and what to answer.

        None, None for a replay, a datagram for somebody else, or from somebody who is no peer.
        """
        peer = self.peers.get(envelope.sender)
        if peer is None or envelope.receiver != self.vtep:
            return None, None
        if (envelope.boot, envelope.counter) <= (peer.boot, peer.counter):
            # A peer whose clock was set back starts with a lower boot number: the answer reports this node's.
            return None, Ack(peer.boot, peer.version) if envelope.boot < peer.boot else None
        if envelope.boot != peer.boot:
            self._restarted(peer, envelope.boot, now)
        peer.counter, peer.received_at = envelope.counter, now
        if isinstance(body, Ack):
            self._acked(peer, body, now)
            return None, None
        return self._state(peer, body)

    def answer(self, receiver: str, ack: Ack) -> tuple[Envelope, Body]:
        """Put an answer into its envelope."""
        return self._envelope(receiver), ack

    def silent(self, now: float) -> list[News]:
        """Return, as removals, the groups of peers that were silent for too long, and forget them."""
        limit = now - patience(len(self.peers))
        found = []
        for peer in self.peers.values():
            if peer.groups and peer.received_at < limit:
                found.append(News(peer.vtep, removed=frozenset(peer.groups)))
                peer.groups, peer.sum, peer.version = set(), 0, 0
        return found

    def _restarted(self, peer: PeerState, boot: int, now: float) -> None:
        # Its groups stay until it tells what became of them: its pods did not restart.
        peer.boot, peer.counter, peer.version, peer.acked = boot, 0, 0, 0
        peer.again = _AGAIN[0]
        self._push(peer, now)

    def _acked(self, peer: PeerState, ack: Ack, now: float) -> None:
        if ack.boot > self.boot:
            if self.boot == LAST_BOOT or now < self._boot_due:
                return
            self._boot_due = now + self._boot_pause
            self._boot_pause = min(_BOOT_PAUSE[1], 2 * self._boot_pause)
            self.boot = min(ack.boot + 1, LAST_BOOT)
            self._counter = self._began if self.boot == LAST_BOOT else 0
            for other in self.peers.values():
                other.acked = 0
                self._push(other, now)
        elif ack.boot == self.boot:
            peer.acked = ack.version
            if peer.acked < self.version:
                # Soon, but not faster than after a loss: a peer that never agrees must not keep both busy.
                self._push(peer, max(now, peer.last_state + peer.again))
            else:
                peer.again = _AGAIN[0]

    def _state(self, peer: PeerState, body: Digest | Delta | Full) -> tuple[News | None, Ack | None]:
        if isinstance(body, Digest):
            if (peer.version, peer.sum) == (body.version, body.sum):
                return None, None
            if peer.sum == body.sum and peer.version == 0:
                peer.version = body.version
                return None, Ack(peer.boot, peer.version)
            return None, Ack(peer.boot, 0 if peer.version >= body.version else peer.version)
        # One that starts before what is held says the last word on all that changed since: a push that was
        # under way with an earlier one needs not wait for that one's answer.
        if isinstance(body, Delta) and not body.base <= peer.version < body.version:
            done = peer.version == body.version and peer.sum == body.sum
            return None, Ack(peer.boot, peer.version if done or peer.version < body.version else 0)
        if isinstance(body, Delta):
            added, removed = set(body.added), set(body.removed)
        else:
            inside = {group for group in peer.groups if body.low <= _number(group) <= body.high}
            added, removed = set(body.groups), inside - set(body.groups)
        news = self._apply(peer, added, removed)
        complete = peer.sum == body.sum
        if complete:
            peer.version = body.version
        elif isinstance(body, Full) and body.high != 0xFFFFFFFF:
            return news, None  # more parts are to come
        return news, Ack(peer.boot, peer.version if complete else 0)

    def _apply(self, peer: PeerState, added: set[str], removed: set[str]) -> News:
        removed &= peer.groups
        added -= peer.groups
        room = self._most_groups() - len(peer.groups) + len(removed)
        if len(added) > room:
            added = set(sorted(added)[: max(0, room)])
        peer.groups -= removed
        peer.groups |= added
        for group in removed | added:
            peer.sum ^= group_sum(group)
        return News(peer.vtep, frozenset(added), frozenset(removed))


def _number(group: str) -> int:
    one, two, three, four = map(int, group.split("."))
    return one << 24 | two << 16 | three << 8 | four
