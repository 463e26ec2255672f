"""Pods that no selector tells apart, and which selectors select them.

Thousands of pods share their labels. Of these only keys that some selector uses count, so that a label by
which nobody selects, like a Job's own, makes no identity of its own. Each identity is held against the
selectors once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

from quilt_operator.core.labelindex import ByLabels, ByTerms
from quilt_operator.core.peerset import PeerSet, Wanted
from quilt_policy.labels import Terms
from quilt_policy.objects import NamedPort

Port: TypeAlias = tuple[str, str]
"""Name and protocol."""

T = TypeVar("T")


class Traits(NamedTuple):
    """What selectors can tell of a pod: labels in order, and named ports."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    ports: tuple[NamedPort, ...]


class Group:
    """Pods of the same traits, and the addresses of those that have one."""

    __slots__ = ("addresses", "identity", "pods", "traits")

    def __init__(self, traits: Traits, identity: Identity) -> None:
        self.traits, self.identity = traits, identity
        self.pods = 0
        self.addresses: set[int] = set()


class Identity:
    """Groups that no selector tells apart, and the sets that their addresses are in."""

    __slots__ = ("groups", "sets", "traits")

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.groups: set[Group] = set()
        self.sets: frozenset[PeerSet] = frozenset()

    def addresses(self) -> Iterator[int]:
        """Yield the addresses of its pods."""
        for group in self.groups:
            yield from group.addresses


class Identities:
    """All identities, under the selectors of the moment.

    Where the sets of an identity change, its addresses leave and join them.
    """

    def __init__(self) -> None:
        self.groups: dict[Traits, Group] = {}
        self._by_traits: dict[Traits, Identity] = {}
        self._by_namespace: dict[str, ByLabels[Identity]] = {}
        self._keys: Counter[str] = Counter()
        self._ports: Counter[Port] = Counter()
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._spaces: ByLabels[str] = ByLabels()
        self._named: dict[str, ByTerms[Wanted]] = {}
        """Selectors that name their namespace, by it."""
        self._scopes: dict[Terms, ByTerms[Wanted]] = {}
        """Selectors that select namespaces, by how."""
        self._scope_index: ByTerms[Terms] = ByTerms()

    def group(self, traits: Traits) -> Group:
        """Return the group of pods with these traits."""
        if (group := self.groups.get(traits)) is None:
            group = self.groups[traits] = Group(traits, self._identity(traits))
            group.identity.groups.add(group)
        return group

    def release(self, group: Group) -> None:
        """Forget a group that has no pods."""
        del self.groups[group.traits]
        self._part(group)

    def put_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Enter a namespace: what is selected by its labels is seen again."""
        if self._namespaces.get(name) == labels:
            return
        if name in self._namespaces:
            self._spaces.remove(name)
        self._namespaces[name] = labels
        self._spaces.add(name, labels)
        self._look_again(self._in_namespace(name))

    def drop_namespace(self, name: str) -> None:
        """Enter that there is no such namespace: nothing selects its pods."""
        if self._namespaces.pop(name, None) is not None:
            self._spaces.remove(name)
            self._look_again(self._in_namespace(name))

    def namespaces(self) -> list[str]:
        """Return the namespaces that are known."""
        return list(self._namespaces)

    def want(self, wanted: Wanted) -> None:
        """Have a selector select."""
        selector = wanted.selector
        self._use(wanted, 1)
        if selector.namespace:
            scope = self._named.setdefault(selector.namespace, ByTerms())
        elif (found := self._scopes.get(selector.namespaces)) is not None:
            scope = found
        else:
            scope = self._scopes[selector.namespaces] = ByTerms()
            self._scope_index.add(selector.namespaces, selector.namespaces)
        scope.add(wanted, selector.pods)
        for identity in self._selected(wanted):
            _move(identity, identity.sets.union(wanted.of(identity.traits.ports)))

    def unwant(self, wanted: Wanted) -> None:
        """Have a selector select no more."""
        selector = wanted.selector
        scope = self._named[selector.namespace] if selector.namespace else self._scopes[selector.namespaces]
        scope.remove(wanted, selector.pods)
        if not scope and selector.namespace:
            del self._named[selector.namespace]
        elif not scope:
            del self._scopes[selector.namespaces]
            self._scope_index.remove(selector.namespaces, selector.namespaces)
        for identity in self._selected(wanted):
            _move(identity, identity.sets.difference(wanted.sets.values()))
        self._use(wanted, -1)

    def _use(self, wanted: Wanted, by: int) -> None:
        """Count which keys and ports tell pods apart; where these change, the groups are sorted again."""
        selector = wanted.selector
        keys = {key for key, _, _ in selector.pods}
        ports = {(selector.port_name, selector.protocol)} if selector.is_family else set[Port]()
        news = _count(self._keys, keys, by), _count(self._ports, ports, by)
        if not any(news):
            return
        for group in list(self.groups.values()):
            labels, named = group.traits.labels, group.traits.ports
            if any(key in news[0] for key, _ in labels) or any(_port(port) in news[1] for port in named):
                self._part(group)
                group.identity = self._identity(group.traits)
                group.identity.groups.add(group)

    def _identity(self, traits: Traits) -> Identity:
        """Return the identity of pods with these traits, with sets."""
        kept = Traits(
            traits.namespace,
            tuple(label for label in traits.labels if label[0] in self._keys),
            tuple(port for port in traits.ports if _port(port) in self._ports),
        )
        if (identity := self._by_traits.get(kept)) is None:
            identity = self._by_traits[kept] = Identity(kept)
            self._by_namespace.setdefault(kept.namespace, ByLabels()).add(identity, dict(kept.labels))
            identity.sets = frozenset(self._sets(identity))
        return identity

    def _part(self, group: Group) -> None:
        """Take a group out of its identity, whose sets keep its addresses."""
        identity = group.identity
        identity.groups.remove(group)
        if not identity.groups:
            del self._by_traits[identity.traits]
            self._by_namespace[identity.traits.namespace].remove(identity)

    def _sets(self, identity: Identity) -> Iterator[PeerSet]:
        """Yield the sets that an identity is in; none while its namespace is not known."""
        namespace, labels, ports = identity.traits
        if (about := self._namespaces.get(namespace)) is None:
            return
        scopes = [self._scopes[terms] for terms in self._scope_index.select(about)]
        if (named := self._named.get(namespace)) is not None:
            scopes.append(named)
        mapping = dict(labels)
        for scope in scopes:
            for wanted in scope.select(mapping):
                yield from wanted.of(ports)

    def _selected(self, wanted: Wanted) -> list[Identity]:
        """Return the identities that a selector selects."""
        selector = wanted.selector
        spaces: Iterable[str] = self._spaces.select(selector.namespaces)
        if selector.namespace:
            spaces = {selector.namespace} & self._namespaces.keys()
        inside = (self._by_namespace[name] for name in spaces if name in self._by_namespace)
        return [identity for index in inside for identity in index.select(selector.pods)]

    def _in_namespace(self, name: str) -> list[Identity]:
        return list(self._by_namespace[name].select(())) if name in self._by_namespace else []

    def _look_again(self, identities: Iterable[Identity]) -> None:
        for identity in identities:
            _move(identity, frozenset(self._sets(identity)))


def _move(identity: Identity, sets: frozenset[PeerSet]) -> None:
    """Have an identity's addresses in these sets, and in no others."""
    before, identity.sets = identity.sets, sets
    for peer_set in before - sets:
        for address in identity.addresses():
            peer_set.leave(address)
            peer_set.other_came(address)
    for peer_set in sets - before:
        for address in identity.addresses():
            peer_set.other_went(address)
            peer_set.join(address)


def _count(counter: Counter[T], items: Iterable[T], by: int) -> set[T]:
    """Count items up or down by one; return those that were not used before, or are not any more."""
    news = set()
    for item in items:
        counter[item] += by
        if counter[item] == max(by, 0):
            news.add(item)
        if not counter[item]:
            del counter[item]
    return news


def _port(port: NamedPort) -> Port:
    return port.name, port.protocol
