"""Which pod has which address: what nodes say of pods, as far as it is theirs to say.

A pod has an address when its Pod exists, and the QuiltEndpoints of the node that it is bound to name it by
uid with an address of that node's subnets. So a stolen token names addresses of its own node for pods of its
own node alone, a pod whose address was given on has none, and one that ends has its until its node says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from quilt_crds.wire_policy import Endpoint

PodKey: TypeAlias = tuple[str, str]
"""Namespace and name."""

G = TypeVar("G")


class PodFacts(NamedTuple):
    """What is known of a pod: the uid that its node has for it, the node, and what selectors can see."""

    uid: str
    node: str
    traits: bytes


class _Pod(Generic[G]):
    __slots__ = ("address", "group", "node", "traits", "uid")

    def __init__(self, facts: PodFacts, group: G) -> None:
        self.uid, self.node, self.traits = facts
        self.group = group
        self.address: int | None = None


class _Named(NamedTuple):
    key: PodKey
    uid: str
    address: int


class PodAddresses(Generic[G]):
    """Pods, each of a group, and their addresses.

    `changed(address, before, after)` is called for an address, as a number, that is another group's than
    before; None is nobody's.
    """

    def __init__(self, changed: Callable[[int, G | None, G | None], None]) -> None:
        self._changed = changed
        self._pods: dict[PodKey, _Pod[G]] = {}
        self._named: dict[str, dict[PodKey, _Named]] = {}
        """By node what its QuiltEndpoints say."""
        self._claims: dict[str, tuple[str, int, int]] = {}
        """By name: the node, the first and the last address."""
        self._claimed: dict[str, set[str]] = {}
        """By node the names of its claims."""
        self._owners: dict[int, PodKey] = {}

    def group(self, key: PodKey) -> G | None:
        """Return the group of a pod, None for one that is not known."""
        pod = self._pods.get(key)
        return pod.group if pod is not None else None

    def keys(self) -> list[PodKey]:
        """Return the pods that are known."""
        return list(self._pods)

    def having(self, words: Iterable[str]) -> Iterator[tuple[PodKey, bytes]]:
        """Yield the pods, with their traits, where one of these words occurs in them, perhaps in another."""
        wanted = [word.encode() for word in words]
        for key, pod in self._pods.items():
            if any(word in pod.traits for word in wanted):
                yield key, pod.traits

    def same(self, key: PodKey, facts: PodFacts) -> bool:
        """Whether this is what is known of a pod."""
        pod = self._pods.get(key)
        return pod is not None and (pod.uid, pod.node, pod.traits) == facts

    def put_pod(self, key: PodKey, facts: PodFacts, group: G) -> None:
        """Enter a pod."""
        if (pod := self._pods.get(key)) is None:
            # One text for both: its node's record has the key and mostly the uid already.
            named = self._named.get(facts.node, {}).get(key)
            if named is not None:
                key = named.key
                facts = facts._replace(uid=named.uid) if named.uid == facts.uid else facts
            self._pods[key] = _Pod(facts, group)
        else:
            pod.uid, pod.node, pod.traits = facts
            self.regroup(key, group)
        self._settle(key)

    def regroup(self, key: PodKey, group: G) -> None:
        """Enter that a known pod is of this group."""
        pod = self._pods[key]
        before, pod.group = pod.group, group
        if pod.address is not None and before is not group:
            self._changed(pod.address, before, group)

    def drop_pod(self, key: PodKey) -> G | None:
        """Remove a pod; return its group, if it was known."""
        if (pod := self._pods.get(key)) is None:
            return None
        self._move(key, pod, None)
        del self._pods[key]
        return pod.group

    def nodes(self) -> list[str]:
        """Return the nodes whose endpoints are known."""
        return list(self._named)

    def put_endpoints(self, node: str, endpoints: Iterable[Endpoint]) -> None:
        """Enter what a node says, all of it."""
        before = self._named.get(node, {})
        # Of two pods with one address the later one: an address is given on when its pod has ended.
        last = {address: one for one in endpoints if (address := _number(one.address)) is not None}
        named = (
            _Named((sys.intern(one.namespace), one.name), one.uid, address) for address, one in last.items()
        )
        now = {one.key: one if before.get(one.key) != one else before[one.key] for one in named}
        self._named[node] = now
        # Addresses are left before others take them.
        for key in sorted(before.keys() | now.keys(), key=lambda key: key in now):
            if before.get(key) is not now.get(key):
                self._settle(key)

    def drop_endpoints(self, node: str) -> None:
        """Enter that a node says nothing any more."""
        self.put_endpoints(node, ())
        del self._named[node]

    def put_claim(self, name: str, node: str, network: IPv4Network) -> None:
        """Enter that a subnet is the node's."""
        claim = node, int(network.network_address), int(network.broadcast_address)
        if self._claims.get(name) != claim:
            self.drop_claim(name)
            self._claims[name] = claim
            self._claimed.setdefault(node, set()).add(name)
            self._settle_all(node)

    def drop_claim(self, name: str) -> None:
        """Enter that a subnet is nobody's."""
        if (claim := self._claims.pop(name, None)) is not None:
            node = claim[0]
            self._claimed[node].discard(name)
            if not self._claimed[node]:
                del self._claimed[node]
            self._settle_all(node)

    def _settle_all(self, node: str) -> None:
        for key in self._named.get(node, ()):
            self._settle(key)

    def _settle(self, key: PodKey) -> None:
        if (pod := self._pods.get(key)) is not None:
            address = self._address(key, pod)
            if address != pod.address:
                self._move(key, pod, address)

    def _address(self, key: PodKey, pod: _Pod[G]) -> int | None:
        named = self._named.get(pod.node, {}).get(key)
        if named is None or named.uid != pod.uid:
            return None
        claims = (self._claims[name] for name in self._claimed.get(pod.node, ()))
        return named.address if any(first <= named.address <= last for _, first, last in claims) else None

    def _move(self, key: PodKey, pod: _Pod[G], address: int | None) -> None:
        """Have a pod another address, or none."""
        if pod.address is not None:
            del self._owners[pod.address]
            self._changed(pod.address, pod.group, None)
        pod.address = address
        if address is None:
            return
        if (other := self._owners.get(address)) is not None:
            # Its node has given the address on.
            self._move(other, self._pods[other], None)
        self._owners[address] = key
        self._changed(address, None, pod.group)


def _number(text: str) -> int | None:
    """Return an IPv4 address as a number; None for anything else: who wrote it is not trusted."""
    try:
        return int(IPv4Address(text))
    except AddressValueError:
        return None
