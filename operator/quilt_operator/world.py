"""The operator's view of the cluster: what was observed last, and the book of claims made of it.

Fed by events and by the answers to our own writes. An older state never replaces a newer one, whatever order
they arrive in, so a write is visible here as soon as the API server accepted it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from quilt_crds.base import InvalidObjectError
from quilt_crds.names import QUILTNETWORK, QUILTNODE, QUILTSUBNET
from quilt_crds.quiltnetwork import QuiltNetwork
from quilt_crds.wire import Meta, Node, QuiltNode, QuiltSubnet
from quilt_kube.decoding import convert
from quilt_log import log
from quilt_operator.core.claims import Book
from quilt_operator.core.plan import Plan

NODES: Final = "nodes"
Raw = Mapping[str, Any]
# Versions of deleted objects are kept to refuse late news of them; the oldest are forgotten.
_TOMBSTONES = 10_000


@dataclass(frozen=True, slots=True)
class Network:
    """A QuiltNetwork as the API server sent it."""

    name: str
    version: int
    raw: Raw


_KINDS: Mapping[str, type[QuiltNode | Node | QuiltSubnet]] = {
    QUILTNODE.plural: QuiltNode,
    NODES: Node,
    QUILTSUBNET.plural: QuiltSubnet,
}
_V = TypeVar("_V", QuiltNode, Node, QuiltSubnet, Network)


class Shelf(Generic[_V]):
    """All objects of one kind by name, newest state only."""

    def __init__(self) -> None:
        self.items: dict[str, _V] = {}
        self._gone: dict[str, int] = {}

    def put(self, value: _V) -> bool:
        """Enter a state; False when it is not news."""
        if self.knows(value.name, value.version):
            return False
        self.items[value.name] = value
        self._gone.pop(value.name, None)
        return True

    def drop(self, name: str, version: int) -> bool:
        """Enter that the object was gone as of `version`; False when it is not news."""
        old = self.items.get(name)
        if old is None or old.version > version:
            return False
        del self.items[name]
        self._gone[name] = version
        if len(self._gone) > _TOMBSTONES:
            del self._gone[next(iter(self._gone))]
        return True

    def knows(self, name: str, version: int) -> bool:
        """Whether this state or a newer one was entered, or the object's end."""
        old = self.items.get(name)
        return version <= (old.version if old is not None else self._gone.get(name, -1))

    def without(self, names: Set[str], version: int) -> list[str]:
        """Objects that a complete list as of `version` no longer has."""
        return [name for name, item in self.items.items() if name not in names and item.version <= version]


ClaimFollower: TypeAlias = Callable[[str, QuiltSubnet | None], None]
"""Called with the name and the new state of a claim, None for one that is gone."""


class World:
    """Everything that was observed. `changed(node)` is called with the name of each node to look at."""

    def __init__(self, network: str, changed: Callable[[str], None], replanned: Callable[[], None]) -> None:
        self.network = network
        self.nodes: Shelf[QuiltNode] = Shelf()
        self.hosts: Shelf[Node] = Shelf()
        self.claims: Shelf[QuiltSubnet] = Shelf()
        self.networks: Shelf[Network] = Shelf()
        self.book: Book | None = None
        self.overlaps: list[str] = []
        """What lies in the network's ranges, as sentences for its condition."""
        self.services: tuple[str, ...] = ()
        """The Service networks: nothing is handed out while one overlaps the network's ranges."""
        self._claim_follower: ClaimFollower | None = None
        self._changed = changed
        self._replanned = replanned
        self._shelves: dict[str, Shelf[Any]] = {
            QUILTNODE.plural: self.nodes,
            NODES: self.hosts,
            QUILTSUBNET.plural: self.claims,
            QUILTNETWORK.plural: self.networks,
        }

    @property
    def network_raw(self) -> Raw:
        """The QuiltNetwork to serve, empty before it exists."""
        found = self.networks.items.get(self.network)
        return found.raw if found is not None else {}

    def observe(self, plural: str, raw: Raw) -> None:
        """Enter an object as the API server sent it."""
        if plural == QUILTNETWORK.plural:
            meta = convert(raw.get("metadata"), Meta)
            self._enter(plural, Network(meta.name, meta.version, raw))
        else:
            self._enter(plural, convert(raw, _KINDS[plural]))

    def put_claim(self, claim: QuiltSubnet) -> None:
        """Enter the state of a claim."""
        self._enter(QUILTSUBNET.plural, claim)

    def follow_claims(self, follower: ClaimFollower | None) -> None:
        """Have `follower` called for all claims, and from now on for each that changes; None ends that."""
        self._claim_follower = follower
        if follower is not None:
            for name, claim in self.claims.items.items():
                follower(name, claim)

    def forget(self, plural: str, name: str, version: int) -> None:
        """Enter that an object is gone as of `version`."""
        shelf = self._shelves[plural]
        before = shelf.items.get(name)
        if shelf.drop(name, version):
            self._note(plural, before, None)

    def keep(self, plural: str, names: Set[str], version: int) -> int:
        """Enter that as of `version` there were only objects of these names; return how many were gone."""
        gone = self._shelves[plural].without(names, version)
        for name in gone:
            self.forget(plural, name, version)
        return len(gone)

    def lacks(self, plural: str, versions: Mapping[str, int]) -> int:
        """How many objects have a newer state than is known here; `versions` are by name."""
        shelf = self._shelves[plural]
        return sum(not shelf.knows(name, version) for name, version in versions.items())

    def known_nodes(self) -> set[str]:
        """Every node that a QuiltNode or a claim names."""
        claimed = {claim.node for claim in self.claims.items.values()}
        return claimed | set(self.nodes.items)

    def _enter(self, plural: str, value: Any) -> None:
        shelf = self._shelves[plural]
        before = shelf.items.get(value.name)
        if shelf.put(value):
            self._note(plural, before, value)

    def _note(self, plural: str, before: Any, now: Any) -> None:
        """Have followed that an object came (no `before`), changed or went (no `now`)."""
        name = (now or before).name
        if plural == QUILTNODE.plural:
            self._changed(name)
        elif plural == NODES:
            ips, had = now.ips if now else (), before.ips if before else None
            if self.book is not None and (had is None or set(had) != set(ips)):
                self.book.leave_out(name, ips)
            if _heeded(before) != _heeded(now):
                self._changed(name)
        elif plural == QUILTSUBNET.plural:
            if self.book is not None:
                self.book.put(now) if now else self.book.remove(name)
            if self._claim_follower is not None:
                self._claim_follower(name, now)
            self._changed((now or before).node)
        elif name == self.network:
            self._plan(before, now)

    def _plan(self, known: Network | None, seen: Network | None) -> None:
        if seen is None:
            # What was planned stays planned: deleting the network must not take the nodes' subnets.
            self._replanned()
            return
        if self.book is not None and known is not None and known.raw.get("spec") == seen.raw.get("spec"):
            return
        try:
            network = QuiltNetwork.parse(seen.raw, f"QuiltNetwork {self.network}")
        except InvalidObjectError as error:
            # The API server's schema lets through what only a newer operator understands.
            log.error("network_not_understood", error=str(error))
            return
        meta = network.metadata
        plan = Plan.of(self.network, network.spec, uid=meta.uid or "", generation=meta.generation or 0)
        self.book = Book(plan, self.claims.items.values())
        for host in self.hosts.items.values():
            self.book.leave_out(host.name, host.ips)
        log.info("network_planned", pools={f: [str(r) for r in p.ranges] for f, p in plan.pools.items()})
        self._replanned()


def _heeded(host: Node | None) -> tuple[object, ...] | None:
    # The kubelet writes its Node's status again and again; only little of it is looked at.
    if host is None:
        return None
    return host.uid, set(host.ips), host.network_unavailable, host.spec.pod_cidrs, host.pods
