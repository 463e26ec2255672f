"""From renewed Leases to verdicts, the clock in the test's hand: the moment at which the guard lets go."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from quilt_operator import heartbeats
from quilt_operator.api.client import Client
from quilt_operator.api.connection import Connection
from quilt_operator.heartbeats import Heartbeats

NODES = [f"node-{number}" for number in range(10)]


class NoNewerLeases:
    """A second look at the Leases that finds what the watch has seen."""

    def __init__(self) -> None:
        self.leases: list[dict[str, Any]] = []

    async def list(self, path: str) -> tuple[list[dict[str, Any]], int]:
        return self.leases, 1


class Clocked:
    """Heartbeats of ten nodes and the monotonic clock that they see."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(heartbeats, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.client = NoNewerLeases()
        self.beats = Heartbeats(
            cast(Connection, None), cast(Client, self.client), lambda _: None, lambda: None, lambda: False
        )
        for name in NODES:
            self.beats.health(name)

    def down(self) -> set[str]:
        return {name for name in NODES if self.beats.health(name).down}

    async def pass_time(self, seconds: int, alive: Iterable[str]) -> None:
        """Let seconds go by, in each of which `alive` renew and all are judged."""
        names = list(alive)
        for _ in range(seconds):
            self.now += 1
            self.beats._renewed("agent", names, self.now)
            await self.beats.look()


@pytest.fixture
async def clocked(monkeypatch: pytest.MonkeyPatch) -> Clocked:
    return Clocked(monkeypatch)


async def test_row_18_the_first_to_return_do_not_release_the_withdrawal_of_the_others(
    clocked: Clocked,
) -> None:
    await clocked.pass_time(60, NODES[6:])
    assert clocked.beats.guard.active
    await clocked.pass_time(1, NODES[2:])
    assert not clocked.beats.guard.active, "two silent nodes of ten are no mass failure"
    assert not clocked.down()
    await clocked.pass_time(28, NODES[2:])
    assert not clocked.down(), "they have a full time-out from here on"
    await clocked.pass_time(2, NODES[2:])
    assert clocked.down() == set(NODES[:2])


async def test_row_18_who_comes_back_while_the_guard_lets_go_was_never_down(clocked: Clocked) -> None:
    await clocked.pass_time(60, NODES[6:])
    for number in range(6, -1, -1):
        await clocked.pass_time(3, NODES[number:])
    await clocked.pass_time(60, NODES)
    assert not clocked.down()
    assert all(not clocked.beats.health(name).strikes for name in NODES)


async def test_without_a_guard_a_silent_node_goes_down_after_the_time_out(clocked: Clocked) -> None:
    await clocked.pass_time(29, NODES[1:])
    assert not clocked.down()
    await clocked.pass_time(1, NODES[1:])
    assert clocked.down() == {NODES[0]}


async def test_a_lease_that_was_never_renewed_keeps_no_node_up(clocked: Clocked) -> None:
    clocked.client.leases = [{"metadata": {"name": NODES[0]}, "spec": {"holderIdentity": NODES[0]}}]
    for watch in clocked.beats.watches.values():
        watch._seen = {NODES[0]: ""}
    await clocked.pass_time(30, NODES[1:])
    assert clocked.down() == {NODES[0]}
