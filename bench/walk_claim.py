"""The files that one claim passes, from the watch event to the netlink message.

A real API server, agent and runtime; a claim is published, and both processes note which of our files they
enter until the kernel tells of the route; the agent's part ends where it calls the runtime. Several claims
are published one after the other, and a file counts when each of them entered it.
"""

from __future__ import annotations

import time
from pathlib import Path

from bench import peers
from bench.controlplane import OPERATOR, ControlPlane
from bench.events import ROUTES, Listener
from bench.node import Node
from bench.publishing import CLAIM, Publisher, publisher
from bench.walked import PROGRAM, Notes, Steps, common
from quilt_netlink import Change, Route

PEERS, CLAIMS = 50, 10
SETTLED = 2.0
"""Seconds after which nothing is left to do for the claim before."""


def walk(folder: Path) -> list[tuple[str, str]]:
    """Return (process, file) in the order of entering; the processes leave their notes in `folder`."""
    plain, Node.program = Node.program, PROGRAM
    try:
        with ControlPlane() as control, control.alone(), control.node(PEERS) as node:
            return common(_walks(control, node, Notes(folder, node.pids)))
    finally:
        Node.program = plain


def _walks(control: ControlPlane, node: Node, notes: Notes) -> list[Steps]:
    walks = []
    with Listener(node.netns, ROUTES) as listener, publisher(control, node, OPERATOR) as operator:
        for number in range(PEERS + 1, PEERS + 1 + CLAIMS):
            time.sleep(SETTLED)
            notes.begin()
            walks.append(notes.end(until=_publish(operator, listener, number)))
    return walks


def _publish(operator: Publisher, listener: Listener, number: int) -> float:
    """Publish a peer's claim; return when its route was there."""
    ends: list[float] = []

    def arrived() -> float:
        ends.append(listener.wait(lambda change: change.new and prefix(change) == peers.subnet(number)))
        return ends[-1]

    operator.timed("POST", CLAIM.collection, CLAIM.body(number), arrived)
    return ends[-1]


def prefix(change: Change) -> str | None:
    """The destination of a route that a change tells of."""
    return change.entry.prefix if isinstance(change.entry, Route) else None
