"""From renewed Leases to verdicts, the clock in the test's hand: the moment at which the guard lets go."""

from __future__ import annotations

import pytest

from tests.support.operator_clock import FOLDERS, Clocked

NODES = [f"node-{number}" for number in range(10)]


@pytest.fixture
async def clocked(monkeypatch: pytest.MonkeyPatch) -> Clocked:
    made = Clocked(monkeypatch)
    made.know(NODES)
    return made


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


async def test_without_a_guard_a_silent_node_is_down_after_the_time_out(clocked: Clocked) -> None:
    await clocked.pass_time(29, NODES[1:])
    assert not clocked.down()
    await clocked.pass_time(1, NODES[1:])
    assert clocked.down() == {NODES[0]}


async def test_a_lease_that_was_never_renewed_keeps_no_node_up(clocked: Clocked) -> None:
    for field, watch in clocked.beats.watches.items():
        watch.seen = {NODES[0]: ""}
        clocked.client.folders[FOLDERS[field]] = {NODES[0]: ""}
    await clocked.pass_time(30, NODES[1:])
    assert clocked.down() == {NODES[0]}


async def test_of_nodes_that_left_nothing_is_kept(clocked: Clocked) -> None:
    clocked.beats.forget(NODES[0])
    for number in range(100):
        clocked.renew("kubelet", [NODES[0], f"never-in-the-mesh-{number}"])
    assert set(clocked.beats._pulses) == set(NODES[1:])
