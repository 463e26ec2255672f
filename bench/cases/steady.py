"""A mesh of 5,000 peers in which nothing happens: processor time of agent and runtime, idle and resyncing.

Idle is the processor time of both over a minute with a watched API server, heartbeats and the resync that is
due in it. A resync is provoked by a notification of the device in which nothing differs (its alias); that
nothing is written is what the kernel's own notifications say of the device's entries and of the routes over
them. Flannel's minute, with as many Nodes for its
peers (see bench/flannel.py), follows: with its DaemonSet's defaults, so it looks after its rules every
five seconds by running iptables, which counts. Kept by nftables, they are not looked after, and it rests.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench import flannel, peers
from bench.events import Listener
from bench.node import Node
from bench.result import Line, Result, median
from bench.usage import ended_children, processor
from quilt_netlink import Change, FdbEntry, Neighbour, Nexthop, Route

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "At rest with 5,000 peers"
PEERS = 5000
SETTLE = 1.0


def measure(bench: Bench) -> Result:
    control = bench.control()
    with control.node(PEERS) as node:
        agent, runtime = node.pids["agent"], node.pids["runtime"]
        time.sleep(5)
        with Listener(node.netns) as listener:
            resyncs = [_resync(node, agent, runtime) for _ in range(bench.rounds(10))]
            written = _written(listener.received(), node.device_index)
        idle = _idle((agent, runtime), 15 if bench.quick else 60)
    with control.alone(), flannel.flannel(control, PEERS, bench.say) as peer:
        peer.start_flanneld(PEERS, rules=True)
        time.sleep(5)
        flannels = _idle_with_children(peer.pids["agent"], 15 if bench.quick else 60)
    return Result(lines=_lines(resyncs, written, idle, flannels))


def _resync(node: Node, agent: int, runtime: int) -> float:
    """Milliseconds of processor time of both for a full resync."""
    before = processor(agent) + processor(runtime)
    node.run("ip", "link", "set", peers.DEVICE, "alias", f"resync {before}")
    time.sleep(SETTLE)
    return (processor(agent) + processor(runtime) - before) * 1e3


def _written(changes: Iterable[Change], device: int) -> int:
    """How many are of entries on the mesh's device, or of routes over nexthop objects, which it alone has."""
    entries = [change.entry for change in changes]
    on_device = [e for e in entries if isinstance(e, Neighbour | FdbEntry | Nexthop) and e.ifindex == device]
    routes = [e for e in entries if isinstance(e, Route) and (e.nhid or e.ifindex == device)]
    return len(on_device) + len(routes)


def _idle(pids: Sequence[int], seconds: float) -> list[float]:
    """Per cent of a core of each."""
    before = [processor(pid) for pid in pids]
    start = time.perf_counter()
    time.sleep(seconds)
    taken = time.perf_counter() - start
    return [(processor(pid) - used) / taken * 100 for pid, used in zip(pids, before, strict=True)]


def _idle_with_children(pid: int, seconds: float) -> float:
    """Per cent of a core of a process and of the programs that it runs."""
    before = ended_children(pid)
    (own,) = _idle((pid,), seconds)
    return own + (ended_children(pid) - before) / seconds * 100


def _lines(resyncs: list[float], written: int, idle: list[float], flannels: float) -> list[Line]:
    return [
        Line(what="full resync, processor time", value=median(resyncs), unit="ms", target=60),
        Line(what="entries written by all resyncs", value=written, unit="", target=0),
        Line(
            what="idle, agent and runtime",
            value=sum(idle),
            unit="% of a core",
            against="Flannel",
            other=flannels,
            target=0.5,
        ),
        Line(what="idle, agent", value=idle[0], unit="% of a core"),
        Line(what="idle, runtime", value=idle[1], unit="% of a core"),
    ]
