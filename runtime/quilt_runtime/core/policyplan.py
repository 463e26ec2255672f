"""All of the table `inet quilt-policy` as one value, and what leads from one to another, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from quilt_netlink.nftsets import SetChange
from quilt_policy.program import Chain, PodName, Profile, Program
from quilt_runtime.core import policyjudged, policysets, policysteps
from quilt_runtime.core.policy import Ground, Structure, structure
from quilt_runtime.core.policysets import Changes, Entries, Keys

MOST_AT_ONCE = 50_000
"""Elements of sets that nothing uses yet, in one transaction."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A pod that has an address; the twin is None without IPv6."""

    pod: PodName
    address: IPv4Address
    address6: IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class State:
    """The table: structure, sets' members, maps' entries, and the chains as values."""

    structure: Structure = field(default_factory=Structure)
    sets: Mapping[str, Keys] = field(default_factory=dict)
    entries: Entries = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Transactions in order: of nft, of elements that nobody uses yet, of elements in use, of nft."""

    before: str
    fill: tuple[Changes, ...]
    changes: Changes
    after: str

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.before or self.fill or self.changes or self.after)


def state(ground: Ground, program: Program, connected: Iterable[Connected]) -> State:
    """Return what the table is to be."""
    entries: Entries = {}
    for pod in connected:
        for name, own in pod_entries(pod, program, ground).items():
            entries.setdefault(name, {}).update(own)
    is_entered = any(map(is_held, program.pods.values())) or any(entries.values())
    return State(
        structure(ground, program, is_entered=is_entered),
        policysets.sets(program, ground.families),
        entries,
        program.chains,
    )


def is_held(profile: Profile) -> bool:
    """Whether any chain holds for a pod."""
    return bool(profile.ingress or profile.egress)


def pod_entries(connected: Connected, program: Program, ground: Ground) -> Entries:
    """Return the entries of one pod. One that nobody announced is cut off, unless its uid is not known."""
    profile = policysets.profile(program.pods, connected.pod)
    if profile is None and not connected.pod.uid:
        return {}
    found = policysets.entries(connected.address, profile, program.chains)
    if connected.address6 is not None and len(ground.families) > 1:
        found |= policysets.entries(connected.address6, profile, program.chains)
    return found


def plan(held: State, wanted: State) -> Plan:
    """Return what leads from one state to another; what is held may be unknown in part."""
    members, fewer = policysets.set_changes(held.sets, wanted.sets, wanted.chains.values())
    entries, stricter = policysets.map_changes(held.entries, wanted.entries, held.chains, wanted.chains)
    others = policysteps.judge_otherwise(held.structure, wanted.structure)
    again = policyjudged.FORGET if fewer or stricter or others else []
    new = {name: keys for name, keys in wanted.sets.items() if name not in held.sets}
    return Plan(
        policysteps.before(held.structure, wanted.structure),
        tuple(_parts(new)),
        [*members, *entries, *again],
        policysteps.after(held.structure, wanted.structure),
    )


def _parts(sets: Mapping[str, Keys]) -> Iterator[Changes]:
    """Yield what fills sets, as transactions that are not too large."""
    part: Changes = []
    count = 0
    for name, keys in sets.items():
        elements = keys.elements()
        for at in range(0, len(elements), MOST_AT_ONCE):
            some = elements[at : at + MOST_AT_ONCE]
            if part and count + len(some) > MOST_AT_ONCE:
                yield part
                part, count = [], 0
            part.append(SetChange(name, some, True))
            count += len(some)
    if part:
        yield part
