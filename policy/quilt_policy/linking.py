"""A chain for pods: the drafts that hold for them, in terms of the addresses and ports that there are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import msgspec

from quilt_policy.addresses import Addresses, Kind, Recipe, named
from quilt_policy.drafts import (
    ClusterDraft,
    NamedRef,
    PolicyDraft,
    PortsDraft,
    RuleDraft,
    Target,
    ports_of,
)
from quilt_policy.program import Action, Chain, Direction, Peer, Ports, Protocol, Rule, Scope
from quilt_policy.ranges import Range, Ranges
from quilt_policy.selectors import PeerSelector, with_port

OwnPorts: TypeAlias = tuple[tuple[NamedRef, tuple[int, ...]], ...]
"""Those of a pod's named ports which its policies name, with their numbers; sorted."""


@dataclass(frozen=True)
class Held:
    """The policies that a pod is held to in one direction, in order: the key of what is linked.

    `policies` is None where no NetworkPolicy selects the pod in that direction. `own` are the ports that
    rules of ingress name.
    """

    direction: Direction
    admin: tuple[ClusterDraft, ...]
    policies: tuple[PolicyDraft, ...] | None
    baseline: tuple[ClusterDraft, ...]
    own: OwnPorts = ()

    @cached_property
    def _hash(self) -> int:
        return hash((self.direction, self.admin, self.policies, self.baseline, self.own))

    def __hash__(self) -> int:
        """As a dataclass has it, once: there may be thousands of policies."""
        return self._hash

    def __bool__(self) -> bool:
        return bool(self.admin or self.baseline) or self.policies is not None


@dataclass(frozen=True, slots=True, eq=False)
class Linked:
    """A chain with what it rests on.

    `sets` are what its sets are made of, by name. `rests_on` are the selectors (of named ports the families)
    and `blocks` the ranges on which its rules depend, `denies` those selectors by which it denies or passes.
    """

    chain: Chain
    sets: dict[str, Recipe]
    rests_on: frozenset[PeerSelector]
    blocks: frozenset[Ranges]
    denies: frozenset[PeerSelector]


class Linker:
    """Makes the rules of one chain, and notes what they rest on."""

    def __init__(self, addresses: Addresses, held: Held) -> None:
        self._addresses = addresses
        self._own = dict(held.own)
        self._egress = held.direction is Direction.EGRESS
        self._sets: dict[str, Recipe] = {}
        self._rests_on: set[PeerSelector] = set()
        self._blocks: set[Ranges] = set()
        self._denies: set[PeerSelector] = set()
        self._held = held

    def link(self) -> Linked:
        """Return the chain."""
        held = self._held
        admin = self._rules(held.admin)
        policies = self._allowances(held.policies) if held.policies is not None else None
        baseline = self._rules(held.baseline)
        chain = Chain(
            _name(held.direction, admin, policies, baseline), held.direction, admin, policies, baseline
        )
        return Linked(
            chain, self._sets, frozenset(self._rests_on), frozenset(self._blocks), frozenset(self._denies)
        )

    def _rules(self, policies: Iterable[ClusterDraft]) -> tuple[Rule, ...]:
        return tuple(
            rule
            for policy in policies
            for draft in policy.rules(self._held.direction)
            for rule in self._of(policy, draft)
        )

    def _allowances(self, policies: Iterable[PolicyDraft]) -> tuple[Rule, ...]:
        """Return the rules of NetworkPolicies: each once, as all of them accept, from the first by name."""
        found: list[Rule] = []
        seen: set[tuple[Target, PortsDraft]] = set()
        for policy in policies:
            for draft in policy.rules(self._held.direction) or ():
                what = (draft.target, draft.ports)
                if what not in seen:
                    seen.add(what)
                    found += self._of(policy, draft)
        return tuple(found)

    def _of(self, policy: PolicyDraft | ClusterDraft, draft: RuleDraft) -> Iterator[Rule]:
        """Yield the rules of ports with numbers, then those of the other side's named ports."""
        origin = f"{policy.title} {self._held.direction.value.lower()} {draft.number}"
        plain, others = draft.ports.plain, draft.ports.named
        if not self._egress:
            plain, others = self._with_own(plain, others), ()
        if plain is not None:
            for action, peer in self._peers(draft):
                yield Rule(action, peer, plain, origin)
        for protocol, name in others:
            for action, peer, ranges in self._named_peers(draft, protocol, name):
                yield Rule(action, peer, (Ports(Protocol[protocol], ranges),), origin)

    def _with_own(
        self, plain: tuple[Ports, ...] | None, refs: Iterable[NamedRef]
    ) -> tuple[Ports, ...] | None:
        """Add the numbers of the pod's own ports."""
        found = [(ref[0], number) for ref in refs for number in self._own.get(ref, ())]
        if not found:
            return plain
        ranges = {ports.protocol: list(ports.ranges or ((0, 65535),)) for ports in plain or ()}
        for protocol, number in found:
            ranges.setdefault(Protocol[protocol], []).append((number, number))
        return ports_of(ranges)

    def _peers(self, draft: RuleDraft) -> Iterator[tuple[Action, Peer]]:
        """Yield whom a rule is about, and what is done with them."""
        match draft.target:
            case None:
                yield draft.action, Peer()
            case Ranges() as ranges:
                yield draft.action, self._noted(Scope.MEMBERS, Recipe(Kind.RANGES, ranges=ranges))
                self._blocks.add(ranges)
                if self._addresses.places.inner(ranges).v4:
                    yield draft.action, self._noted(Scope.MEMBERS, Recipe(Kind.INNER, ranges=ranges))
            case PeerSelector() as selector:
                self._rest_on(selector, draft.action)
                if self._is_unsafe(selector, draft.action):
                    yield _DENIED_MEANWHILE, _everybody_like(selector)
                    return
                peer, recipe = self._addresses.peer(selector)
                if recipe is not None:
                    self._sets[peer.name] = recipe
                yield draft.action, peer

    def _named_peers(
        self, draft: RuleDraft, protocol: str, name: str
    ) -> Iterator[tuple[Action, Peer, tuple[Range, ...]]]:
        """Yield who has the port, by its numbers: pods among the target's; nodes have no named ports."""
        target = draft.target
        selector = target if isinstance(target, PeerSelector) else PeerSelector()
        if selector.nodes is not None:
            return
        family = with_port(selector, protocol, name)
        self._rest_on(family, draft.action)
        if self._is_unsafe(family, draft.action):
            yield _DENIED_MEANWHILE, _everybody_like(family), ()
            return
        for number in self._addresses.numbers(family):
            member = family.with_number(number)
            recipe = Recipe(Kind.SELECTED, member)
            if isinstance(target, Ranges):
                recipe = Recipe(Kind.SELECTED_IN_RANGES, member, target)
            yield draft.action, self._noted(Scope.MEMBERS, recipe), ((number, number),)

    def _is_unsafe(self, selector: PeerSelector, action: Action) -> bool:
        """Whether a rule would let through whom it is to stop: of those selected nothing is known yet."""
        return action is not Action.ACCEPT and not selector.any_pod and not self._addresses.is_known(selector)

    def _noted(self, scope: Scope, recipe: Recipe) -> Peer:
        peer, _ = named(scope, recipe)
        self._sets[peer.name] = recipe
        return peer

    def _rest_on(self, selector: PeerSelector, action: Action) -> None:
        if selector.any_pod:
            return
        self._rests_on.add(selector)
        if action is not Action.ACCEPT:
            self._denies.add(selector)


_DENIED_MEANWHILE = Action.DENY
"""For one that is passed on to the next tier, too: rules behind may accept it before that."""


def _everybody_like(selector: PeerSelector) -> Peer:
    """Return everybody who may turn out to be selected."""
    return Peer(Scope.PODS if selector.nodes is None else Scope.EVERY)


def _name(direction: Direction, *parts: tuple[Rule, ...] | None) -> str:
    """Return the name of a chain with these rules: `e_` or `i_` with 16 digits of their SHA-256."""
    digest = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]
    return f"{direction.value[0].lower()}_{digest}"
