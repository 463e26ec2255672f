"""Who is behind each selector of network policies: from pods, namespaces, policies and endpoints to slices.

Incremental: a pod's event touches the sets of its identity, a policy's event its own selectors, and what
comes of them are names of QuiltPeers to write or to delete.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Mapping, Set

import msgspec

from quilt_crds.wire_policy import PeersSpec, peers_name
from quilt_operator.core.endpoints import PodAddresses, PodFacts, PodKey
from quilt_operator.core.identities import Identities, Identity
from quilt_operator.core.nodesets import NodeSets
from quilt_operator.core.peerset import PeerSet, Wanted
from quilt_policy.objects import NamedPort, Pod
from quilt_policy.selectors import PeerSelector

# Static pods: the uid by which the node knows one is not that of its Pod (kubelet, pod/mirror_client.go).
_MIRROR = "kubernetes.io/config.mirror"

# Labels and named ports, as they are kept: thousands of small objects would need more room.
_decode = msgspec.json.Decoder(tuple[dict[str, str], tuple[NamedPort, ...]]).decode


class PeerSets:
    """All sets, and what of them is to be written."""

    def __init__(self) -> None:
        self._dirty: dict[PeerSet, None] = {}
        self._gone: dict[str, None] = {}
        self._wanted: dict[PeerSelector, Wanted] = {}
        self._by_hash: dict[str, PeerSet] = {}
        self._policies: dict[Hashable, frozenset[PeerSelector]] = {}
        self._complements: set[PeerSet] = set()
        self._pods = 0
        self.identities = Identities()
        self.addresses: PodAddresses[Identity] = PodAddresses(self._moved)
        self.nodes = NodeSets()

    # What is there

    def put_policy(self, key: Hashable, selectors: Set[PeerSelector]) -> None:
        """Enter the selectors that a policy needs."""
        before = self._policies.get(key, frozenset())
        self._policies[key] = frozenset(selectors)
        for selector in selectors - before:
            self._want(selector)
        for selector in before - selectors:
            self._unwant(selector)

    def drop_policy(self, key: Hashable) -> None:
        """Remove a policy."""
        self.put_policy(key, frozenset())
        del self._policies[key]

    def policies(self) -> list[Hashable]:
        """Return the keys of all policies."""
        return list(self._policies)

    def put_pod(self, pod: Pod) -> None:
        """Enter a pod; one on the host's network has no address of its own."""
        key = sys.intern(pod.namespace), pod.name
        if pod.spec.host_network:
            self.drop_pod(key)
            return
        traits = msgspec.json.encode((pod.labels, pod.ports))
        uid = pod.metadata.annotations.get(_MIRROR, pod.metadata.uid)
        facts = PodFacts(uid, sys.intern(pod.node), traits)
        if self.addresses.same(key, facts):
            return
        identity, before = self.identities.of(key[0], pod.labels, pod.ports), self.addresses.group(key)
        identity.pods += 1
        self.addresses.put_pod(key, facts, identity)
        self._release(before)

    def drop_pod(self, key: PodKey) -> None:
        """Remove a pod."""
        self._release(self.addresses.drop_pod(key))

    # What comes of it

    def changes(self) -> list[str]:
        """Return the names of QuiltPeers that are other than when last asked, in the order to write them."""
        dirty, gone = list(self._dirty), list(self._gone)
        self._gone.clear()
        names = []
        for peer_set in dirty:
            if peer_set.selector.nodes is None and peer_set.turns(self._pods):
                self._turn(peer_set)
            own = peer_set.selector.hash
            self._by_hash[own] = peer_set
            names += [peers_name(own, number) for number in peer_set.take_changed()]
        self._dirty.clear()
        return names + gone

    def content(self, name: str) -> tuple[str, PeersSpec] | None:
        """Return the label and content of the QuiltPeers of this name; None when none should be there."""
        own, _, number = name.rpartition("-")
        peer_set = self._by_hash.get(own)
        if peer_set is None or not number.isdecimal():
            return None
        spec = peer_set.spec(int(number))
        return (peer_set.selector.label, spec) if spec is not None else None

    def resume(self, known: Mapping[str, Mapping[int, PeersSpec]]) -> None:
        """Leave addresses in the slices where they are: by hash and number what is written already.

        To be called after `changes`, with whose result the names of all that is known are to be looked at.
        """
        for own, specs in known.items():
            peer_set = self._by_hash.get(own)
            if peer_set is None or any(spec.complement != peer_set.complement for spec in specs.values()):
                continue
            peer_set.resume({number: _readable(spec) for number, spec in specs.items()})

    def measure(self) -> dict[str, int]:
        """Return how many there are of what."""
        return {
            "pods": self._pods,
            "policies": len(self._policies),
            "selectors": len(self._wanted),
            "addresses": sum(peer_set.slices.count for peer_set in self._by_hash.values()),
        }

    def _want(self, selector: PeerSelector) -> None:
        if (wanted := self._wanted.get(selector)) is None:
            wanted = self._wanted[selector] = Wanted(selector, self._dirty)
            self._tell_apart(self.identities.use(selector, 1))
            (self.nodes if selector.nodes is not None else self.identities).want(wanted)
        wanted.users += 1

    def _unwant(self, selector: PeerSelector) -> None:
        wanted = self._wanted[selector]
        wanted.users -= 1
        if wanted.users:
            return
        del self._wanted[selector]
        (self.nodes if selector.nodes is not None else self.identities).unwant(wanted)
        self._tell_apart(self.identities.use(selector, -1))
        for peer_set in wanted.sets.values():
            self._dirty.pop(peer_set, None)
            self._complements.discard(peer_set)
            if self._by_hash.pop(peer_set.selector.hash, None) is not None:
                count = max([len(peer_set.slices), *(number + 1 for number in peer_set.take_changed())])
                names = (peers_name(peer_set.selector.hash, number) for number in range(count))
                self._gone |= dict.fromkeys(names)

    def _tell_apart(self, words: set[str]) -> None:
        """Find the identities of pods again that have one of these labels or ports."""
        for key, traits in list(self.addresses.having(words)) if words else ():
            identity, before = self.identities.of(key[0], *_decode(traits)), self.addresses.group(key)
            identity.pods += 1
            self.addresses.regroup(key, identity)
            self._release(before)

    def _release(self, identity: Identity | None) -> None:
        """Enter that one pod less is of an identity."""
        if identity is not None:
            identity.pods -= 1
            if not identity.pods:
                self.identities.release(identity)

    def _moved(self, address: int, before: Identity | None, after: Identity | None) -> None:
        """Have an address in the sets of its pod's identity, or in none."""
        left = set(before.sets) if before is not None else set()
        joined = set(after.sets) if after is not None else set()
        if before is not None:
            before.addresses.remove(address)
        if after is not None:
            after.addresses.add(address)
        self._pods += (after is not None) - (before is not None)
        for peer_set in left - joined:
            peer_set.leave(address)
        for peer_set in joined - left:
            peer_set.join(address)
        for peer_set in self._complements:
            was_other = before is not None and peer_set not in left
            is_other = after is not None and peer_set not in joined
            if is_other and not was_other:
                peer_set.other_came(address)
            elif was_other and not is_other:
                peer_set.other_went(address)

    def _turn(self, peer_set: PeerSet) -> None:
        peer_set.turn(list(self._left_out(peer_set)))
        (self._complements.add if peer_set.complement else self._complements.discard)(peer_set)

    def _left_out(self, peer_set: PeerSet) -> Iterable[int]:
        """Yield the addresses that a set does not keep: those not behind its selector, or those that are."""
        for identity in self.identities:
            if (peer_set in identity.sets) is peer_set.complement:
                yield from identity.addresses


def _readable(spec: PeersSpec) -> tuple[int, ...]:
    try:
        return spec.addresses
    except ValueError:
        return ()
