"""What probing its paths costs one node of 5,000: CPU, bandwidth and memory of the agent's own code.

The service of the agent with 5,000 claims probes the share of peers that is its own, over sockets of the
loopback. Another process answers for each of these peers by the same code, and is not counted. CPU is that of
user and kernel; the kernel's does not include the encapsulation. Bandwidth is on the underlay, with the 50
bytes of VXLAN over IPv4 and the Ethernet header outside of it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from socket import AF_INET, SOCK_DGRAM, socket
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import CollectorRegistry

from bench.result import Line, Result
from quilt_kube.aio import Client
from quilt_kube.request import ApiError
from quilt_nodeagent.core.peer import Peer, make_peer
from quilt_probes.core.book import TICK, Book
from quilt_probes.core.link import OK
from quilt_probes.core.mesh import addresses
from quilt_probes.core.share import EPOCH, watched
from quilt_probes.service import Probes, Wanted
from quilt_probes.udp import Udp, udp_socket

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Probes of the paths at 5,000 nodes"
NODES = 5000
MTU = 1450
# Bytes around a datagram: outer Ethernet; IPv4, UDP, VXLAN and inner Ethernet; inner IPv4 and UDP.
AROUND = 14 + 50 + 28
OWN = "node-0"
_WARM = 6.0


def claims() -> list[Peer]:
    """Claims to subnets of the loopback, as the agent's table holds them."""
    cidr = "127.{}.{}.0/24".format
    return [
        make_peer("default", cidr(60 + number // 250, number % 250), f"node-{number}", "Up", "192.0.2.1")
        for number in range(NODES)
    ]


class Counted(socket):
    """A socket that counts what is sent: datagrams and bytes of UDP's content."""

    datagrams = 0
    octets = 0

    def sendto(self, data: Any, *address: Any) -> int:
        sent: int = super().sendto(data, *address)
        self.datagrams += 1
        self.octets += sent
        return sent


class NoApi:
    """Nobody is silent here, so nobody is asked about."""

    async def ask(self, request: object) -> object:
        raise ApiError(404, "not found")


def measure(bench: Bench) -> Result:
    """Measure the service for a while with all its peers answering."""
    # A share begins and ends with an epoch, so that the other process watches the same.
    _await_epoch()
    answering = subprocess.Popen([sys.executable, "-m", "bench.cases.probes"], stdout=subprocess.PIPE)
    try:
        assert answering.stdout is not None
        assert answering.stdout.readline() == b"ready\n"
        return asyncio.run(_measured(20.0 if bench.quick else 60.0))
    finally:
        answering.terminate()
        answering.wait()


async def _measured(seconds: float) -> Result:
    before = _resident()
    held = claims()
    base = _resident()
    sockets: list[Counted] = []

    def counted() -> socket:
        sockets.append(Counted(AF_INET, SOCK_DGRAM))
        return sockets[-1]

    wanted = Wanted(True, True, MTU, held)
    node = Probes(OWN, lambda: wanted, cast("Client", NoApi()), CollectorRegistry(), make_socket=counted)
    task = asyncio.create_task(node.run())
    await asyncio.sleep(_WARM)
    started, used = time.monotonic(), _used()
    datagrams, octets = sockets[0].datagrams, sockets[0].octets
    await asyncio.sleep(seconds)
    lasted, used = time.monotonic() - started, _used() - used
    datagrams, octets = sockets[0].datagrams - datagrams, sockets[0].octets - octets
    assert node.book is not None
    peers, well = len(node.book.links), len(node.book.nodes_in(OK))
    memory = _resident() - base
    change = _change(node, held)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert well > peers * 0.9, f"only {well} of {peers} peers answer"
    bits = (octets + datagrams * AROUND) * 8 / lasted
    return Result(
        lines=[
            Line(what="CPU, of one core", value=100 * used / lasted, unit="%", target=0.5),
            Line(what="sent on the underlay", value=bits / 1e3, unit="kbit/s", target=1000),
            Line(what="datagrams sent", value=datagrams / lasted, unit="1/s"),
            Line(what="peers watched at a time", value=peers, unit=""),
            Line(what="memory, beside the agent's table", value=memory / 2**20, unit="MB"),
            Line(what="(the table of 5,000 claims here)", value=(base - before) / 2**20, unit="MB"),
            Line(what="claims that changed, read each 5 s at most", value=change * 1e3, unit="ms"),
        ]
    )


def _change(node: Probes, held: list[Peer]) -> float:
    """Seconds to follow a change of claims, as the service does, with another share of peers."""
    assert node.book is not None
    epoch = int(time.time()) // EPOCH
    started = time.process_time()
    vteps = addresses(held)
    del vteps[OWN]
    node.book.set_peers(vteps, epoch + 1, time.monotonic())
    return time.process_time() - started


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _await_epoch() -> None:
    """Wait until the present share of peers lasts long enough for a measurement."""
    left = EPOCH - time.time() % EPOCH
    if left < EPOCH - 30:
        time.sleep(left)


def answer() -> None:
    """Be the peers that the node watches, each with a socket and a book of its own."""
    vteps = addresses(claims())
    own = vteps.pop(OWN)
    chosen = watched(OWN, vteps.keys(), int(time.time()) // EPOCH)
    peers = []
    for name in chosen:
        book = Book(name, Random(name), time.time_ns)
        book.set_peers({OWN: own}, 0, time.monotonic())
        peers.append((book, Udp(vteps[name][0], udp_socket)))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        now = time.monotonic()
        for book, udp in peers:
            book.wake(now)
            for source, data, arrived in udp.received():
                book.receive(source, data, arrived, now)
            book.judge(now)
            for vtep, data, full in book.due(now):
                udp.send(vtep, data.ljust(MTU - 28, b"\0") if full else data)
        time.sleep(TICK)


if __name__ == "__main__":
    answer()
