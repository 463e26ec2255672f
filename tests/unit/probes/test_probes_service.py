"""The service over real sockets of loopback, and what it asks of and writes to the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from quilt_crds.names import QUILTNODE
from quilt_probes import proofs as proofs_module
from quilt_probes.proofs import Proofs
from quilt_probes.service import Probes, Wanted
from quilt_probes.udp import Udp, udp_socket
from tests.support.agent_doubles import eventually
from tests.support.probe_api import FakeApi
from tests.support.probe_world import Claim

CLAIMS = [Claim(f"127.53.{index}.0/24", f"n{index}") for index in (1, 2, 3)]


def service(own: str, api: FakeApi, wanted: Wanted) -> tuple[Probes, CollectorRegistry]:
    registry = CollectorRegistry()
    return Probes(own, lambda: wanted, api.client, registry), registry


@asynccontextmanager
async def running(*nodes: Probes) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(node.run()) for node in nodes]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_nodes_probe_each_other_and_tell_what_they_measured() -> None:
    wanted = Wanted(True, True, 1450, CLAIMS)
    (one, registry), (other, _) = (service(name, FakeApi(), wanted) for name in ("n1", "n2"))
    async with running(one, other):
        await eventually(lambda: one.condition.reason == "Reachable")
        peers = {peer["node"]: peer for peer in json.loads(one.document())["peers"]}
        assert peers["n3"]["inward"] == peers["n3"]["outward"] == "unknown"
        assert peers["n2"]["outward"] == "ok"
        assert 0 < peers["n2"]["roundTrip"] < 0.5
        lines = generate_latest(registry).decode().splitlines()
        series = [line for line in lines if line.startswith("quilt_probes") and "_created" not in line]
        assert len(series) == 11
    assert json.loads(one.document()) == {"node": "n1", "peers": [], "reason": one.condition.text}


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Wanted(False, True, 1450, CLAIMS), "Disabled"),
        (Wanted(True, False, 1450, CLAIMS), "Starting"),
        (Wanted(True, True, 1450, CLAIMS[1:]), "Starting"),
    ],
)
async def test_off_or_without_an_overlay_it_holds_no_socket(wanted: Wanted, reason: str) -> None:
    node, _ = service("n1", FakeApi(), wanted)
    task = asyncio.create_task(node.run())
    await asyncio.sleep(0.1)
    assert (node.condition.status, node.condition.reason) == ("Unknown", reason)
    udp = Udp("127.53.1.0", udp_socket)
    udp.close()
    task.cancel()


async def test_a_port_that_is_taken_is_a_problem_until_it_is_free() -> None:
    other = Udp("127.53.1.0", udp_socket)
    node, _ = service("n1", FakeApi(), Wanted(True, True, 1450, CLAIMS))
    task = asyncio.create_task(node.run())
    await asyncio.sleep(0.1)
    assert node.problems == ["Cannot probe peers from 127.53.1.0: Address already in use."]
    other.close()
    await eventually(lambda: not node.problems)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Clock:
    """Stands for the time module."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(proofs_module, "time", made)
    return made


def proofs(api: FakeApi, silent: Sequence[str]) -> tuple[Proofs, list[str]]:
    proved: list[str] = []
    return Proofs(api.client, lambda: 10.0, lambda now: silent, lambda node, now: proved.append(node)), proved


async def test_a_lease_that_is_renewed_and_a_condition_that_shows_probes_are_the_proof(clock: Clock) -> None:
    api = FakeApi()
    api.node("n2", "Reachable")
    api.renewed("n2", "1")
    asked, proved = proofs(api, ["n2"])
    await asked.look()
    api.renewed("n2", "2")
    await asked.look()
    assert not proved, "before the heartbeat's interval is over nothing is asked again"
    clock.now = 11.5
    await asked.look()
    assert proved == ["n2"]


@pytest.mark.parametrize("reason", ["Disabled", "Starting"])
async def test_an_agent_that_does_not_probe_is_no_proof(clock: Clock, reason: str) -> None:
    api = FakeApi()
    api.node("n2", reason, "Unknown")
    asked, proved = proofs(api, ["n2"])
    for renewal in "1234":
        api.renewed("n2", renewal)
        await asked.look()
        clock.now += 11.5
    assert not proved


async def test_an_older_release_a_dead_agent_and_no_api_are_no_proof(clock: Clock) -> None:
    api = FakeApi()
    api.documents[QUILTNODE.path("old")] = {"metadata": {"name": "old"}}
    api.node("dead", "Reachable")
    api.renewed("dead", "1")
    asked, proved = proofs(api, ["old", "dead", "away"])
    for renewal in "1234":
        api.renewed("old", renewal)
        await asked.look()
        clock.now += 11.5
    assert not proved


async def test_of_many_silent_peers_few_are_asked_about(clock: Clock) -> None:
    api = FakeApi()
    asked, _ = proofs(api, [f"n{index}" for index in range(50)])
    await asked.look()
    await asked.look()
    assert len(api.reads) == 3
