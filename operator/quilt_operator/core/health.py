"""Who is down: verdicts from when Leases were last seen to change.

Only *observed changes* count, on the operator's own monotonic clock: what a node writes as a time is never
compared with anything, so a node whose clock jumps stays up. Two Leases speak for a node, the agent's and the
kubelet's. The agent's silence alone means that nobody maintains the node's dataplane, which keeps forwarding;
cutting it off for that would turn an image pull into an outage.

All times are seconds of one monotonic clock; `-inf` stands for "never".
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

    @property
    def hold(self) -> float:
        """How long renewals must last until the node is up again: at once the first time, then doubling."""
        return 0.0 if self.strikes < 2 else min(_HOLD_LONGEST, _HOLD_FIRST * 2 ** (self.strikes - 2))


@dataclass(frozen=True, slots=True)
class Guard:
    """Whether withdrawal is stopped, and the numbers behind it."""

    active: bool = False
    blind: bool = False
    silent: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdicts that differ from the standing ones, and the guard."""

    changed: Mapping[str, Health]
    guard: Guard


def judge(
    standing: Mapping[str, Health],
    pulses: Mapping[str, Pulse],
    policy: Policy,
    *,
    now: float,
    floor: float = -inf,
    blind: bool = False,
) -> Judgement:
    """New verdicts for all nodes.

    `floor` is when observation last began anew (start, change of leader, lost watch): every node gets a full
    time-out from there. `blind` says that the operator cannot see Leases at all: no verdict changes then.
    """
    doubtful = _doubtful(standing, pulses, policy, now=now, floor=floor)
    silent = sum(
        health.down or now - max(pulse.latest(policy), floor, health.since) >= policy.suspect_after
        for _, health, pulse in doubtful
    )
    guard = _guard(silent, len(standing), policy, blind=blind)
    changed = {}
    for name, health, pulse in () if blind else doubtful:
        new = _judge_one(health, pulse, policy, now=now, floor=floor, guarded=guard.active)
        if new != health:
            changed[name] = new
    return Judgement(changed, guard)


def withdrawn(judgement: Judgement, standing: Mapping[str, Health]) -> frozenset[str]:
    """Nodes that a judgement takes down."""
    return frozenset(name for name, new in judgement.changed.items() if new.down and not standing[name].down)


def spare(judgement: Judgement, names: Collection[str]) -> Judgement:
    """The judgement without `names`: a second look found them alive, and they are judged again soon."""
    kept = {name: new for name, new in judgement.changed.items() if name not in names}
    return Judgement(kept, judgement.guard)


def _doubtful(
    standing: Mapping[str, Health], pulses: Mapping[str, Pulse], policy: Policy, *, now: float, floor: float
) -> list[tuple[str, Health, Pulse]]:
    """Nodes that need a judge: of thousands, nearly all are up and heard from, each second anew."""
    lately = now - min(policy.suspect_after, policy.timeout)
    found = []
    for name, health in standing.items():
        pulse = pulses.get(name, _NEVER)
        heard = pulse.agent > lately or health.since > lately or floor > lately
        if not heard or health.down or health.agent_unresponsive:
            found.append((name, health, pulse))
    return found


def _guard(silent: int, total: int, policy: Policy, *, blind: bool) -> Guard:
    # Divided, not multiplied: 55 of 100 is exactly 55 %, while 0.55 * 100 is a little more than 55.
    many = silent >= _GUARD_MINIMUM and silent / total >= policy.threshold
    return Guard(active=many or blind, blind=blind, silent=silent, total=total)


def _judge_one(
    health: Health, pulse: Pulse, policy: Policy, *, now: float, floor: float, guarded: bool
) -> Health:
    begin = max(floor, health.since)
    unresponsive = now - max(pulse.agent, begin) >= policy.timeout
    if unresponsive != health.agent_unresponsive and not (unresponsive and guarded):
        health = replace(health, agent_unresponsive=unresponsive)
    if health.down:
        return _consider_return(health, pulse.latest(policy), policy, now)
    if now - max(pulse.latest(policy), begin) < policy.timeout or guarded:
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
