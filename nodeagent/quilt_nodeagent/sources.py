"""From API objects to facts: claims into the peer table, the network and the own QuiltNode into the view.

Each source translates at the edge and calls back with what changed; an object that cannot be used is logged
and left out, so that one bad claim never holds up the others.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from quilt_crds.names import NODE, QUILTNODE
from quilt_crds.wire import Node, QuiltNode, QuiltSubnet
from quilt_crds.wire_network import QuiltNetwork
from quilt_kube.aio import Client, wait
from quilt_kube.backoff import Backoff
from quilt_kube.decoding import convert
from quilt_kube.request import ApiError, Json, UnreachableError, create, read
from quilt_log import log
from quilt_nodeagent.core.network import read_network
from quilt_nodeagent.core.overlay import Mark
from quilt_nodeagent.core.peer import Peer, make_peer, renewed
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.kernel.observe import has_ipv6
from quilt_nodeagent.view import View

# Seconds between looks at the Node: nobody says when its addresses change. A watch would cost the API server
# more than a thousand agents' reads.
_NODE_AGAIN = 30.0
# The same where a label of the Node decides about the CNI files, which is for as long as nodes move over.
_LABEL_AGAIN = 5.0
# So many nodes whose deleted claims are kept are looked at by the way.
_KEPT_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class ClaimSource:
    """Feeds the peer table from QuiltSubnets of one network; `touched` hears which places changed."""

    table: PeerTable
    network: str
    touched: Callable[[set[Mark]], None]

    def listed(self, items: Iterable[QuiltSubnet]) -> None:
        """Take in a complete list."""
        claims = (claim for item in items if (claim := self._read(item)))
        if self.table.complete:
            self.touched(self.table.replace(claims))
        else:
            self.table.fill(claims)
            log.info("claims_listed", claims=len(self.table))
            # The first pass looks at all places, of which a mark each would leave holes in memory.
            self.touched(set())

    def changed(self, events: Sequence[tuple[str, QuiltSubnet]]) -> None:
        """Take in events of a watch."""
        marks: set[Mark] = set()
        kept = bool(self.table.kept)
        for kind, item in events:
            if kind == "DELETED":
                marks |= self.table.delete(item.spec.cidr, item.metadata.uid)
            elif claim := self._read(item):
                marks |= self.table.upsert(claim)
            else:
                marks |= self.table.remove(item.spec.cidr, item.metadata.uid)
        if not kept and self.table.kept:
            log.warning("claims_deleted_unreleased", nodes=self.table.kept[:10], keeps="their routes")
        self.touched(marks)

    def _read(self, item: QuiltSubnet) -> Peer | None:
        spec, mesh = item.spec, item.mesh
        if spec.network != self.network:
            return None
        uid, held = item.metadata.uid, self.table.claim(spec.cidr)
        try:
            if held is not None and uid and (held.uid, held.node) == (uid, spec.node):
                return renewed(held, mesh.phase, mesh.host_ip)
            return make_peer(spec.network, spec.cidr, spec.node, mesh.phase, mesh.host_ip, uid)
        except ValueError as error:
            log.warning("claim_unusable", claim=item.metadata.name, error=str(error))
            return None


@dataclass(frozen=True, slots=True)
class NetworkSource:
    """Feeds the view from the QuiltNetwork; what was known stays when the object is deleted or unusable."""

    view: View
    table: PeerTable
    touched: Callable[[set[Mark]], None]
    has_ipv6: bool = field(default_factory=has_ipv6, init=False)

    def listed(self, items: Iterable[QuiltNetwork]) -> None:
        """Take in a list of at most one object."""
        for item in items:
            self._take(item)

    def changed(self, events: Sequence[tuple[str, QuiltNetwork]]) -> None:
        """Take in events of a watch."""
        self.listed(item for kind, item in events if kind != "DELETED")

    def _take(self, item: QuiltNetwork) -> None:
        try:
            network = read_network(item.spec)
        except ValueError as error:
            self.view.network_problem = str(error)
            log.warning("network_unusable", network=item.metadata.name, error=str(error))
            return
        before, self.view.network, self.view.network_problem = self.view.network, network, ""
        if network == before:
            return
        log.info("network_known", cidrs=network.cidrs, vni=network.vxlan.vni, port=network.vxlan.port)
        cidrs = frozenset(cidr for cidr in network.cidrs if self.has_ipv6 or ":" not in cidr)
        way = replace(
            self.table.way,
            device=network.vxlan.device,
            overlay=network.overlay,
            keep_down=network.node_down_policy == "Keep",
            refused=cidrs,
        )
        self.touched(self.table.follow(way))


@dataclass
class NodeSource:
    """Knows this node's Node and keeps its QuiltNode in existence; `changed_to` hears of new facts.

    And it looks whether other nodes are gone whose deleted `claims` are kept. With `label_counts` the Node is
    read more often.
    """

    client: Client
    name: str
    view: View
    claims: ClaimSource
    changed_to: Callable[[QuiltNode | None], None]
    label_counts: bool = False
    _absent: bool = field(default=True, init=False)
    _events: int = field(default=0, init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def owner(self) -> dict[str, str] | None:
        """Reference to the Node, once it was read, for what is to be deleted with it."""
        node = self.view.node
        return NODE.reference(node.name, node.uid) if node else None

    def listed(self, items: Iterable[QuiltNode]) -> None:
        """Take in the list of the own QuiltNode: itself, or nothing when somebody deleted it."""
        self._events += 1
        item = next(iter(items), None)
        if item is not None:
            self._take(item)
        else:
            self._gone()

    def changed(self, events: Sequence[tuple[str, QuiltNode]]) -> None:
        """Take in events of a watch."""
        self._events += 1
        for kind, item in events:
            if kind == "DELETED":
                self._gone()
            else:
                self._take(item)

    def look_again(self) -> None:
        """Ask for the Node to be read again: addresses of this host changed."""
        self._wake.set()

    async def run(self) -> None:
        """Read the Node now and then, or when asked to, and create the QuiltNode when absent; for ever."""
        backoff = Backoff(0.5, 10.0)
        waiting, again = "", _LABEL_AGAIN if self.label_counts else _NODE_AGAIN
        while True:
            self._wake.clear()
            try:
                await self._register()
                backoff.reset()
                waiting, pause = "", again * random.uniform(0.8, 1.2)  # noqa: S311  spreads load
            except (ApiError, UnreachableError) as error:
                pause = backoff.delay()
                if str(error) != waiting:
                    waiting = str(error)
                    log.info(
                        "registration_waits", node=self.name, error=waiting, keeps="kernel state as it is"
                    )
            await wait(self._wake, pause)

    async def _register(self) -> None:
        self.view.node = convert(await self.client.ask(read(NODE.path(self.name))), Node)
        await self._look_at_kept()
        if not self._absent:
            self.changed_to(None)
            return
        before = self._events
        item = convert(await self._quiltnode(), QuiltNode)
        if before == self._events:  # else the watch reported something newer, maybe that it is gone again
            self._take(item)

    async def _quiltnode(self) -> Json:
        """Read the QuiltNode, created empty when absent: only an administrator fills its spec."""
        path = QUILTNODE.path(self.name)
        if found := await self.client.find(path):
            return found
        empty = QUILTNODE.document({"name": self.name, "ownerReferences": [self.owner]}, spec={})
        try:
            found = await self.client.ask(create(QUILTNODE.path(), empty))
        except ApiError as error:
            if not error.exists:
                raise
            found = await self.client.ask(read(path))
        log.info("quiltnode_created", node=self.name)
        return found

    async def _look_at_kept(self) -> None:
        """Have the claims end that are kept of nodes which are gone; a few at a time, as all agents look."""
        kept = self.claims.table.kept
        for node in random.sample(kept, min(len(kept), _KEPT_AT_ONCE)):
            # After the CRDs were deleted QuiltNodes come back one by one.
            find = self.client.find
            if not (await find(NODE.path(node)) or await find(QUILTNODE.path(node))):
                log.info("kept_claims_ended", node=node)
                self.claims.touched(self.claims.table.gone(node))

    def _take(self, item: QuiltNode) -> None:
        self._absent = False
        self.view.learn_quiltnode(item)
        self.changed_to(item)

    def _gone(self) -> None:
        # Only the API knows that it is gone: our kernel state stays until the claim is deleted.
        self._absent = True
        self._wake.set()
