"""Watching QuiltSubnets: every state of a claim enters the view, those of one moment together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from quilt_crds.names import QUILTSUBNET
from quilt_crds.wire import QuiltSubnet
from quilt_kube.access import Access
from quilt_kube.listwatch import SILENCE
from quilt_operator.api.following import Followed
from quilt_operator.world import World


class ClaimWatch(Followed[QuiltSubnet]):
    """Follows all QuiltSubnets in a thread, and calls the view in the event loop that made this."""

    def __init__(self, access: Access, world: World, silence: float = SILENCE) -> None:
        super().__init__(
            access,
            QUILTSUBNET.path(),
            QuiltSubnet,
            listed=self._all,
            changed=self._some,
            limit=500,
            silence=silence,
        )
        self.complete = asyncio.Event()
        """Set once the view has all claims."""
        self._world = world
        self._loop = asyncio.get_running_loop()

    def _all(self, subnets: Iterable[QuiltSubnet]) -> None:
        self._loop.call_soon_threadsafe(self._enter_all, list(subnets), int(self.version))

    def _some(self, events: Sequence[tuple[str, QuiltSubnet]]) -> None:
        self._loop.call_soon_threadsafe(self._enter, events)

    def _enter_all(self, claims: Sequence[QuiltSubnet], version: int) -> None:
        for claim in claims:
            self._world.put_claim(claim)
        self._world.keep(QUILTSUBNET.plural, {claim.name for claim in claims}, version)
        self.complete.set()

    def _enter(self, events: Sequence[tuple[str, QuiltSubnet]]) -> None:
        for kind, claim in events:
            if kind == "DELETED":
                self._world.forget(QUILTSUBNET.plural, claim.name, claim.version)
            else:
                self._world.put_claim(claim)
