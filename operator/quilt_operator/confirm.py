"""What a late view must not decide is confirmed at the API server: to release a subnet cuts off its pods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from quilt_crds.names import NODE, QUILTNODE, QUILTSUBNET, RELEASING
from quilt_crds.wire import QuiltNode, QuiltSubnet
from quilt_operator.api.client import Client
from quilt_operator.core.desired import staying
from quilt_operator.core.times import grace_left
from quilt_operator.world import NODES, World


@dataclass(frozen=True)
class Confirm:
    """Asks the API server once more; the answers also correct the view."""

    world: World
    client: Client

    def needed(self, release: Iterable[QuiltSubnet]) -> bool:
        """Whether one of these is to be given up or deleted now, rather than wait out its grace period."""
        book, now = self.world.book, datetime.now(UTC)
        return book is not None and any(
            claim.mesh.phase != RELEASING or grace_left(claim.mesh.released_at, book.plan.grace, now) <= 0
            for claim in release
        )

    async def node(self, node: QuiltNode) -> QuiltNode:
        """The node as it is now, or as it was known where it is gone."""
        raw = await self.client.find(QUILTNODE.path(node.name))
        if raw is None:
            return node
        self.world.observe(QUILTNODE.plural, raw)
        return staying(self.world.nodes.items.get(node.name, node))

    async def has_joined(self, name: str) -> bool:
        """Whether there is a QuiltNode of this name that is not being deleted."""
        raw = await self.client.find(QUILTNODE.path(name))
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return False
        self.world.observe(QUILTNODE.plural, raw)
        return True

    async def is_there(self, name: str) -> bool:
        """Whether a node has joined or has a Node."""
        joined, host = await self.has_joined(name), await self.client.find(NODE.path(name))
        if host is not None:
            self.world.observe(NODES, host)
        return joined or host is not None

    async def claim(self, claim: QuiltSubnet) -> None:
        """Bring the view of one claim up to date after the API server reported that it is not."""
        raw = await self.client.find(QUILTSUBNET.path(claim.name))
        if raw is None:
            self.world.forget(QUILTSUBNET.plural, claim.name, claim.version)
        else:
            self.world.observe(QUILTSUBNET.plural, raw)
