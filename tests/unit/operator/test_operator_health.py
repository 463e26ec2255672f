"""Verdicts from observed renewals: who is silent, who is spared, who must prove itself first."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_operator.core.health import Health, Policy, Pulse, judge, spare, withdrawn

POLICY = Policy()


def one(
    pulse: Pulse, *, now: float, health: Health | None = None, policy: Policy = POLICY, floor: float = -inf
) -> Health:
    """The verdict on a node among enough healthy ones that no guard holds."""
    standing = {f"healthy-{n}": Health(since=now) for n in range(9)} | {"node": health or Health(since=0.0)}
    judgement = judge(standing, {"node": pulse}, policy, now=now, floor=floor)
    return judgement.changed.get("node", standing["node"])


def test_both_leases_unchanged_for_the_time_out_is_down() -> None:
    assert not one(Pulse(100.0, 102.0), now=131.9).down
    assert one(Pulse(100.0, 102.0), now=132.0).down


def test_the_later_of_two_leases_counts() -> None:
    assert not one(Pulse(agent=100.0, kubelet=120.0), now=149.0).down
    assert not one(Pulse(agent=120.0, kubelet=100.0), now=149.0).down


def test_the_agents_silence_alone_is_unresponsive_and_stays_up() -> None:
    verdict = one(Pulse(agent=100.0, kubelet=500.0), now=501.0)
    assert verdict.agent_unresponsive
    assert not verdict.down


def test_where_the_agents_lease_decides_the_kubelets_does_not_help() -> None:
    assert one(Pulse(agent=100.0, kubelet=129.0), now=130.0, policy=Policy(agent_only=True)).down


def test_a_node_that_never_had_a_lease_gets_a_full_time_out_from_when_it_was_first_seen() -> None:
    assert not one(Pulse(), now=129.9, health=Health(since=100.0)).down
    assert one(Pulse(), now=130.0, health=Health(since=100.0)).down


def test_row_18_after_a_lost_watch_everybody_gets_a_full_time_out() -> None:
    assert not one(Pulse(1.0, 1.0), now=1029.0, floor=1000.0).down
    assert one(Pulse(1.0, 1.0), now=1030.0, floor=1000.0).down


def test_a_renewal_brings_a_node_back_at_once_the_first_time() -> None:
    down = Health(since=0.0, down=True, changed=100.0, strikes=1)
    assert one(Pulse(90.0, 90.0), now=200.0, health=down).down, "renewals from before do not count"
    assert not one(Pulse(kubelet=199.0), now=200.0, health=down).down


@pytest.mark.parametrize(("strikes", "hold"), [(1, 0), (2, 10), (3, 20), (4, 40), (7, 300), (50, 300)])
def test_who_flaps_is_held_down_longer_each_time(strikes: int, hold: float) -> None:
    down = Health(since=0.0, down=True, changed=100.0, strikes=strikes)
    assert down.hold == hold
    back = one(Pulse(agent=110.0), now=110.5, health=down)
    if hold:
        assert back.back == 110.0
        late = 110.0 + hold
        assert one(Pulse(agent=late - 1), now=late - 0.5, health=back).down
        assert not one(Pulse(agent=late - 1), now=late, health=back).down
    else:
        assert not back.down


def test_who_falls_silent_while_held_begins_again() -> None:
    held = Health(since=0.0, down=True, changed=100.0, strikes=3, back=110.0)
    silent = one(Pulse(agent=112.0), now=128.0, health=held)
    assert silent.back is None
    again = one(Pulse(agent=140.0), now=140.0, health=silent)
    assert again.down
    assert again.back == 140.0


def test_ten_minutes_up_forgive_earlier_strikes() -> None:
    up = Health(since=0.0, changed=100.0, strikes=5)
    assert one(Pulse(669.0, 669.0), now=699.0, health=up).strikes == 6
    assert one(Pulse(670.0, 670.0), now=700.0, health=up).strikes == 1


def fleet(
    silent: int, total: int, down: int = 0, now: float = 1000.0
) -> tuple[dict[str, Health], dict[str, Pulse]]:
    standing = {f"n{i}": Health(since=0.0, down=i < down, changed=now - 500) for i in range(total)}
    pulses = {
        f"n{i}": Pulse(now - 500, now - 500) if i < silent + down else Pulse(now - 1, now - 1)
        for i in range(total)
    }
    return standing, pulses


@pytest.mark.parametrize(
    ("silent", "total", "held"),
    [(1, 1, False), (2, 2, False), (2, 3, False), (3, 3, True), (5, 10, False), (6, 10, True),
     (54, 100, False), (55, 100, True)],
)  # fmt: skip
def test_the_guard_holds_from_the_threshold_on_but_not_below_three(
    silent: int, total: int, held: bool
) -> None:
    standing, pulses = fleet(silent, total)
    judgement = judge(standing, pulses, POLICY, now=1000.0)
    assert judgement.guard.active is held
    assert len(withdrawn(judgement, standing)) == (0 if held else silent)
    assert not held or not any(health.agent_unresponsive for health in judgement.changed.values())


def test_nodes_that_are_down_count_for_the_guard() -> None:
    standing, pulses = fleet(silent=1, total=10, down=5)
    assert not withdrawn(judge(standing, pulses, POLICY, now=1000.0), standing)


def test_the_guard_looks_ahead_of_time_outs() -> None:
    standing = {f"n{i}": Health(since=0.0) for i in range(10)}
    # One timed out, five more missed one renewal: a mass failure that is just beginning.
    pulses = {f"n{i}": Pulse(970.0 if i == 0 else 984.0 if i < 6 else 999.0) for i in range(10)}
    judgement = judge(standing, pulses, POLICY, now=1000.0)
    assert judgement.guard.silent == 6
    assert not withdrawn(judgement, standing)


def test_who_cannot_see_judges_nobody() -> None:
    standing, pulses = fleet(silent=1, total=10)
    judgement = judge(standing, pulses, POLICY, now=1000.0, blind=True)
    assert not judgement.changed
    assert judgement.guard.active


def test_whom_a_second_look_found_alive_is_spared() -> None:
    standing, pulses = fleet(silent=2, total=10)
    judgement = judge(standing, pulses, POLICY, now=1000.0)
    assert withdrawn(spare(judgement, {"n0"}), standing) == {"n1"}


times = st.floats(0, 2000) | st.just(-inf)
healths = st.builds(
    Health, since=st.floats(0, 1000), down=st.booleans(), agent_unresponsive=st.booleans(),
    changed=st.floats(0, 1000) | st.just(-inf), strikes=st.integers(0, 9),
    back=st.none() | st.floats(0, 1000),
)  # fmt: skip
fleets = st.dictionaries(st.text(min_size=1, max_size=3), st.tuples(healths, st.builds(Pulse, times, times)))


@given(fleets, st.floats(1000, 2000), times, st.booleans(), st.booleans())
def test_judging_is_settled_explained_and_never_against_evidence(
    nodes: dict[str, tuple[Health, Pulse]], now: float, floor: float, agent_only: bool, blind: bool
) -> None:
    standing = {name: health for name, (health, _) in nodes.items()}
    pulses = {name: pulse for name, (_, pulse) in nodes.items()}
    policy = replace(POLICY, agent_only=agent_only)
    judgement = judge(standing, pulses, policy, now=now, floor=floor, blind=blind)
    for name in withdrawn(judgement, standing):
        assert not judgement.guard.active
        assert now - pulses[name].latest(policy) >= policy.timeout, "a node that renewed is not taken down"
        assert now - max(floor, standing[name].since) >= policy.timeout, "everybody gets a full time-out"
    if judgement.guard.active:
        assert not withdrawn(judgement, standing)
    after = standing | dict(judgement.changed)
    if not judgement.guard.active:
        # Under the guard a second look may differ: who came back can lift it for who did not.
        again = judge(after, pulses, policy, now=now, floor=floor, blind=blind)
        assert not [name for name, health in again.changed.items() if health.down != after[name].down]
