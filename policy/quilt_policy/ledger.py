"""The program as it is, with who uses what: so that a change costs no more than what it touches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from quilt_policy.addresses import Addresses, Kind, Recipe
from quilt_policy.change import Change, MembersChange
from quilt_policy.linking import Linked
from quilt_policy.places import Place, chunks
from quilt_policy.program import AddressSet, Chain, Direction, Members, PodName, Profile, Program
from quilt_policy.selectors import PeerSelector


@dataclass(frozen=True, slots=True)
class Assigned:
    """A pod's profile with the chains that it names."""

    profile: Profile
    chains: tuple[Linked, ...]

    @classmethod
    def of(cls, pod: PodName, chains: Iterable[Linked]) -> Assigned:
        """Return a pod's profile with these chains, one or none of each direction."""
        found = tuple(chains)
        names = {linked.chain.direction: linked.chain.name for linked in found}
        judged = any(linked.chain.admin or linked.chain.baseline for linked in found)
        ingress, egress = names.get(Direction.INGRESS, ""), names.get(Direction.EGRESS, "")
        return cls(Profile(pod, ingress, egress, judged), found)


@dataclass(slots=True)
class _Touched:
    """What may differ from what was reported; values are those of then, None for what was not there."""

    pods: dict[PodName, Profile | None] = field(default_factory=dict)
    chains: dict[str, Chain | None] = field(default_factory=dict)
    sets: dict[str, AddressSet | None] = field(default_factory=dict)


class Ledger:
    """Pods' profiles, chains while a pod names them, and sets while a chain does."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._assigned: dict[PodName, Assigned] = {}
        self._chain_uses: Counter[str] = Counter()
        self._set_uses: Counter[str] = Counter()
        self._recipes: dict[str, Recipe] = {}
        self._program = Program()
        self._touched = _Touched()

    def sets_of(self, selector: PeerSelector) -> list[str]:
        """Return the sets in use that are made of a selector."""
        names = (Recipe(kind, selector).name for kind in (Kind.SELECTED, Kind.OTHERS))
        found = [name for name in names if name in self._recipes]
        if selector.number:
            recipes = self._recipes.items()
            found += [name for name, one in recipes if one.ranges is not None and one.selector == selector]
        return found

    def sets_at(self, place: Place) -> list[str]:
        """Return the sets in use whose members may change with a node."""
        return [name for name, recipe in self._recipes.items() if self._addresses.moved(recipe, place)]

    def assign(self, pod: PodName, assigned: Assigned | None) -> None:
        """Give a pod its profile, or None: it has none."""
        before = self._assigned.pop(pod, None)
        if assigned is not None:
            self._assigned[pod] = assigned
            for linked in assigned.chains:
                self._use(linked)
        for linked in before.chains if before is not None else ():
            self._release(linked)
        pods = self._program.pods
        self._touched.pods.setdefault(pod, pods.get(pod))
        pods.pop(pod, None)
        if assigned is not None:
            pods[pod] = assigned.profile

    def refill(self, names: Iterable[str]) -> None:
        """Take these sets' contents again from what is known now."""
        for name in names:
            self._put_set(name)

    def take_change(self) -> Change:
        """Return what differs from what was last taken, in a stable order."""
        touched, self._touched = self._touched, _Touched()
        now = self._program
        chains = [name for name, chain in touched.chains.items() if now.chains.get(name) != chain]
        pods = [pod for pod, profile in touched.pods.items() if now.pods.get(pod) != profile]
        sets, members, gone_sets = self._sets(touched.sets)
        return Change(
            sets=tuple(sets),
            members=tuple(members),
            chains=tuple(now.chains[name] for name in sorted(chains) if name in now.chains),
            pods=tuple(now.pods[pod] for pod in sorted(pods) if pod in now.pods),
            gone_pods=tuple(pod for pod in sorted(pods) if pod not in now.pods),
            gone_chains=tuple(name for name in sorted(chains) if name not in now.chains),
            gone_sets=tuple(gone_sets),
        )

    def take_program(self) -> Program:
        """Return everything, a copy; the next change is what differs from it."""
        self._touched = _Touched()
        now = self._program
        return Program(dict(now.chains), dict(now.sets), dict(now.pods))

    def _sets(
        self, before: dict[str, AddressSet | None]
    ) -> tuple[list[AddressSet], list[MembersChange], list[str]]:
        """Return new sets, changes of members, and names of those that are gone."""
        new: list[AddressSet] = []
        members: list[MembersChange] = []
        gone: list[str] = []
        for name, old in sorted(before.items()):
            content = self._program.sets.get(name)
            if content is None:
                if old is not None:
                    gone.append(name)
            elif old is None or old.ranges:
                if old != content:
                    new.append(content)
            elif old != content:
                members.append(_members_change(old, content))
        return new, members, gone

    def _use(self, linked: Linked) -> None:
        name = linked.chain.name
        self._chain_uses[name] += 1
        if self._chain_uses[name] > 1:
            return
        self._touched.chains.setdefault(name, self._program.chains.get(name))
        self._program.chains[name] = linked.chain
        for set_name, recipe in linked.sets.items():
            self._set_uses[set_name] += 1
            if self._set_uses[set_name] == 1:
                self._recipes[set_name] = recipe
                self._put_set(set_name)

    def _release(self, linked: Linked) -> None:
        name = linked.chain.name
        self._chain_uses[name] -= 1
        if self._chain_uses[name]:
            return
        del self._chain_uses[name]
        chain = self._program.chains.pop(name)
        self._touched.chains.setdefault(name, chain)
        for set_name in linked.sets:
            self._set_uses[set_name] -= 1
            if not self._set_uses[set_name]:
                del self._set_uses[set_name], self._recipes[set_name]
                content = self._program.sets.pop(set_name)
                self._touched.sets.setdefault(set_name, content)

    def _put_set(self, name: str) -> None:
        before = self._program.sets.get(name)
        self._touched.sets.setdefault(name, before)
        self._program.sets[name] = self._addresses.content(self._recipes[name])


def _members_change(old: AddressSet, new: AddressSet) -> MembersChange:
    added = [_without(new.members.v4, old.members.v4, 4), _without(new.members.v6, old.members.v6, 16)]
    removed = [_without(old.members.v4, new.members.v4, 4), _without(old.members.v6, new.members.v6, 16)]
    return MembersChange(new.name, Members(*added), Members(*removed))


def _without(addresses: bytes, others: bytes, length: int) -> bytes:
    """Return those addresses that are not among the others, in order."""
    left = set(chunks(others, length))
    return b"".join(one for one in chunks(addresses, length) if one not in left)
