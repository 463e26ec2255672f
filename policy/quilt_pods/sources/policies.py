"""NetworkPolicies of the namespaces that have a pod here; of others nothing is kept, nor decoded.

A namespace that gets its first pod is listed by itself. Until that list is there what the watch brings of the
namespace is collected, and afterwards what is older than the list is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from quilt_kube.listwatch import decoder
from quilt_policy.objects import Meta, NetworkPolicy, NetworkPolicySpec


class PolicyMeta(msgspec.Struct, rename="camel"):
    """The metadata that is read of every policy."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class UnreadPolicy(msgspec.Struct):
    """A policy whose spec is not decoded yet."""

    metadata: PolicyMeta = msgspec.field(default_factory=PolicyMeta)
    spec: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))

    @property
    def version(self) -> int:
        """Its resourceVersion; 0 for none that can be compared."""
        text = self.metadata.resource_version
        return int(text) if text.isdecimal() else 0

    def decode(self) -> NetworkPolicy:
        """Return the policy."""
        meta = Meta(name=self.metadata.name, namespace=self.metadata.namespace)
        return NetworkPolicy(meta, _decode_spec(self.spec))


_decode_spec = decoder(NetworkPolicySpec)
Event = tuple[str, UnreadPolicy]


@dataclass
class _Namespace:
    floor: int
    """The version of the newest event when it came to be wanted: an older list may lack changes."""
    names: set[str] = field(default_factory=set)
    version: int | None = None
    """That of its list; None while it is not listed."""
    events: list[Event] = field(default_factory=list)

    def is_older(self, version: int) -> bool:
        """Whether a list of this version says more than is known."""
        return version >= self.floor if self.version is None else version > self.version


@dataclass
class NamespacedPolicies:
    """The policies of wanted namespaces, passed on as they come.

    `ready` hears that a namespace's policies are complete for the first time, `unlisted` that one has to be
    listed by itself.
    """

    put: Callable[[NetworkPolicy], None]
    drop: Callable[[str, str], None]
    ready: Callable[[str], None]
    unlisted: Callable[[], None]
    complete: bool = field(default=False, init=False)
    """Whether all policies were listed once."""
    _namespaces: dict[str, _Namespace] = field(default_factory=dict, init=False)
    _newest: int = field(default=0, init=False)

    @property
    def to_list(self) -> list[str]:
        """Namespaces that have to be listed by themselves."""
        waiting = [name for name, one in self._namespaces.items() if one.version is None]
        return waiting if self.complete else []

    @property
    def count(self) -> int:
        """How many policies are kept."""
        return sum(len(one.names) for one in self._namespaces.values())

    def has(self, namespace: str) -> bool:
        """Whether all policies of a namespace were passed on."""
        held = self._namespaces.get(namespace)
        return held is not None and held.version is not None

    def want(self, namespace: str) -> None:
        """Keep the policies of a namespace from now on."""
        if namespace not in self._namespaces:
            self._namespaces[namespace] = _Namespace(self._newest)
            self.unlisted()

    def unwant(self, namespace: str) -> None:
        """Forget the policies of a namespace."""
        held = self._namespaces.pop(namespace, None)
        for name in held.names if held else ():
            self.drop(namespace, name)

    def listed(self, items: Iterable[UnreadPolicy], version: int) -> None:
        """Take in the list of all namespaces."""
        self.complete, self._newest = True, version
        self._take(list(self._namespaces), items, version)

    def listed_alone(self, namespace: str, items: Iterable[UnreadPolicy], version: int) -> None:
        """Take in the list of one namespace; one that is older than what is known changes nothing.

        It may be too old for a namespace that is wanted since a moment ago; then that is still to be listed.
        """
        self._take([namespace], items, version)

    def _take(self, namespaces: Iterable[str], items: Iterable[UnreadPolicy], version: int) -> None:
        """Take in what a list has of some namespaces, one policy after the other: there may be thousands."""
        listed = {
            name: (held, set[str]())
            for name in namespaces
            if (held := self._namespaces.get(name)) and held.is_older(version)
        }
        for item in items:
            if (found := listed.get(item.metadata.namespace)) is not None:
                held, names = found
                names.add(item.metadata.name)
                self._put(held, item)
        for namespace, (held, names) in listed.items():
            for name in held.names - names:
                self._drop(held, namespace, name)
            first, held.version = held.version is None, version
            events, held.events = held.events, []
            self.changed(events)
            if first:
                self.ready(namespace)

    def rewound(self) -> None:
        """Forget versions: what comes is of an older history, and says more than is known all the same."""
        self._newest = 0
        for held in self._namespaces.values():
            held.floor, held.events = 0, []
            held.version = None if held.version is None else 0

    def changed(self, events: Sequence[Event]) -> None:
        """Take in events of the watch of all namespaces."""
        for kind, item in events:
            self._newest = max(self._newest, item.version)
            held = self._namespaces.get(item.metadata.namespace)
            if held is None:
                continue
            if held.version is None:
                held.events.append((kind, item))
            elif item.version > held.version:
                if kind == "DELETED":
                    self._drop(held, item.metadata.namespace, item.metadata.name)
                else:
                    self._put(held, item)

    def _put(self, held: _Namespace, item: UnreadPolicy) -> None:
        held.names.add(item.metadata.name)
        self.put(item.decode())

    def _drop(self, held: _Namespace, namespace: str, name: str) -> None:
        if name in held.names:
            held.names.discard(name)
            self.drop(namespace, name)
