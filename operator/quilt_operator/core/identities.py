"""Pods that no selector tells apart, and which selectors select them.

Thousands of pods share their labels. Of these only keys that some selector uses count, so that a label by
which nobody selects, like a Job's own, makes no identity of its own. Each identity is held against the
selectors once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

from quilt_operator.core.labelindex import ByLabels, ByTerms
from quilt_operator.core.peerset import PeerSet, Wanted
from quilt_policy.labels import Terms, matches
from quilt_policy.objects import NamedPort
from quilt_policy.selectors import PeerSelector

Port: TypeAlias = tuple[str, str]
"""Name and protocol."""

T = TypeVar("T")


class Marks(NamedTuple):
    """What tells pods of a namespace apart: labels by which somebody selects, and such ports."""

    labels: tuple[tuple[str, str], ...]
    ports: tuple[NamedPort, ...]


class Identity:
    """Pods that no selector tells apart, and the sets that their addresses are in."""

    __slots__ = ("addresses", "marks", "namespace", "pods", "sets")

    def __init__(self, namespace: str, marks: Marks) -> None:
        self.namespace, self.marks = namespace, marks
        self.pods = 0
        self.addresses: set[int] = set()
        self.sets: tuple[PeerSet, ...] = ()


class Identities:
    """All identities, under the selectors of the moment.

    Where the sets of an identity change, its addresses leave and join them.
    """

    def __init__(self) -> None:
        self._by_namespace: dict[str, dict[Marks, Identity]] = {}
        self._keys: Counter[str] = Counter()
        self._ports: Counter[Port] = Counter()
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._spaces: ByLabels[str] = ByLabels()
        self._named: dict[str, ByTerms[Wanted]] = {}
        """Selectors that name their namespace, by it."""
        self._scopes: dict[Terms, ByTerms[Wanted]] = {}
        """Selectors that select namespaces, by how."""
        self._scope_index: ByTerms[Terms] = ByTerms()

    def __iter__(self) -> Iterator[Identity]:
        """Yield all identities."""
        for inside in self._by_namespace.values():
            yield from inside.values()

    def of(self, namespace: str, labels: Mapping[str, str], ports: Iterable[NamedPort]) -> Identity:
        """Return the identity of a pod."""
        marks = Marks(
            tuple(sorted(label for label in labels.items() if label[0] in self._keys)),
            tuple(sorted(port for port in ports if _port(port) in self._ports)),
        )
        inside = self._by_namespace.setdefault(namespace, {})
        if (identity := inside.get(marks)) is None:
            identity = inside[marks] = Identity(namespace, marks)
            identity.sets = self._sets(identity)
        return identity

    def release(self, identity: Identity) -> None:
        """Forget an identity that has no pods."""
        inside = self._by_namespace[identity.namespace]
        del inside[identity.marks]
        if not inside:
            del self._by_namespace[identity.namespace]

    def put_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Enter a namespace: what is selected by its labels is seen again."""
        if self._namespaces.get(name) == labels:
            return
        if name in self._namespaces:
            self._spaces.remove(name)
        self._namespaces[name] = labels
        self._spaces.add(name, labels)
        self._look_again(name)

    def drop_namespace(self, name: str) -> None:
        """Enter that there is no such namespace: nothing selects its pods."""
        if self._namespaces.pop(name, None) is not None:
            self._spaces.remove(name)
            self._look_again(name)

    def namespaces(self) -> list[str]:
        """Return the namespaces that are known."""
        return list(self._namespaces)

    def use(self, selector: PeerSelector, by: int) -> set[str]:
        """Count what a selector tells pods apart by, up (1) or down (-1).

        Return the keys of labels and names of ports that count now and did not, or did and do not: pods that
        have one are of another identity from now on.
        """
        ports = {(selector.port_name, selector.protocol)} if selector.is_family else set[Port]()
        keys = _count(self._keys, {key for key, _, _ in selector.pods}, by)
        return keys | {name for name, _ in _count(self._ports, ports, by)}

    def want(self, wanted: Wanted) -> None:
        """Have a selector select, which is in use."""
        selector = wanted.selector
        if selector.namespace:
            scope = self._named.setdefault(selector.namespace, ByTerms())
        elif (found := self._scopes.get(selector.namespaces)) is not None:
            scope = found
        else:
            scope = self._scopes[selector.namespaces] = ByTerms()
            self._scope_index.add(selector.namespaces, selector.namespaces)
        scope.add(wanted, selector.pods)
        for identity in self._selected(selector):
            _move(identity, (*identity.sets, *wanted.of(identity.marks.ports)))

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
        gone = set(wanted.sets.values())
        for identity in self._selected(selector):
            _move(identity, [peer_set for peer_set in identity.sets if peer_set not in gone])

    def _sets(self, identity: Identity) -> tuple[PeerSet, ...]:
        """Return the sets that an identity is in; none while its namespace is not known."""
        if (about := self._namespaces.get(identity.namespace)) is None:
            return ()
        scopes = [self._scopes[terms] for terms in self._scope_index.select(about)]
        if (named := self._named.get(identity.namespace)) is not None:
            scopes.append(named)
        labels, ports = dict(identity.marks.labels), identity.marks.ports
        wanted = (one for scope in scopes for one in scope.select(labels))
        return tuple(peer_set for one in wanted for peer_set in one.of(ports))

    def _selected(self, selector: PeerSelector) -> list[Identity]:
        """Return the identities that a selector selects."""
        spaces: Iterable[str] = self._spaces.select(selector.namespaces)
        if selector.namespace:
            spaces = {selector.namespace} & self._namespaces.keys()
        inside = (self._by_namespace[name] for name in spaces if name in self._by_namespace)
        return [
            identity
            for identities in inside
            for identity in identities.values()
            if matches(selector.pods, dict(identity.marks.labels))
        ]

    def _look_again(self, namespace: str) -> None:
        for identity in self._by_namespace.get(namespace, {}).values():
            _move(identity, self._sets(identity))


def _move(identity: Identity, sets: Collection[PeerSet]) -> None:
    """Have an identity's addresses in these sets, and in no others."""
    before, now = set(identity.sets), set(sets)
    identity.sets = tuple(sets)
    for peer_set in before - now:
        for address in identity.addresses:
            peer_set.leave(address)
            peer_set.other_came(address)
    for peer_set in now - before:
        for address in identity.addresses:
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
