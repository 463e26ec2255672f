"""What is in the sets and maps of the table `inet quilt-policy`, and how it changes.

A change that forbids nothing leaves what was judged as it is. Anything else has it forgotten, in the same
transaction: a member that leaves what is accepted, or comes into what is denied; a pod that is held to a
chain from now on, or to another chain which does not merely accept more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from quilt_netlink.nftsets import Element, Flush, SetChange
from quilt_policy.program import Action, Chain, PodName, Profile, Program, Rule, Scope
from quilt_runtime.core import packed
from quilt_runtime.core.policy import CUT_OFF, MAPS, Family, host_chain, named

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Entries = dict[str, dict[bytes, str]]
"""By the map's name, the chain that each key jumps to; it is empty for a key of a set (`self4`)."""
Changes = list[SetChange | Flush]


@dataclass(frozen=True, slots=True)
class Keys:
    """The addresses of one set in one family (core.packed), of ranges as pairs; `size` is an address'."""

    data: bytes
    size: int
    ranges: bool = False

    def elements(self) -> Sequence[bytes | Element]:
        """Return all elements."""
        return packed.intervals(self.data, self.size) if self.ranges else packed.cut(self.data, self.size)


def sets(program: Program, families: Iterable[Family]) -> dict[str, Keys]:
    """Return what the program's sets hold, by their names in each family."""
    return {
        named(one.name, family.number): Keys(
            one.members.v4 if family.number == 4 else one.members.v6, family.size, one.ranges
        )
        for family in families
        for one in program.sets.values()
    }


def profile(pods: Mapping[PodName, Profile], pod: PodName) -> Profile | None:
    """Return what was announced for a pod, None where nothing was.

    A uid that the API server did not make is a static pod's, which the agent may know under its mirror pod's,
    or unknown: the name decides. Another pod of a StatefulSet under the same name has another UUID.
    """
    found = pods.get(pod)
    if found is None and not UUID.fullmatch(pod.uid):
        same = (one for one in pods.values() if one.pod.namespace == pod.namespace)
        found = next((one for one in same if one.pod.name == pod.name), None)
    return found


def entries(
    address: IPv4Address | IPv6Address, held_to: Profile | None, chains: Mapping[str, Chain]
) -> Entries:
    """Return the entries of a pod's address; of a pod that was not announced (None): all is dropped."""
    family, key = address.version, address.packed
    if held_to is None:
        return {f"from{family}": {key: CUT_OFF}, f"to{family}": {key: CUT_OFF}}
    found: Entries = {}
    if held_to.egress:
        found[f"from{family}"] = {key: named(held_to.egress, family)}
        if host := host_chain(chains[held_to.egress], family):
            found[f"host{family}"] = {key: host}
    if held_to.ingress:
        found[f"to{family}"] = {key: named(held_to.ingress, family)}
    return {**found, f"self{family}": {key + key: ""}} if found else {}


def closed(wanted: Entries) -> Entries:
    """Return entries that cut off every pod which is to be held to something."""
    return {name: dict.fromkeys(own, CUT_OFF) for name, own in wanted.items() if name[:-1] in MAPS}


def set_changes(
    held: Mapping[str, Keys], wanted: Mapping[str, Keys], chains: Iterable[Chain]
) -> tuple[Changes, bool]:
    """Return what leads from some sets' members to others', and whether that forbids anything.

    Of sets that are in both. `chains` are what they are wanted for.
    """
    found: Changes = []
    taken = False
    by_adding, by_removing = _sensitive(chains)
    for name, keys in wanted.items():
        had = held.get(name, keys)
        if had == keys:
            continue
        if keys.ranges:
            found.append(Flush(name))
            found += _change(name, keys.elements(), new=True)
            taken = True
            continue
        more, fewer = packed.differences(had.data, keys.data, keys.size)
        found += [*_change(name, more, new=True), *_change(name, fewer, new=False)]
        own = name.rpartition("-")[0]
        taken |= (bool(more) and own in by_adding) or (bool(fewer) and own in by_removing)
    return found, taken


def map_changes(
    held: Entries, wanted: Entries, before: Mapping[str, Chain], after: Mapping[str, Chain]
) -> tuple[Changes, bool]:
    """As set_changes, of maps; `before` and `after` are the chains that they lead to."""
    found: Changes = []
    taken = False
    for name in sorted(held.keys() | wanted.keys()):
        had, has = held.get(name, {}), wanted.get(name, {})
        come = {key: chain for key, chain in has.items() if had.get(key) != chain}
        gone = [key for key, chain in had.items() if has.get(key) != chain]
        found += _change(name, gone, new=False)
        found += _change(name, [Element(key, chain) for key, chain in come.items()], new=True)
        taken |= any(
            chain and not _only_accepts_more(had.get(key), chain, before, after)
            for key, chain in come.items()
        )
    return found, taken


def _change(name: str, elements: Sequence[bytes | Element], *, new: bool) -> Changes:
    return [SetChange(name, elements, new)] if elements else []


def _sensitive(chains: Iterable[Chain]) -> tuple[set[str], set[str]]:
    """Return the sets where a member that comes, and those where one that leaves, forbids something."""
    by_adding: set[str] = set()
    by_removing: set[str] = set()
    for chain in chains:
        for rule in (*chain.admin, *(chain.policies or ()), *chain.baseline):
            is_members = rule.peer.scope is Scope.MEMBERS
            if rule.action is not (Action.ACCEPT if is_members else Action.DENY):
                by_adding.add(rule.peer.name)
            if rule.action is not (Action.DENY if is_members else Action.ACCEPT):
                by_removing.add(rule.peer.name)
    return by_adding, by_removing


def _only_accepts_more(
    old: str | None, new: str, before: Mapping[str, Chain], after: Mapping[str, Chain]
) -> bool:
    """Whether all that the old chain accepts the new one accepts too, as far as is seen easily."""
    had, has = before.get(_own(old or "")), after.get(_own(new))
    if had is None or has is None or _plain(had.admin) != _plain(has.admin) or had.policies is None:
        return False
    if has.policies is None:
        return not has.baseline
    return set(_plain(had.policies)) <= set(_plain(has.policies))


def _own(kernel_name: str) -> str:
    return kernel_name.removesuffix("-host").rpartition("-")[0]


def _plain(rules: Iterable[Rule]) -> list[tuple[object, ...]]:
    return [(rule.action, rule.peer, rule.ports) for rule in rules]
