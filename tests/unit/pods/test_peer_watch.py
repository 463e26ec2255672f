"""The watch of QuiltPeers follows what is needed, whatever comes in between: over an API double.

What the API server writes, when it answers a list, when it delivers an event, and what a node needs meanwhile
come in any order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import convert

from quilt_crds.names import SELECTOR_LABEL
from quilt_crds.wire_policy import QuiltPeers, peers_spec
from quilt_kube.aio import Client
from quilt_kube.request import Request
from quilt_pods.peer_watch import PeerWatch
from quilt_pods.sources.peers import PeerSet, PeerSets

LABELS = ("a", "b", "c")
A, B = frozenset("a"), frozenset("b")
Object = dict[str, Any]
Step = tuple[str, frozenset[str], int]
"""What happens, of which labels, and with a write the address."""


@dataclass
class Watching:
    """One watch under way: what it asked for, and the version of the last event that it got."""

    labels: frozenset[str]
    version: int
    feed: Callable[[bytes], None]


class Api:
    """QuiltPeers of one address each, with their history; an answered list waits until it is released."""

    def __init__(self) -> None:
        self.version = 10
        self.held: dict[str, Object] = {}
        self.history: list[tuple[int, str, str, Object]] = []
        self.lists: list[asyncio.Event] = []
        self.watches: list[Watching] = []

    def write(self, label: str, address: int) -> None:
        """Have this address behind a selector; 0 deletes the object."""
        self.version += 1
        spec = msgspec.to_builtins(peers_spec(1, label, [address]))
        meta = {"name": f"{label}-0", "resourceVersion": str(self.version), "labels": {SELECTOR_LABEL: label}}
        before = self.held.pop(label, None)
        if address:
            self.held[label] = {"metadata": meta, "spec": spec}
            self.history.append((self.version, label, "MODIFIED" if before else "ADDED", self.held[label]))
        elif before is not None:
            self.history.append((self.version, label, "DELETED", before | {"metadata": meta}))

    async def send(self, request: Request, *, long: bool = False) -> bytes:
        found = [self.held[label] for label in sorted(_labels(request) & self.held.keys())]
        body = msgspec.json.encode({"metadata": {"resourceVersion": str(self.version)}, "items": found})
        self.lists.append(asyncio.Event())
        await self.lists[-1].wait()
        return body

    async def stream(self, request: Request, silence: float, feed: Callable[[bytes], None]) -> None:
        feed(b"")
        watching = Watching(_labels(request), int(request.query["resourceVersion"]), feed)
        self.watches.append(watching)
        try:
            await asyncio.Event().wait()
        finally:
            self.watches.remove(watching)

    def release(self) -> bool:
        """Have the oldest answer read; false where none waits."""
        waiting = [one for one in self.lists if not one.is_set()]
        for one in waiting[:1]:
            one.set()
        return bool(waiting)

    def deliver(self) -> bool:
        """Send the watch its next event; false where nothing is left."""
        for watching in self.watches:
            for version, label, kind, item in self.history:
                if version > watching.version and label in watching.labels:
                    watching.version = version
                    watching.feed(msgspec.json.encode({"type": kind, "object": item}) + b"\n")
                    return True
        return False


def _labels(request: Request) -> frozenset[str]:
    return frozenset(request.query["labelSelector"].partition("(")[2].rstrip(")").split(","))


async def _turns() -> None:
    """As many turns of the loop as an answer needs to be taken in."""
    for _ in range(10):
        await asyncio.sleep(0)


async def _followed(steps: list[Step]) -> tuple[dict[str, int], dict[str, int]]:
    """Address by needed label, as the API server has it in the end and as is known then."""
    api, known = Api(), dict[str, int]()

    def put(peers: PeerSet) -> None:
        known[peers.label] = int.from_bytes(peers.v4)

    watch = PeerWatch(cast(Client, api), PeerSets(put, known.__delitem__), lambda: None)
    running = asyncio.create_task(watch.run())
    needed: frozenset[str] = frozenset()
    for what, labels, address in [*steps, ("need", frozenset(LABELS), 0)]:
        if what == "need":
            watch.need(needed := labels)
        elif what == "write":
            for label in labels:
                api.write(label, address)
        elif what == "release":
            api.release()
        else:
            api.deliver()
        await _turns()
    while api.release() or api.deliver():
        await _turns()
    running.cancel()
    await asyncio.wait([running])
    there = {label: convert(item, QuiltPeers).spec.addresses[0] for label, item in api.held.items()}
    return there, {label: known[label] for label in there if label in known and label in needed}


WHAT = st.sampled_from(["need", "write", "release", "deliver"])
STEPS = st.lists(st.tuples(WHAT, st.frozensets(st.sampled_from(LABELS)), st.integers(0, 9)), max_size=30)


PASSED_OVER = [
    *(("need", A, 0), ("release", A, 0), ("need", A | B, 0)),
    *(("write", B, 1), ("write", A, 2), ("deliver", A, 0)),
]
"""What came behind the list, and before it was read."""
LEFT_MEANWHILE = [
    *(("need", A, 0), ("release", A, 0), ("write", A, 1), ("deliver", A, 0)),
    *(("need", A | B, 0), ("need", B, 0), ("need", A | B, 0)),
]


@given(STEPS)
@example(PASSED_OVER)
@example(LEFT_MEANWHILE)
def test_in_the_end_all_that_is_needed_is_known(steps: list[Step]) -> None:
    there, known = asyncio.run(_followed(steps))
    assert known == there
