"""Who is down: verdicts from when Leases were last seen to change.

Only *observed changes* count, on the operator's own monotonic clock: what a node writes as a time is never
compared with anything, so a node whose clock jumps stays up. Two Leases speak for a node, the agent's and the
kubelet's. The agent's silence alone means that nobody maintains the node's dataplane, which keeps forwarding;
cutting it off for that would turn an image pull into an outage.

Many that fall silent at once are a fault of what we look through rather than of theirs: a guard then stops
withdrawal, and another one stops marking agents. Both count only nodes that tell something about now: not
those that never reported (prepared for a machine that is yet to come), nor those that are Down for long.

All times are seconds of one monotonic clock; `-inf` is "never".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import inf

# A node that is silent for this many intervals missed a renewal: the guard looks that far ahead of time-outs.
_SUSPECT_INTERVALS = 1.5
# Below this many silent nodes a share says nothing: one of one node is 100 %.
_GUARD_MINIMUM = 3
_HOLD_FIRST = 10.0
_HOLD_LONGEST = 300.0
# A node that stayed up for this long is no longer flapping.
_STABLE_AFTER = 600.0
# A node that is Down for this long says nothing about a failure that spreads now.
_LATELY = 600.0


@dataclass(frozen=True, slots=True)
class Policy:
    """A network's rules: seconds, whose Lease decides, the share of silent nodes that stops withdrawal."""

    interval: float = 10.0
    timeout: float = 30.0
    agent_only: bool = False
    threshold: float = 0.55

    @property
    def suspect_after(self) -> float:
        """Silence after which a node counts for the guard."""
        return _SUSPECT_INTERVALS * self.interval


@dataclass(frozen=True, slots=True)
class Pulse:
    """When each of a node's Leases was last seen to change."""

    agent: float = -inf
    kubelet: float = -inf

    def latest(self, policy: Policy) -> float:
        """The change that keeps the node up."""
        return self.agent if policy.agent_only else max(self.agent, self.kubelet)


_NEVER = Pulse()


@dataclass(frozen=True, slots=True)
class Health:
    """The standing verdict on one node."""

    since: float
    """When it was first tracked: silence is counted from here at the earliest."""
    down: bool = False
    agent_unresponsive: bool = False
    changed: float = -inf
    """When `down` last changed."""
    strikes: int = 0
    """Withdrawals without a long time up in between."""
    back: float | None = None
    """While down: when renewals began again."""
    seen: bool = True
    """Whether its agent or a Lease that decides was ever there; silence of who never spoke is no news."""

    def counts(self, now: float) -> bool:
        """Whether its silence may be part of a failure that spreads now."""
        return self.seen and not (self.down and now - self.changed >= _LATELY)

    @property
    def hold(self) -> float:
        """How long renewals must last until the node is up again: at once the first time, then doubling."""
        return 0.0 if self.strikes < 2 else min(_HOLD_LONGEST, _HOLD_FIRST * 2 ** (self.strikes - 2))


@dataclass(frozen=True, slots=True)
class Guard:
    """Whether withdrawal is stopped, and the numbers behind it; whether agents are no longer marked."""

    active: bool = False
    blind: bool = False
    silent: int = 0
    total: int = 0
    agents: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdicts that differ from the standing ones, and the guard."""

    changed: Mapping[str, Health]
    guard: Guard


@dataclass(frozen=True, slots=True)
class Since:
    """From when on silence is counted at the earliest: of all Leases, and of agents' alone."""

    all: float = -inf
    agents: float = -inf


def judge(
    standing: Mapping[str, Health],
    pulses: Mapping[str, Pulse],
    policy: Policy,
    *,
    now: float,
    floor: float = -inf,
    agent_floor: float = -inf,
    blind: bool = False,
) -> Judgement:
    """New verdicts for all nodes.

    `floor` is when observation last began again (start, change of leader, lost watch, other rules): every
    node gets a full time-out from there; from `agent_floor` every agent. `blind` says that the operator
    cannot see Leases at all: no verdict changes then.
    """
    doubtful = _doubtful(standing, pulses, policy, now=now, floor=floor)
    since = Since(floor, max(floor, agent_floor))
    guard = _guard(doubtful, len(standing), policy, since, now=now, blind=blind)
    changed = {}
    for name, health, pulse in () if blind else doubtful:
        new = _judge_one(health, pulse, policy, since, now=now, guard=guard)
        if new != standing[name]:
            changed[name] = new
    return Judgement(changed, guard)


def withdrawn(judgement: Judgement, standing: Mapping[str, Health]) -> frozenset[str]:
    """Nodes that a judgement sets down."""
    return frozenset(name for name, new in judgement.changed.items() if new.down and not standing[name].down)


def accused(judgement: Judgement, standing: Mapping[str, Health]) -> frozenset[str]:
    """Nodes that a judgement sets down or whose agents it calls unresponsive."""
    mute = {
        name
        for name, new in judgement.changed.items()
        if new.agent_unresponsive and not standing[name].agent_unresponsive
    }
    return withdrawn(judgement, standing) | mute


def spare(judgement: Judgement, names: Collection[str]) -> Judgement:
    """The judgement without `names`: a second look found them alive, and they are judged again soon."""
    kept = {name: new for name, new in judgement.changed.items() if name not in names}
    return Judgement(kept, judgement.guard)


_Doubtful = list[tuple[str, Health, Pulse]]


def _doubtful(
    standing: Mapping[str, Health], pulses: Mapping[str, Pulse], policy: Policy, *, now: float, floor: float
) -> _Doubtful:
    """Nodes that need a judge: of thousands, nearly all are up and renewing, each second again."""
    lately = now - min(policy.suspect_after, policy.timeout)
    found = []
    for name, health in standing.items():
        pulse = pulses.get(name, _NEVER)
        alive = pulse.agent > lately or health.since > lately or floor > lately
        if not alive or health.down or health.agent_unresponsive or not health.seen:
            if not health.seen and pulse.latest(policy) > -inf:
                health = replace(health, seen=True)
            found.append((name, health, pulse))
    return found


def _guard(
    doubtful: _Doubtful, total: int, policy: Policy, since: Since, *, now: float, blind: bool
) -> Guard:
    """Whether so many are silent that it is hardly their own fault."""
    counted = [(health, pulse) for _, health, pulse in doubtful if health.counts(now)]
    total -= len(doubtful) - len(counted)
    silent = sum(
        health.down or now - max(pulse.latest(policy), since.all, health.since) >= policy.suspect_after
        for health, pulse in counted
    )
    unmarked = [(health, pulse) for health, pulse in counted if not health.agent_unresponsive]
    mute = sum(
        now - max(pulse.agent, since.agents, health.since) >= policy.suspect_after
        for health, pulse in unmarked
    )
    stop = blind or _too_many(silent, total, policy)
    agents = stop or _too_many(mute, total - len(counted) + len(unmarked), policy)
    return Guard(stop, blind, silent, total, agents)


def _too_many(silent: int, total: int, policy: Policy) -> bool:
    # Divided, not multiplied: 55 of 100 is exactly 55 %, while 0.55 * 100 is a little more than 55.
    return silent >= _GUARD_MINIMUM and silent / total >= policy.threshold


def _judge_one(
    health: Health, pulse: Pulse, policy: Policy, since: Since, *, now: float, guard: Guard
) -> Health:
    if not health.seen:
        return health
    mute = now - max(pulse.agent, since.agents, health.since) >= policy.timeout
    if mute != health.agent_unresponsive and not (mute and guard.agents):
        health = replace(health, agent_unresponsive=mute)
    if health.down:
        return _consider_return(health, pulse.latest(policy), policy, now)
    silent = now - max(pulse.latest(policy), since.all, health.since)
    if silent < policy.timeout or guard.active:
        return health
    flapping = now - health.changed < _STABLE_AFTER
    return replace(health, down=True, changed=now, strikes=health.strikes + 1 if flapping else 1, back=None)


def _consider_return(health: Health, latest: float, policy: Policy, now: float) -> Health:
    alive = latest > health.changed and now - latest < policy.suspect_after
    if not alive:
        return replace(health, back=None) if health.back is not None else health
    back = latest if health.back is None else health.back
    if now - back < health.hold:
        return replace(health, back=back)
    return replace(health, down=False, changed=now, back=None)
