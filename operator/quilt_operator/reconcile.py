"""One node of the mesh, from what is observed to what should be: its claims, then what is reported of it.

Claims come first: peers live on them; the status is for people. Every step compares before it writes, so a
pass over a node that is as it should be sends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from quilt_crds.names import (
    DATAPLANE_IN_SYNC,
    DOWN,
    NODE_DOWN,
    PENDING,
    QUILTNODE,
    QUILTSUBNET,
    READY,
    RELEASING,
    SUBNET_ALLOCATED,
    UP,
    vtep_mac,
)
from quilt_crds.wire import Mesh, Node, QuiltNode, QuiltNodeStatus, QuiltSubnet
from quilt_events.document import NORMAL, WARNING, About
from quilt_kube.request import ApiError
from quilt_log import log
from quilt_operator.api.client import Client
from quilt_operator.api.events import EventRecorder
from quilt_operator.claiming import Claimer
from quilt_operator.confirm import Confirm
from quilt_operator.core import desired, status
from quilt_operator.core.claims import Book
from quilt_operator.core.desired import HOST_IP_CONFLICT, Address, ClaimPlan
from quilt_operator.core.health import Health
from quilt_operator.core.network_status import overlapping
from quilt_operator.core.status import Refusal
from quilt_operator.core.times import age, grace_left, parse_time, rfc3339
from quilt_operator.heartbeats import Heartbeats
from quilt_operator.pacing import FirstWords
from quilt_operator.workqueue import Request
from quilt_operator.world import NODES, Raw, World

Claims = Sequence[QuiltSubnet]

# How soon a node without a subnet, or whose address another one holds, is looked at again; looking costs no
# request while nothing is free.
_RETRY_REFUSED = 5.0
# How soon a node is looked at again whose view turned out to be late.
_STALE = 1.0
# How long a new QuiltNode may stand without its agent's word before it gets a subnet all the same.
_FIRST_WORDS = 1.0


@dataclass
class NodeReconciler:
    """Reconciles one node at a time per worker."""

    world: World
    client: Client
    heartbeats: Heartbeats
    events: EventRecorder
    _first_words: FirstWords = field(default_factory=FirstWords, init=False)

    def __post_init__(self) -> None:
        self._confirm = Confirm(self.world, self.client)
        self._claimer = Claimer(self.world, self.client)

    async def __call__(self, request: Request) -> float | None:
        """Make one node's claims and status right; answers in how many seconds to look again."""
        name = request.name
        node, host = self.world.nodes.items.get(name), self.world.hosts.items.get(name)
        book = self.world.book
        claims = [claim for _, claim in book.owned_by(name)] if book is not None else []
        used = [claim for claim in claims if claim.mesh.phase != RELEASING]
        if desired.has_left(node, host):
            self._forget(name)
            return await self._give_up(name, claims, self._confirm.is_there)
        if node is None or (node.deleting and not used):
            return await self._stay(name, claims, used)
        node = desired.staying(node)
        if book is None:
            refusal = Refusal("NoNetwork", f"there is no QuiltNetwork {self.world.network} yet")
            await self._say(node, (), self._health(node), Address(""), refusal)
            return None
        return await self._settle(node, book)

    def _health(self, node: QuiltNode) -> Health:
        """The verdict on a node; only an agent writes a host IP: one without may not have joined yet."""
        status, down = node.status, node.status.phase == DOWN
        down_for = age(status.last_transition_time, datetime.now(UTC)) if down else 0.0
        return self.heartbeats.health(node.name, down=down, down_for=down_for, spoke=bool(status.host_ip))

    async def _settle(self, node: QuiltNode, book: Book) -> float | None:
        health = self._health(node)
        owned = book.owned_by(node.name)
        unused = all(claim.mesh.phase == RELEASING for _, claim in owned)
        if unused and not node.status.host_ip and not node.spec.host_ip:
            # An agent creates its QuiltNode and then says who it is: two requests, one claim, no rewriting.
            patience = health.since + _FIRST_WORDS - time.monotonic()
            if patience > 0:
                return patience
        host = self.world.hosts.items.get(node.name)
        adopts = book.plan.adopts
        wanted = desired.wishes(node, host, adopts=adopts)
        plan = desired.plan_claims(node, owned, book.plan.pools, wanted, only_wanted=adopts)
        if plan.release and self._confirm.needed(plan.release):
            fresh = await self._confirm.node(node)
            if (fresh.spec, fresh.status.served_subnets) != (node.spec, node.status.served_subnets):
                return await self._settle(fresh, book)
        address = self._address(node, host, book, plan)
        mesh = desired.mesh(address.host_ip, down=health.down or not health.seen)
        kept = [await self._publish(claim, mesh) for claim in plan.keep]
        refusal = status.no_pod_cidr(book.plan, wanted) or self._overlap(book, host, plan.create)
        for family, cidr in plan.create if refusal is None else ():
            made = await self._claimer.claim(book, node, family, cidr, mesh)
            if isinstance(made, Refusal):
                refusal = made
            else:
                self._tell(node, NORMAL, SUBNET_ALLOCATED, f"claimed {made.cidr}")
                kept.append(made)
                self._first_words.hold(node.name)
        waits = [await self._release(claim) for claim in plan.release]
        held = self._first_words.wait(node.name)
        if held and refusal is None and not health.down:
            return _soonest([*waits, held])
        await self._say(node, kept, health, address, refusal, plan.moves)
        await self._clear_network_unavailable(node)
        again = refusal is not None or address.reason == HOST_IP_CONFLICT
        return _soonest([*waits, _RETRY_REFUSED if again else None])

    async def _stay(self, name: str, claims: Claims, used: Claims) -> float | None:
        """Keep the claims of a node whose QuiltNode is gone while its Node is there, Up or Down as it is.

        Its agent makes the QuiltNode again; until then its pods run, and peers must reach them.
        """
        if not used:
            self._forget(name)
        for claim in used:
            # Down without an address tells nothing of Leases: it was prepared, or the address another's.
            down = claim.mesh.phase == DOWN and bool(claim.mesh.host_ip)
            health = self.heartbeats.health(name, down=down, spoke=True)
            await self._publish(claim, desired.mesh(claim.mesh.host_ip, down=health.down))
        rest = [claim for claim in claims if claim not in used]
        return await self._give_up(name, rest, self._confirm.has_joined)

    def _forget(self, name: str) -> None:
        self.heartbeats.forget(name)
        self._claimer.forget(name)
        self._first_words.forget(name)

    def _overlap(self, book: Book, host: Node | None, create: Sequence[object]) -> Refusal | None:
        """Why no subnet may be handed out now. This node's own addresses may be news to the network."""
        if not create:
            return None
        found = overlapping(book.plan, [host] if host is not None else [], self.world.services)
        if not found:
            return None
        text = f"clusterCIDRs overlap {'; '.join(found[:3])}; see QuiltNetwork {book.plan.network}"
        return Refusal("Overlaps", text)

    def _address(self, node: QuiltNode, host: Node | None, book: Book, plan: ClaimPlan) -> Address:
        used = next((claim.mesh for claim in plan.keep if claim.mesh.phase != RELEASING), Mesh(DOWN))

        def holder(ip: str) -> str | None:
            nodes, hosts = self.world.nodes.items, self.world.hosts.items
            return book.host_ip_holder(
                ip,
                node.name,
                lambda other: desired.confirmed(ip, nodes.get(other), hosts.get(other), underlay),
            )

        underlay = book.plan.underlay
        return desired.address(node, host, used, holder, underlay)

    async def _publish(self, claim: QuiltSubnet, mesh: Mesh) -> QuiltSubnet:
        if claim.mesh == mesh:
            return claim
        try:
            raw = await self.client.publish(claim, mesh)
        except ApiError as error:
            if error.outdated:
                await self._confirm.claim(claim)
            raise
        self.world.observe(QUILTSUBNET.plural, raw)
        log.info(
            "claim_published", claim=claim.name, node=claim.node, phase=mesh.phase, host_ip=mesh.host_ip,
            before=claim.mesh.phase,
        )  # fmt: skip
        return self.world.claims.items.get(claim.name, claim)

    async def _give_up(
        self, name: str, claims: Claims, stays: Callable[[str], Awaitable[bool]]
    ) -> float | None:
        """Release claims, unless the API server, asked once more, shows that their node `stays`."""
        if self._confirm.needed(claims) and await stays(name):
            return _STALE
        return _soonest([await self._release(claim) for claim in claims])

    async def _release(self, claim: QuiltSubnet) -> float | None:
        """Begin, wait out or end a claim's grace period; answers how long it still lasts."""
        book = self.world.book
        if book is None:
            return None
        now = datetime.now(UTC)
        if claim.mesh.phase != RELEASING or parse_time(claim.mesh.released_at) is None:
            await self._publish(claim, Mesh(RELEASING, claim.mesh.host_ip, rfc3339(now)))
            self.events.note(
                About(QUILTSUBNET.kind, claim.name, claim.uid), NORMAL, RELEASING,
                f"node {claim.node} gave it up; it is kept for that node for {book.plan.grace:g} s",
            )  # fmt: skip
            return book.plan.grace
        left = grace_left(claim.mesh.released_at, book.plan.grace, now)
        if left > 0:
            return left
        try:
            await self.client.delete_claim(claim)
        except ApiError as error:
            if error.conflict:
                await self._confirm.claim(claim)
            if not error.missing:
                raise
        self.world.forget(QUILTSUBNET.plural, claim.name, claim.version)
        log.info("claim_deleted", claim=claim.name, node=claim.node)
        return None

    async def _say(
        self,
        node: QuiltNode,
        claims: Claims,
        health: Health,
        address: Address,
        refusal: Refusal | None,
        moves: Sequence[tuple[QuiltSubnet, QuiltSubnet]] = (),
    ) -> None:
        now = rfc3339(datetime.now(UTC))
        mac = vtep_mac(self.world.network, node.name)
        wanted = status.desired(node, claims, health, address, mac, refusal, now, moves)
        before = status.current(node)
        if wanted == before:
            return
        applied = self.client.apply_status(QUILTNODE, node.name, node.uid, status.wire(wanted))
        if await self._written(QUILTNODE.plural, applied):
            self._tell_change(node, before, wanted)

    async def _written(self, plural: str, write: Awaitable[Raw]) -> bool:
        """Enter the answer to a write; False where it was of an object that is gone or replaced meanwhile."""
        try:
            self.world.observe(plural, await write)
        except ApiError as error:
            if not error.outdated:
                raise
            return False  # The watch will say so.
        return True

    def _tell_change(self, node: QuiltNode, before: QuiltNodeStatus, now: QuiltNodeStatus) -> None:
        if before.phase != now.phase and (before.phase or now.phase != UP):
            log.info("phase_changed", node=node.name, before=before.phase, now=now.phase)
            kind = WARNING if now.phase == DOWN else NORMAL
            ready = next(item for item in now.conditions if item.type == READY)
            self._tell(node, kind, f"Phase{now.phase}", ready.message or f"the node is {now.phase}")
        for item, bad in status.news(before.conditions, now.conditions):
            if not (bad and item.message):
                continue
            log.info("condition_changed", node=node.name, type=item.type, reason=item.reason)
            if item.reason not in {NODE_DOWN, PENDING, "NoSubnet", "NotJoined"}:
                self._tell(node, WARNING, item.reason, item.message)

    def _tell(self, node: QuiltNode, type_: str, reason: str, message: str) -> None:
        self.events.note(About(QUILTNODE.kind, node.name, node.uid), type_, reason, message)

    async def _clear_network_unavailable(self, node: QuiltNode) -> None:
        host = self.world.hosts.items.get(node.name)
        if host is None or not host.network_unavailable or not node.has(DATAPLANE_IN_SYNC):
            return
        write = self.client.clear_network_unavailable(host, rfc3339(datetime.now(UTC)))
        if await self._written(NODES, write):
            log.info("network_unavailable_cleared", node=node.name)


def _soonest(waits: Sequence[float | None]) -> float | None:
    return min((wait for wait in waits if wait is not None), default=None)
