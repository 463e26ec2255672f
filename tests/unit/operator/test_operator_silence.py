"""Whose silence is news: not of who never spoke or is long gone, nor what a broken watch does not show."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quilt_crds.names import LEASE_NAMESPACE
from quilt_operator.core.health import Policy
from tests.support.logs import capture_logs
from tests.support.operator_clock import Clocked

NODES = [f"node-{number}" for number in range(10)]
PREPARED = [f"prepared-{number}" for number in range(13)]
HUNDRED = [f"node-{number}" for number in range(100)]


@pytest.fixture
async def clocked(monkeypatch: pytest.MonkeyPatch) -> Clocked:
    return Clocked(monkeypatch)


async def test_prepared_nodes_are_not_down_and_do_not_keep_a_dead_one_up(clocked: Clocked) -> None:
    """t4: Nodes that were prepared and never seen do not count; a dead node beside them is withdrawn."""
    clocked.know(NODES)
    clocked.know(PREPARED, reported=False)
    await clocked.pass_time(120, NODES)
    assert not clocked.down(), "a prepared node is Pending"
    assert not clocked.unresponsive(), "an agent that never was is not unresponsive"
    await clocked.pass_time(31, NODES[1:])
    assert clocked.down() == {NODES[0]}


async def test_a_prepared_node_that_joins_is_judged_as_any_other(clocked: Clocked) -> None:
    clocked.know(NODES)
    clocked.know(PREPARED, reported=False)
    await clocked.pass_time(120, NODES)
    await clocked.pass_time(10, [*NODES, PREPARED[0]])
    await clocked.pass_time(31, NODES)
    assert clocked.down() == {PREPARED[0]}


async def test_nodes_that_are_down_for_long_do_not_keep_a_dead_one_up(clocked: Clocked) -> None:
    """t4: Nodes that have been Down for long do not count for the guard: one that dies is withdrawn."""
    clocked.know(NODES)
    await clocked.pass_time(31, NODES[5:])
    assert clocked.down() == set(NODES[:5])
    await clocked.pass_time(900, NODES[5:])
    await clocked.pass_time(31, NODES[6:])
    assert clocked.down() == set(NODES[:6])


async def test_a_withdrawal_that_was_held_back_is_not_let_go_by_time(clocked: Clocked) -> None:
    clocked.know(NODES)
    await clocked.pass_time(2000, NODES[6:])
    assert not clocked.down()


@settings(max_examples=40, deadline=None)
@given(
    running=st.integers(1, 12), prepared=st.integers(0, 12), gone=st.integers(0, 6), dying=st.integers(1, 12)
)
def test_the_guard_looks_at_none_but_who_was_alive_lately(
    running: int, prepared: int, gone: int, dying: int
) -> None:
    """t4: The guard decides by the nodes that were alive lately, whatever others there are."""
    alive = [f"alive-{number}" for number in range(running)]
    dead = alive[: min(dying, running)]

    async def scene(patch: pytest.MonkeyPatch) -> None:
        clocked = Clocked(patch)
        clocked.know([f"prepared-{number}" for number in range(prepared)], reported=False)
        # As after a restart: who is Down is looked at for a while, and then it is an old story.
        for name in [f"gone-{number}" for number in range(gone)]:
            clocked.beats.watches["agent"].seen[name] = "once"
            clocked.client.folders[LEASE_NAMESPACE][name] = "once"
            clocked.beats.health(name, down=True)
        clocked.know(alive)
        await clocked.pass_time(700, alive, step=10)
        before = clocked.down()
        await clocked.pass_time(32, alive[len(dead) :])
        many = len(dead) >= 3 and len(dead) / running >= 0.55
        assert clocked.down() - before == (set() if many else set(dead))

    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(scene(patch))


@pytest.mark.parametrize("agent_only", [False, True])
@pytest.mark.parametrize("learns", ["at once", "with its next renewal"])
async def test_a_shortened_heartbeat_sets_nobody_down(
    clocked: Clocked, agent_only: bool, learns: str
) -> None:
    """t6: After the heartbeat was shortened nobody is Down or called unresponsive for the pace of before."""
    clocked.beats.policy = Policy(60, 180, agent_only)
    clocked.know(NODES)
    due = {name: clocked.now + 6 * number for number, name in enumerate(NODES)}
    accused = set()
    for second in range(600):
        if second == 300:
            clocked.beats.policy = Policy(25, 50, agent_only)
        beating = [name for name, moment in due.items() if clocked.now >= moment]
        if second == 300 and learns == "at once":
            beating = NODES
        clocked.renew("agent", beating)
        due |= dict.fromkeys(beating, clocked.now + (60 if second < 300 else 25))
        await clocked.pass_time(1, ())
        accused |= clocked.down() | clocked.unresponsive()
        assert not clocked.beats.guard.active
    assert not accused


async def test_after_a_shortened_heartbeat_the_new_time_out_counts(clocked: Clocked) -> None:
    clocked.beats.policy = Policy(60, 180)
    clocked.know(NODES)
    await clocked.pass_time(60, NODES)
    clocked.beats.policy = Policy(25, 50)
    await clocked.pass_time(90, NODES[1:])
    assert clocked.down() == {NODES[0]}


@pytest.mark.parametrize("agent_only", [False, True])
async def test_a_silent_watch_of_the_agents_leases_marks_nobody(clocked: Clocked, agent_only: bool) -> None:
    """t8: A fresh list confirms the agents' verdict too: a silent watch marks no node and is opened again."""
    clocked.beats.policy = Policy(agent_only=agent_only)
    clocked.know(HUNDRED)
    await clocked.pass_time(60, HUNDRED, HUNDRED)
    clocked.judged.clear()
    await clocked.pass_time(85, HUNDRED, HUNDRED, seen=False)
    assert not clocked.judged, "no status is written"
    assert not clocked.down() | clocked.unresponsive()
    assert 1 <= clocked.client.lists <= 8
    assert clocked.beats.watches["agent"].listing


async def test_agents_that_cannot_be_listed_are_not_marked_and_that_is_logged_once(clocked: Clocked) -> None:
    """t8: While a folder of Leases cannot be listed no agent is called unresponsive; one line says so."""
    clocked.know(NODES)
    clocked.client.refused = {LEASE_NAMESPACE}
    with capture_logs() as logs:
        await clocked.pass_time(90, NODES[1:], NODES)
    assert not clocked.unresponsive()
    assert len([entry for entry in logs if entry["log_level"] == "warning"]) == 1
    clocked.client.refused.clear()
    await clocked.pass_time(2, NODES[1:], NODES)
    assert clocked.unresponsive() == {NODES[0]}


async def test_most_agents_silent_at_once_are_reported_of_the_network_not_of_each_node(
    clocked: Clocked,
) -> None:
    """t8: When most agents fall silent at once a condition of the network says so, not each node's status."""
    clocked.know(HUNDRED)
    await clocked.pass_time(5, HUNDRED, HUNDRED)
    clocked.judged.clear()
    await clocked.pass_time(120, HUNDRED[:30], HUNDRED)
    assert not clocked.judged
    assert clocked.beats.guard.agents
    assert not clocked.beats.guard.active
    await clocked.pass_time(31, HUNDRED[:98], HUNDRED)
    assert clocked.unresponsive() == set(HUNDRED[98:])
    assert not clocked.beats.guard.agents
