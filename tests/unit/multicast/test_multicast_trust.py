"""What a holder of the key, a lost notification or a missing table may do: little, and reported once."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from quilt_crds.wire_network import MulticastSpec
from quilt_multicast import service as multicast_service
from quilt_multicast.core.forwarding import Topology
from quilt_multicast.core.members import Limits
from quilt_multicast.core.state import Entries
from quilt_multicast.core.sync import Sync
from quilt_multicast.core.wire import Ack, Body, Envelope, encode
from quilt_multicast.dataplane import MulticastDataplane
from quilt_multicast.engine import Engine
from quilt_multicast.exchange import Exchange
from quilt_multicast.metrics import MulticastMetrics
from quilt_multicast.mroute import MrouteError, MulticastTable
from quilt_multicast.service import Host, Multicast, Wanted
from quilt_netlink import MonitorLike, MulticastKernel, Overrun
from quilt_nodeagent.core.peer import make_peer
from tests.support.logs import capture_logs

KEY = b"k" * 32
VICTIM, HOSTILE, OTHER = "10.42.1.0", "10.42.2.0", "10.42.3.0"


def fits(envelope: Envelope, body: Body) -> bool:
    try:
        return bool(encode(KEY, envelope, body))
    except struct.error:
        return False


def converse(one: Sync, two: Sync, begin: float) -> bool:
    """Carry what two nodes say for some seconds; whether all of it could be sent."""
    nodes = {one.vtep: one, two.vtep: two}
    for step in range(600):
        now = begin + step * 0.05
        for node in (one, two):
            for envelope, body in node.due(now):
                if not fits(envelope, body):
                    return False
                to = nodes.get(envelope.receiver)
                _, answer = to.receive(envelope, body, now) if to is not None else (None, None)
                if to is not None and answer is not None:
                    node.receive(*to.answer(envelope.sender, answer), now)
    return True


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(2**63 - 2, 2**63 + 2), min_size=1, max_size=5))
def test_no_boot_number_of_a_peer_silences_a_node(boots: list[int]) -> None:
    """s7: Whatever boot numbers a holder of the key claims to know, a node continues to send its groups."""
    victim, other = Sync(1000, lambda: 1024), Sync(1000, lambda: 1024)
    victim.set_peers(VICTIM, [HOSTILE, OTHER], 0.0)
    other.set_peers(OTHER, [VICTIM], 0.0)
    for place, boot in enumerate(boots):
        victim.receive(Envelope(HOSTILE, VICTIM, 1, place + 1), Ack(boot, 0), 100.0 * place)
    victim.change("239.1.1.1", True, 600.0)
    assert converse(victim, other, 600.0)
    assert other.peers[VICTIM].groups == {"239.1.1.1"}
    # A restart must find its way back to what the others hold.
    again = Sync(2_000_000_000, lambda: 1024)
    again.set_peers(VICTIM, [OTHER], 700.0)
    again.change("239.1.1.2", True, 700.0)
    assert converse(again, other, 700.0)
    assert other.peers[VICTIM].groups == {"239.1.1.2"}


def test_a_peer_cannot_have_all_groups_sent_again_and_again() -> None:
    """s7: Ever higher boot numbers of a peer make a node send all its groups again but now and then."""
    victim = Sync(1000, lambda: 1024)
    victim.set_peers(VICTIM, [HOSTILE, OTHER], 0.0)
    taken = set()
    for count in range(1, 2001):
        victim.receive(Envelope(HOSTILE, VICTIM, 1, count), Ack(victim.boot + 1, 0), count * 0.005)
        taken.add(victim.boot)
    assert len(taken) <= 8, "in ten seconds"


class Aliases:
    """A dataplane of which only the pods' interfaces and members matter."""

    bridge_index, device_index, adopted = 3, 4, False

    def __init__(self) -> None:
        self.names: dict[int | str, str] = {}
        self.members: set[tuple[int, str]] = set()
        self.tracked = Entries()

    def alias(self, key: int | str) -> str | None:
        return self.names.get(key)

    def look(self) -> set[tuple[int, str]]:
        return self.members

    def key(self, group: str) -> str:
        return group

    def keep(self) -> None:
        """Nothing to keep."""

    def about(self, groups: set[str], known: object) -> tuple[set[str], Entries]:
        return groups, self.tracked

    def write(self, plan: object) -> list[str]:
        return []


class Peers:
    """An exchange with nobody."""

    def __init__(self) -> None:
        self.notified: list[tuple[str, bool]] = []

    def change(self, group: str, member: bool) -> None:
        self.notified.append((group, member))

    def set_peers(self, vtep: str, peers: object) -> set[str]:
        return set()

    def speak(self) -> None:
        """Nobody hears it."""


async def test_after_lost_notifications_whose_a_pod_is_is_asked_again() -> None:
    """s7: After lost notifications a pod of another namespace at a former one's place does not take part."""
    dataplane = Aliases()
    dataplane.names = {"qv0a2a0105": "media/cam", 9: "media/cam"}
    dataplane.members = {(9, "239.1.1.1")}
    exchange = Peers()
    engine = Engine(
        cast(MulticastDataplane, dataplane),
        cast(Exchange, exchange),
        MulticastMetrics(CollectorRegistry()),
        open_monitor=lambda: cast(MonitorLike, None),
    )
    engine.set_topology(
        Topology(["10.42.1.0/24"], [make_peer("default", "10.42.2.0/24", "n2", "Up", "198.18.0.2")]), ()
    )
    engine.remote.change(HOSTILE, ["239.1.1.1"], ())
    engine.configure(Limits(), frozenset({"media"}))
    engine._run()
    engine.forwarding.add("10.42.1.5", "239.1.1.1", 0)
    assert engine.forwarding.desired().copies
    assert exchange.notified == [("239.1.1.1", True)]
    dataplane.names = {"qv0a2a0105": "other/evil", 9: "other/evil"}
    engine.take([Overrun()])
    engine._run()
    assert not engine.forwarding.desired().copies, "it sends to no other node"
    assert exchange.notified == [("239.1.1.1", True), ("239.1.1.1", False)], "nor does it receive"


class Patience:
    """A back-off without waiting that counts how often it was asked and reset."""

    def __init__(self, first: float, longest: float) -> None:
        self.asked = self.resets = 0
        made.append(self)

    def delay(self) -> float:
        self.asked += 1
        return 0.001

    def reset(self) -> None:
        self.resets += 1


made: list[Patience] = []


@pytest.fixture
def plug() -> Iterator[Any]:
    """A socket that accepts everything."""
    one, two = socket.socketpair()

    class Plug:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

        def fileno(self) -> int:
            return one.fileno()

    yield Plug()
    one.close()
    two.close()


class Nothing:
    """A kernel and its monitor without anything in it."""

    def close(self) -> None:
        """Nothing is open."""


async def test_multicast_that_cannot_start_says_so_once_and_backs_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plug: Any
) -> None:
    """s7: Multicast that cannot have the routing table says one line and tries again less and less often."""
    made.clear()
    monkeypatch.setattr(multicast_service, "Backoff", Patience)
    key = tmp_path / "key"
    key.write_bytes(KEY)
    tries = asyncio.Semaphore(0)

    def refuse() -> MulticastTable:
        tries.release()
        raise MrouteError("Another program owns the multicast routing table.")

    host = Host(
        lambda: cast(MulticastKernel, Nothing()), refuse, lambda: cast(MonitorLike, Nothing()), lambda: plug
    )
    own = make_peer("default", "10.42.1.0/24", "a", "Up", "192.0.2.1")
    wanted = Wanted(MulticastSpec(enabled=True), "vxlan100", (own,), ())
    service = Multicast(lambda: wanted, key, MulticastMetrics(CollectorRegistry()), host=host)
    with capture_logs() as logs:
        running = asyncio.create_task(service.run())
        service.changed()
        for _ in range(15):
            await asyncio.wait_for(tries.acquire(), 60)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert [entry["event"] for entry in logs] == ["multicast_not_running"]
    assert made[0].resets == 0, "what only began is no success"
    assert service.problems == ["Another program owns the multicast routing table."]
